"""Invariance penalties: hand-computed values, loops, limits, faults of others absent."""

import math

import numpy as np
import pytest
import torch
from rows import batch_of, four_rows, outputs_of, random_rows

from frbench.contracts.batch import Sizes
from frbench.networks import MLP
from frbench.objectives import ERM
from frbench.penalties import (
    CORAL,
    IRM,
    PGI,
    Fishr,
    InformationBottleneck,
    MarginalMMD,
    SpectralDecoupling,
    VREx,
)

#: Of exp(-gamma d^2), gamma .001 to 1000.
DOMAINBED = {"tensor": "features", "sigma_squared": [500.0, 50.0, 5.0, 0.5, 0.05, 0.005, 0.0005]}


def make(cls, classes=2, attributes=2, features=2, **options):
    penalty = cls(**options)
    penalty.num_features = features
    penalty.bind(Sizes(classes, attributes, (1,)))
    return penalty.double()


ALL = [
    (IRM, {}), (IRM, {"estimate": "unbiased"}), (IRM, {"environments": "group"}), (VREx, {}),
    (VREx, {"environments": "group"}), (InformationBottleneck, {}), (CORAL, {}),
    (Fishr, {"rate": 0.0}), (Fishr, {}), (PGI, {}), (SpectralDecoupling, {}),
]  # fmt: skip
every = pytest.mark.parametrize(
    ("cls", "options"), ALL, ids=lambda v: getattr(v, "__name__", None)
)


@pytest.mark.parametrize(
    ("cls", "options", "expected"),
    [
        (IRM, {}, 0.032838), (IRM, {"estimate": "unbiased"}, -0.005041), (VREx, {}, 0.027292),
        (InformationBottleneck, {}, 0.25), (Fishr, {"rate": 0.0}, 0.006895), (CORAL, {}, 1.0),
        (SpectralDecoupling, {}, 0.859375), (MarginalMMD, DOMAINBED, 4.354567 / 7),
    ],
)  # fmt: skip
def test_example(cls, options, expected):
    assert make(cls, **options)(*four_rows()).item() == pytest.approx(expected, abs=1e-6)


def test_example_of_pgi():
    logits = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.0, 2.0]]
    y, z = [0, 0, 1, 1], [0, 1, 0, 1]
    value = make(PGI)(outputs_of(logits, y), batch_of(y, z)).item()
    assert value == pytest.approx(0.462117 + 0.549142, abs=1e-6)


# ---- slow references ------------------------------------------------------------------------
def parts(out, batch, by="z"):
    """The rows of each environment, in their order, as arrays."""
    environment = (batch.z if by == "z" else batch.group).tolist()
    for e in sorted({e for e in environment if e >= 0}):
        rows = [i for i, other in enumerate(environment) if other == e]
        yield (rows, out.logits.detach().numpy()[rows], out.features.numpy()[rows],
               batch.y.numpy()[rows], batch.weight.numpy()[rows])  # fmt: skip


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def loss(logits, y):
    return -np.log(softmax(logits)[np.arange(len(y)), y])


def slope(logits, y, w):
    """Derivative of the mean loss by a factor of the logits, by differences."""
    up, down = (loss(logits * (1 + s), y) @ w / w.sum() for s in (1e-5, -1e-5))
    return (up - down) / 2e-5


@pytest.mark.parametrize("by", ["z", "group"])
def test_irm_and_vrex_equal_loops(by):
    out, batch = random_rows(60, 2, 3, seed=1)
    slopes = [slope(x, y, w) for _, x, _, y, w in parts(out, batch, by)]
    value = make(IRM, 2, 3, environments=by)(out, batch).item()
    assert value == pytest.approx(np.mean(np.square(slopes)), rel=1e-6)
    risks = [loss(x, y) @ w / w.sum() for _, x, _, y, w in parts(out, batch, by)]
    value = make(VREx, 2, 3, environments=by)(out, batch).item()
    assert value == pytest.approx(np.var(risks), rel=1e-9)


def test_the_unbiased_estimate_equals_a_loop():
    out, batch = random_rows(60, 2, 3, seed=2)
    products = []
    for rows, x, _, y, w in parts(out, batch):
        even = np.array(rows) % 2 == 0
        products.append(slope(x[even], y[even], w[even]) * slope(x[~even], y[~even], w[~even]))
    value = make(IRM, 2, 3, estimate="unbiased")(out, batch).item()
    assert value == pytest.approx(np.mean(products), rel=1e-6)


def test_moments_equal_loops():
    out, batch = random_rows(60, 2, 3, seed=3)
    batch = batch._replace(weight=torch.ones(60).double())
    cells = [f for _, _, f, _, _ in parts(out, batch)]
    value = make(InformationBottleneck, 2, 3)(out, batch).item()
    assert value == pytest.approx(np.mean([f.var(0).mean() for f in cells]), rel=1e-9)
    pairs = [
        np.mean((a.mean(0) - b.mean(0)) ** 2) + np.mean((np.cov(a.T) - np.cov(b.T)) ** 2)
        for i, a in enumerate(cells) for b in cells[:i]
    ]  # fmt: skip
    value = make(CORAL, 2, 3)(out, batch).item()
    assert value == pytest.approx(np.mean(pairs), rel=1e-9)


def test_fishr_equals_gradients_of_single_rows():
    out, batch = random_rows(24, 2, 2, seed=4)
    batch = batch._replace(weight=torch.ones(24).double())
    model = ERM(2, 2, [3], network=MLP(hidden=[])).double()
    out = out._replace(logits=model.network.head(out.features).detach())
    variances = []
    for _, _, f, y, _ in parts(out, batch):
        rows = []
        for row, label in zip(f, y, strict=True):
            logits = model.network.head(torch.tensor(row)[None])
            cost = torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
            gradients = torch.autograd.grad(cost, model.network.head.parameters())
            rows.append(torch.cat([g.flatten() for g in gradients]).numpy())
        variances.append(np.var(rows, axis=0))
    penalty = make(Fishr, features=3, rate=0.0)
    assert penalty(out, batch).item() == pytest.approx(np.var(variances, axis=0).sum(), rel=1e-9)


def test_fishr_averages_over_steps():
    out, batch = random_rows(24, 2, 2, seed=5)
    penalty, plain = make(Fishr, features=3, rate=0.5), make(Fishr, features=3, rate=0.0)
    plain(out, batch)
    plain.commit()
    first = penalty(out, batch).item()
    penalty.commit()
    assert torch.allclose(penalty.average, 0.5 * plain.average)
    # The second average is .75 of the variance, divided by .5.
    assert penalty(out, batch).item() == pytest.approx(1.5**2 * first, rel=1e-9)
    absent = batch._replace(z=batch.z * 0)
    penalty.discard()
    penalty(out, absent)
    before = penalty.average.clone()
    penalty.commit()
    assert torch.equal(penalty.average[1], before[1])  # no rows, no news


def test_pgi_equals_a_loop_and_adds_all_classes():
    """SpuCo keeps the term of the last class only."""
    out, batch = random_rows(60, 3, 2, seed=6)
    total = 0.0
    for label in range(3):
        means = []
        for z in (0, 1):
            rows = (batch.y == label) & (batch.z == z)
            w = batch.weight[rows].numpy()
            means.append(w @ softmax(out.logits.detach().numpy()[rows]) / w.sum())
        total += sum(p * math.log(p / q) for p, q in zip(means[1], means[0], strict=True))
    assert make(PGI, 3)(out, batch).item() == pytest.approx(total, rel=1e-9)


def test_spectral_decoupling_equals_a_loop():
    out, batch = random_rows(30, 3, 2, seed=7)
    w = batch.weight.tolist()
    norms = [sum(v * v for v in row) for row in out.logits.tolist()]
    expected = sum(a * b for a, b in zip(w, norms, strict=True)) / sum(w) / 2
    assert make(SpectralDecoupling, 3)(out, batch).item() == pytest.approx(expected, rel=1e-9)


# ---- limits ---------------------------------------------------------------------------------
def compared(cls):
    return cls.properties.compares


@pytest.mark.parametrize(("cls", "options"), [a for a in ALL if compared(a[0])])
def test_environments_that_are_copies_have_nothing_to_penalise(cls, options):
    if options.get("environments") == "group":
        pytest.skip("labels differ between groups")
    out, batch = random_rows(20, 2, 2, unknown=0.0)
    twice = outputs_of(torch.cat([out.logits.detach()] * 2), torch.cat([batch.y] * 2),
                       torch.cat([out.features] * 2))  # fmt: skip
    copies = batch_of(torch.cat([batch.y] * 2), torch.arange(40) // 20,
                      torch.cat([batch.weight] * 2))  # fmt: skip
    assert make(cls, features=3, **options)(twice, copies).item() == pytest.approx(0, abs=1e-12)


def test_irm_is_zero_at_the_best_scale():
    logits = torch.tensor([[math.log(3), 0.0]] * 8).double()
    y, z = [0, 0, 0, 1] * 2, [0] * 4 + [1] * 4
    assert make(IRM)(outputs_of(logits, y), batch_of(y, z)).item() == pytest.approx(0, abs=1e-12)
    assert make(IRM)(outputs_of(2 * logits, y), batch_of(y, z)).item() > 0.01


@every
def test_an_absent_environment_leaves_the_rest(cls, options):
    out, batch = random_rows(30, 2, 2, seed=8)
    wider = batch_of(batch.y, batch.z, batch.weight, attributes=4)
    value = make(cls, attributes=4, features=3, **options)(out, wider)
    expected = make(cls, features=3, **options)(out, batch).item()
    assert value.item() == pytest.approx(expected, rel=1e-9)


@every
@pytest.mark.parametrize("logits", [0.0, 40.0, 1e15], ids=str)
@pytest.mark.parametrize("z", [[0, 1, 2, 3], [0, 0, 0, 1], [-1] * 4, [0] * 4], ids=str)
def test_one_row_of_each_environment_and_certain_rows_are_finite(cls, options, logits, z):
    """CORAL of others is NaN where an environment has one row."""
    values = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]) * logits
    values = values.float().requires_grad_()
    batch = batch_of([1, 0, 1, 0], z, torch.ones(4), attributes=4)
    penalty = cls(**options)
    penalty.num_features = 2
    penalty.bind(Sizes(2, 4, (1,)))
    out = outputs_of(values.detach(), batch.y)
    losses = torch.nn.functional.cross_entropy(values, batch.y, reduction="none")
    value = penalty(out._replace(logits=values, features=values / 1e3, losses=losses), batch)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(values.grad).all()


def test_one_row_of_an_environment_is_left_out_of_coral():
    out, batch = random_rows(30, 2, 3, seed=9, unknown=0.0)
    z = torch.where(batch.z == 2, -1, batch.z)
    z[3] = 2
    alone = batch_of(batch.y, z, batch.weight, attributes=3)
    z = z.clone()
    z[3] = -1
    without = batch_of(batch.y, z, batch.weight, attributes=3)
    penalty = make(CORAL, attributes=3, features=3)
    assert penalty(out, alone).item() == pytest.approx(penalty(out, without).item(), rel=1e-9)


@every
def test_gradients_are_those_of_the_value(cls, options):
    out, batch = random_rows(14, 2, 2, seed=10)
    penalty = make(cls, features=3, **options)

    def value(logits, features):
        losses = torch.nn.functional.cross_entropy(logits, batch.y, reduction="none")
        return penalty(out._replace(logits=logits, features=features, losses=losses), batch)

    inputs = out.logits.detach().requires_grad_(), out.features.requires_grad_()
    scale = 1 / (1 - options.get("rate", 0.95 if cls is Fishr else 0.0))
    assert scale == 1 or cls is Fishr
    if scale == 1:
        assert torch.autograd.gradcheck(value, inputs, atol=1e-6)
