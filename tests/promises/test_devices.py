"""What cannot work on several devices is refused in one line, before training."""

from types import SimpleNamespace

import pytest
import torch
from promises import found
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP, Network
from frbench.objectives import ERM, Objective
from frbench.penalties import Penalty

OBJECTIVES, PENALTIES = found(Objective), found(Penalty)


def make(cls=ERM, penalties=None):
    return cls(2, 2, [2], network=MLP(hidden=[2]), penalties=penalties)


def refused(words, model, data=None, **options):
    """The model must not have moved when the error comes, and the error is one line."""
    before = [p.clone() for p in model.parameters()]
    run = trainer(max_steps=2, **options)
    share = 0.25 if model.uses_clean else 0.0
    with pytest.raises(UserError, match=words) as error:
        run.fit(model, datamodule=data or TwoGaussians(n=64, clean_share=share))
    assert "\n" not in str(error.value)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


COUPLED = [cls for cls in OBJECTIVES if cls.couples_batch]


@pytest.mark.promise("devices")
@pytest.mark.parametrize("cls", COUPLED, ids=lambda cls: cls.__name__)
def test_gradients_of_coupled_batches_are_not_accumulated(cls):
    refused("accumulate.* 1", make(cls), accumulate_grad_batches=2)


@pytest.mark.promise("devices")
@pytest.mark.parametrize("cls", PENALTIES, ids=lambda cls: cls.__name__)
def test_gradients_of_penalties_are_not_accumulated(cls):
    refused("accumulate.* 1", make(penalties=[cls()]), accumulate_grad_batches=2)


def test_an_uncoupled_objective_accumulates():
    model = make()
    run = trainer(max_steps=2, accumulate_grad_batches=2, limit_val_batches=0)
    run.fit(model, datamodule=TwoGaussians(n=64, batch_size=8))
    assert run.global_step == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 15}, "15 is not divisible by 2"),
        (
            {"batch_size": 16, "clean_share": 0.05},
            "verified rows .* not divisible by 2",
        ),
    ],
)
def test_batches_must_divide_by_the_processes(options, words):
    data = TwoGaussians(n=64, **options)
    data.trainer = SimpleNamespace(world_size=2, global_rank=0)
    with pytest.raises(UserError, match=words):
        data.setup("fit")


def test_fsdp_needs_a_gpu():
    with pytest.raises(ValueError, match="FSDP"):  # the command line makes a UserError of it
        Trainer(accelerator="cpu", strategy="fsdp", devices=2)


class FSDPStrategy(SingleDeviceStrategy):
    """Called as one that shards parameters; Lightning's own needs a GPU."""


def train(model, **options):
    run = trainer(max_steps=2, limit_val_batches=0, **options)
    share = 0.25 if model.uses_clean else 0.0
    run.fit(model, datamodule=TwoGaussians(n=64, batch_size=16, clean_share=share))


@pytest.fixture
def gradients_taken(monkeypatch):
    """What asks autograd for gradients beside Lightning's backward pass."""
    taken, grad = [], torch.autograd.grad

    def watched(*args, **kwargs):
        taken.append(args)
        return grad(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    return taken


@pytest.mark.promise("devices")
@pytest.mark.parametrize("cls", OBJECTIVES, ids=lambda cls: cls.__name__)
def test_sharded_parameters_are_refused_where_they_are_needed_whole(cls, gradients_taken):
    """Who takes gradients of its own needs them whole; the others train on shards."""
    train(make(cls), devices=1)
    assert gradients_taken or cls.__name__ not in ("IRW", "IRWO", "FRTrain")
    sharded = FSDPStrategy(device=torch.device("cpu"))
    if gradients_taken:
        refused(r"whole parameters; use trainer\.strategy: ddp", make(cls), strategy=sharded)
    else:
        train(make(cls), strategy=sharded)


class Normed(Network):
    """A hidden layer with BatchNorm."""

    def build(self, sizes):
        return nn.Sequential(nn.Linear(*sizes.input_shape, 3), nn.BatchNorm1d(3), nn.ReLU()), 3


@pytest.fixture
def no_group_left():
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.promise("devices", ERM)
@pytest.mark.filterwarnings("ignore:.*sync_dist=True")
def test_synchronised_batchnorm_on_cpu_is_refused(no_group_left):
    """Lightning converts the layers under ddp, and torch then refuses them on a CPU."""
    options = {"devices": 1, "strategy": "ddp"}
    train(ERM(2, 2, [2], network=Normed()), **options)
    words = r"sync_batchnorm.*GPUs only; use a network with GroupNorm"
    refused(words, ERM(2, 2, [2], network=Normed()), sync_batchnorm=True, **options)
    train(make(), sync_batchnorm=True, **options)  # nothing to synchronise
