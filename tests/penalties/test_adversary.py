"""The adversary: reversal, masks and weights by loops, and two optimisers in one."""

import copy
import math

import pytest
import torch
from pytorch_lightning import seed_everything
from rows import random_rows
from test_mutual_information import TARGETS, rows
from trainers import trainer

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM
from frbench.penalties import Adversary
from frbench.penalties.adversary import margin


def make(sizes, features=4, **kwargs):
    torch.manual_seed(0)
    penalty = Adversary(**kwargs).double()
    penalty.num_features = features
    penalty.bind(sizes)
    return penalty.double()


@pytest.mark.parametrize(("classes", "attributes"), [(2, 2), (3, 2), (2, 3), (3, 1)])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sees", ["logits", "probabilities", "features"])
def test_value_equals_a_loop_and_the_gradient_is_reversed(sees, target, classes, attributes):
    out, batch = rows(30, classes, attributes)
    penalty = make(Sizes(classes, attributes, (1,)), classes, sees=sees, target=target, hidden=[5])
    total = weight = 0.0
    plain = out.logits.detach().clone().requires_grad_()
    seen = {"logits": plain, "probabilities": plain.softmax(1), "features": plain}[sees]
    if sees == "logits" and classes == 2:
        seen = (plain[:, 1] - plain[:, 0])[:, None]
    for i in range(30):
        y, z = int(batch.y[i]), int(batch.z[i])
        if z < 0 or (target == "equal_opportunity" and y != 1):
            continue
        shown = seen[i]
        if target == "equalized_odds":
            shown = torch.cat([shown, torch.eye(classes).double()[y]])
        logits = penalty.network.layers(shown)
        if attributes == 2:
            p = torch.sigmoid(logits[0])
            loss = -torch.log(p if z == 1 else 1 - p)
        else:
            loss = -torch.log(torch.softmax(logits, 0)[z])
        total = total + batch.weight[i] * loss
        weight += float(batch.weight[i])
    expected = total / weight
    value = penalty(out, batch)
    assert value.item() == pytest.approx(expected.item(), abs=1e-12)
    parameters = list(penalty.parameters())
    theirs = torch.autograd.grad(expected, [plain, *parameters], allow_unused=True)
    ours = torch.autograd.grad(value, [out.logits, *parameters])
    assert torch.allclose(ours[0], -theirs[0], atol=1e-12)  # towards the model: reversed
    for a, b in zip(ours[1:], theirs[1:], strict=True):  # of the adversary: as it is
        assert torch.allclose(a, b, atol=1e-12)


def test_one_adam_with_two_groups_equals_two_adams_stepped_together():
    data = TwoGaussians(n=96, batch_size=32)
    seed_everything(1, verbose=False)
    model = ERM(2, 2, [2], network=MLP(hidden=[6]), lr=0.01, penalties=[Adversary(1.0, lr=0.03)])
    network, adversary = copy.deepcopy(model.network), copy.deepcopy(model.penalties[0].network)
    trainer(max_epochs=2).fit(model, datamodule=data)
    first = torch.optim.Adam(network.parameters(), 0.01)
    second = torch.optim.Adam(adversary.parameters(), 0.03)
    loader = TwoGaussians(n=96, batch_size=32).train_dataloader()
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch in loader:
            logits = network(batch.x)[1]
            odds = (logits[:, 1] - logits[:, 0])[:, None]
            ce = torch.nn.functional.cross_entropy(logits, batch.y)
            bce = torch.nn.functional.binary_cross_entropy_with_logits
            attack = bce(adversary.layers(odds)[:, 0], batch.z.float())
            g = torch.autograd.grad(ce - attack, list(network.parameters()),
                                    retain_graph=True)  # fmt: skip
            a = torch.autograd.grad(attack, list(adversary.parameters()))
            for p, gradient in zip([*network.parameters(), *adversary.parameters()], [*g, *a],
                                   strict=True):  # fmt: skip
                p.grad = gradient
            first.step()
            second.step()
    theirs = [*network.parameters(), *adversary.parameters()]
    for a, b in zip(model.parameters(), theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-4), (a - b).abs().max()


def test_training_against_it_evens_out_the_rates():
    gaps = {}
    for weight in (0.0, 4.0):
        seed_everything(0, verbose=False)
        penalty = Adversary(weight, lr=0.02)
        model = ERM(2, 2, [2], network=MLP(hidden=[8]), lr=0.01, penalties=[penalty])
        data = TwoGaussians(n=600, batch_size=100)
        trainer(max_epochs=40, check_val_every_n_epoch=40).fit(model, datamodule=data)
        gaps[weight] = model.evaluation["val"]["demographic_parity_difference"]
    assert gaps[4.0] < gaps[0.0] / 2, gaps


@pytest.mark.parametrize("classes", [2, 3])
def test_huge_logits_are_cut_and_no_others(classes):
    logits = torch.tensor([[0.0, 999.0], [-2e3, 0.0], [5e14, -5e14]])
    logits = torch.cat([logits, torch.zeros(3, classes - 2)], 1).requires_grad_()
    shown = margin(logits)
    wanted = logits.clamp(-1e3, 1e3) if classes == 3 else torch.tensor([[999.0], [1e3], [-1e3]])
    assert torch.equal(shown, wanted)
    (gradient,) = torch.autograd.grad(shown.sum(), logits)
    assert torch.equal(gradient != 0, logits.detach().abs() < 1e3) or classes == 2
    assert gradient[0].abs().sum() == classes and not gradient[2, :2].any()


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"target": "parity"}, "demographic_parity"),
        ({"sees": "x"}, "features"),
        ({"hidden": [0]}, "Adversary.hidden: expected a list of integers of at least 1"),
        ({"lr": 0.0}, "Adversary.lr: expected a number above 0"),
        ({"positive_class": 2}, "2 classes"),
    ],
)
def test_wrong_arguments_are_refused(kwargs, words):
    with pytest.raises(UserError, match=words):
        make(Sizes(2, 2, (1,)), **kwargs)


# ---- LAFTR, CDANN and CFair -----------------------------------------------------------------
def bound(classes=2, attributes=3, **options):
    torch.manual_seed(0)
    penalty = Adversary(**options)
    penalty.num_features = 3
    penalty.bind(Sizes(classes, attributes, (1,)))
    return penalty.double()


@pytest.mark.parametrize("loss", ["cross_entropy", "l1"])
@pytest.mark.parametrize("balance", ["none", "class", "cell"])
@pytest.mark.parametrize("target", ["demographic_parity", "equal_opportunity", "equalized_odds"])
def test_balanced_losses_equal_a_loop(target, balance, loss):
    out, batch = random_rows(60, 2, 3, seed=3)
    penalty = bound(target=target, balance=balance, loss=loss, sees="features")
    with torch.no_grad():
        probability = penalty.network(out.features, batch.y).softmax(1)
    cells = {}
    for i in range(60):
        y, z, w = int(batch.y[i]), int(batch.z[i]), float(batch.weight[i])
        if z < 0 or (target == "equal_opportunity" and y != 1):
            continue
        p = float(probability[i, z])
        cell = {"none": 0, "class": y, "cell": (y, z) if target == "equalized_odds" else z}[
            balance
        ]
        value = -math.log(p) if loss == "cross_entropy" else 1 - p
        cells.setdefault(cell, []).append((w, w * value))
    means = [sum(b for _, b in rows) / sum(a for a, _ in rows) for rows in cells.values()]
    assert penalty(out, batch).item() == pytest.approx(sum(means) / len(means), rel=1e-9)


@pytest.mark.parametrize(("loss", "chance"), [("l1", 0.5), ("cross_entropy", math.log(2))])
def test_an_adversary_at_chance(loss, chance):
    """CFair weighs rows by 1 / P(z | y), not by 1 / P(y | z): each cell counts the same."""
    out, batch = random_rows(60, 2, 2, seed=4)
    penalty = bound(
        attributes=2, loss=loss, balance="cell", target="equal_opportunity", sees="features"
    )
    for parameter in penalty.parameters():
        parameter.data.zero_()
    assert penalty(out, batch).item() == pytest.approx(chance, rel=1e-9)
    # A constant answer in favour of the common value gains nothing on balanced cells.
    penalty.network.layers[-1].bias.data.fill_(1.0)
    assert penalty(out, batch).item() >= chance - 1e-9


@pytest.mark.parametrize("attributes", [2, 3])
def test_entropy_is_for_the_model_alone(attributes):
    out, batch = rows(30, 2, attributes)
    plain = make(Sizes(2, attributes, (1,)), 2, hidden=[5])
    penalty = make(Sizes(2, attributes, (1,)), 2, hidden=[5], entropy=0.4)
    total = weight = 0.0
    for i in range(30):
        if batch.z[i] >= 0:
            logits = penalty.network.layers(margin(out.logits[i : i + 1]))[0]
            if attributes == 2:
                logits = torch.cat([torch.zeros_like(logits), logits])
            p = logits.softmax(0)
            total = total - float(batch.weight[i]) * float((p * p.log()).sum().detach())
            weight += float(batch.weight[i])
    value, without = penalty(out, batch), plain(out, batch)
    assert value.item() == pytest.approx(without.item() - 0.4 * total / weight, abs=1e-9)
    ours = torch.autograd.grad(value, [out.logits, *penalty.parameters()], retain_graph=True)
    theirs = torch.autograd.grad(without, [out.logits, *plain.parameters()], retain_graph=True)
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert torch.allclose(a, b)
    assert not torch.allclose(ours[0], theirs[0])
    for parameter in penalty.parameters():
        torch.nn.init.zeros_(parameter)
    unsure = make(Sizes(2, attributes, (1,)), 2, hidden=[5])
    for parameter in unsure.parameters():
        torch.nn.init.zeros_(parameter)
    difference = unsure(out, batch) - penalty(out, batch)
    assert difference.item() == pytest.approx(0.4 * math.log(attributes), abs=1e-9)
