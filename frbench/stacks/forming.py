"""Which runs make a stack, and the training of one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from frbench.callbacks import CSVLogger, EarlyStop, RollingCheckpoint
from frbench.contracts.batch import Batch
from frbench.contracts.errors import UserError
from frbench.data.module import GroupDataModule
from frbench.stacks.alike import Place, Unlike, differing, shape
from frbench.stacks.loader import StackData
from frbench.stacks.member import Member
from frbench.stacks.module import Into, StackModule
from frbench.stacks.optimizer import reason_alone, shared_options
from frbench.stacks.tensors import NotInStack, StackedTensors
from frbench.training.objective import Objective

#: A run and what keeps it from a stack.
Alone = tuple[Member, str]
#: Hooks of an objective that a stack calls for each run; those of evaluation come after it.
CALLED = {
    "configure_callbacks", "configure_optimizers", "on_fit_start", "on_load_checkpoint",
    "on_save_checkpoint", "on_train_epoch_end", "on_train_epoch_start", "on_train_start",
    "on_validation_epoch_end",
}  # fmt: skip
#: How the names of hooks of training begin.
HOOKS = ("on_", "configure_", "optimizer_", "lr_scheduler_", "training_step", "backward")
#: Options of the trainer that a stack sets itself.
OWN = ("callbacks", "logger", "default_root_dir")


def form(
    members: Sequence[Member], options: Sequence[dict[str, Any]]
) -> tuple[list[list[Member]], list[Alone]]:
    """Divide runs into stacks, and set them up.

    Args:
        members: The runs.
        options: Options of each run's trainer.

    Returns:
        Stacks of at least two runs, and the other runs, each with what keeps it from one.

    Raises:
        UserError: If the trainer is to use several devices.
    """
    kinds: dict[Hashable, list[Member]] = {}
    alone: list[Alone] = []
    for member, own in zip(members, options, strict=True):
        if member.own.world_size > 1:
            raise UserError("--stack trains on one device; leave trainer.num_nodes at 1.")
        why = _why_alone(member, own)
        if why is None:
            try:
                kinds.setdefault(_kind(member, own), []).append(member)
                continue
            except (Unlike, NotInStack, UserError) as error:
                why = str(error)
        alone.append((member, why))
    stacks: list[list[Member]] = []
    for alike in kinds.values():
        _divide(alike, stacks, alone)
    return stacks, alone


def _why_alone(member: Member, options: dict[str, Any]) -> str | None:
    """Say what keeps a run from a stack before anything of it is set up, if anything does."""
    objective, callbacks = member.objective, member.own.callbacks
    for part in (objective, *objective.penalties, objective.mixing):
        if part is not None and not part.stackable:
            return f"{type(part).__name__}: {part.why_alone}"
    stops = any(isinstance(c, EarlyStop) and c.patience < 10**9 for c in callbacks)
    hooks = [
        name
        for name in dir(LightningModule)
        if name.startswith(HOOKS)
        and name not in CALLED
        and not name.startswith(("on_test", "on_predict"))
        and getattr(type(objective), name) is not getattr(Objective, name)
    ]
    moves = type(member.data).transfer_batch_to_device
    reasons = {
        f"{type(objective).__name__} has a hook {hooks[:1]}, which a stack does not call": hooks,
        "its data set moves batches to the device itself": moves
        is not GroupDataModule.transfer_batch_to_device,
        "its data set has a training loader of its own": type(member.data).train_dataloader
        is not GroupDataModule.train_dataloader,
        "it infers an attribute, in two stages": objective.infer is not None,
        "its network is compiled": objective.compile_network,
        "a penalty resets the optimiser": any(
            p.reset_optimizer and p.is_scheduled for p in objective.penalties
        ),
        "it has another logger than metrics.csv": not all(
            isinstance(logger, CSVLogger) for logger in member.own.loggers
        ),
        "trainer.callbacks has callbacks of your own": bool(options.get("callbacks")),
        "16-mixed skips steps": str(member.own.precision) == "16-mixed",
        "it may stop early, but not before trainer.min_epochs or min_steps": stops
        and bool(member.own.min_epochs or member.own.min_steps),
        "trainer.max_time or fast_dev_run": bool(
            options.get("max_time") or options.get("fast_dev_run")
        ),
    }
    return next((why for why, found in reasons.items() if found), None)


def _kind(member: Member, options: dict[str, Any]) -> Hashable:
    """Set a run up, and return what all runs of a stack have in common."""
    shared = {k: v for k, v in options.items() if k not in OWN}
    trainer = Trainer(**shared, logger=False, callbacks=[RollingCheckpoint()])
    member.attach(trainer)
    objective, data = member.objective, member.data
    found: Any = objective.configure_optimizers()
    optimizer = found["optimizer"] if isinstance(found, dict) else found
    if why := reason_alone(optimizer):
        raise NotInStack(why)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    if any(p.dtype != torch.float32 for p in trained):
        raise NotInStack("it trains parameters that are not float32")
    batches = data.batches_per_epoch, data.rows_per_batch, data.clean_per_batch
    table = tuple(data.training.table.x.shape[1:]) if data.is_small else None
    rows = len(data.training.table) if objective.row_state else None
    interval = objective.scheduler and objective.schedule_counts
    return (
        repr(shared), repr(shared_options(optimizer)), interval, batches, table, rows,
        len(data.val_names), shape(objective),
    )  # fmt: skip


def _divide(members: list[Member], stacks: list[list[Member]], alone: list[Alone]) -> None:
    """Put runs that look alike into stacks, or into several by the numbers in which they differ.

    A number that a step uses in another way than as a factor cannot differ within a stack.
    """
    if len(members) < 2:
        alone += [(member, "no other run has its shape") for member in members]
        return
    numbers = differing([member.objective for member in members])
    why = _check(members, numbers)
    if why is None:
        stacks.append(members)
        return
    if not numbers:
        alone += [(member, why) for member in members]
        return
    # The numbers with which the step fails, or all where each by itself is taken.
    wrong = [p for p, v in numbers.items() if _check(members, {p: v}, compare=False)]
    wrong = wrong or [*numbers]
    parts: dict[Hashable, list[Member]] = {}
    for i, member in enumerate(members):
        parts.setdefault(tuple(numbers[place][i] for place in wrong), []).append(member)
    if len(parts) == 1:
        alone += [(member, why) for member in members]
        return
    names = ", ".join(".".join(filter(None, place)) for place in wrong)
    for part in parts.values():
        if len(part) > 1:
            _divide(part, stacks, alone)
        else:
            alone.append((part[0], f"{names} differs, which cannot in a stack: {why}"))


def _check(
    members: Sequence[Member], numbers: dict[Place, list[float]], compare: bool = True
) -> str | None:
    """Say why a step of these runs fails in a stack, if it does."""
    try:
        tensors = stacked(members, numbers)
        tensors.check(first_batch(members, tensors.flat.device), compare)
    except NotInStack as error:
        return str(error)
    return None


def stacked(members: Sequence[Member], numbers: dict[Place, list[float]]) -> StackedTensors:
    """Stack the tensors of runs on the device of their trainer."""
    for member in members:
        member.objective.to(member.trainer.strategy.root_device)
    return StackedTensors([m.objective for m in members], numbers, members[0].trainer.stack)


def first_batch(members: Sequence[Member], device: torch.device) -> Batch:
    """Return the first rows of the tables as a batch of all runs."""
    found = []
    for member in members:
        loader = member.loader
        rows = np.arange(loader.batch_size)
        clean = np.arange(loader.clean_per_batch) + loader.num_rows
        found.append(loader.dataset[np.concatenate([rows, clean]), None])
    columns: list[Tensor] = [torch.stack(column) for column in zip(*found, strict=True)]
    return Batch(*(column.to(device) for column in columns))


def fit(
    members: Sequence[Member], options: dict[str, Any], folder: Path, into: Into, keep_last: bool
) -> tuple[float, int]:
    """Train a stack, or go on with one.

    Args:
        members: Its runs, as :func:`form` gives them.
        options: Options of the trainer that each would have alone.
        folder: Where its rolling checkpoint is.
        into: Opens a run's log.
        keep_last: Whether each run keeps a last checkpoint.

    Returns:
        Seconds that earlier sessions took, and steps of runs that had stopped before others.
    """
    own = next(c for c in members[0].own.callbacks if isinstance(c, RollingCheckpoint))
    rolling = RollingCheckpoint(own.every_n_steps, str(folder))
    trainer = Trainer(
        **{k: v for k, v in options.items() if k not in OWN},
        callbacks=[rolling],
        logger=[
            CSVLogger(str(folder)) if member.recorded else logger
            for member in members
            for logger in member.own.loggers
        ]
        or False,
        default_root_dir=str(folder),
    )
    for member in members:
        member.trainer.stack = trainer
    numbers = differing([member.objective for member in members])
    module = StackModule(members, stacked(members, numbers), into, keep_last)
    last = folder / "last.ckpt"
    begun = str(last) if last.is_file() else None
    trainer.fit(module, datamodule=StackData(members), ckpt_path=begun, weights_only=True)
    for member in members:
        if member.finished is None:  # a stack that had nothing left to do
            member.finished = trainer.global_step, trainer.current_epoch
    return rolling.seconds_before, module.wasted
