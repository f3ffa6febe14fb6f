"""Mixed precision for every method: a skipped step moves nothing, and no batch gives NaN."""

import copy

import numpy as np
import pytest
import torch
from promises import SLOW, found
from pytorch_lightning import Callback, seed_everything
from pytorch_lightning.plugins import MixedPrecision
from trainers import trainer

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.networks import MLP
from frbench.objectives import ERM, GroupDRO, Objective
from frbench.penalties import Penalty

OBJECTIVES, PENALTIES = found(Objective), found(Penalty)
#: Options under which three steps reach every part of a method.
SHORT = {"FRTrain": {"warmup": 1, "k": 1, "reweight_every": 1}}
MANUAL = [c for c in OBJECTIVES
          if not c(2, 2, [2], network=MLP(hidden=[2])).automatic_optimization]  # fmt: skip
#: Weights of the head; positive ones tell the classes apart by a wide margin, negative ones take
#: each for the other.
SCALES = {"zero loss": 1e4, "huge logit": -1e6, "logit of 1e15": -1e15}
pytestmark = pytest.mark.promise("precision")


class Rows(GroupDataModule):
    """One column per class, 1 where the label is that class; groups as a situation has them."""

    sizes = Sizes(2, 2, (2,))
    class_names = ("no", "yes")
    attribute_names = ("a", "b")

    def __init__(self, situation, **kwargs):
        super().__init__(batch_size=16, **kwargs)
        self.situation = situation

    def tables(self):
        rng = np.random.default_rng(0)

        def draw(n):
            y, z = rng.integers(2, size=(2, n))
            if self.situation == "empty group":
                z[y == 1] = 0
            if self.situation == "no attribute":
                z[:] = -1
            if self.situation == "one class":
                y[:] = 1
            return Table(np.eye(2, dtype=np.float32)[y], y, z)

        return {"train": draw(96), "val": draw(20), "test": draw(20)}


def fit(cls, situation, penalties=(), steps=3, callbacks=(), **trainer_options):
    seed_everything(1, verbose=False)
    model = cls(
        2, 2, [2], network=MLP(hidden=[2]), optimizer="SGD", lr=0.01,
        penalties=[p(0.5) for p in penalties], **SHORT.get(cls.__name__, {}),
    )  # fmt: skip
    scale = SCALES.get(situation)
    if scale:
        hidden, head = model.network.backbone[1], model.network.head
        with torch.no_grad():
            hidden.weight.copy_(torch.eye(2))
            hidden.bias.zero_()
            head.weight.copy_(scale * torch.eye(2).repeat(len(head.weight) // 2, 1))
            if head.bias is not None:
                head.bias.zero_()
    data = Rows(situation, clean_share=0.25 if model.uses_clean else 0.0)
    run = trainer(
        max_steps=steps, limit_val_batches=0, callbacks=list(callbacks), **trainer_options
    )
    run.fit(model, datamodule=data)
    return model, run


# ---- hostile batches ------------------------------------------------------------------------
class Terms(Callback):
    """Keeps the terms of every step and the state that would be logged."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        terms = {**pl_module.training_log.terms, **pl_module.all_state_to_log()}
        self.values.append({k: float(v) for k, v in terms.items()})


def check(cls, penalties, situation, precision):
    terms = Terms()
    model, _ = fit(cls, situation, penalties, callbacks=[terms], precision=precision)
    assert len(terms.values) == 3
    for step in terms.values:
        assert all(np.isfinite(v) for v in step.values()), step
    for name, value in model.state_dict().items():
        assert torch.isfinite(value).all(), name
    if cls is ERM:
        first = terms.values[0]["risk"]
        wanted = {"zero loss": 0.0, "huge logit": 1e6, "logit of 1e15": 1e15}
        assert first == pytest.approx(wanted.get(situation, first), rel=1e-2)


#: Every class is met in each: `make test` has half of them, in 16 bits, where more overflows.
situations = pytest.mark.parametrize(
    "situation",
    [
        pytest.param("empty group", marks=SLOW), "one class", "no attribute",
        pytest.param("zero loss", marks=SLOW), pytest.param("huge logit", marks=SLOW),
        "logit of 1e15",
    ],
)  # fmt: skip
precisions = pytest.mark.parametrize(
    "precision", [pytest.param("32-true", marks=SLOW), "bf16-mixed"]
)


@situations
@precisions
@pytest.mark.parametrize("cls", OBJECTIVES, ids=lambda cls: cls.__name__)
def test_no_batch_gives_nan(cls, precision, situation):
    check(cls, (), situation, precision)


@situations
@precisions
@pytest.mark.parametrize("cls", PENALTIES, ids=lambda cls: cls.__name__)
def test_no_batch_of_a_penalty_gives_nan(cls, precision, situation):
    check(ERM, (cls,), situation, precision)


# ---- skipped steps --------------------------------------------------------------------------
class Skips(Callback):
    """Compares everything that training holds before and after each step.

    Attributes:
        skipped: Steps whose gradients overflowed, as the scaler says.
        moved: For each step, the names of what has changed in it.
    """

    def __init__(self):
        self.skipped, self.moved = [], []

    @staticmethod
    def everything(trainer, pl_module):
        held = {**dict(pl_module.named_parameters()), **dict(pl_module.named_buffers())}
        for i, optimizer in enumerate(trainer.optimizers):
            for j, state in optimizer.state_dict()["state"].items():
                held |= {f"optimizer/{i}/{j}/{k}": v for k, v in state.items()}
        return {k: copy.deepcopy(v) for k, v in held.items()}

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.scale = trainer.precision_plugin.scaler.get_scale()
        self.before = self.everything(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        after = self.everything(trainer, pl_module)
        self.moved.append({
            name for name, value in after.items()
            if name not in self.before or not torch.equal(value, self.before[name])
        })  # fmt: skip
        if trainer.precision_plugin.scaler.get_scale() < self.scale:
            self.skipped.append(len(self.moved) - 1)


def half():
    """16-mixed on the CPU whose scale overflows in the first of every four steps."""
    scaler = torch.amp.GradScaler(
        "cpu", init_scale=2.0**40, growth_factor=2.0**30, backoff_factor=2.0**-30,
        growth_interval=3,
    )  # fmt: skip
    return MixedPrecision("16-mixed", "cpu", scaler=scaler)


def check_skips(cls, penalties=()):
    skips = Skips()
    model, trainer = fit(cls, "mixed", penalties, 12, [skips], plugins=[half()])
    assert trainer.global_step == 12 and skips.skipped == [0, 4, 8]  # Lightning counts them
    for step, moved in enumerate(skips.moved):
        if step in skips.skipped:
            assert not moved
        else:
            head = dict(model.network.head.named_parameters(prefix="network.head"))
            assert head and head.keys() <= moved
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    return set.union(*skips.moved) & dict(model.named_buffers()).keys()


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
@pytest.mark.parametrize(
    "cls", [c for c in OBJECTIVES if c not in MANUAL], ids=lambda cls: cls.__name__
)
def test_a_skipped_step_moves_nothing(cls):
    moved = check_skips(cls)
    state = cls(2, 2, [2], network=MLP(hidden=[2])).state_dict().keys()
    state = {name for name in state if name in dict(cls(
        2, 2, [2], network=MLP(hidden=[2])).named_buffers())}  # fmt: skip
    assert bool(moved) == bool(state)  # what has state has moved it in the steps that were taken


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
@pytest.mark.parametrize("cls", PENALTIES, ids=lambda cls: cls.__name__)
def test_a_skipped_step_moves_nothing_of_a_penalty(cls):
    assert "log_q" in check_skips(GroupDRO, (cls,))


@pytest.mark.parametrize("cls", MANUAL, ids=lambda cls: cls.__name__)
def test_several_optimisers_are_refused_in_16_mixed(cls):
    with pytest.raises(UserError, match=r"16-mixed cannot scale; use trainer\.precision: bf16"):
        fit(cls, "mixed", plugins=[half()])
