"""Queue, executor and sink of a grid: no torch, no training."""

import json
import os
from pathlib import Path

import pytest

from frbench.contracts.errors import UserError
from frbench.grids import executors
from frbench.grids.grid import Cell, read_grid
from frbench.grids.queue import Queue
from frbench.report.records import Results
from frbench.support.files import file_hashes

GRID = "data: {d: {data: Digits}}\nmethods: {m: {model: ERM}}\nseeds: [0, 1, 2]\n"


@pytest.fixture
def cells(in_tmp: Path) -> list[Cell]:
    Path("grid.yaml").write_text(GRID)
    Path("table.csv").write_text("x,y\n")
    return read_grid("grid.yaml")


def queue(cells: list[Cell]) -> Queue:
    file = Path("results.jsonl")
    return Queue(cells, Path("out"), Results(file, file.stat().st_size if file.exists() else 0))


def done(cell: Cell, status: str = "ok") -> dict:
    record = {
        "cell": cell.key, "data": cell.data, "settings": {"model.network": {"a": [1, {"b": "é"}]}},
        "status": status, "metrics": {"test/accuracy": 0.5, "test/gap": None},
        "data_files": file_hashes(["table.csv"]), "seconds": 1.5,
    }  # fmt: skip
    return record if status == "ok" else record | {"error": "no {brace"}


def test_a_line_that_was_cut_anywhere_is_no_result(cells: list[Cell]) -> None:
    Results(Path("results.jsonl")).append(done(cells[0]))
    line = Path("results.jsonl").read_bytes()
    assert b'"cell"' in line[:8] and line.index(b'"metrics"') > line.index(b'"data_files"')
    for length in range(len(line) - 1):
        Path("results.jsonl").write_bytes(line[:length])
        assert queue(cells).finished() == 0, line[:length]
        sink = Results(Path("results.jsonl"))
        sink.append(done(cells[1]))  # begins a line of its own
        for _ in range(2):
            assert list(sink.latest()) == [cells[1].key]
            assert [c.seed for c in cells if not queue([c]).is_open(c)] == [1]
    Path("results.jsonl").write_bytes(line[:-1])  # all but the end of the line
    assert queue(cells).finished() == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"a": 1}', "lacks 'cell'"),
        ('{"cell": "a"}', "lacks 'status'"),
        ('{"cell": "a", "status": "ok", "data_files": {}}}', "not JSON"),
        ("[1]", "not a record"),
        ("metrics", "not JSON"),
    ],
)
def test_a_foreign_line_is_named(cells: list[Cell], line: str, said: str) -> None:
    Results(Path("results.jsonl")).append(done(cells[0]))
    with Path("results.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=f"results.jsonl:2 .*{said}"):
        queue(cells).finished()


def test_a_line_that_is_damaged_behind_its_head_is_named_where_it_is_read(cells) -> None:
    results = Results(Path("results.jsonl"))
    results.append(done(cells[0]))
    text = Path("results.jsonl").read_text()
    Path("results.jsonl").write_text(text.replace("0.5", "0.5.5"))
    with pytest.raises(UserError, match=r"results.jsonl:1 is not JSON"):
        results.latest()


def test_records_of_other_writers_count(cells: list[Cell]) -> None:
    """Keys in another order, another layout, and the latest record of a cell is the valid one."""
    by_hand = [
        dict(sorted(done(cells[0]).items(), reverse=True)),
        done(cells[1], "failed"),
        done(cells[2]) | {"data_files": {"table.csv": "other"}},
    ]
    lines = [json.dumps(record, separators=(",", ":")) for record in by_hand]
    Path("results.jsonl").write_text("\n".join(lines))
    # The first is finished; the second failed before this command; the third saw other data.
    assert [c.seed for c in queue(cells)] == [1, 2]
    assert queue(cells).failed() == []


def test_open_cells_are_run_once_and_failures_are_told(cells: list[Cell], monkeypatch) -> None:
    monkeypatch.setattr(
        executors, "run_cell", lambda cell, *_: done(cell, "failed" if cell.seed == 1 else "ok")
    )
    told: list[int] = []
    mine = queue(cells)
    executors.in_process(mine, lambda cell, record: told.append(cell.seed))
    executors.in_process(mine, lambda cell, record: told.append(cell.seed))
    assert told == [0, 1, 2] and mine.finished() == 2
    assert [(cell.seed, error) for cell, error in mine.failed()] == [(1, "no {brace")]
    executors.in_process(queue(cells), lambda cell, record: told.append(cell.seed))
    assert told == [0, 1, 2, 1]  # failed runs are tried again by the next command
    Path("table.csv").write_text("x,y\n1,2\n")
    assert [c.seed for c in queue(cells)] == [0, 1, 2]


def test_cells_may_wait_for_others(cells: list[Cell]) -> None:
    """The queue is where a dependency between cells has its place."""

    class After(Queue):
        def is_open(self, cell: Cell) -> bool:
            first = self.results.heads().get(cells[0].key)
            ready = cell == cells[0] or (first is not None and first.status == "ok")
            return ready and super().is_open(cell)

    mine = After(cells, Path("out"), Results(Path("results.jsonl")))
    assert [c.seed for c in mine] == [0]
    mine.results.append(done(cells[0]))
    assert [c.seed for c in mine] == [1, 2]


# ---- workers -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("gpus", "chosen", "expected"),
    [
        (3, None, ["0", "1", "2", "0", "1"]),
        (1, None, ["0"] * 5),
        (0, None, ["unset"] * 5),
        (3, "2,GPU-7", ["2", "GPU-7", "2", "GPU-7", "2"]),
        (3, "", [""] * 5),
    ],
)
def test_worker_k_is_given_gpu_k_mod_their_number(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, chosen: str | None, expected: list
) -> None:
    """The processes are real; Python and nvidia-smi are stand-ins that say what they are given."""
    scripts = {
        "worker": 'echo "${CUDA_VISIBLE_DEVICES-unset} $FRBENCH_CORES $*" > "given.$$"',
        "nvidia-smi": "\n".join(f"echo 'GPU {k}: card'; echo '  MIG 1g'" for k in range(gpus)),
    }
    for name, script in scripts.items():
        (in_tmp / name).write_text(f"#!/bin/sh\n{script}\n")
        (in_tmp / name).chmod(0o755)
    monkeypatch.setattr(executors.sys, "executable", str(in_tmp / "worker"))
    monkeypatch.setattr(executors, "available_cores", lambda: 10)
    monkeypatch.setenv("PATH", f"{in_tmp}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"CUDA_VISIBLE_DEVICES": chosen, "OMP_NUM_THREADS": None}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    workers = executors.start_workers(["bench", "grid.yaml"], 5)
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0] * 5
    given = [Path(f"given.{worker.pid}").read_text()[:-1] for worker in workers]
    assert given == [f"{gpu} 2 -m frbench bench grid.yaml" for gpu in expected]
