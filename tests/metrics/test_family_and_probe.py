"""Risk invariance and the encoding of factors, as functions, metrics and command line."""

import itertools
import json

import numpy as np
import pytest
from command import run
from trainers import trainer

from frbench.callbacks import EncodingProbe
from frbench.commands.bench import main as bench
from frbench.contracts.errors import UserError
from frbench.data import Digits, TwoGaussians
from frbench.metrics import encoding, evaluate, risk_invariance
from frbench.networks import MLP
from frbench.objectives import ERM


def test_ranges_are_the_largest_gap_of_risks():
    rng = np.random.default_rng(0)
    members = []
    for _ in range(4):
        y, z, s = rng.integers(0, 2, 50), rng.integers(0, 2, 50), rng.random(50)
        members.append(evaluate(y, s > 0.5, z, scores=s))
    found = risk_invariance(members)
    for risk in ("accuracy", "negative_log_likelihood", "brier_score"):
        gaps = [abs(a[risk] - b[risk]) for a, b in itertools.combinations(members, 2)]
        assert found[f"{risk}_range"] == pytest.approx(max(gaps))
    assert found["family_worst_accuracy"] == min(m["accuracy"] for m in members)
    with pytest.raises(UserError, match="two members"):
        risk_invariance(members[:1])


def data(n=2000, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    return rng.normal(size=(n, 3)) + signal * z[:, None] * [1, 0, 0], z


def test_the_probe_reaches_the_best_linear_rule():
    features, z = data(6000, signal=2.0)
    found = encoding(features, z)
    bayes = 0.8413  # Phi(1): two unit normals two apart
    assert found.low < bayes < found.high and found.high - found.low < 0.025
    assert found.accuracy == pytest.approx(bayes, abs=0.015)
    assert 0.48 < found.chance < 0.53


def test_what_is_not_encoded_is_read_by_chance():
    covered = 0
    for seed in range(30):
        features, z = data(400, seed, signal=0.0)
        found = encoding(features, z, folds=5)
        covered += found.low <= 0.5 <= found.high
    assert covered >= 25


def test_given_the_label_only_what_is_beyond_it_counts():
    """Features that are the label alone tell z where they depend, not where they are balanced."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 5000)
    z = (rng.random(5000) < np.where(y == 1, 0.9, 0.1)).astype(int)
    features = y[:, None] + 0.01 * rng.normal(size=(5000, 1))
    assert encoding(features, z).accuracy > 0.88
    found = encoding(features, z, y)
    assert found.accuracy == pytest.approx(0.5, abs=0.04) and found.low < found.chance
    assert found.high - found.low > 0.02  # the effective number of rows is smaller


def test_rows_of_unknown_factor_and_three_values():
    features, z = data(900)
    z = np.where(np.arange(900) % 3 == 0, 2, z)
    features[z == 2, 1] += 50
    blank = z.copy()
    blank[::7] = -1
    assert encoding(features, blank) == encoding(features[blank >= 0], z[blank >= 0])
    assert encoding(features, z).accuracy > 0.7 > encoding(features, z).chance


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f, z: (f[:5], z), "columns of N rows"),
        (lambda f, z: (f * np.nan, z), "not finite"),
        (lambda f, z: (f, z * 0), "two values"),
        (lambda f, z: (f, np.where(np.arange(len(z)) == 0, 2, z)), "at least 2 rows"),
    ],
)
def test_what_cannot_be_probed_is_named(change, words):
    features, z = data(50)
    with pytest.raises(UserError, match=words):
        encoding(*change(features, z))


def trained(datamodule, probe):
    model = ERM(
        datamodule.num_classes, datamodule.num_attributes, datamodule.input_shape,
        network=MLP(hidden=[8]), lr=0.01,
    )  # fmt: skip
    run = trainer(max_epochs=2, callbacks=[probe])
    run.fit(model, datamodule=datamodule)
    run.test(model, datamodule=datamodule, verbose=False)
    return model.evaluation.flat()


def test_the_callback_probes_every_factor_of_the_tables():
    metrics = trained(Digits(task="c", n=1200, n_eval=400), EncodingProbe())
    keys = {k for k in metrics if "encoding" in k}
    assert {k.rsplit("/", 2)[0] for k in keys} == {"test/P0", "test/Q"}
    assert {k.rsplit("/", 1)[1] for k in keys} == {"z", "v"} and len(keys) == 16
    assert metrics["test/P0/encoding/z"] > 0.9  # the colour is easy to read
    assert metrics["test/P0/encoding_low/z"] < metrics["test/P0/encoding/z"]
    metrics = trained(TwoGaussians(n=200), EncodingProbe())
    assert "test/encoding/z" in metrics
    with pytest.raises(UserError, match="no test table 'test/P1'"):
        trained(Digits(n=50, n_eval=20), EncodingProbe(tables=["test/P1"]))


@pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
def test_command_line_and_grid_report_them(in_tmp, capsys):
    words = ["--data=Digits", "--data.n=300", "--data.n_eval=100", "--data.family=[0.1,0.9]",
             "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
             "--trainer.enable_progress_bar=false"]  # fmt: skip
    run("fit", *words, "--run_dir=one")
    run("test", *words[:4], "--ckpt_path=one/checkpoints/best.ckpt",
        "--trainer.callbacks+=EncodingProbe")  # fmt: skip
    metrics = json.loads(in_tmp.joinpath("one/test.json").read_text())["metrics"]
    assert {"test/family/accuracy_range", "test/P0/encoding/z"} <= metrics.keys()
    printed = capsys.readouterr().out
    assert "brier_score_range" in printed and "encoding_chance/z" in printed
    in_tmp.joinpath("grid.yaml").write_text(
        "base: {trainer.max_epochs: 1, trainer.accelerator: cpu, data.n: 300, data.n_eval: 100,\n"
        "  trainer.callbacks: [{class_path: EncodingProbe, init_args: {tables: [test/P0]}}]}\n"
        "data: {a: {data: Digits, data.family: [0.1, 0.9]}}\nmethods: {ERM: {model: ERM}}\n"
    )
    assert bench(["grid.yaml"]) == 0
    record = json.loads(in_tmp.joinpath("results/grid/results.jsonl").read_text())
    assert {"test/family/accuracy_range", "test/P0/encoding/z"} <= record["metrics"].keys()
    assert "test/Q/encoding/z" not in record["metrics"]
