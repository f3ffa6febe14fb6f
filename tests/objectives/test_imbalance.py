"""Focal, LogitAdjustment and LDAM: hand-computed values, loops, faults of others absent."""

import math

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from rows import LABELS, LOGITS, batch_of, four_rows, outputs_of, random_rows
from trainers import trainer

from frbench.data import Digits, TwoGaussians
from frbench.group_inference import Predictions
from frbench.networks import MLP
from frbench.objectives import ERM, LDAM, ULA, Focal, LogitAdjustment

COUNTS = torch.tensor([3682.0, 1113.0])


def make(cls, **options):
    return cls(2, 2, [2], network=MLP(hidden=[4]), **options).double()


def probability(logits, y):
    e = [math.exp(v) for v in logits]
    return e[y] / sum(e)


# ---- Focal ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("gamma", "expected"), [(1.0, 0.180208), (2.0, 0.100919)])
def test_focal_example(gamma, expected):
    out, batch = four_rows()
    assert make(Focal, gamma=gamma).risk(out, batch).item() == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_equals_a_loop_and_stays_below_erm(gamma):
    out, batch = random_rows()
    total = 0.0
    for logits, y, w in zip(out.logits.tolist(), batch.y.tolist(), batch.weight.tolist(),
                            strict=True):  # fmt: skip
        p = probability(logits, y)
        total -= w * (1 - p) ** gamma * math.log(p)
    value = make(Focal, gamma=gamma).risk(out, batch)
    assert value.item() == pytest.approx(total / len(batch.y), rel=1e-12)
    erm = make(ERM).risk(out, batch)
    assert torch.equal(value, erm) if gamma == 0 else value < erm


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_finite_for_certain_rows(gamma):
    _, batch = four_rows()
    losses = torch.tensor([0.0, 1e-40, 1e15, 90.0], requires_grad=True)
    out = four_rows()[0]._replace(losses=losses)
    value = make(Focal, gamma=gamma).risk(out, batch)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(losses.grad).all()
    assert losses.grad[2].item() == pytest.approx(0.25)  # a row that is surely wrong counts fully


# ---- LogitAdjustment ------------------------------------------------------------------------
def test_adjustment_example():
    out, batch = four_rows()
    model = make(LogitAdjustment)
    model.log_counts.copy_(COUNTS.log())
    losses = model.sample_losses(out.logits, batch.y)
    assert losses.mean().item() == pytest.approx(0.685272, abs=5e-7)
    slow = []
    for logits, y in zip(LOGITS, LABELS, strict=True):
        e = [float(n) * math.exp(v) for n, v in zip(COUNTS, logits, strict=True)]
        slow.append(-math.log(e[y] / sum(e)))
    assert losses.tolist() == pytest.approx(slow, rel=1e-6)


def test_equal_counts_and_no_strength_are_erm():
    out, batch = random_rows()
    model = make(LogitAdjustment)
    model.log_counts.fill_(math.log(50.0))
    plain = make(ERM).sample_losses(out.logits, batch.y)
    assert torch.allclose(model.sample_losses(out.logits, batch.y), plain, rtol=1e-12)
    model.log_counts.copy_(COUNTS.log())
    model.tau = 0.0
    assert torch.equal(model.sample_losses(out.logits, batch.y), plain)


class Gap(TwoGaussians):
    """Training rows of one class only."""

    def tables(self):
        tables = super().tables()
        train = tables["train"]
        return tables | {"train": train.take(np.flatnonzero(train.y == 0))}


def test_a_class_without_rows_leaves_the_softmax_and_stays_finite():
    model = LogitAdjustment(2, 2, [2], network=MLP(hidden=[4]))
    model.bind_data(Gap(n=40))
    logits = torch.randn(5, 2, requires_grad=True)
    losses = model.sample_losses(logits, torch.zeros(5, dtype=torch.long))
    losses.sum().backward()
    assert losses.tolist() == pytest.approx([0.0] * 5, abs=1e-6)
    assert torch.isfinite(logits.grad).all()
    model.tau = 0.0
    assert torch.isfinite(model.sample_losses(logits, torch.ones(5, dtype=torch.long))).all()


def fit(cls, epochs=2, **options):
    seed_everything(1, verbose=False)
    data = Digits(n=200, n_eval=60, batch_size=20)
    model = cls(2, 2, data.input_shape, network=MLP(hidden=[6]), **options)
    run = trainer(max_epochs=epochs, limit_val_batches=0)
    run.fit(model, datamodule=data)
    return model, data


def test_without_strength_training_is_erm_bit_for_bit():
    plain = fit(ERM)[0].state_dict()
    for cls, options in (
        (Focal, {"gamma": 0.0}), (LogitAdjustment, {"tau": 0.0}), (ULA, {"tau": 0.0})
    ):  # fmt: skip
        state = fit(cls, **options)[0].state_dict()
        assert all(torch.equal(plain[key], state[key]) for key in plain)


def test_counts_are_those_of_the_training_table():
    model, data = fit(LogitAdjustment, epochs=1)
    counts = np.bincount(data.training.table.y)
    assert model.log_counts.exp().tolist() == pytest.approx(counts.tolist(), rel=1e-5)


# ---- ULA ------------------------------------------------------------------------------------
def test_ula_example():
    model = make(ULA)
    model.log_shares.copy_(torch.tensor([[0.9, 0.1], [0.3, 0.7]]).log())
    batch = batch_of([0, 0], [0, 1])
    out = outputs_of([[1.0, 0.0], [0.0, 0.0]], [0, 0])
    assert model.risk(out, batch).item() == pytest.approx(0.622017, abs=1e-6)
    model.log_shares.fill_(math.log(0.5))
    assert model.risk(out, batch).item() == pytest.approx(make(ERM).risk(out, batch).item())
    model.log_shares.copy_(torch.tensor([[0.9, 0.1], [0.3, 0.7]]).log())
    unknown = batch_of([0, 0], [-1, -1])
    assert torch.equal(model.risk(out, unknown), make(ERM).risk(out, unknown))


def test_ula_reads_the_shares_of_the_inferred_attribute():
    model, data = fit(ULA, epochs=2, infer=Predictions(epochs=1))
    z, y = model._inferred.numpy(), data.training.table.y
    for value in (0, 1):
        found = model.log_shares[value].exp().tolist()
        shares = [float((y[z == value] == c).mean()) if (z == value).any() else 0 for c in (0, 1)]
        assert found == pytest.approx(shares, abs=1e-6)


# ---- LDAM -----------------------------------------------------------------------------------
COSINES = [[0.8, -0.2], [0.3, 0.1], [-0.1, 0.4], [0.6, 0.2]]


class Counted:
    """What LDAM reads of a data set: 3682 rows of one class and 1113 of the other."""

    num_classes = 2

    class training:
        class table:
            y = np.repeat([0, 1], [3682, 1113])


def test_ldam_example():
    model = make(LDAM)
    model.bind_data(Counted)
    assert model.margins.tolist() == pytest.approx([0.370743, 0.5], abs=5e-7)
    losses = model.sample_losses(
        30 * torch.tensor(COSINES, dtype=torch.float64), torch.tensor(LABELS)
    )
    assert losses.mean().item() == pytest.approx(5.510199, abs=5e-7)
    slow = []
    for cosines, y in zip(COSINES, LABELS, strict=True):
        e = [math.exp(30 * (c - (k == y) * float(model.margins[y])))
             for k, c in enumerate(cosines)]  # fmt: skip
        slow.append(-math.log(e[y] / sum(e)))
    assert losses.tolist() == pytest.approx(slow, rel=1e-9)


def test_ldam_compares_directions():
    """SubpopBench multiplies unbounded logits by the scale instead."""
    model = LDAM(2, 2, [2], network=MLP(hidden=[4]), scale=30.0)
    x = torch.randn(50, 2)
    with torch.no_grad():
        features, logits = model.network(x)
    vectors = model.network.head.weight.detach()
    assert logits.abs().max() <= 30 + 1e-4
    row = [float(a @ b / a.norm().clamp(min=1e-6) / b.norm()) for a in features for b in vectors]
    assert logits.flatten().tolist() == pytest.approx([30 * c for c in row], abs=1e-4)


def test_without_margin_it_is_the_scaled_cross_entropy():
    model = make(LDAM, max_margin=0.0)
    model.bind_data(Counted)
    logits = 30 * torch.tensor(COSINES, dtype=torch.float64)
    plain = torch.nn.functional.cross_entropy(logits, torch.tensor(LABELS), reduction="none")
    assert torch.equal(model.sample_losses(logits, torch.tensor(LABELS)), plain)


def test_equal_classes_have_equal_margins_and_an_empty_one_none():
    model = LDAM(3, 2, [2], network=MLP(hidden=[4]))
    model.bind_data(type("Three", (), {"num_classes": 3, "training": type(
        "rows", (), {"table": type("table", (), {"y": np.array([0, 2, 2, 0])})})}))  # fmt: skip
    assert model.margins.tolist() == [0.5, 0.0, 0.5]


def test_weights_are_deferred():
    model, data = fit(LDAM, epochs=1, defer=1, beta=0.99)
    assert model.on_epoch_weights(data) is None or model.current_epoch == 1
    counts = np.bincount(data.training.table.y)
    wanted = np.array([(1 - 0.99) / (1 - 0.99 ** int(n)) for n in counts])
    weights = model.on_epoch_weights(data)
    per_class = np.array([weights[data.training.table.y == c][0] for c in (0, 1)])
    assert per_class / per_class.mean() == pytest.approx(wanted / wanted.mean(), rel=1e-9)
    assert weights.mean() == pytest.approx(1)
