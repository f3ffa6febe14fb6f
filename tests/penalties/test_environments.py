"""Statistics of environments, some without rows, and the schedule of a penalty's weight."""

import pytest
import torch
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.functional import environment_means, mean_of_present, variance_of_present
from frbench.networks import MLP
from frbench.objectives import ERM
from frbench.penalties import Penalty


class Constant(Penalty):
    """The mean of the logits, and the factors that it was given."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.factors = []

    def forward(self, out, batch):
        return out.logits[:, 0].mean()

    def factor(self):
        factor = super().factor()
        self.factors.append(float(factor))
        return factor


def test_means_of_environments_against_a_loop():
    rng = torch.Generator().manual_seed(0)
    value = torch.randn(50, 2, 3, generator=rng, dtype=torch.float64)
    weight = torch.rand(50, generator=rng, dtype=torch.float64)
    environment = torch.randint(-1, 4, (50,), generator=rng)
    environment[environment == 2] = 0  # has no rows
    means, present = environment_means(value, environment, weight, 4)
    assert present.tolist() == [True, True, False, True]
    for e in (0, 1, 3):
        rows = environment == e
        expected = (weight[rows, None, None] * value[rows]).sum(0) / weight[rows].sum()
        assert torch.allclose(means[e], expected)
    assert not means[2].any()
    there = means[[0, 1, 3]]
    assert torch.allclose(mean_of_present(means, present), there.mean(0))
    assert torch.allclose(variance_of_present(means, present), there.var(0, unbiased=False))


def test_no_environment_at_all_is_zero_and_has_a_gradient():
    value = torch.ones(3, requires_grad=True)
    means, present = environment_means(value, torch.full((3,), -1), torch.ones(3), 2)
    variance_of_present(means, present).backward()
    assert not present.any() and not value.grad.any()


def fit(penalty, steps, **options):
    model = ERM(2, 2, [2], network=MLP(hidden=[3]), penalties=[penalty], **options)
    run = trainer(max_steps=steps, limit_val_batches=0)
    run.fit(model, datamodule=TwoGaussians(n=64, batch_size=16))
    return model


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({}, [2.0] * 6),
        ({"start": 2}, [0.0, 0.0, 2.0, 2.0, 2.0, 2.0]),
        ({"start": 1, "before": 1.0, "ramp": 2}, [1.0, 1.0, 1.5, 2.0, 2.0, 2.0]),
        ({"ramp": 4}, [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]),
    ],
)
def test_the_weight_follows_its_schedule(schedule, expected):
    penalty = Constant(2.0, **schedule)
    fit(penalty, 6)
    assert penalty.factors == expected
    assert ("taken" in penalty.state_dict()) == bool(schedule)  # old checkpoints still fit


def test_a_step_that_is_not_taken_does_not_count():
    penalty = Constant(2.0, start=1)
    for take in (False, True, False):
        penalty.factor()
        penalty.commit() if take else penalty.discard()
    assert penalty.factors == [0.0, 0.0, 2.0] and int(penalty.taken) == 1


def test_the_optimiser_begins_anew_where_asked():
    for reset, steps in ((True, 2), (False, 5)):
        model = fit(Constant(2.0, start=3, reset_optimizer=reset), 5)
        states = model.trainer.optimizers[0].state.values()
        assert {int(state["step"]) for state in states} == {steps}


def test_wrong_schedules_are_refused():
    for name in ("start", "before", "ramp"):
        with pytest.raises(UserError, match=f"Constant.{name}"):
            type("Constant", (Penalty,), {"forward": Constant.forward})(1.0, **{name: -1})
