"""The smooth mutual information against loops in float64, its normalisers and its sign."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM
from frbench.penalties import MutualInformation

TARGETS = ["demographic_parity", "equal_opportunity", "equalized_odds"]


def rows(n=60, classes=3, attributes=3, seed=0, unknown=0.1):
    """Logits in float64 with gradients, and a batch of weighted rows, some without attribute."""
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, classes, n), rng.integers(0, attributes, n)
    z[rng.random(n) < unknown] = -1
    logits = torch.tensor(rng.normal(size=(n, classes)), requires_grad=True)
    y, z = torch.tensor(y), torch.tensor(z)
    batch = Batch(
        torch.zeros(n, 1), y, z, torch.where(z < 0, -1, y * attributes + z),
        torch.tensor(rng.uniform(0.5, 1.5, n)), torch.zeros(n, dtype=torch.bool), torch.arange(n),
        torch.zeros(n, dtype=torch.bool),
    )  # fmt: skip
    return Outputs(logits, logits, logits[:, 0]), batch


def plog(p, q):
    return p * math.log(p / q) if p > 0 else 0.0


def slow(logits, batch, beta, target, normaliser, label_entropy, positive=1):
    """Definition, in Python floats and loops: sums over strata of p(s) I(Yhat; Z | S = s)."""
    classes = logits.shape[1]
    kept, strata = [], []
    for i in range(len(logits)):
        y, z = int(batch.y[i]), int(batch.z[i])
        if z < 0 or (target == "equal_opportunity" and y != positive):
            continue
        kept.append(i)
        strata.append(y if target == "equalized_odds" else 0)
    total = sum(float(batch.weight[i]) for i in kept)
    information = h_z = h_yhat = 0.0
    for stratum in set(strata):
        p = {}
        for i, s in zip(kept, strata, strict=True):
            if s != stratum:
                continue
            e = [math.exp(beta * float(v)) for v in logits[i]]
            for c in range(classes):
                key = (int(batch.z[i]), c)
                p[key] = p.get(key, 0.0) + float(batch.weight[i]) / total * e[c] / sum(e)
        share = sum(p.values())
        p_z, p_c = {}, {}
        for (z, c), value in p.items():
            p_z[z] = p_z.get(z, 0.0) + value
            p_c[c] = p_c.get(c, 0.0) + value
        information += sum(plog(v, p_z[z] * p_c[c] / share) for (z, c), v in p.items())
        h_z += sum(plog(v, share) for v in p_z.values()) * -1
        h_yhat += sum(plog(v, share) for v in p_c.values()) * -1
    entropies = {"none": 1.0, "label": label_entropy, "attribute": h_z, "prediction": h_yhat,
                 "min": min(h_z, h_yhat)}  # fmt: skip
    return information / entropies[normaliser]


def make(sizes=Sizes(3, 3, (1,)), label_entropy=0.7, **kwargs):  # noqa: B008
    penalty = MutualInformation(**kwargs).double()
    penalty.bind(sizes)
    penalty.label_entropy.fill_(label_entropy)
    return penalty


@pytest.mark.parametrize("normaliser", ["none", "label", "attribute", "prediction", "min"])
@pytest.mark.parametrize("target", TARGETS)
def test_value_and_gradient_equal_the_float64_definition(target, normaliser):
    for classes, attributes, beta in ((2, 2, 20.0), (3, 3, 1.0), (2, 4, 5.0)):
        out, batch = rows(24, classes, attributes, seed=classes + attributes)
        penalty = make(Sizes(classes, attributes, (1,)), target=target, normaliser=normaliser,
                       beta=beta)  # fmt: skip
        value = penalty(out, batch)
        args = (batch, beta, target, normaliser, 0.7)
        logits = out.logits.detach().clone()
        assert value.item() == pytest.approx(slow(logits, *args), abs=1e-9)
        value.backward()
        for i, c in ((0, 0), (5, 1), (11, classes - 1)):
            moved = []
            for step in (1e-5, -1e-5):
                shifted = logits.clone()
                shifted[i, c] += step
                moved.append(slow(shifted, *args))
            numeric = (moved[0] - moved[1]) / 2e-5
            assert out.logits.grad[i, c].item() == pytest.approx(numeric, abs=1e-8)


def test_two_classes_equal_the_four_joint_form_of_the_source():
    """H_S - H_{S|Y} from four joints, in steps, as the imbalance study prints it; beta = 20."""
    out, batch = rows(50, 2, 2, unknown=0.0)
    batch = batch._replace(weight=torch.ones(50).double())
    s = batch.z.double().numpy()
    q = 1 / (1 + np.exp(-20 * np.diff(out.logits.detach().numpy(), axis=1)[:, 0]))
    p_s1, p_y1, p_s1y1 = s.mean(), q.mean(), (s * q).mean()
    joint = {(1, 1): p_s1y1, (1, 0): p_s1 - p_s1y1, (0, 1): p_y1 - p_s1y1}
    joint[0, 0] = 1 - sum(joint.values())
    p_s, p_y = {1: p_s1, 0: 1 - p_s1}, {1: p_y1, 0: 1 - p_y1}
    h_s = -sum(p * math.log(p) for p in p_s.values())
    h_s_given_y = -sum(p * math.log(p / p_y[y]) for (_, y), p in joint.items())
    value = make(Sizes(2, 2, (1,)), beta=20.0)(out, batch)
    assert value.item() == pytest.approx(h_s - h_s_given_y, abs=1e-9)


@pytest.mark.parametrize("normaliser", ["attribute", "prediction", "min"])
def test_normalised_information_of_a_copy_is_one_and_of_a_constant_zero(normaliser):
    _, batch = rows(200, 3, 3, unknown=0.0)
    copy = torch.nn.functional.one_hot(batch.z, 3).double() * 100
    penalty = make(normaliser=normaliser)
    assert penalty(Outputs(copy, copy, copy[:, 0]), batch).item() == pytest.approx(1, abs=1e-6)
    constant = torch.zeros_like(copy)
    assert penalty(Outputs(constant, constant, constant[:, 0]), batch).abs().item() < 1e-9


def test_saturated_predictions_have_finite_gradients():
    _, batch = rows(40, 2, 2)
    logits = (torch.randn(40, 2) * 1e4).requires_grad_()
    for target in TARGETS:
        penalty = MutualInformation(beta=20.0, target=target, normaliser="min")
        penalty.bind(Sizes(2, 2, (1,)))
        (gradient,) = torch.autograd.grad(
            penalty(Outputs(logits, logits, logits[:, 0]), batch), logits
        )
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("target", TARGETS)
def test_a_step_on_plus_weight_times_information_lowers_it(target):
    torch.manual_seed(0)
    data = TwoGaussians(n=400, batch_size=400)
    batch = next(iter(data.train_dataloader()))
    model = ERM(2, 2, [2], network=MLP(hidden=[]))
    penalty = MutualInformation(target=target)
    penalty.bind(data.sizes)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    values = []
    for _ in range(6):
        value = penalty(model.outputs(batch), batch)
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert all(b < a for a, b in pairwise(values))


def test_training_with_it_evens_out_the_rates_and_label_entropy_is_read():
    rates = {}
    for weight in (0.0, 5.0):
        seed_everything(0, verbose=False)
        penalty = MutualInformation(weight, normaliser="label")
        model = ERM(2, 2, [2], network=MLP(hidden=[8]), lr=0.05, penalties=[penalty])
        data = TwoGaussians(n=600, batch_size=200, positive_rate=0.3)
        trainer(max_epochs=15, check_val_every_n_epoch=15).fit(model, datamodule=data)
        rates[weight] = model.evaluation["val"]["demographic_parity_difference"]
        share = data.splits["train"].y.mean()
        entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
        assert penalty.label_entropy.item() == pytest.approx(entropy, rel=1e-6)
    assert rates[5.0] < rates[0.0] / 2


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"target": "parity"}, "demographic_parity"),
        ({"normaliser": "h_y"}, "prediction"),
        ({"beta": 0.0}, "MutualInformation.beta: expected a number above 0"),
        ({"positive_class": 2}, "2 classes"),
        ({"positive_class": -1}, "positive_class: expected an integer of at least 0"),
    ],
)
def test_wrong_arguments_are_refused(kwargs, words):
    with pytest.raises(UserError, match=words):
        make(Sizes(2, 2, (1,)), **kwargs)
