"""Every exported method in a stack: each run has the parameters that it has by itself."""

import inspect
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from promises import SLOW, STAND_INS, found, others_slow
from resumable import FILTERS
from stacked import OPTIONS, builder, close, gaussians, in_stacks, members, one_by_one

from frbench.contracts.errors import UserError
from frbench.contracts.spec import init_parameters
from frbench.mixing import LISA, Mixing, Mixup
from frbench.networks import MLP
from frbench.objectives import ERM, IRW, CVaR, Focal, FRTrain, GroupDRO, Objective
from frbench.penalties import Adversary, ConditionalMMD, Gap, MutualInformation, Penalty
from frbench.stacks.alike import differing
from frbench.stacks.forming import _kind, first_batch, form, stacked
from frbench.stacks.tensors import NotInStack

pytestmark = [pytest.mark.filterwarnings(line) for line in FILTERS]
METHODS = [cls for cls in found(Objective) if cls.stackable]
PENALTIES = [cls for cls in found(Penalty) if cls.stackable]
MIXINGS = [cls for cls in found(Mixing) if cls.stackable]
STEPS = 200
#: Values tried for a number, of which two must be accepted.
VALUES = (0.5, 0.25, 0.9, 2.0, 30.0, 1e-3, 1e-5, 1e-7, 1e-8)


def equal_to_one_by_one(build, folder, runs=2, steps=STEPS, **options):
    """Train both ways and compare; return how many stacks there were."""
    folder = Path(mkdtemp(dir=folder))  # a stack goes on from what it finds in its folder
    limits = {"max_steps": steps, "max_epochs": -1, "limit_val_batches": 0, **options}
    mine, stacks, why, _ = in_stacks(build, runs, folder / "stacks", **limits)
    assert [member.error for member in mine] == [None] * runs
    alone = one_by_one(build, runs, folder / "alone", **limits)
    for member, theirs in zip(mine, alone, strict=True):
        if any(member in stack for stack in stacks):
            assert close(member.objective, theirs)
    return len(stacks), why


def test_what_runs_alone_says_why():
    for cls in [*found(Objective), *found(Penalty), *found(Mixing)]:
        assert bool(cls.why_alone) is not cls.stackable, cls
    assert {FRTrain, IRW} <= {cls for cls in found(Objective) if not cls.stackable}


@pytest.mark.parametrize("cls", others_slow(METHODS))
def test_objective(tmp_path, cls):
    assert equal_to_one_by_one(builder(cls), tmp_path) == (1, [])


@pytest.mark.parametrize("cls", others_slow(PENALTIES))
def test_penalty(tmp_path, cls):
    assert equal_to_one_by_one(builder(ERM, [{"penalties": [cls]}] * 2), tmp_path) == (1, [])


@pytest.mark.parametrize("cls", others_slow(MIXINGS))
def test_mixing(tmp_path, cls):
    settings = [{"mixing": cls}, {"mixing": lambda: cls(at="features")}]
    for setting in settings:
        assert equal_to_one_by_one(builder(ERM, [setting] * 2), tmp_path, steps=40) == (1, [])


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "SGD", "optimizer_options": {"momentum": 0.9, "dampening": 0.1}},
        {"optimizer": "SGD", "optimizer_options": {"momentum": 0.9, "nesterov": True}},
        {"optimizer": "SGD"},
        {"optimizer": "Adam", "scheduler": "StepLR",
         "scheduler_options": {"step_size": 2, "gamma": 0.5}},
        {"optimizer": "AdamW", "scheduler": "WarmupCosine"},
    ],
)  # fmt: skip
def test_rates_and_decays_of_each_run(tmp_path, options):
    runs = [{**options, "lr": lr, "weight_decay": wd} for lr, wd in
            ((0.01, 0.0), (0.05, 0.1), (0.02, 0.01))]  # fmt: skip
    assert equal_to_one_by_one(builder(ERM, runs), tmp_path, 3, 30) == (1, [])


def test_gradients_are_clipped_run_by_run(tmp_path):
    runs = [{"lr": 0.1}, {"lr": 0.01}]
    for how in ("norm", "value"):
        clip = {"gradient_clip_val": 0.05, "gradient_clip_algorithm": how}
        assert equal_to_one_by_one(builder(ERM, runs), tmp_path, 2, 20, **clip) == (1, [])


# ---- numbers in which runs differ ---------------------------------------------------------------
def floats(cls):
    """Arguments of a class that are floats by default, with two values of each."""
    for name in init_parameters(cls):
        signatures = [inspect.signature(k.__init__) for k in cls.__mro__ if "__init__" in vars(k)]
        given = [s.parameters[name].default for s in signatures if name in s.parameters]
        if type(given[0]) is float and name not in ("lr", "weight_decay"):
            yield name


def two_values(cls, name):
    """Two values that a class accepts."""
    good = []
    for value in VALUES:
        try:
            if issubclass(cls, Penalty):
                builder(ERM, [{"penalties": [lambda value=value: cls(**{name: value})]}])(0)
            else:
                builder(cls, [{name: value}])(0)
            good.append(value)
        except UserError:
            continue
    return good[:2]


NUMBERS = [
    pytest.param(cls, name, marks=[] if cls.__name__ in STAND_INS else SLOW,
                 id=f"{cls.__name__}-{name}")
    for cls in METHODS + PENALTIES for name in floats(cls)
]  # fmt: skip


@pytest.mark.parametrize(("cls", "name"), NUMBERS)
def test_no_run_takes_another_ones_number(tmp_path, cls, name):
    """Runs with two values of a number, in one stack or in several, or one by one."""
    first, second = two_values(cls, name)
    if issubclass(cls, Penalty):
        runs = [{"penalties": [lambda value=value: cls(**{name: value})]}
                for value in (first, second, first)]  # fmt: skip
    else:
        runs = [{name: value} for value in (first, second, first)]
    equal_to_one_by_one(builder(cls if issubclass(cls, Objective) else ERM, runs), tmp_path, 3, 20)


@pytest.mark.parametrize(
    ("cls", "runs"),
    [
        (GroupDRO, [{"eta": 0.1}, {"eta": 1.0}]),
        (CVaR, [{"alpha": 0.2}, {"alpha": 0.7}]),
        (Focal, [{"gamma": 1.0}, {"gamma": 3.0}]),
        (ERM, [{"penalties": [lambda: ConditionalMMD(0.5)]},
               {"penalties": [lambda: ConditionalMMD(4.0)]}]),
        (ERM, [{"penalties": [lambda: MutualInformation(beta=1.0)]},
               {"penalties": [lambda: MutualInformation(beta=5.0)]}]),
    ],
)  # fmt: skip
def test_a_number_that_leaks_is_found(tmp_path, cls, runs):
    """Each of these has a value of its own in the stack, and is missed where it has not."""
    assert equal_to_one_by_one(builder(cls, runs), tmp_path, 2, 20) == (1, [])
    limits = {"max_steps": 2, "max_epochs": -1}
    built = members(builder(cls, runs), 2, tmp_path / "built", **limits)
    for member in built:
        _kind(member, {**OPTIONS, **limits})
    numbers = differing([member.objective for member in built])
    assert len(numbers) == 1
    stacked(built, numbers).check(first_batch(built, torch.device("cpu")))
    leaks = stacked(built, {})
    with pytest.raises(NotInStack, match="other numbers"):
        leaks.check(first_batch(built, torch.device("cpu")))


def test_what_cannot_differ_in_a_stack_forms_several(tmp_path):
    """Integers, and numbers that a step asks questions about."""
    runs = [{"min_weight": value} for value in (0.1, 0.2, 0.1, 0.2)]
    assert equal_to_one_by_one(builder(GroupDRO, runs), tmp_path, 4, 6) == (2, [])
    runs = [{"network": MLP(hidden=[width])} for width in (4, 6, 4)]
    assert equal_to_one_by_one(
        builder(ERM, runs), tmp_path, 3, 6
    ) == (1, ["no other run has its shape"])  # fmt: skip


# ---- what runs one by one -----------------------------------------------------------------------
class Asks(ERM):
    """Looks at a value on the host."""

    def risk(self, out, batch):
        return super().risk(out, batch) * (2 if out.losses.mean() > 0.5 else 1)


class ReadsItsData(ERM):
    """Reads its own run's data within the step."""

    def risk(self, out, batch):
        return super().risk(out, batch) * len(self.trainer.datamodule.training.table)


class Draws(ERM):
    """Draws from the seed of its run."""

    def risk(self, out, batch):
        return super().risk(out, batch) * (1 + (self._seed or 0) % 3)


class Hooked(ERM):
    """Does something before each step of the optimiser."""

    def on_before_optimizer_step(self, optimizer):
        raise AssertionError("not reached")


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (builder(Hooked), "a hook ['on_before_optimizer_step']"),
        (builder(Asks), "data-dependent control flow"),
        (builder(ReadsItsData), "a step reads training"),
        (builder(Draws), "seed of its run"),
        (builder(GroupDRO, [{"mode": "single_group"}] * 2), "seed of its run"),
        (builder(IRW), "IRW: the products"),
        (builder(FRTrain, clean_share=0.2), "FRTrain: several optimisers"),
        (builder(ERM, [{"network": MLP(hidden=[4], dropout=0.5)} for _ in "ab"]), "random"),
        (builder(ERM, [{"optimizer": "RMSprop"}] * 2), "RMSprop has no step"),
        (builder(ERM, [{"optimizer_options": {"amsgrad": True}}] * 2), "amsgrad"),
        (builder(ERM, [{"penalties": [lambda: Gap(start=2, reset_optimizer=True)]}] * 2),
         "resets the optimiser"),
    ],
)  # fmt: skip
def test_what_runs_one_by_one(tmp_path, build, why):
    limits = {"max_steps": 2, "max_epochs": -1}
    stacks, alone = form(members(build, 2, tmp_path, **limits), [{**OPTIONS, **limits}] * 2)
    assert stacks == [] and len(alone) == 2
    assert all(why in reason for _, reason in alone), alone


def test_mixing_and_penalties_go_together(tmp_path):
    runs = [{"mixing": how, "penalties": [Adversary, Gap]} for how in (LISA, LISA)]
    assert equal_to_one_by_one(builder(GroupDRO, runs), tmp_path, 2, 20) == (1, [])
    runs = [{"mixing": how} for how in (LISA, Mixup)]
    assert equal_to_one_by_one(builder(ERM, runs), tmp_path, 2, 2)[0] == 0


def test_the_tables_of_the_runs_are_their_own():
    assert not (gaussians(0).splits["train"].x == gaussians(1).splits["train"].x).all()
