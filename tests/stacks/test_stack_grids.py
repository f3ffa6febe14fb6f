"""A grid in stacks leaves what the same grid leaves whose cells run one by one."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from resumable import FILTERS, assert_same

from frbench import load
from frbench.commands.bench import main
from frbench.grids.stacks import _Stacks
from frbench.report.records import Results
from frbench.runs.checkpoint import read_checkpoint
from frbench.stacks.module import StackModule

pytestmark = [pytest.mark.filterwarnings(line) for line in FILTERS]

BASE = """
base:
  trainer.accelerator: cpu
  trainer.log_every_n_steps: 2
  trainer.max_epochs: 4
  data.n: 300
  data.batch_size: 64
  rolling.every_n_steps: 1
  checkpoint.monitor: val/accuracy
  model.network: {class_path: MLP, init_args: {hidden: [8]}}
data: {d: {data: TwoGaussians}}
"""
ERM = BASE + "methods: {ERM: {model: ERM, model.lr: 0.02}}\nseeds: [0, 1, 2]\n"
#: Of a record, what two runs of one cell do not share.
TIMES = ("seconds", "finished", "peak_memory_mb", "stack")


def bench(folder: Path, grid: str, *words: str) -> dict[str, dict]:
    """Run a grid and return its records."""
    folder.mkdir(exist_ok=True)
    (folder / "grid.yaml").write_text(grid)
    assert main([str(folder / "grid.yaml"), f"--out={folder / 'out'}", *words]) == 0
    return Results(folder / "out" / "results.jsonl").latest()


def near(mine, theirs, path=""):
    """Equal, numbers to 1e-4 of their size."""
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys(), path
        for key in theirs:
            near(mine[key], theirs[key], f"{path}.{key}")
    elif isinstance(theirs, float) and isinstance(mine, float):
        same = math.isclose(mine, theirs, rel_tol=1e-4, abs_tol=1e-6)
        assert same or (mine != mine and theirs != theirs), (path, mine, theirs)
    else:
        assert mine == theirs, path


def number(text: str):
    """A cell of metrics.csv."""
    return float(text) if text else text


def table(path: Path) -> list[dict]:
    """The rows of a metrics.csv."""
    with path.open() as file:
        return [{k: number(v) for k, v in row.items()} for row in csv.DictReader(file)]


def compare(mine: Path, theirs: Path, ours: dict, alone: dict) -> None:
    """Records, logs and checkpoints of all cells."""
    assert ours.keys() == alone.keys()
    for key in ours:
        first, second = (
            {k: v for k, v in r[key].items() if k not in TIMES} for r in (ours, alone)
        )
        near(first, second)
        folders = [folder / "out" / "runs" / key for folder in (mine, theirs)]
        logged = [dict(enumerate(table(folder / "metrics.csv"))) for folder in folders]
        near(*logged)
        best = [read_checkpoint(folder / "checkpoints" / "best.ckpt") for folder in folders]
        assert best[0]["global_step"] == best[1]["global_step"]
        assert best[0].keys() == best[1].keys()
        assert best[0]["frbench"].keys() == best[1]["frbench"].keys()
        for name, value in best[1]["state_dict"].items():
            assert torch.allclose(best[0]["state_dict"][name], value, rtol=1e-3, atol=1e-5), name
        assert {f.name for f in folders[0].rglob("*")} == {f.name for f in folders[1].rglob("*")}


def test_records_logs_and_checkpoints(tmp_path):
    alone = bench(tmp_path / "alone", ERM)
    mine = bench(tmp_path / "stack", ERM, "--stack=8")
    compare(tmp_path / "stack", tmp_path / "alone", mine, alone)
    assert all(r["stack"] == {"runs": 3, "wasted_steps": 0} for r in mine.values())
    assert not list((tmp_path / "stack" / "out" / "stacks").glob("*"))
    key = next(iter(mine))
    model = load(tmp_path / "stack" / "out" / "runs" / key / "checkpoints" / "best.ckpt")
    assert model.predict(torch.zeros(3, 2).numpy()).shape == (3,)


@pytest.mark.slow
def test_two_processes_divide_the_stacks(tmp_path):
    """Both have their own cells of the same grid: the records are those of one process."""
    grid = ERM.replace("methods: {", "methods: {ARL: {model: ARL}, LfF: {model: LfF}, ")
    alone = bench(tmp_path / "one", grid, "--stack=8")
    mine = bench(tmp_path / "two", grid, "--stack=8", "--jobs=2")
    compare(tmp_path / "two", tmp_path / "one", mine, alone)
    assert all(r["stack"]["runs"] == 3 for r in mine.values())
    assert not list((tmp_path / "two" / "out" / "stacks").glob("*"))


@pytest.mark.slow
def test_a_random_search_with_early_stopping(tmp_path):
    """Runs that stop at different times, with rates and decays of their own; a second method."""
    grid = BASE + (
        "methods:\n"
        "  DRO: {model: GroupDRO, model.penalties: [{class_path: MarginalMMD}]}\n"
        "  IRW: {model: IRW, data.n: 64}\n"
        "random:\n  draws: 3\n  space:\n"
        "    model.lr: {log_uniform: [0.001, 0.3]}\n"
        "    model.weight_decay: {uniform: [0, 0.1]}\n"
    )
    words = ("--early_stopping.patience=1", "--early_stopping.monitor=val/accuracy")
    alone = bench(tmp_path / "alone", grid, *words)
    mine = bench(tmp_path / "stack", grid, "--stack=16", *words)
    compare(tmp_path / "stack", tmp_path / "alone", mine, alone)
    stacked = [r for r in mine.values() if "stack" in r]
    assert [r["method"] for r in stacked] == ["DRO"] * 3
    steps = [r["steps"] for r in stacked]
    assert len({*steps}) > 1
    assert stacked[0]["stack"]["wasted_steps"] == sum(max(steps) - s for s in steps)


def copied(monkeypatch, out: Path, folder: Path, owner: type, method: str, at: int) -> None:
    """Copy the folder of results before the ``at``-th call of a method, as a kill leaves it."""
    calls, original = [0], getattr(owner, method)

    def call(self, *args):
        calls[0] += 1
        if calls[0] == at:
            shutil.copytree(out, folder)
        return original(self, *args)

    monkeypatch.setattr(owner, method, call)


def test_a_killed_stack_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """Killed in an epoch, before an epoch's last write, in the test of its cells."""
    words = ("--stack=8", "--early_stopping.patience=1", "--early_stopping.monitor=val/accuracy",
             "--model.scheduler=StepLR", "--model.scheduler_options={step_size: 2, gamma: 0.5}",
             "--model=GroupDRO")  # fmt: skip
    out = tmp_path / "run" / "out"
    places = [(StackModule, "end_batch", 3), (StackModule, "end_batch", 10),
              (StackModule, "on_train_epoch_end", 2), (_Stacks, "_record", 2)]  # fmt: skip
    for i, (owner, method, at) in enumerate(places):
        copied(monkeypatch, out, tmp_path / f"{i}", owner, method, at)
    whole = bench(tmp_path / "run", ERM, *words)
    monkeypatch.undo()
    kept = left(out)
    for i in range(len(places)):
        assert list((tmp_path / f"{i}" / "stacks").glob("*/last.ckpt")), places[i]
        shutil.rmtree(out)
        shutil.copytree(tmp_path / f"{i}", out)
        again = bench(tmp_path / "run", ERM, *words)
        for key in whole:
            first, second = ({k: v for k, v in r[key].items() if k not in TIMES[:3]}
                             for r in (again, whole))  # fmt: skip
            assert_same(first, second, f"{places[i]} {key}")
        assert_same(left(out), kept, str(places[i]))


def left(out: Path) -> dict:
    """The logs and checkpoints of all cells; no times."""
    found = {}
    for folder in sorted((out / "runs").glob("*")):
        best = read_checkpoint(folder / "checkpoints" / "best.ckpt")
        best["callbacks"]["RollingCheckpoint"].pop("seconds")
        del best["loops"]  # counters that Lightning clears at other times
        found[folder.name] = [(folder / "metrics.csv").read_text(), best]
    return found


def test_what_is_wrong_with_one_run_ends_it_alone(tmp_path, monkeypatch):
    """A run that fails while the stack trains has a record that says so; the others go on."""
    original = StackModule.end_batch

    def fails(self, *args):
        if self.trainer.global_step == 6:

            def broken(*_):
                raise ValueError("broken")

            self.members[1].objective.log_step = broken
        original(self, *args)

    monkeypatch.setattr(StackModule, "end_batch", fails)
    folder = tmp_path / "stack"
    folder.mkdir()
    (folder / "grid.yaml").write_text(ERM)
    assert main([str(folder / "grid.yaml"), f"--out={folder / 'out'}", "--stack=8"]) == 1
    records = [*Results(folder / "out" / "results.jsonl").latest().values()]
    assert [r["status"] for r in records] == ["ok", "failed", "ok"]
    assert records[1]["error"] == "ValueError: broken"


def test_stack_must_be_a_number_from_one_on(tmp_path):
    from frbench.contracts.errors import UserError

    (tmp_path / "grid.yaml").write_text(ERM)
    with pytest.raises(UserError, match="--stack must be at least 1, got 0"):
        main([str(tmp_path / "grid.yaml"), "--stack=0", f"--out={tmp_path}"])


def test_cells_of_two_kinds_are_not_of_one_group(tmp_path):
    from frbench.grids.grid import read_grid
    from frbench.grids.stacks import _kind

    grid = BASE + (
        "methods: {a: {model: ERM, grid: {model.lr: [0.1, 0.2], data.batch_size: [32, 64]}}}\n"
        "seeds: [0, 1]\n"
    )
    (tmp_path / "grid.yaml").write_text(grid)
    kinds = [json.loads(_kind(c))[2]["data.batch_size"] for c in read_grid(tmp_path / "grid.yaml")]
    assert kinds == [32, 32, 64, 64] * 2
    assert len({_kind(c) for c in read_grid(tmp_path / "grid.yaml")}) == 2
