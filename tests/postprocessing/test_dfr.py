import warnings
from functools import partial

import numpy as np
import pytest
import torch
from command import QUICK, SMALL, evaluate, fit, run
from scipy.sparse import eye_array
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from frbench import load
from frbench.commands.dfr import main
from frbench.contracts.errors import UserError
from frbench.data import Digits
from frbench.postprocessing import HeldOut
from frbench.postprocessing.dfr import DFR, DISPEL
from frbench.postprocessing.l1 import L1Regressions
from frbench.report.records import Results
from frbench.runs.checkpoint import read_checkpoint
from frbench.training.postprocess import outputs

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")


def rows(n=300, classes=2, seed=0):
    """Features of which one carries y, one z, most nothing, and one never varies."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    z = np.where(rng.random(n) < 0.8, y % 2, rng.integers(0, 2, n))
    features = rng.normal(size=(n, 12)) * np.arange(1, 13) + 5
    features[:, 0] += 2 * y
    features[:, 1] += 6 * z
    features[:, 2] = 7
    return features, y, 2 * y + z


def held(features, y, group, classes=2, names=()):
    """The same rows as outputs of a network; DFR does not look at its logits."""
    z = np.where(group < 0, -1, group % 2)
    return HeldOut(features, np.zeros((len(y), classes)), y, z, classes, 2, names=tuple(names))


def scores_of(head):
    return dict(map(tuple, head.report["scores"]))


def sklearn_l1(strength):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(l1_ratio=1.0, C=strength, solver="liblinear", random_state=0)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("method", [DFR, partial(DISPEL, s=0.8, alpha=0.5)])
def test_both_solvers_find_the_same_minimum(method, classes):
    """Newton steps for all draws at once, and liblinear for one after the other."""
    features, y, group = rows(n=500, classes=classes)
    features[:, 4] = features[:, 3] + 0.05 * features[:, 5]  # correlated features
    given = held(features, y, group, classes)
    options = {"redraws": 3, "strengths": [1.0, 0.1, 0.03]}
    old, new = (method(**options, solver=s).fit(given) for s in ("liblinear", "newton"))
    assert old.report["strength"] == new.report["strength"]
    for a, b in ((old.weight, new.weight), (old.bias, new.bias)):
        assert np.abs(a - b).max() < 2e-3 * np.abs(a).max()
    assert np.array_equal(old.weight != 0, new.weight != 0)
    logits = [features @ head.weight.T + head.bias for head in (old, new)]
    assert np.abs(logits[0] - logits[1]).max() < 5e-3


def test_the_minimum_has_no_smaller_neighbour():
    """The conditions of the optimum, of each regression by itself, at every C of a path."""
    features, y, _ = rows(n=400)
    x = (features - features.mean(0)) / np.where(features.std(0) == 0, np.inf, features.std(0))
    draws = [np.random.default_rng(k).choice(400, 300, replace=False) for k in range(3)]
    units = eye_array(400, format="csr")
    path = L1Regressions(x, [units[d] for d in draws], [y[d] == 1 for d in draws])
    for strength in (1.0, 0.05, 1e-4, 0.3):
        weight, bias = path.solve(strength)
        assert weight.any() != (strength == 1e-4)
        for w, b, d in zip(weight, bias, draws, strict=True):
            both = np.append(x[d], np.ones((300, 1)), 1)
            theta = np.append(w, b)
            slope = strength * both.T @ (1 / (1 + np.exp(-both @ theta)) - y[d])
            scale = strength * np.abs(both.T @ (0.5 - y[d])).max()
            assert np.abs(slope + np.sign(theta))[theta != 0].max(initial=0) < 1e-4 * scale
            assert np.abs(slope)[theta == 0].max(initial=0) <= 1 + 1e-4 * scale


def test_large_tables_take_newton_steps(monkeypatch):
    features, y, group = rows()
    given = held(features, y, group)
    heads = {s: DFR(2, [0.3], solver=s).fit(given) for s in ("auto", "liblinear", "newton")}
    assert np.array_equal(heads["auto"].weight, heads["liblinear"].weight)
    monkeypatch.setattr("frbench.postprocessing.dfr.LIBLINEAR_NUMBERS", 1000)
    assert np.array_equal(DFR(2, [0.3]).fit(given).weight, heads["newton"].weight)
    assert not np.array_equal(heads["liblinear"].weight, heads["newton"].weight)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_layer_is_the_mean_of_balanced_l1_regressions(classes):
    """Against scikit-learn's own pipeline, one model a draw and class, averaged by predictions."""
    features, y, group = rows(classes=classes)
    head = DFR(redraws=4, strengths=[0.3], seed=5).fit(held(features, y, group, classes))
    scaler = StandardScaler().fit(features)
    members = [np.flatnonzero(group == g) for g in range(2 * classes)]
    size = min(map(len, members))
    logits = np.zeros((len(y), classes))
    for redraw in range(4):
        rng = np.random.default_rng([5, 22, redraw])
        drawn = np.concatenate([rng.choice(m, size, replace=False) for m in members])
        assert np.unique(group[drawn], return_counts=True)[1].tolist() == [size] * 2 * classes
        for label in range(classes):
            if classes == 2 and label == 0:
                continue  # one regression; class 0 has logit 0
            model = make_pipeline(scaler, sklearn_l1(0.3))
            model.steps[1][1].fit(scaler.transform(features[drawn]), y[drawn] == label)
            logits[:, label] += model.decision_function(features) / 4
    assert np.allclose(features @ head.weight.T + head.bias, logits, atol=1e-10)
    assert head.report["per_group"] == size
    assert not head.weight[:, 2].any()  # the feature that never varies


def test_strength_is_chosen_on_the_other_half():
    features, y, group = rows(n=600)
    head = DFR(redraws=3, strengths=[1e-4, 0.3, 10.0], seed=1).fit(held(features, y, group, 2))
    scores = scores_of(head)
    assert set(scores) == {1e-4, 0.3, 10.0}
    assert scores[1e-4] == 0  # everything is zero: one class is never predicted
    assert head.report["strength"] == max(scores, key=scores.get) != 1e-4
    tied = DFR(redraws=1, strengths=[2e-4, 1e-4]).fit(held(features, y, group, 2))
    assert tied.report["strength"] == 2e-4  # of equals the first


def test_halves_do_not_overlap(monkeypatch):
    """Each row of the first half is fitted on, none of the second, until C is chosen."""
    seen = []
    original = DFR._mean_fit

    def spy(self, x, y, group, allowed, *args):
        layers = original(self, x, y, group, allowed, *args)

        def spied(*args):
            seen.append((allowed.copy(), x, layers(*args)))
            return seen[-1][2]

        return spied

    monkeypatch.setattr(DFR, "_mean_fit", spy)
    features, y, group = rows()
    head = DFR(redraws=1, strengths=[0.5, 2.0]).fit(held(features, y, group, 2))
    first = seen[0][0]
    assert np.array_equal(first, seen[1][0]) and seen[2][0].all()
    for g in range(4):
        assert abs(first[group == g].mean() - 0.5) <= 0.5 / (group == g).sum() + 1e-9
    for strength, (_, x, (weight, bias)) in zip(scores_of(head), seen, strict=False):
        worst = 1.0
        for g in range(4):
            second = np.flatnonzero(~first & (group == g))
            right = [np.argmax(weight @ x[i] + bias) == y[i] for i in second]
            if len(second) >= 10:  # smaller groups have no part in the choice
                worst = min(worst, np.mean(right))
        assert scores_of(head)[strength] == worst


def test_it_uses_less_of_the_spurious_feature_than_a_plain_fit():
    features, y, group = rows(n=2000)
    head = DFR(strengths=[0.3], redraws=5).fit(held(features, y, group, 2))
    plain = make_pipeline(StandardScaler(), sklearn_l1(0.3)).fit(features, y)

    def worst(hit):
        return min(hit[group == g].mean() for g in range(4))

    ours = (features @ head.weight.T + head.bias).argmax(1) == y
    assert worst(ours) > worst(plain.predict(features) == y) + 0.05


def test_rows_without_attribute_are_left_out():
    features, y, group = rows()
    group[:50] = -1
    one = DFR(redraws=2, strengths=[0.3]).fit(held(features, y, group, 2))
    two = DFR(redraws=2, strengths=[0.3]).fit(held(features[50:], y[50:], group[50:], 2))
    assert np.array_equal(one.weight, two.weight)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f, y, g: DFR(redraws=0), "redraws"),
        (lambda f, y, g: DFR(strengths=[]), "strengths"),
        (lambda f, y, g: DFR(strengths=[0.0]), "strengths"),
        (
            lambda f, y, g: DFR().fit(
                held(f[:3], np.array([0, 0, 1]), np.array([0, 0, 3]), 2, "abcd")
            ),
            "two of d",
        ),
        (lambda f, y, g: DFR().fit(held(f, y, g * 0 - 1)), "two of any group"),
        (lambda f, y, g: DFR().fit(held(f, y * 0, g)), "class 1"),
    ],
)
def test_what_cannot_be_fitted_is_said(make, words):
    with pytest.raises(UserError, match=words):
        make(*rows())


# ---- command line ----------------------------------------------------------------------------
def test_a_checkpoint_is_refitted_and_tested(in_tmp, capsys):
    fit("--run_dir=r", "--data.balance=none")
    best = in_tmp / "r/checkpoints/best.ckpt"
    run("dfr", "--ckpt_path", best, "--redraws", "3", "--strengths", "1", "0.1")
    said = capsys.readouterr().out
    assert "<- chosen" in said and "3 draws of" in said
    old, new = load(best), load(in_tmp / "r/checkpoints/dfr.ckpt")
    for key, value in old.state_dict().items():
        same = torch.equal(value, new.state_dict()[key])
        assert same != key.startswith("network.head."), key
    # What the command computed is what the network now gives.
    data = Digits(n=400, n_eval=400)
    rows = outputs(old, data, "val")
    head = DFR(3, (1.0, 0.1)).fit(rows)
    x = torch.as_tensor(data.splits["val"].x)
    expected = torch.as_tensor(rows.features @ head.weight.T + head.bias)
    assert torch.allclose(new(x).double(), expected, atol=1e-4)
    record = read_checkpoint(in_tmp / "r/checkpoints/dfr.ckpt")["frbench"]["dfr"]
    assert record["strength"] == head.report["strength"] and record["fitted_on"]["name"] == "val"
    evaluate("test", in_tmp / "r/checkpoints/dfr.ckpt")
    assert '"dfr"' in (in_tmp / "r/test.json").read_text()


def test_wrong_use_is_one_line(in_tmp, capsys):
    from frbench.__main__ import main as frbench

    fit("--run_dir=r")
    best = "r/checkpoints/best.ckpt"
    run("dfr", "--ckpt_path", best, "--redraws=1", "--strengths=1", "--held_out=train")
    for words, message in [
        (["dfr"], "--ckpt_path --results is required"),
        (["dfr", "--ckpt_path", "no.ckpt"], "no checkpoint no.ckpt"),
        (["dfr", "--ckpt_path", best], "exists, and is not overwritten"),
        (["dfr", "--ckpt_path", best, "--what=1"], "unknown option --what=1"),
        (["dfr", "--ckpt_path", best, "--out=o", "--data.what=1"], "no option 'what'"),
        (["dfr", "--results", "nowhere"], "no nowhere/results.jsonl"),
        (["dfr", "--results", "nowhere", "--out=o"], "--out goes with --ckpt_path"),
        (["dfr", "--ckpt_path", best, "--out=o", "--methods=ERM"], "--methods chooses among"),
        (
            ["dfr", "--ckpt_path", best, "--out=o", "--seed=-1"],
            "a seed is a whole number from 0 to 4294967295, got -1",
        ),
        (
            ["alpha", "10", "20", "--simulate=10", "--seed=-1"],
            "a seed is a whole number from 0 to 4294967295, got -1",
        ),
        (
            ["dfr", "--ckpt_path", best, "--out=o", "--redraws=0"],
            "DFR.redraws: expected an integer of at least 1",
        ),
        (["fit", *SMALL, *QUICK, "--ckpt_path=r/checkpoints/dfr.ckpt"], "refitted by frbench dfr"),
    ]:
        capsys.readouterr()
        assert frbench(words) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("frbench: error: ") and message in error


def test_a_head_of_one_logit_and_heads_by_attribute(in_tmp, capsys):
    from frbench.__main__ import main as frbench

    fit("--run_dir=r", "--model.network=MLP", "--model.network.one_logit=true")
    best = in_tmp / "r/checkpoints/best.ckpt"
    run("dfr", "--ckpt_path", best, "--redraws=3", "--strengths=1")
    data = Digits(n=400, n_eval=400)
    rows = outputs(load(best), data, "val")
    head = DFR(3, (1.0,)).fit(rows)
    new = load(in_tmp / "r/checkpoints/dfr.ckpt")
    logits = new(torch.as_tensor(data.splits["val"].x))
    expected = torch.as_tensor(rows.features @ head.weight.T + head.bias)
    assert torch.allclose((logits[:, 1] - logits[:, 0]).double(),
                          expected[:, 1] - expected[:, 0], atol=1e-4)  # fmt: skip
    run("fit", *SMALL, *QUICK, "--model=DomainIndependent", "--run_dir=d")
    capsys.readouterr()
    assert frbench(["dfr", "--ckpt_path", "d/checkpoints/best.ckpt"]) == 2
    assert "4 outputs for 2 classes" in capsys.readouterr().err


def test_every_run_of_a_grid_is_refitted_once(in_tmp):
    (in_tmp / "g.yaml").write_text(
        "base: {data.n: 300, data.n_eval: 300, trainer.max_epochs: 1, trainer.accelerator: cpu}\n"
        "data: {digits: {data: Digits}}\nmethods: {ERM: {model: ERM}, DRO: {model: GroupDRO}}\n"
    )
    run("bench", "g.yaml", "--out", "out")
    words = ["--results", "out", "--methods", "ERM", "--redraws=2", "--strengths=1"]
    for _ in range(2):  # the second finds nothing to do
        assert main(words) == 0
    records = Results(in_tmp / "out/results.jsonl").latest()
    assert sorted(r["method"] for r in records.values()) == ["DRO", "ERM", "ERM+DFR"]
    old, new = (next(r for r in records.values() if r["method"] == m) for m in ("ERM", "ERM+DFR"))
    assert new["metrics"].keys() == old["metrics"].keys()
    assert new["metrics"]["test/P0/accuracy"] != old["metrics"]["test/P0/accuracy"]
    assert new["dfr"]["strength"] == 1
    assert "small_batch_groups" in old["warnings"]  # said of training, which DFR does not do
    assert "small_batch_groups" not in new["warnings"] and new["warnings"]
