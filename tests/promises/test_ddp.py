"""One process equals two, for every case of ddp_cases.py, and in `make test` for a few."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp_cases import CASES, TWO_ROWS, train
from paths import ROOT

from frbench.metrics.names import DEBIASING, DIRECTION

#: Metrics that no training evaluates.
ELSEWHERE = (
    *DEBIASING, "accuracy_range", "negative_log_likelihood_range", "brier_score_range",
    "family_worst_accuracy", "family_worst_negative_log_likelihood", "encoding",
    "encoding_chance", "encoding_low", "encoding_high", "loss",
)  # fmt: skip

#: In `make test`: group weights, a training step of its own, two penalties beside a balance.
FEW = ("dro", "fr-train", "erm-information")
LAUNCHER = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d",
            "--rdzv-endpoint=localhost:0")  # fmt: skip

# One process of the tests for all: each would launch them anew.
pytestmark = [pytest.mark.ddp, pytest.mark.xdist_group("ddp")]


def start(out: Path, launcher: tuple[str, ...], *cases: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *launcher, str(ROOT / "tests/support/ddp_cases.py"), str(out), *cases],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def launch(out: Path, launcher: tuple[str, ...], *cases: str) -> dict[str, dict]:
    """Train cases, all of them by default, in processes of their own; returns what came out."""
    done = start(out, launcher, *cases)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out / "results.pt", weights_only=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    return [launch(folder / "1", ()), launch(folder / "2", LAUNCHER)]


def assert_close(a, b, path=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_close(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_close(x, y, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-6), path
    elif a != b:
        x, y = float(a), float(b)
        # AUROC counts pairs in a histogram: a score on the edge of a bin falls on either side.
        off = 1e-3 if path.endswith("auroc") else 1e-6
        assert (math.isnan(x) and math.isnan(y)) or x == pytest.approx(y, rel=1e-5, abs=off), path


def compare(one, two, name):
    assert (one.pop("ranks"), two.pop("ranks")) == (1, 2)
    one.pop("lonely")
    assert two.pop("lonely") > 0  # a group was on one of the processes only
    assert one["rows"] and one["metrics"]
    assert_close(one, two, name)


@pytest.mark.filterwarnings("ignore")
def test_two_processes_equal_one_for_a_case_of_each_axis(tmp_path):
    one = {name: train(name, tmp_path / "1") for name in FEW}
    two = launch(tmp_path / "2", LAUNCHER, *FEW)
    assert one.keys() == two.keys()
    for name in FEW:
        compare(one[name], two[name], name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "what"),
    [("Differs", "on_epoch_weights"), ("DiffersLater", "DiffersLater.log_q")],
)
def test_what_must_be_the_same_on_every_process_is_compared(tmp_path, name, what):
    done = start(tmp_path, LAUNCHER, name)
    assert done.returncode != 0
    said = f"{what} must be the same on every process, but differs between processes 0 and 1"
    assert said in done.stderr, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.promise("devices", *case.subjects))
        for name, case in CASES.items()
    ],
)
def test_two_processes_equal_one(results, name):
    compare(*({**r[name]} for r in results), name)


@pytest.mark.slow
@pytest.mark.promise("devices")
@pytest.mark.parametrize("metric", [m for m in DIRECTION if m not in ELSEWHERE])
def test_metrics_of_two_processes_equal_those_of_one(results, metric):
    compared = 0
    for name, one in results[0].items():
        for key, value in one["metrics"].items():
            if metric in key.split("/"):
                assert_close(value, results[1][name]["metrics"][key], key)
                compared += 1
    assert compared >= len(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [0, 1])
def test_evaluation_counts_every_row_once(results, ranks):
    for result in results[ranks].values():
        assert int(result["counts"]["test"].sum()) == 33
        assert int(result["counts"]["val"].sum()) == 65


@pytest.mark.slow
def test_training_moved_the_parameters_and_q(results):
    for name, result in results[0].items():
        if name in TWO_ROWS and name not in ("dro-greedy", "dro-batchnorm"):
            assert result["state"]["log_q"].exp().max() > 1 / 6 + 0.01, name
        losses = [float(row["train/loss"]) for row in result["rows"] if row["train/loss"]]
        assert len(set(losses)) > 1, name
