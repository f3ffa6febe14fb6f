"""SIGTERM, SIGHUP and a scheduler's own signal: what is kept, the status, and no orphans."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import column
from forked import log_of

from frbench.__main__ import main
from frbench.grids.grid import read_grid
from frbench.report.records import Results
from frbench.runs.checkpoint import read_checkpoint

QUIET = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
         "--trainer.enable_model_summary=false")  # fmt: skip
FIT = ("fit", "--data=TwoGaussians", "--data.n=323", "--data.batch_size=32", *QUIET,
       "--model=GroupDRO", "--model.network=MLP", "--trainer.log_every_n_steps=1",
       "--rolling.every_n_steps=0", "--run_dir=run")  # fmt: skip
LAST = Path("run/checkpoints/last.ckpt")
#: What a job of SLURM sees; Lightning then wants to submit the job again by itself.
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0",
         "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_STEP_NODELIST": "here"}  # fmt: skip
TINY = (
    "base: {data: TwoGaussians, data.n: 323, data.batch_size: 32, trainer.max_epochs: 4,\n"
    "  trainer.accelerator: cpu, trainer.log_every_n_steps: 1, model.network: MLP}\n"
    "data: {d: {}}\nmethods: {ERM: {model: ERM}, DRO: {model: GroupDRO}}\n"
)
STEPS = 40


def processes_in(folder: Path) -> list[str]:
    """Ids of the processes that run in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and os.readlink(process / "cwd") == str(folder):
                found.append(process.name)
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def after_steps(folder: Path, steps: int):
    log = folder / "run" / "metrics.csv"
    return lambda: log.exists() and log.read_bytes().count(b"\n") > steps


@pytest.mark.parametrize(
    ("number", "status", "environment"),
    [
        (signal.SIGTERM, 143, {}),
        (signal.SIGHUP, 129, {}),
        (signal.SIGINT, 130, {}),
        (signal.SIGUSR1, 138, SLURM),
        (signal.SIGTERM, 143, SLURM),
    ],
)
def test_a_signal_ends_fit_after_the_step_and_keeps_it(
    tmp_path, command, number, status, environment
):
    forever = command(tmp_path, *FIT, "--trainer.max_epochs=100000", **environment)
    assert forever.signal_when(after_steps(tmp_path, 17), number)
    said = log_of(tmp_path)
    assert forever.end() == status, said
    assert "Traceback" not in said and f"--ckpt_path {LAST}" in said.splitlines()[-1]
    done = read_checkpoint(tmp_path / LAST)["global_step"]
    assert done > 12
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} <= {
        "best.ckpt", "last.ckpt"
    }  # fmt: skip
    epochs = done // 10 + 2
    again = command(tmp_path, "fit", f"--ckpt_path={LAST}", f"--trainer.max_epochs={epochs}",
                    *QUIET, "--trainer.log_every_n_steps=1")  # fmt: skip
    assert again.end() == 0, log_of(tmp_path)
    steps = column(tmp_path / "run" / "metrics.csv", "train/loss")
    assert len(steps) == 10 * epochs == read_checkpoint(tmp_path / LAST)["global_step"]


def test_a_signal_before_training_says_that_nothing_is_left(in_tmp, monkeypatch, capsys):
    def told(*_) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("frbench.runs.cli.check_configs", told)
    assert main([*FIT, "--trainer.max_epochs=1"]) == 143
    assert "no checkpoint was due yet, start again" in capsys.readouterr().err


def test_a_grid_that_is_told_to_stop_books_nothing_and_starts_nothing(tmp_path, command):
    (tmp_path / "grid.yaml").write_text(TINY.replace("epochs: 4", "epochs: 10000"))
    bench = command(tmp_path, "bench", "grid.yaml", "--out=out")
    runs = tmp_path / "out" / "runs"
    assert bench.signal_when(lambda: len(list(runs.glob("*/metrics.csv"))) == 1, signal.SIGTERM)
    assert bench.end() == 143
    assert "the same command continues (0 of 2 done)" in log_of(tmp_path)
    assert (tmp_path / "out" / "results.jsonl").read_text() == ""
    assert len(list(runs.iterdir())) == 1


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path, command):
    (tmp_path / "grid.yaml").write_text(TINY.replace("epochs: 4", "epochs: 10000"))
    bench = command(tmp_path, "bench", "grid.yaml", "--out=out", "--jobs=2")
    runs = tmp_path / "out" / "runs"
    assert bench.kill_when(lambda: len(list(runs.glob("*/metrics.csv"))) == 2)
    end = time.monotonic() + 60
    while processes_in(tmp_path):
        assert time.monotonic() < end, log_of(tmp_path)
        time.sleep(0.05)
    assert len(list(runs.glob("*/checkpoints/last.ckpt"))) == 2  # they ended as by SIGTERM
    assert (tmp_path / "out" / "results.jsonl").read_text() == ""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_two_processes_of_one_run_stop_together_though_one_was_told(tmp_path):
    words = [*FIT, "--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=100000",
             "--data.n=8000"]  # fmt: skip
    with (tmp_path / "command.log").open("w") as log:
        run = subprocess.Popen([sys.executable, "-m", "frbench", *words], cwd=tmp_path,
                               stdout=log, stderr=log)  # fmt: skip
    started, end = after_steps(tmp_path, 17), time.monotonic() + 240
    while not started():
        assert run.poll() is None and time.monotonic() < end, log_of(tmp_path)
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=120) == 143, log_of(tmp_path)
    assert read_checkpoint(tmp_path / LAST)["global_step"] % 50 == 0
    assert "Traceback" not in log_of(tmp_path)
    while processes_in(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_forty_sigterms_at_random_moments_of_a_grid_with_two_workers(tmp_path, command):
    (tmp_path / "grid.yaml").write_text(TINY + f"seeds: {list(range(6))}\n")
    words = ("bench", "grid.yaml", "--out=out", "--jobs=2")
    file = tmp_path / "out" / "results.jsonl"
    rng, statuses = np.random.default_rng(19), []

    def rows() -> int:
        logs = (tmp_path / "out" / "runs").glob("*/metrics.csv")
        return sum(log.read_bytes().count(b"\n") for log in logs)

    for _ in range(40):
        before = file.read_bytes() if file.exists() else b""
        # Moments of work, not of time, which another load would shift; then a while of its own.
        goal, pause = rows() + rng.integers(0, 28), rng.uniform(0, 0.5)
        reached = []

        def due(goal=goal, pause=pause, reached=reached) -> bool:
            if not reached and rows() >= goal:
                reached.append(time.monotonic() + pause)
            return bool(reached) and time.monotonic() > reached[0]

        bench = command(tmp_path, *words)
        bench.signal_when(due, signal.SIGTERM)
        statuses.append(bench.end())
        assert not processes_in(tmp_path)
        assert (file.read_bytes() if file.exists() else b"").startswith(before)
        if statuses[-1] == 0:  # all done: begin anew
            (tmp_path / "out").rename(tmp_path / f"out-{len(statuses)}")
    # A shell gives the death by the signal itself, before the first line of Python, as 143, too.
    ended = [status for status in statuses if status in (143, -signal.SIGTERM)]
    assert len(ended) >= 36 and set(statuses) <= {*ended, 0}, (statuses, log_of(tmp_path))
    assert command(tmp_path, *words).end() == 0, log_of(tmp_path)
    cells = {cell.key for cell in read_grid(tmp_path / "grid.yaml")}
    for out in tmp_path.glob("out*"):
        lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert sorted(line["cell"] for line in lines) == sorted(cells)
        assert set(Results(out / "results.jsonl").latest()) == cells
        for line in lines:
            assert (line["status"], line["steps"]) == ("ok", STEPS)
            log = out / "runs" / line["cell"] / "metrics.csv"
            assert len(column(log, "train/loss")) == STEPS
