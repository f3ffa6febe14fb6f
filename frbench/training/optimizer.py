"""Optimisers and schedules of torch, by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from frbench.contracts.errors import UserError
from frbench.training import schedules

#: Optimisers whose fused form moves all parameters in one kernel, on CPU and CUDA.
FUSED = (torch.optim.Adam, torch.optim.AdamW)
#: Their options that say how they move them.
FORMS = {"fused", "foreach", "capturable", "differentiable"}


class Optimization(NamedTuple):
    """The options of an objective that say how its parameters are updated.

    Attributes:
        optimizer: Name of a class of ``torch.optim``.
        lr: Learning rate.
        weight_decay: The optimiser's weight decay.
        optimizer_options: Its further arguments, or None.
        scheduler: Name of a class of ``torch.optim.lr_scheduler`` or of
            :mod:`frbench.training.schedules`, or None.
        scheduler_options: Its arguments, or None.
    """

    optimizer: str
    lr: float
    weight_decay: float
    optimizer_options: dict[str, Any] | None
    scheduler: str | None
    scheduler_options: dict[str, Any] | None


def _by_name(modules: Sequence[Any], base: type, name: str, what: str) -> type:
    names = [pair for module in modules for pair in vars(module).items()]
    known = {k: v for k, v in names if inspect.isclass(v) and issubclass(v, base)}
    known.pop(base.__name__, None)
    if name in known:
        return known[name]
    folded = {k.lower(): k for k in known}
    near = [folded[n] for n in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    raise UserError(f"model.{what}: there is no {name!r}; did you mean {near or sorted(known)}?")


def _call(cls: type, what: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return cls(*args, **kwargs)
    except (TypeError, ValueError) as error:
        own = what in ("optimizer", "scheduler")  # other players have a rate alone
        see = f"model.{what}_options" if own else f"model.{what.replace('optimizer', 'lr')}"
        raise UserError(
            f"model.{what}: {cls.__name__} refuses its arguments ({error}); see {see}."
        ) from error


def may_fuse(trainer: Any) -> bool:
    """Whether a fused optimiser trains as any other under this trainer.

    It hides from Lightning which steps 16-mixed skips, and Lightning clips no gradients of it in
    mixed precision.
    """
    precision = "32-true" if trainer is None else str(trainer.precision)
    if "mixed" not in precision:
        return True
    return precision != "16-mixed" and not trainer.gradient_clip_val


def build_optimizer(
    groups: list[dict[str, Any]], options: Optimization, fuse: bool = True
) -> torch.optim.Optimizer:
    """Build the optimiser of an objective.

    Args:
        groups: Its parameter groups.
        options: How they are updated.
        fuse: As of :func:`make_optimizer`.

    Raises:
        UserError: For an unknown name or arguments that it does not take.
    """
    return make_optimizer(
        options.optimizer,
        groups,
        "optimizer",
        fuse,
        lr=options.lr,
        weight_decay=options.weight_decay,
        **(options.optimizer_options or {}),
    )


def check_optimizer(options: Optimization) -> None:
    """Build optimiser and schedule over a placeholder, so that wrong arguments fail early.

    Raises:
        UserError: For an unknown name or arguments that it does not take.
    """
    optimizer = build_optimizer([{"params": [torch.nn.Parameter(torch.zeros(1))]}], options)
    build_scheduler(optimizer, options, lambda: 1000)


def check_groups(module: torch.nn.Module, groups: Sequence[dict[str, Any]]) -> None:
    """Refuse a trainable parameter that no optimiser updates.

    Args:
        module: The objective.
        groups: The parameter groups of all its optimisers.

    Raises:
        UserError: Naming the parameter.
    """
    optimized = {id(p) for group in groups for p in group["params"]}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and id(parameter) not in optimized:
            raise UserError(
                f"{type(module).__name__}: parameter {name} is in no group of "
                "parameter_groups(); add it, or set requires_grad to False."
            )


def make_optimizer(
    name: str,
    groups: list[dict[str, Any]],
    what: str = "optimizer",
    fuse: bool = True,
    **options: Any,
) -> torch.optim.Optimizer:
    """Build an optimiser of ``torch.optim`` by name.

    Args:
        name: Its class.
        groups: Its parameter groups.
        what: The option that names it, for messages.
        fuse: Whether to take its fused form where there is one and the options name no form.
        options: Its arguments.

    Raises:
        UserError: For an unknown name or arguments that it does not take.
    """
    cls = _by_name([torch.optim], torch.optim.Optimizer, name, what)
    if cls is torch.optim.LBFGS:
        raise UserError(
            f"model.{what}: LBFGS evaluates a batch many times per step, which counts metrics "
            "and method state many times; use another optimiser."
        )
    if "weight_decay" not in inspect.signature(cls).parameters and not options.get("weight_decay"):
        options.pop("weight_decay", None)
    if fuse and cls in FUSED and not FORMS & options.keys() and _fusible(groups):
        options["fused"] = True
    result: torch.optim.Optimizer = _call(cls, what, groups, **options)
    return result


def _fusible(groups: list[dict[str, Any]]) -> bool:
    """Whether torch has fused kernels for these parameters."""
    return all(
        p.device.type in ("cpu", "cuda") and p.is_floating_point()
        for group in groups
        for p in group["params"]
    )


def build_scheduler(
    optimizer: torch.optim.Optimizer, options: Optimization, total_steps: Callable[[], float]
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """Build the schedule of the learning rate, or return None.

    Args:
        optimizer: What it schedules.
        options: Its name and arguments.
        total_steps: Gives the optimiser steps of the run; asked for by a schedule that takes
            ``total_steps`` where its options do not say them.

    Raises:
        UserError: For an unknown name, arguments that it does not take, a run without an end, or
            ReduceLROnPlateau, whose state Lightning does not store at the right moment.
    """
    if (cls := _scheduler(options)) is None:
        return None
    given = options.scheduler_options or {}
    if counts_steps(options) and not {"total_steps", "steps_per_epoch"} & given.keys():
        steps = total_steps()
        if not 0 < steps < float("inf"):
            raise UserError(
                f"model.scheduler: {cls.__name__} needs the number of steps; set "
                "trainer.max_epochs or trainer.max_steps, or model.scheduler_options: "
                "{total_steps: 1000} say."
            )
        given = {**given, "total_steps": int(steps)}
    result: torch.optim.lr_scheduler.LRScheduler = _call(cls, "scheduler", optimizer, **given)
    return result


def counts_steps(options: Optimization) -> bool:
    """Whether the schedule is one over the steps of the run, whatever its interval says."""
    cls = _scheduler(options)
    return cls is not None and "total_steps" in inspect.signature(cls).parameters


def _scheduler(options: Optimization) -> type | None:
    if options.scheduler is None:
        return None
    if options.scheduler == "ReduceLROnPlateau":
        raise UserError(
            "model.scheduler: ReduceLROnPlateau cannot be resumed exactly under Lightning; use "
            "StepLR, CosineAnnealingLR or another schedule of steps or epochs."
        )
    known = (torch.optim.lr_scheduler, schedules)
    return _by_name(known, torch.optim.lr_scheduler.LRScheduler, options.scheduler, "scheduler")
