"""Grids are run once, by one or several processes, and continued after any end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frbench.__main__ import main
from frbench.commands import bench
from frbench.grids.grid import read_grid
from frbench.grids.queue import claimed
from frbench.report.records import Results

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

BASE = "base: {trainer.max_epochs: 1, trainer.accelerator: cpu, data.n: 300, data.n_eval: 200}\n"
DATA = "data: {digits: {data: Digits}}\n"
TWO = "methods: {ERM: {model: ERM}, DRO: {model: GroupDRO}}\nseeds: [0, 1]\n"
TINY = BASE + DATA + TWO

FIELDS = {
    "cell", "data", "method", "settings", "seed", "fold", "status", "selection", "metrics",
    "warnings", "steps", "attribute_as_input", "training", "effective_sample_size",
    "config_hash", "data_hash", "hardware", "versions", "peak_memory_mb", "seconds",
    "groups", "commit", "finished", "data_files", "threads", "deterministic",
    "attribute_use", "attributes",
}  # fmt: skip


def lines(out: Path = Path("out")) -> list[dict]:
    """Parse the results strictly: one JSON object a line, NaN refused."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (out / "results.jsonl").read_text()
    assert not text or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def run(*words: str) -> int:
    return main(["bench", "grid.yaml", "--out=out", *words])


def start(*words: str, out: str = "out", **environment: str) -> subprocess.Popen:
    """Start a bench of its own."""
    command = [sys.executable, "-m", "frbench", "bench", "grid.yaml", f"--out={out}", *words]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture
def tiny(in_tmp: Path) -> Path:
    (in_tmp / "grid.yaml").write_text(TINY)
    return in_tmp


def same_runs(left: list[dict], right: list[dict]) -> None:
    """Assert that two files hold the same results, time and memory aside."""
    for records in (left, right):
        assert len({record["cell"] for record in records}) == len(records)
    free = {"seconds", "peak_memory_mb", "finished"}
    a, b = ({r["cell"]: r for r in records} for records in (left, right))
    assert a.keys() == b.keys()
    for cell in a:
        for name in FIELDS - free:
            assert a[cell][name] == b[cell][name], (cell, name)


# ---- one process -------------------------------------------------------------------------------
def test_a_grid_runs_and_a_second_call_runs_nothing(
    tiny: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run() == 0
    records = lines()
    cells = read_grid("grid.yaml")
    assert [r["cell"] for r in records] == [cell.key for cell in cells]
    for record, cell in zip(records, cells, strict=True):
        assert set(record) == FIELDS
        assert record["status"] == "ok"
        plain = {"balance": "none", "train_on": "P", "penalties": {}}
        plain |= {"infer": None, "inferred": None, "mixing": None, "erm": cell.method == "ERM"}
        assert record["training"] == plain
        assert (record["data"], record["method"]) == (cell.data, cell.method)
        assert (record["seed"], record["fold"], record["settings"]) == (cell.seed, None, {})
        assert record["selection"] == {
            "monitor": "val/worst_group_accuracy", "mode": "max", "oracle": False,
            "min_group_rows": 10,
        }  # fmt: skip
        tables = {key.split("/")[0] for key in record["metrics"]}
        assert tables == {"val", "test"}
        assert 0 <= record["metrics"]["test/P0/worst_group_accuracy"] <= 1
        assert record["steps"] == 2
        assert record["attribute_as_input"] is False
        assert "small_evaluation_group/val" in record["warnings"]
        assert set(record["versions"]) >= {"frbench", "python", "torch", "pytorch-lightning"}
        assert record["seconds"] > 0 and record["peak_memory_mb"] > 0
        assert not (Path("out/runs") / cell.key / "checkpoints/last.ckpt").exists()
        assert (Path("out/runs") / cell.key / "checkpoints/best.ckpt").exists()
    # Data depend on the seed alone, configurations on method and seed.
    by_seed = {seed: {r["data_hash"] for r in records if r["seed"] == seed} for seed in (0, 1)}
    assert all(len(hashes) == 1 for hashes in by_seed.values())
    assert by_seed[0] != by_seed[1]
    assert len({r["config_hash"] for r in records}) == 4
    before = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*") if p.name != "grid.yaml"}
    content = Path("out/results.jsonl").read_bytes()
    capsys.readouterr()
    assert run() == 0
    assert "4 of 4 runs have results" in capsys.readouterr().out
    assert Path("out/results.jsonl").read_bytes() == content
    after = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*") if p.name != "grid.yaml"}
    assert after == before


def test_the_metrics_are_those_of_fit_and_test(tiny: Path) -> None:
    assert run("--index=2") == 0
    record = lines()[0]
    assert (record["method"], record["seed"]) == ("DRO", 0)
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    data = ["--data=Digits", "--data.n=300", "--data.n_eval=200"]
    words = ["--model=GroupDRO", "--trainer.max_epochs=1", "--run_dir=by_hand"]
    assert main(["fit", *data, *words, *quiet]) == 0
    best = "--ckpt_path=by_hand/checkpoints/best.ckpt"
    for command in ("validate", "test"):
        assert main([command, *data, best, *quiet]) == 0
        found = json.loads(Path(f"by_hand/{command}.json").read_text())
        assert found["data"] == record["data_hash"]
        assert found["metrics"].keys() <= record["metrics"].keys()
        for key, value in found["metrics"].items():
            assert value == record["metrics"][key] or (value != value), key
            assert (record["metrics"][key] is None) == (value != value), key


def test_a_new_seed_runs_only_the_new_cells(tiny: Path) -> None:
    assert run("--index=0") == 0
    first = lines()
    Path("grid.yaml").write_text(TINY.replace("[0, 1]", "[0, 2]"))
    assert run("--shard=0/2") == 0  # seed 0 of both methods
    assert lines()[0] == first[0]
    assert [(r["method"], r["seed"]) for r in lines()] == [("ERM", 0), ("DRO", 0)]


def test_options_of_the_command_line_reach_every_run_and_are_runs_of_their_own(
    tiny: Path,
) -> None:
    assert run("--index=0", "--trainer.limit_train_batches", "1") == 0
    assert run("--index=0") == 0
    assert [r["steps"] for r in lines()] == [1, 2]


def test_a_failed_cell_is_recorded_and_the_others_finish(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = BASE + DATA + "methods: {bad: {model: GroupDRO, model.eta: -1}, good: {model: ERM}}\n"
    Path("grid.yaml").write_text(grid)
    assert run() == 1
    assert "1 of 2 runs have results" in capsys.readouterr().out
    bad, good = lines()
    assert bad["status"] == "failed" and "eta" in bad["error"]
    assert set(bad) == {
        "cell", "data", "method", "settings", "seed", "fold", "status", "error", "seconds"
    }  # fmt: skip
    assert good["status"] == "ok"
    # It is tried again, the others are not; once repaired it counts.
    assert run() == 1
    assert [r["method"] for r in lines()] == ["bad", "good", "bad"]
    Path("grid.yaml").write_text(grid.replace("-1", "0.1"))
    assert run() == 0


def test_a_crash_is_recorded_with_its_traceback_in_the_log(in_tmp: Path) -> None:
    Path("crash.py").write_text(
        "from frbench.objectives import ERM\n"
        "class Crash(ERM):\n    def risk(self, out, batch):\n        raise RuntimeError('boom')\n"
    )
    Path("grid.yaml").write_text(BASE + DATA + "methods: {m: {model: crash.Crash}}\n")
    assert run() == 1
    (record,) = lines()
    assert record["status"] == "failed"
    assert record["error"] == "RuntimeError: boom"
    log = next(Path("out/runs").glob("*/log.txt")).read_text()
    assert "Traceback" in log and "crash.py" in log


def test_an_interrupt_stops_the_grid_and_says_how_to_go_on(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("stop.py").write_text(
        "from frbench.objectives import ERM\n"
        "class Stop(ERM):\n    def risk(self, out, batch):\n        raise KeyboardInterrupt\n"
    )
    methods = "methods: {a: {model: ERM}, b: {model: stop.Stop}, c: {model: ERM}}\n"
    Path("grid.yaml").write_text(BASE + DATA + methods)
    assert run() == 130
    assert "the same command continues (1 of 3 done)" in capsys.readouterr().out
    assert [r["method"] for r in lines()] == ["a"]


def test_a_run_whose_configuration_was_removed_begins_anew(tiny: Path) -> None:
    assert run("--index=0", "--keep_last") == 0
    (before,) = lines()
    folder = Path("out/runs") / before["cell"]
    (folder / "config.yaml").unlink()
    Path("out/results.jsonl").unlink()
    assert run("--index=0", "--keep_last") == 0
    same_runs(lines(), [before])
    assert (folder / "config.yaml").exists()


def test_an_oracle_is_marked(in_tmp: Path) -> None:
    options = "checkpoint.monitor: test/P0/accuracy, data.test_while_training: true"
    Path("grid.yaml").write_text(BASE + DATA + "methods: {m: {model: ERM, " + options + "}}\n")
    assert run() == 0
    assert lines()[0]["selection"] == {
        "monitor": "test/P0/accuracy", "mode": "max", "oracle": True, "min_group_rows": 10
    }  # fmt: skip


def test_folds_and_attribute_as_input_are_recorded(in_tmp: Path) -> None:
    rows = [f"{i % 7},{'ab'[i % 2]},{int(i % 7 > 3)}" for i in range(400)]
    Path("table.csv").write_text("x,z,y\n" + "\n".join(rows) + "\n")
    Path("grid.yaml").write_text(
        "base: {trainer.max_epochs: 1, trainer.accelerator: cpu, model: ERM}\n"
        "data:\n  table: {data: TableData, data.path: table.csv, data.target: y,\n"
        "          data.attribute: z, data.split: folds, data.folds: 2}\n"
        "methods: {without: {}, with: {data.attribute_as_input: true}}\nfolds: [0, 1]\n"
    )
    assert run() == 0
    assert [(r["method"], r["fold"], r["attribute_as_input"]) for r in lines()] == [
        ("without", 0, False), ("without", 1, False), ("with", 0, True), ("with", 1, True)
    ]  # fmt: skip
    assert len({r["data_hash"] for r in lines()}) == 4


def test_values_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    record = {"cell": "a", "metrics": {"x": float("nan"), "y": float("inf"), "z": 1.5}}
    Results(tmp_path / "results.jsonl").append(record)
    assert lines(tmp_path) == [{"cell": "a", "metrics": {"x": None, "y": None, "z": 1.5}}]


def test_list_prints_the_cells_and_runs_nothing(tiny: Path, capsys) -> None:
    assert run("--list") == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4
    for line, cell in zip(out, read_grid("grid.yaml"), strict=True):
        assert line.split()[:4] == [str(cell.index), cell.key, cell.data, cell.method]
    assert not Path("out").exists()


WRONG = (
    "methods:\n  good: {model: ERM}\n  option: {model: GroupDRO, model.etaa: 3}\n"
    "  bare: {model: ERM, model.penalties: ConditionalMMD}\n  name: {model: GrupDRO}\n"
    "  type: {model: ERM, model.lr: fast}\n  key: {model: ERM, trainer.max_epoch: 3}\n"
    "  own: {model: own_syntax.Mine}\nseeds: [0, 1]\n"
)


def test_a_grid_is_read_whole_before_its_first_run(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    Path("own_syntax.py").write_text("class Mine(:\n")
    Path("grid.yaml").write_text(BASE + DATA + WRONG)
    assert run() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "(digits option)" in error and "eta?" in error
    assert "5 more" in error
    assert lines() == [] and not list(Path("out/runs").iterdir())
    assert run("--check") == 2
    *said, total, _ = capsys.readouterr().out.splitlines()
    parts = ["did you mean eta", "[ConditionalMMD]", "GroupDRO", "float", "--trainer.max_epochs",
             "own_syntax.py:1"]  # fmt: skip
    assert len(said) == len(parts)
    assert all(part in line for part, line in zip(parts, said, strict=True)), said
    assert total.startswith("14 runs: 0 finished, 0 failed; 6 problems")


def test_check_estimates_time_and_disk_from_finished_runs(tiny: Path, capsys) -> None:
    assert run("--check") == 0
    assert "not known before a run has finished; --index 0" in capsys.readouterr().out
    assert not Path("out").exists()
    assert run("--index=0") == 0
    (record,) = lines()
    capsys.readouterr()
    assert run("--check", "--jobs=3") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "4 runs: 1 finished, 0 failed; their options are right"
    seconds = f"{record['seconds']:.0f} s" if record["seconds"] < 30 else "0 h"
    size = sum(p.stat().st_size for p in Path("out/runs").rglob("*") if p.is_file()) * 3 / 2**20
    assert f"about {seconds}" in said[1] and f"{size:,.1f} MB" in said[1]
    assert "3 runs, from the 1 that have finished" in said[1]


def test_failed_runs_alone_are_run_again_where_asked_for(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    methods = "methods: {bad: {model: GroupDRO, model.eta: -1}, new: {model: ERM}}\n"
    Path("grid.yaml").write_text(BASE + DATA + methods)
    assert run("--index=0") == 1
    assert run("--retry_failed") == 1
    assert [r["method"] for r in lines()] == ["bad", "bad"]
    capsys.readouterr()
    assert main(["report", "out"]) == 2  # nothing but failed runs
    assert "eta" in capsys.readouterr().err
    assert run() == 1
    assert main(["report", "out"]) == 0
    assert "FAILED digits bad seed 0" in capsys.readouterr().out


# ---- several processes -------------------------------------------------------------------------
def test_jobs_share_a_grid_without_loss_or_repetition(tiny: Path) -> None:
    code, out, err = finish(start("--jobs=2"))
    assert code == 0, err
    assert "4 of 4 runs have results" in out
    logs = [path.read_text() for path in Path("out/runs").glob("*/log.txt")]
    assert len(logs) == 4  # each job's second run writes into a log of its own
    assert not any("Logging error" in log for log in logs)
    assert run("--out=alone") == 0
    same_runs(lines(), lines(Path("alone")))


@pytest.mark.slow
def test_a_process_that_dies_is_no_success(in_tmp: Path) -> None:
    Path("die.py").write_text(
        "import os, signal\nfrom frbench.objectives import ERM\n"
        "class Die(ERM):\n    def risk(self, out, batch):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    Path("grid.yaml").write_text(BASE + DATA + "methods: {m: {model: die.Die}}\n")
    code, out, err = finish(start("--jobs=2"))
    assert code == 1 and "claimed" not in out
    assert "1 of 2 processes died (status -9); the same command continues" in err


@pytest.mark.slow
def test_shards_side_by_side_share_a_results_file(tiny: Path) -> None:
    both = [start(f"--shard={i}/2") for i in range(2)]
    for process in both:
        code, out, err = finish(process)
        assert code == 0, err
        assert "2 of 2 runs have results" in out
    assert sorted(r["cell"] for r in lines()) == sorted(c.key for c in read_grid("grid.yaml"))
    assert run("--out=alone") == 0
    same_runs(lines(), lines(Path("alone")))


def test_shards_partition_the_cells(tiny: Path) -> None:
    cells = read_grid("grid.yaml")
    for n in (1, 2, 3, 4, 7):
        parts = [bench._choose(cells, f"{i}/{n}", None) for i in range(n)]
        assert sorted(c.index for part in parts for c in part) == [0, 1, 2, 3]


@pytest.mark.slow
def test_jobs_with_an_index_run_that_cell_alone(tiny: Path) -> None:
    code, _, err = finish(start("--jobs=2", "--index=3"))
    assert code == 0, err
    assert [r["cell"] for r in lines()] == [read_grid("grid.yaml")[3].key]


def test_a_claimed_cell_is_left_to_its_owner(tiny: Path, capsys) -> None:
    cells = read_grid("grid.yaml")
    with claimed(Path("out/runs") / cells[1].key) as mine:
        assert mine
        assert run() == 0  # nothing failed
        printed = capsys.readouterr().out
        assert "3 of 4" in printed and "1 runs are claimed by another process" in printed
    assert run() == 0
    assert [r["cell"] for r in lines()] == [cells[i].key for i in (0, 2, 3, 1)]


# ---- ends in the middle ------------------------------------------------------------------------
SLOW = """
import os, time
from frbench.objectives import GroupDRO

class Slow(GroupDRO):
    def risk(self, out, batch):
        time.sleep(float(os.environ.get("SECONDS_PER_STEP", 0)))
        return super().risk(out, batch)
"""
LONG = (
    BASE.replace("max_epochs: 1", "max_epochs: 6, rolling.every_n_steps: 3, data.batch_size: 64")
    + DATA
    + "methods: {ERM: {model: ERM}, slow: {model: slow.Slow, model.eta: 0.1}}\n"
)


def wait_for(condition, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_a_killed_bench_continues_where_it_was(in_tmp: Path) -> None:
    Path("slow.py").write_text(SLOW)
    Path("grid.yaml").write_text(LONG)
    cells = read_grid("grid.yaml")
    second = Path("out/runs") / cells[1].key / "checkpoints" / "last.ckpt"
    process = start(SECONDS_PER_STEP="0.1")
    try:
        # The second cell is in the middle of an epoch, and far from its end.
        wait_for(second.exists, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished = Path("out/results.jsonl").read_bytes()
    assert [r["cell"] for r in lines()] == [cells[0].key]
    untouched = Path("out/runs") / cells[0].key / "checkpoints" / "best.ckpt"
    stamp = untouched.stat().st_mtime_ns
    assert run() == 0
    assert Path("out/results.jsonl").read_bytes().startswith(finished)
    assert untouched.stat().st_mtime_ns == stamp
    assert run("--out=whole") == 0
    same_runs(lines(), lines(Path("whole")))
    # The log of training has no gap and no repetition either.
    for cell in cells:
        parts, whole = (Path(o) / "runs" / cell.key / "metrics.csv" for o in ("out", "whole"))
        assert parts.read_text() == whole.read_text()


def test_a_run_killed_before_its_first_checkpoint_starts_again(tiny: Path) -> None:
    cell = read_grid("grid.yaml")[0]
    folder = Path("out/runs") / cell.key
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "metrics.csv").write_text("step,epoch\n1,0\n")
    (folder / "config.yaml").write_text("left: over")
    (folder / "checkpoints" / "best.ckpt").write_text("half")
    assert run("--index=0") == 0
    assert run("--index=0", "--out=whole") == 0
    same_runs(lines(), lines(Path("whole")))


def test_a_run_killed_between_training_and_its_record_is_not_trained_again(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(results: Results, record: dict) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Results, "append", killed)
        assert run("--index=0") == 130
    assert lines() == []
    folder = Path("out/runs") / read_grid("grid.yaml")[0].key
    before = (folder / "metrics.csv").read_bytes()
    stamp = (folder / "checkpoints" / "best.ckpt").stat().st_mtime_ns
    assert run("--index=0") == 0
    assert (folder / "metrics.csv").read_bytes() == before
    assert (folder / "checkpoints" / "best.ckpt").stat().st_mtime_ns == stamp
    assert run("--index=0", "--out=whole") == 0
    same_runs(lines(), lines(Path("whole")))


def test_a_half_written_last_line_is_left_out_and_run_again(tiny: Path) -> None:
    assert run("--shard=0/2") == 0
    path = Path("out/results.jsonl")
    content = path.read_text()
    path.write_text(content[:-40])
    assert len(Results(path).latest()) == 1
    assert run("--shard=0/2") == 0
    found = Results(path).latest()
    assert [r["status"] for r in found.values()] == ["ok", "ok"]
    last = path.read_text().splitlines()
    assert len(last) == 3  # one whole, one half, one new line
    assert last[2] != last[1] and json.loads(last[2])["cell"] == list(found)[1]


def test_lines_of_many_writers_stay_whole(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from frbench.report.records import Results\n"
        "for i in range(50): Results(Path(sys.argv[1])).append({'cell': f'{sys.argv[2]}-{i}', "
        "'long': 'x' * 20000})"
    )
    path = tmp_path / "results.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(w)]) for w in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    found = lines(tmp_path)
    assert {r["cell"] for r in found} == {f"{w}-{i}" for w in range(3) for i in range(50)}
    assert len(found) == 150


# ---- errors ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shard=2/2"], ["--shard", "2/2"]),
        (["--shard=a"], ["--shard", "i/n"]),
        (["--shard=-1/2"], ["--shard"]),
        (["--index=4"], ["--index", "0..3"]),
        (["--index=x"], ["--index"]),
        (["--jobs=0"], ["--jobs"]),
        (["--jobs=x"], ["--jobs"]),
        (["word"], ["'word'"]),
        (["--out=grid.yaml"], ["--out", "grid.yaml"]),
    ],
)
def test_wrong_options_are_one_line(
    tiny: Path, words: list[str], expected: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("frbench: error: ") and error.count("\n") == 1, error
    assert [word for word in expected if word not in error] == [], error


def test_a_missing_grid_is_one_line(in_tmp: Path, capsys: pytest.CaptureFixture) -> None:
    for words in (["no.yaml"], []):
        assert main(["bench", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("frbench: error: ") and error.count("\n") == 1, error


def test_a_folder_that_cannot_be_written_is_one_line(
    tiny: Path, capsys: pytest.CaptureFixture
) -> None:
    closed = tiny / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    try:
        if os.access(closed, os.W_OK):
            pytest.skip("this user may write into a read-only folder")
        assert run(f"--out={closed}/out") == 2
        error = capsys.readouterr().err
        assert error.startswith("frbench: error: Cannot write to") and "--out" in error
    finally:
        closed.chmod(0o700)


def test_results_go_to_a_folder_named_after_the_grid(tiny: Path) -> None:
    assert main(["bench", "grid.yaml", "--index=0"]) == 0
    assert len(lines(Path("results/grid"))) == 1
    assert Path("results/grid/grid.yaml").read_text() == TINY
