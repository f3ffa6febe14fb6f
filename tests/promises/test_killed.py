"""Processes of real commands, killed with SIGKILL wherever they happen to be, and continued."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import log_of
from promises import found, others_slow
from resumable import assert_same

from frbench.data import GanPairs
from frbench.grids.grid import read_grid
from frbench.objectives import ERM, GroupDRO, Objective
from frbench.report.records import Results

QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
         "--trainer.enable_model_summary=false")  # fmt: skip
DATA = ("--data=TwoGaussians", "--data.n=163", "--data.batch_size=32")
STEPS, EPOCHS = 5, 4
#: Rows of metrics.csv: one a step, and two at an epoch's end.
ROWS = EPOCHS * (STEPS + 2)


def logged(folder: Path) -> int:
    """Lines of the log of training."""
    path = folder / "run" / "metrics.csv"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def files(folder: Path) -> dict:
    """What a run leaves, times and places aside."""
    found = {"metrics": (folder / "run" / "metrics.csv").read_text()}
    for name in ("best", "last"):
        checkpoint = torch.load(folder / f"run/checkpoints/{name}.ckpt", weights_only=True)
        checkpoint["callbacks"]["RollingCheckpoint"].pop("seconds")
        del checkpoint["loops"]  # counters that Lightning clears at other times
        found[name] = placeless(checkpoint, str(folder))
    return found


def placeless(value, folder: str):
    """The value without the folder in its paths."""
    if isinstance(value, dict):
        return {placeless(k, folder): placeless(v, folder) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [placeless(v, folder) for v in value]
    return value.replace(folder, "<folder>") if isinstance(value, str) else value


def fit_words(cls: type[Objective]) -> tuple[str, ...]:
    clean = ("--data.clean_share=.2", "--data.n=205") if cls(2, 2, [2]).uses_clean else ()
    return ("fit", *DATA, *clean, *QUIET, f"--model={cls.__name__}", "--model.lr=.05",
            "--model.network=MLP", "--model.network.dropout=.5", "--model.network.hidden=[8]",
            "--model.scheduler=StepLR", "--model.scheduler_options={step_size: 1, gamma: .5}",
            f"--trainer.max_epochs={EPOCHS}", "--trainer.log_every_n_steps=1",
            "--rolling.every_n_steps=1", "--run_dir=run")  # fmt: skip


@pytest.mark.promise("resume")
@pytest.mark.parametrize("cls", others_slow(found(Objective)))
def test_fit_killed_three_times_at_random(tmp_path, command, cls):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    words = fit_words(cls)
    assert command(whole, *words).end() == 0, log_of(whole)
    assert logged(whole) == ROWS
    rng = np.random.default_rng([*cls.__name__.encode()])
    last, killed = Path("run/checkpoints/last.ckpt"), 0
    for rows in sorted(rng.choice(np.arange(2, ROWS - 2), 3, replace=False)):
        if not (cut / last).exists():  # killed before its first checkpoint: begin anew
            shutil.rmtree(cut / "run", ignore_errors=True)
        more = (f"--ckpt_path={last}",) if (cut / last).exists() else ()
        killed += command(cut, *words, *more).kill_when(lambda: logged(cut) >= rows)  # noqa: B023
    assert killed
    more = (f"--ckpt_path={last}",) if (cut / last).exists() else ()
    assert command(cut, *words, *more).end() == 0, log_of(cut)
    assert_same(files(cut), files(whole))


@pytest.mark.slow
@pytest.mark.promise("resume", "frbench fit", "checkpoints", ERM)
def test_fit_and_test_of_a_new_process(tmp_path):
    """Without the zygote: ``python -m frbench``, killed at a random moment."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start = [sys.executable, "-m", "frbench", *fit_words(ERM)]
    for folder in (whole, cut):
        folder.mkdir()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert subprocess.run(start, cwd=whole, **quiet).returncode == 0
    process = subprocess.Popen(start, cwd=cut, **quiet)
    while not (cut / "run/checkpoints/last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert logged(cut) < ROWS
    resumed = subprocess.run(
        [*start, "--ckpt_path=run/checkpoints/last.ckpt"], cwd=cut, capture_output=True, text=True
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same(files(cut), files(whole))


@pytest.mark.promise("resume", "results files", ERM)
def test_evaluation_killed_between_stages_leaves_no_half_file(tmp_path, command):
    assert command(tmp_path, *fit_words(ERM)).end() == 0, log_of(tmp_path)
    best = "run/checkpoints/best.ckpt"
    words = ("test", *DATA, *QUIET, f"--ckpt_path={best}")
    record = tmp_path / "run" / "test.json"
    rng = np.random.default_rng(3)
    for delay in rng.uniform(0.05, 0.5, 4):
        end = time.monotonic() + delay
        command(tmp_path, *words).kill_when(lambda: time.monotonic() > end)  # noqa: B023
        for path in (tmp_path / "run").glob("test*.json"):
            json.loads(path.read_text())  # whole, or not there
            path.unlink()
    assert command(tmp_path, *words).end() == 0
    assert json.loads(record.read_text())["metrics"]["test/accuracy"] > 0.6


GRID = (
    "base: {data: TwoGaussians, data.n: 323, data.batch_size: 32, trainer.max_epochs: 3,\n"
    "  trainer.accelerator: cpu, rolling.every_n_steps: 1}\n"
    "data: {d: {}}\nmethods: {ERM: {model: ERM}, DRO: {model: GroupDRO}}\nseeds: [0, 1, 2]\n"
)


@pytest.mark.slow
@pytest.mark.promise("resume", "frbench bench", "results files")
def test_two_benches_on_one_file_one_of_them_killed_again_and_again(tmp_path, command):
    """One starts in a process of its own, the other is killed four times beside it."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "grid.yaml").write_text(GRID)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ("bench", "grid.yaml", "--out=out")
    assert command(whole, *words).end() == 0, log_of(whole)
    beside = subprocess.Popen(
        [sys.executable, "-m", "frbench", *words], cwd=cut,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    results = cut / "out" / "results.jsonl"
    rng = np.random.default_rng(4)
    for delay in rng.uniform(0.3, 1.5, 4):
        end = time.monotonic() + delay
        command(cut, *words).kill_when(lambda: time.monotonic() > end)  # noqa: B023
    before = results.read_bytes()
    assert beside.wait(timeout=300) == 0
    assert command(cut, *words).end() == 0, log_of(cut)
    assert results.read_bytes().startswith(before)  # what was finished stays as it was
    lines = results.read_text().splitlines()
    cells = [cell.key for cell in read_grid(cut / "grid.yaml")]
    assert sorted(json.loads(line)["cell"] for line in lines) == sorted(cells)
    a, b = (Results(folder / "out" / "results.jsonl").latest() for folder in (whole, cut))
    for key in cells:
        assert a[key]["status"] == b[key]["status"] == "ok"
        own = ("seconds", "peak_memory_mb", "finished")
        assert_same(*({k: v for k, v in r[key].items() if k not in own} for r in (a, b)))
        logs = [folder / "out" / "runs" / key / "metrics.csv" for folder in (whole, cut)]
        assert logs[0].read_text() == logs[1].read_text()


@pytest.mark.slow
@pytest.mark.promise("resume", "frbench bench")
def test_seconds_of_a_killed_run_count_its_earlier_sessions(tmp_path, command):
    (tmp_path / "grid.yaml").write_text(GRID)
    words = ("bench", "grid.yaml", "--out=out", "--index=0")
    (cell, *_) = read_grid(tmp_path / "grid.yaml")
    last = tmp_path / "out" / "runs" / cell.key / "checkpoints" / "last.ckpt"
    assert command(tmp_path, *words).kill_when(last.exists)
    state = torch.load(last, weights_only=True)
    assert 0 < state["callbacks"]["RollingCheckpoint"]["seconds"] < 60
    state["callbacks"]["RollingCheckpoint"]["seconds"] += 1000.0
    torch.save(state, last)
    assert command(tmp_path, *words).end() == 0, log_of(tmp_path)
    (record,) = Results(tmp_path / "out" / "results.jsonl").latest().values()
    assert 1000 < record["seconds"] < 1060
    assert "seconds_before" not in record


@pytest.mark.slow
@pytest.mark.promise("resume", GanPairs)
def test_pairs_killed_three_times(tmp_path, command):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    data = ("--data=GeneratedFaces", "--data.n=400", "--data.n_eval=100", "--data.image_size=8",
            "--data.cosine=0", "--data.batch_size=32")  # fmt: skip
    for role, more in (("t", ()), ("g", ("--data.target=long_hair",))):
        words = ("fit", *data, *more, *QUIET, "--trainer.max_epochs=4", "--model.lr=.02")
        assert command(tmp_path, *words, f"--run_dir={role}").end() == 0, log_of(tmp_path)
    words = ("gan", "pairs", "--generator=AnalyticFaces", "--generator.image_size=8",
             "--target=../t/checkpoints/best.ckpt", "--protected=../g/checkpoints/best.ckpt",
             "--settings.n=4500", "--settings.fit=400", "--out=pairs")  # fmt: skip
    for folder in (whole, cut):
        folder.mkdir()
    assert command(whole, *words).end() == 0, log_of(whole)

    def done() -> int:
        path = cut / "pairs.partial" / "pairs.json"
        try:
            return json.loads(path.read_text())["done"]
        except FileNotFoundError:
            return -1

    killed = 0
    for goal in (0, 1000, 3000):
        killed += command(cut, *words).kill_when(lambda: done() >= goal)  # noqa: B023
        assert (cut / "pairs").exists() != (cut / "pairs.partial").exists()
    assert killed
    assert command(cut, *words).end() == 0, log_of(cut)
    names = sorted(path.name for path in (whole / "pairs").iterdir())
    assert names == sorted(path.name for path in (cut / "pairs").iterdir())
    assert names == ["images.npy", "pairs.json", "pairs.npz", "partners.npy"]
    for name in names:
        if name.endswith(".npz"):  # an archive holds the time of writing
            with np.load(whole / "pairs" / name) as a, np.load(cut / "pairs" / name) as b:
                assert a.files == b.files
                assert all(np.array_equal(a[key], b[key]) for key in a.files)
        else:
            assert (whole / "pairs" / name).read_bytes() == (cut / "pairs" / name).read_bytes()


@pytest.mark.promise("resume", GroupDRO)
def test_a_checkpoint_is_whole_at_every_moment(tmp_path, command):
    """Also where the folder of temporary files is another file system: it is not used."""
    words = fit_words(GroupDRO)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    process = command(tmp_path, *words)
    read = set()
    while process.status is None:
        if last.exists():
            read.add(torch.load(last, weights_only=True)["global_step"])
    assert process.end() == 0 and len(read) > 3
    assert sorted(path.name for path in last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]
