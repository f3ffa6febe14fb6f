"""Adversarial debiasing: the projection by hand, a step by a slow reference, and its effect."""

import copy

import pytest
import torch
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, AdversarialDebiasing
from frbench.objectives.adversarial_debiasing import projected
from frbench.penalties.adversary import margin


def test_the_projection_is_that_of_the_whole_vector():
    rng = torch.Generator().manual_seed(0)
    own, theirs = ([torch.randn(s, generator=rng) for s in ((3, 2), (2,), (4,))] for _ in "ab")
    g, h = (torch.cat([t.flatten() for t in v]) for v in (own, theirs))
    unit = h / h.norm()
    expected = g - (g @ unit) * unit - 0.3 * h
    found = torch.cat([t.flatten() for t in projected(own, theirs, 0.3)])
    assert torch.allclose(found, expected, atol=1e-6)
    assert found @ h == pytest.approx(-0.3 * float(h @ h), rel=1e-5)  # no step towards it


def test_without_an_adversary_s_gradient_nothing_is_projected():
    g = [torch.tensor([1.0, 2.0])]
    assert projected(g, [torch.zeros(2)], 1.0)[0].tolist() == [1.0, 2.0]


def fit(cls, epochs=8, seed=1, optimizer="Adam", **options):
    seed_everything(seed, verbose=False)
    data = TwoGaussians(n=400, batch_size=100)
    model = cls(2, 2, [2], network=MLP(hidden=[6]), lr=0.02, optimizer=optimizer, **options)
    start = copy.deepcopy(model)
    trainer(max_epochs=epochs, limit_val_batches=0).fit(model, datamodule=data)
    return model, start


def test_a_step_is_that_of_a_slow_reference():
    options = {"alpha": 0.7, "adversary_optimizer": "SGD", "adversary_lr": 0.3}
    model, start = fit(AdversarialDebiasing, 1, 1, "SGD", target="equalized_odds", **options)
    network, adversary = start.network, start.adversary
    loader = TwoGaussians(n=400, batch_size=100).train_dataloader()
    loader.set_epoch(0)
    for batch in loader:
        logits = network(batch.x)[1]
        loss = torch.nn.functional.cross_entropy(logits, batch.y)
        z = adversary(margin(logits), batch.y)[:, 0]
        guess = torch.nn.functional.binary_cross_entropy_with_logits(z, batch.z.float())
        weights = [*network.parameters()]
        g = torch.autograd.grad(loss, weights, retain_graph=True)
        h = torch.autograd.grad(guess, weights, retain_graph=True)
        a = torch.autograd.grad(guess, [*adversary.parameters()])
        norm = sum((t**2).sum() for t in h).sqrt()
        along = sum((s * t / norm).sum() for s, t in zip(g, h, strict=True))
        with torch.no_grad():
            for p, s, t in zip(weights, g, h, strict=True):
                p -= 0.02 * (s - along * t / norm - 0.7 * t)
            for p, s in zip(adversary.parameters(), a, strict=True):
                p -= 0.3 * s
    for key, value in start.state_dict().items():
        assert torch.allclose(model.state_dict()[key], value, atol=1e-5), key


def gap(model):
    table = TwoGaussians(n=2000, seed=5).splits["train"]
    h = model.eval()(torch.as_tensor(table.x)).softmax(1)[:, 1].detach()
    return abs(float(h[table.z == 1].mean() - h[table.z == 0].mean()))


def test_training_lowers_the_gap():
    plain, _ = fit(ERM, epochs=30)
    fair, _ = fit(AdversarialDebiasing, epochs=30, alpha=3.0, adversary_lr=0.05)
    assert gap(fair) < gap(plain) / 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"positive_class": 2}, r"positive_class: 2"),
        ({"alpha": -1.0}, "alpha"),
        ({"adversary_optimizer": "Addam"}, "adversary_optimizer"),
        ({"adversary_lr": 0.0}, "adversary_lr"),
    ],
)
def test_bad_input(options, named):
    with pytest.raises(UserError, match=named):
        AdversarialDebiasing(2, 2, [2], network=MLP(hidden=[4]), **options)
