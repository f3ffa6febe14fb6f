"""One process equals two, for every case of ddp_cases.py, in one launch of two processes."""

import math
import os
import subprocess
import sys

import pytest
import torch
from ddp_cases import CASES, TWO_ROWS
from paths import ROOT

from frbench.metrics.names import DEBIASING, DIRECTION

#: Metrics that no training evaluates.
ELSEWHERE = (
    *DEBIASING, "accuracy_range", "negative_log_likelihood_range", "brier_score_range",
    "family_worst_accuracy", "family_worst_negative_log_likelihood", "encoding",
    "encoding_chance", "encoding_low", "encoding_high", "loss",
)  # fmt: skip

pytestmark = [pytest.mark.ddp, pytest.mark.slow]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    script = str(ROOT / "tests/support/ddp_cases.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    loaded = []
    for command in ([sys.executable], launcher):
        out = folder / str(len(loaded))
        done = subprocess.run(
            [*command, script, str(out)], env=environment, capture_output=True, text=True,
            timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        loaded.append(torch.load(out / "results.pt", weights_only=True))
    return loaded


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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.promise("devices", *case.subjects))
        for name, case in CASES.items()
    ],
)
def test_two_processes_equal_one(results, name):
    one, two = ({**r[name]} for r in results)
    assert (one.pop("ranks"), two.pop("ranks")) == (1, 2)
    one.pop("lonely")
    assert two.pop("lonely") > 0  # a group was on one of the processes only
    assert one["rows"] and one["metrics"]
    assert_close(one, two, name)


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


@pytest.mark.parametrize("ranks", [0, 1])
def test_evaluation_counts_every_row_once(results, ranks):
    for result in results[ranks].values():
        assert int(result["counts"]["test"].sum()) == 33
        assert int(result["counts"]["val"].sum()) == 65


def test_training_moved_the_parameters_and_q(results):
    for name, result in results[0].items():
        if name in TWO_ROWS and name not in ("dro-greedy", "dro-batchnorm"):
            assert result["state"]["log_q"].exp().max() > 1 / 6 + 0.01, name
        losses = [float(row["train/loss"]) for row in result["rows"] if row["train/loss"]]
        assert len(set(losses)) > 1, name
