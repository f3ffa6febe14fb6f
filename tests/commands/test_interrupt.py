"""Ctrl-C, a real signal to a real process: what is kept, what is said, and that it goes on."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import QUICK, SMALL, column, run

from frbench.__main__ import main
from frbench.report.records import Results
from frbench.runs.checkpoint import read_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
]

# Whoever runs the tests in the background has the signal ignored; the command must not inherit it.
LAUNCH = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from frbench.__main__ import main; sys.exit(main(sys.argv[1:]))"
)
#: Takes its time while there is a file `slow`, so that the signal arrives in mid-training.
SLOW = """
import time
from pathlib import Path
from frbench.objectives import ERM

class Slow(ERM):
    def risk(self, out, batch):
        time.sleep(0.05 * Path("slow").exists())
        return super().risk(out, batch)
"""


def interrupt(words: list[str], ready: Callable[[], bool]) -> str:
    """Run a command, interrupt it alone once it is ready; it must end with 130."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    return said


@pytest.fixture
def slow(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An objective that is slow as long as the file lies there."""
    (in_tmp / "slow_method.py").write_text(SLOW)
    (in_tmp / "slow").touch()
    monkeypatch.syspath_prepend(in_tmp)
    return in_tmp / "slow"


def test_fit(slow: Path) -> None:
    words = ["fit", *SMALL, *QUICK, "--model=slow_method.Slow", "--trainer.max_epochs=1000",
             "--run_dir=run", "--trainer.log_every_n_steps=1"]  # fmt: skip
    last = Path("run/checkpoints/last.ckpt")
    said = interrupt(words, last.is_file)
    command = shlex.split(said.splitlines()[-1].split("continue with: ")[1])
    done = read_checkpoint(last)["global_step"]
    slow.unlink()
    epochs = done // 3 + 2
    assert command[0] == "frbench"
    run(*(word.replace("max_epochs=1000", f"max_epochs={epochs}") for word in command[1:]))
    logged = column(Path("run/metrics.csv"), "step")
    assert read_checkpoint(last)["global_step"] == 3 * epochs > done > 0
    # What was logged after the checkpoint is logged again, not twice.
    assert logged == sorted(logged) and max(logged) == 3 * epochs


def test_grid_with_two_workers(slow: Path, capsys: pytest.CaptureFixture) -> None:
    """The signal goes to the command alone, as a scheduler's does."""
    Path("grid.yaml").write_text(
        "base: {trainer.max_epochs: 30, trainer.accelerator: cpu, data.n: 400, data.n_eval: 200}\n"
        "data: {digits: {data: Digits}}\nmethods: {S: {model: slow_method.Slow}}\nseeds: [0, 1]\n"
    )
    out = Path("out")
    said = interrupt(
        ["bench", "grid.yaml", "--out=out", "--jobs=2"],
        lambda: len(list(out.glob("runs/*/checkpoints/last.ckpt"))) == 2,
    )
    assert "the same command continues (0 of 2 done)" in said
    begun = {path: read_checkpoint(path)["global_step"] for path in out.rglob("last.ckpt")}
    assert len(begun) == 2
    slow.unlink()
    assert main(["bench", "grid.yaml", "--out=out"]) == 0
    records = Results(out / "results.jsonl").latest().values()
    assert [record["status"] for record in records] == ["ok", "ok"]
    logs = [path.read_text() for path in out.glob("runs/*/log.txt")]
    assert len(logs) == 2 and all(record["steps"] == 90 for record in records)


def test_gan(in_tmp: Path) -> None:
    data = ["--data=GeneratedFaces", "--data.n=300", "--data.n_eval=64", "--data.image_size=16",
            "--data.batch_size=32"]  # fmt: skip
    train = ["gan", "train", *data, "--model.width=4", "--model.latent_dim=8", "--out=gan",
             "--save_every=5", "--grid_every=0"]  # fmt: skip
    last = Path("gan/last.ckpt")
    said = interrupt([*train, "--steps=1000000"], last.is_file)
    assert "the same command continues" in said.splitlines()[-1]
    done = read_step(last)
    run(*train, f"--steps={done + 7}")
    assert read_step(last) == done + 7

    balanced = ["fit", *data, *QUICK, "--data.cosine=0", "--data.n=1500",
                "--trainer.max_epochs=6", "--model.lr=0.01"]  # fmt: skip
    run(*balanced, "--run_dir=t")
    run(*balanced, "--data.target=long_hair", "--run_dir=g")
    pairs = ["gan", "pairs", "--generator=AnalyticFaces", "--generator.image_size=16",
             "--target=t/checkpoints/best.ckpt", "--protected=g/checkpoints/best.ckpt",
             "--settings.n=12000", "--settings.fit=600", "--out=pairs"]  # fmt: skip
    record = Path("pairs.partial/pairs.json")
    said = interrupt(pairs, lambda: record.is_file() and json.loads(record.read_text())["done"])
    assert "the same command continues" in said.splitlines()[-1]
    assert 0 < json.loads(record.read_text())["done"] < 12000
    run(*pairs)
    assert json.loads(Path("pairs/pairs.json").read_text())["done"] == 12000


def read_step(path: Path) -> int:
    import torch

    return torch.load(path, weights_only=True)["global_step"]
