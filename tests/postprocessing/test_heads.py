"""Last layers fitted on cached features."""

import numpy as np
import pytest
import torch
from held_out import fitted, scored

from frbench.contracts.errors import UserError
from frbench.penalties import MarginalMMD
from frbench.postprocessing import (
    AFR,
    CRT,
    DFR,
    DISPEL,
    DPE,
    FRAPPE,
    LLR,
    SELF,
    GridSearch,
    HeldOut,
    ReweightCRT,
    VanillaCRT,
)
from frbench.postprocessing.linear import descend, loss_and_gradient, minimise

#: The rows of the examples: logits, labels, attributes, features.
T4 = HeldOut(
    np.array([[0.0, 1], [1, 0], [2, 1], [1, 2]]),
    np.array([[1, -1], [0.5, 0], [-0.25, 0.75], [2, 0]]),
    np.array([0, 1, 1, 0]),
    np.array([0, 0, 1, 1]),
    2,
    2,
)


def layered(n=400, classes=3, seed=0, features=6):
    """Rows of several classes whose logits are those of a layer."""
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, classes, n), rng.integers(0, 2, n)
    x = rng.normal(size=(n, features)) * np.arange(1, features + 1)
    x[:, 0] += y
    x[:, 1] += 3 * z
    weight, bias = rng.normal(size=(classes, features)) * 0.3, rng.normal(size=classes)
    return HeldOut(x, x @ weight.T + bias, y, z, classes, 2, weight, bias)


def test_afr_weighs_the_example_as_printed():
    weight = AFR(gamma=4).weights(T4)
    assert weight.round(6).tolist() == [0.088447, 0.662112, 0.160993, 0.088447]
    losses = -np.log(T4.probabilities[np.arange(4), T4.y])
    assert weight @ losses == pytest.approx(0.717834, abs=5e-7)


def test_afr_descends_as_autograd_does():
    rows = layered()
    method = AFR(gamma=2.0, decay=0.01, steps=30, lr=0.05, clip=0.5, balance=True)
    head = method.fit(rows)
    weight, bias = (torch.tensor(v, requires_grad=True) for v in (rows.weight, rows.bias))
    start = [torch.tensor(rows.weight), torch.tensor(rows.bias)]
    p = torch.as_tensor(rows.probabilities)[torch.arange(400), torch.as_tensor(rows.y)]
    share = torch.bincount(torch.as_tensor(rows.y)).double()
    w = torch.exp(-2.0 * p) / share[torch.as_tensor(rows.y)]
    w = w / w.sum()
    optimizer = torch.optim.SGD([weight, bias], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        logits = torch.as_tensor(rows.features) @ weight.T + bias
        losses = torch.nn.functional.cross_entropy(
            logits, torch.as_tensor(rows.y), reduction="none"
        )
        pull = sum((a - b).square().sum() for a, b in zip((weight, bias), start, strict=True))
        ((w * losses).sum() + 0.01 * pull).backward()
        torch.nn.utils.clip_grad_norm_([weight, bias], 0.5)
        optimizer.step()
    # torch's clipping adds 1e-6 to the norm.
    assert np.allclose(head.weight, weight.detach().numpy(), atol=1e-5)
    assert np.allclose(head.bias, bias.detach().numpy(), atol=1e-5)
    assert head.report["loss"] < head.report["loss_before"]


@pytest.mark.parametrize(
    "method", [AFR(steps=0), AFR(gamma=0, decay=1e9, lr=1e-12), SELF(steps=0)]
)
def test_options_that_change_nothing_keep_the_layer(method):
    rows = layered()
    head = method.fit(rows)
    assert np.abs(head.weight - rows.weight).max() < 1e-9
    if method != AFR(gamma=0, decay=1e9, lr=1e-12):
        assert np.array_equal(head.weight, rows.weight)
        assert np.array_equal(head.bias, rows.bias)


def test_llr_finds_the_optimum_that_scikit_learn_finds():
    from sklearn.linear_model import LogisticRegression

    rows = layered()
    head = LLR(decay=0.005).fit(rows)
    mean, scale = rows.features.mean(0), rows.features.std(0)
    x = np.concatenate([(rows.features - mean) / scale, np.ones((400, 1))], 1)
    # mean loss + .005 |theta|^2, the bias included: C = 1 / (2 * .005 * 400).
    model = LogisticRegression(C=1 / (2 * 0.005 * 400), fit_intercept=False, tol=1e-10,
                               max_iter=5000).fit(x, rows.y)  # fmt: skip
    expected = model.predict_proba(x)
    ours = torch.as_tensor(rows.features @ head.weight.T + head.bias).softmax(1).numpy()
    assert np.abs(ours - expected).max() < 1e-4


def test_kept_layer_stays_where_the_gradient_is_zero():
    rows = layered()
    optimum = LLR(decay=0.0).fit(rows)
    again = LLR(decay=1.0, keep=True).fit(rows._replace(weight=optimum.weight, bias=optimum.bias))
    assert np.allclose(again.weight, optimum.weight, atol=1e-4)


@pytest.mark.parametrize("balance", ["class", "group"])
@pytest.mark.parametrize("via", ["weight", "subset"])
def test_balance_makes_classes_or_groups_equal(balance, via):
    """Without a useful feature the layer predicts the balanced shares."""
    rng = np.random.default_rng(0)
    y, z = np.repeat([0, 1], [300, 60]), rng.integers(0, 2, 360)
    rows = HeldOut(np.zeros((360, 1)), np.zeros((360, 2)), y, z, 2, 2)
    head = LLR(balance=balance, via=via, decay=0).fit(rows)
    assert head.bias[0] == pytest.approx(head.bias[1], abs=1e-5)
    plain = LLR(decay=0).fit(rows)
    assert plain.bias[1] - plain.bias[0] == pytest.approx(np.log(60 / 300), abs=1e-4)


def test_the_family_of_classifier_retraining():
    rows = layered()
    equal = rows.take(np.concatenate([np.flatnonzero(rows.group == g)[:20] for g in range(6)]))
    first = VanillaCRT().fit(equal)
    for other in (CRT().fit(equal), ReweightCRT().fit(equal)):  # equal groups: all the same
        assert np.allclose(first.weight, other.weight, atol=1e-6)
    assert {c.fits_on for c in (CRT, ReweightCRT, VanillaCRT)} == {"train"}
    assert not np.allclose(CRT().fit(rows).weight, VanillaCRT().fit(rows).weight, atol=1e-3)


def test_self_finetunes_on_the_rows_that_disagree_most():
    rows = layered()
    method = SELF(by="loss", rows=30, steps=5)
    loss = -np.log(rows.probabilities[np.arange(400), rows.y])
    assert np.allclose(method.disagreement(rows), loss)
    chosen = np.concatenate(
        [np.flatnonzero(rows.y == c)[np.argsort(-loss[rows.y == c])[:10]] for c in range(3)]
    )
    few = rows.take(np.sort(chosen))
    expected = descend(few.features, few.y, np.full(30, 1 / 30), rows.weight, rows.bias, 0, 5,
                       0.01)  # fmt: skip
    head = method.fit(rows)
    assert np.allclose(head.weight, expected[0]) and head.report["rows_used"] == 30
    same = SELF(by="earlier").disagreement(rows._replace(earlier=rows.logits))
    assert np.abs(same).max() < 1e-12
    other = rows._replace(earlier=rows.logits[:, ::-1].copy())
    p, q = rows.probabilities, rows.probabilities[:, ::-1]
    assert np.allclose(SELF(by="earlier").disagreement(other), (p * np.log(p / q)).sum(1))
    assert (SELF(dropout=0.3).disagreement(rows) > -1e-12).all()


def test_dispel_mixes_balanced_rows_with_rows_of_their_class():
    rows = scored(n=300)
    plain = DFR(redraws=2, strengths=[0.3]).fit(rows)
    for same in (DISPEL(2, [0.3], s=1.0), DISPEL(2, [0.3], alpha=0.0)):
        assert np.array_equal(same.fit(rows).weight, plain.weight)
    mixed = DISPEL(2, [0.3], s=0.8).fit(rows)
    assert not np.allclose(mixed.weight, plain.weight)
    method = DISPEL(s=0.7, alpha=0.5)
    x = np.stack([np.arange(300.0), rows.y], 1)
    drawn = method._inputs(x, rows.y, np.arange(100), 0)
    assert np.array_equal(drawn[:, 1], rows.y[:100])  # the other row is of the same class
    moved = drawn[:, 0] != np.arange(100)
    assert 0.3 < moved.mean() < 0.7
    other = (drawn[moved, 0] - 0.7 * np.arange(100)[moved]) / 0.3
    assert np.allclose(other, other.round()) and (rows.y[other.round().astype(int)]
                                                  == rows.y[:100][moved]).all()  # fmt: skip


def test_dpe_learns_several_layers_that_differ():
    rows = layered(n=600, features=8)
    report = fitted(DPE(heads=3, epochs=30, decorrelation=10.0), rows)
    method = report[0]
    features = torch.as_tensor(rows.features)
    scores = method.scores(torch.as_tensor(rows.logits), features, torch.as_tensor(rows.z))
    assert torch.allclose(scores.exp().sum(1), torch.ones(600), atol=1e-5)
    # By definition, one layer after the other.
    normal = rows.features / np.linalg.norm(rows.features, axis=1, keepdims=True)
    mean = 0
    for k in range(3):
        p = method.prototypes[k].numpy()
        p = p / np.linalg.norm(p, axis=1, keepdims=True)
        distance = np.linalg.norm(normal[:, None] - p[None], axis=2)
        logits = -30 * abs(float(method.factor[k])) * distance
        e = np.exp(logits - logits.max(1, keepdims=True))
        mean = mean + e / e.sum(1, keepdims=True) / 3
    assert np.allclose(scores.exp().numpy(), mean, atol=1e-5)
    accuracy = float((scores.argmax(1).numpy() == rows.y).mean())
    assert accuracy > 0.45  # of three classes
    assert not torch.allclose(method.prototypes[0], method.prototypes[1], atol=0.05)


def test_frappe_trades_divergence_for_the_penalty():
    rows = scored(n=2000)
    logits = rows.features @ np.array([[0, 0, 0], [1.5, 1.0, 0]]).T
    rows = rows._replace(
        logits=logits, weight=np.array([[0, 0, 0], [1.5, 1.0, 0]]), bias=np.zeros(2)
    )
    none = FRAPPE([MarginalMMD(weight=0.0)], epochs=2).fit(rows)
    assert np.abs(none.weight - rows.weight).max() < 1e-3  # KL is 0 at the start
    strong = FRAPPE([MarginalMMD(weight=20.0)], epochs=30, lr=0.02).fit(rows)

    def gap(weight, bias):
        p = torch.as_tensor(rows.features @ weight.T + bias).softmax(1)[:, 1].numpy()
        return abs(p[rows.z == 0].mean() - p[rows.z == 1].mean())

    assert gap(strong.weight, strong.bias) < 0.5 * gap(rows.weight, rows.bias)


def test_grid_search_keeps_fairlearns_choice():
    pytest.importorskip("fairlearn.reductions")
    rows = scored(n=400)
    head = GridSearch(grid_size=5).fit(rows)
    assert head.weight.shape == (2, 3) and not head.weight[0].any()
    assert 0 <= head.report["chosen"] < 5


@pytest.mark.parametrize(
    "method",
    [LLR(), LLR("group"), LLR("class", via="subset"), AFR(steps=5), SELF(steps=5),
     DISPEL(2, [0.3]), CRT(), FRAPPE([MarginalMMD()], epochs=1)],
)  # fmt: skip
def test_refitting_gives_the_same_layer_and_unknown_rows_are_left_out(method):
    rows = layered(classes=2)
    first = method.fit(rows)
    if not isinstance(method, FRAPPE):  # a penalty belongs to one model
        again = type(method)(**vars(method)).fit(rows)
        assert np.array_equal(first.weight, again.weight)
        assert np.array_equal(first.bias, again.bias)


@pytest.mark.parametrize("method", [LLR(), LLR("group"), AFR(steps=20), ReweightCRT()])
def test_layers_are_fitted_to_rows_in_any_order(method):
    rows = layered(classes=2)
    first, permuted = (
        method.fit(rows),
        method.fit(rows.take(np.random.default_rng(1).permutation(400))),
    )
    assert np.allclose(first.weight, permuted.weight, atol=1e-5)


def test_gradients_against_autograd():
    rows = layered(n=700)
    w = np.random.default_rng(0).random(700)
    weight, bias = (torch.tensor(v, requires_grad=True) for v in (rows.weight, rows.bias))
    losses = torch.nn.functional.cross_entropy(
        torch.as_tensor(rows.features) @ weight.T + bias, torch.as_tensor(rows.y),
        reduction="none",
    )  # fmt: skip
    total = (torch.as_tensor(w) * losses).sum()
    total.backward()
    loss, by_weight, by_bias = loss_and_gradient(rows.features, rows.y, w, rows.weight, rows.bias)
    assert loss == pytest.approx(float(total.detach()))
    assert np.allclose(by_weight, weight.grad.numpy()) and np.allclose(by_bias, bias.grad.numpy())
    found = minimise(rows.features, rows.y, w / w.sum(), rows.weight, rows.bias, 0.0)
    assert np.abs(loss_and_gradient(rows.features, rows.y, w / w.sum(), *found)[1]).max() < 1e-4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: LLR().fit(r._replace(y=r.y * 0)), "class 1"),
        (lambda r: AFR().fit(r._replace(weight=None, bias=None)), "trained last layer"),
        (lambda r: SELF(by="earlier").fit(r), "--earlier"),
        (lambda r: FRAPPE([]), "at least one penalty"),
        (lambda r: AFR(gamma=-1), "gamma"),
        (lambda r: LLR(balance="joint"), "balance"),
    ],
)
def test_what_cannot_be_fitted_is_said(make, words):
    with pytest.raises(UserError, match=words):
        make(layered())
