"""Optimisers and schedules of torch, by name."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from frbench.errors import UserError

if TYPE_CHECKING:
    from frbench.objectives.base import Objective


def _by_name(module: Any, base: type, name: str, what: str) -> type:
    known = {k: v for k, v in vars(module).items() if inspect.isclass(v) and issubclass(v, base)}
    known.pop(base.__name__, None)
    if name in known:
        return known[name]
    folded = {k.lower(): k for k in known}
    near = [folded[n] for n in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    raise UserError(
        f"model.{what}: {name!r} is not in torch; did you mean {near or sorted(known)}?"
    )


def _call(cls: type, what: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return cls(*args, **kwargs)
    except (TypeError, ValueError) as error:
        own = what in ("optimizer", "scheduler")  # other players have a rate alone
        see = f"model.{what}_options" if own else f"model.{what.replace('optimizer', 'lr')}"
        raise UserError(
            f"model.{what}: {cls.__name__} refuses its arguments ({error}); see {see}."
        ) from error


def build_optimizer(
    objective: Objective, others: Sequence[torch.optim.Optimizer] = ()
) -> torch.optim.Optimizer:
    """Build the objective's optimiser over its parameter groups.

    Args:
        objective: The method.
        others: Further optimisers that the method steps itself, with parameters of their own.

    Raises:
        UserError: For an unknown name, arguments that it does not take, or a trainable parameter
            in no group.
    """
    check_optimizer(objective)
    groups = objective.parameter_groups()
    theirs = [group for other in others for group in other.param_groups]
    optimized = {id(p) for group in [*groups, *theirs] for p in group["params"]}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad and id(parameter) not in optimized:
            raise UserError(
                f"{type(objective).__name__}: parameter {name} is in no group of "
                "parameter_groups(); add it, or set requires_grad to False."
            )
    return _optimizer(objective, groups)


def check_optimizer(objective: Objective) -> None:
    """Build the optimiser over a parameter of no meaning, to fail on wrong arguments early.

    Raises:
        UserError: For an unknown name or arguments that it does not take.
    """
    _optimizer(objective, [{"params": [torch.nn.Parameter(torch.zeros(1))]}])


def _optimizer(objective: Objective, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return make_optimizer(
        objective.optimizer,
        groups,
        "optimizer",
        lr=objective.lr,
        weight_decay=objective.weight_decay,
        **(objective.optimizer_options or {}),
    )


def make_optimizer(
    name: str, groups: list[dict[str, Any]], what: str = "optimizer", **options: Any
) -> torch.optim.Optimizer:
    """Build an optimiser of ``torch.optim`` by name; ``what`` is the option that names it.

    Raises:
        UserError: For an unknown name or arguments that it does not take.
    """
    cls = _by_name(torch.optim, torch.optim.Optimizer, name, what)
    if cls is torch.optim.LBFGS:
        raise UserError(
            f"model.{what}: LBFGS evaluates a batch many times per step, which counts metrics "
            "and method state many times; use another optimiser."
        )
    if "weight_decay" not in inspect.signature(cls).parameters and not options.get("weight_decay"):
        options.pop("weight_decay", None)
    # Adam asks in each step whether there is an accelerator. Lightning lets torch answer by NVML,
    # so that processes may still fork; without a GPU that loads a library in vain each time.
    if os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == "1" and not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    result: torch.optim.Optimizer = _call(cls, what, groups, **options)
    return result


def build_scheduler(
    objective: Objective, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """Build the objective's schedule, or None.

    Raises:
        UserError: For an unknown name, arguments that it does not take, or
            ReduceLROnPlateau, whose state Lightning does not store at the right moment.
    """
    if objective.scheduler is None:
        return None
    if objective.scheduler == "ReduceLROnPlateau":
        raise UserError(
            "model.scheduler: ReduceLROnPlateau cannot be resumed exactly under Lightning; use "
            "StepLR, CosineAnnealingLR or another schedule of steps or epochs."
        )
    schedulers = torch.optim.lr_scheduler
    cls = _by_name(schedulers, schedulers.LRScheduler, objective.scheduler, "scheduler")
    result: torch.optim.lr_scheduler.LRScheduler | None = _call(
        cls, "scheduler", optimizer, **(objective.scheduler_options or {})
    )
    return result
