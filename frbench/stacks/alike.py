"""What the modules of two runs have in common, and the numbers in which they differ."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from frbench.training.objective import Objective

#: Attributes of an objective that belong to its run and that no step reads: its log, its tables
#: of evaluation, its data. The seed is not readable within a step of a stack.
OF_THE_RUN = {
    "training_log", "_evaluated", "_evaluators", "evaluation", "last_counts", "data_module",
    "_first_rows", "_seed", "_said_rank_error", "group_names", "postprocess",
}  # fmt: skip
#: What torch and Lightning keep in each module, hooks aside, which are compared.
_BOOKKEEPING = {*vars(LightningModule()), "_proposed", "_proposed_rows"} - {
    name for name in vars(nn.Module()) if "hooks" in name
}
#: Name of a module and of its attribute.
Place = tuple[str, str]


class Unlike(Exception):
    """Something that two runs cannot be compared in."""


def numbers(objective: Objective) -> dict[Place, float]:
    """Return every attribute of an objective's modules that is a float, by its place."""
    return {
        (name, key): value
        for name, module in objective.named_modules()
        for key, value in _attributes(module).items()
        if type(value) is float
    }


def shape(objective: Objective) -> Hashable:
    """Return all that the runs of a stack have in common: what is equal for two may be stacked.

    That are the classes of the modules, the shapes of parameters and buffers, and every other
    attribute but floats.

    Raises:
        Unlike: If an attribute has no value that can be compared.
    """
    evaluators = {id(m) for m in objective._evaluators.modules()} if objective._evaluators else ()
    return tuple(
        (
            name,
            f"{type(module).__module__}.{type(module).__qualname__}",
            module.training,
            tuple(
                (key, tuple(t.shape), str(t.dtype), t.requires_grad)
                for key, t in (*module._parameters.items(), *module._buffers.items())
                if t is not None
            ),
            tuple(
                (key, "a number" if type(value) is float else _plain(value, objective))
                for key, value in sorted(_attributes(module).items())
            ),
        )
        for name, module in objective.named_modules()
        if id(module) not in evaluators and name != "_evaluators"
    )


def _attributes(module: nn.Module) -> dict[str, Any]:
    state = module.row_state if isinstance(module, Objective) else ()
    own = OF_THE_RUN if isinstance(module, Objective) else ()
    left_out = {*_BOOKKEEPING, *own, *state}
    return {key: value for key, value in vars(module).items() if key not in left_out}


def _plain(value: Any, objective: Objective, depth: int = 0) -> Hashable:
    """Return a value as something that is equal for equal values."""
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype):
        return type(value).__name__, value
    if depth > 8:
        raise Unlike(f"{type(value).__name__} is nested too deeply to be compared")
    plain = functools.partial(_plain, objective=objective, depth=depth + 1)
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return "dict", tuple((plain(k), plain(v)) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return "set", frozenset(plain(item) for item in value)
    if isinstance(value, Tensor | np.ndarray):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return "array", array.shape, str(array.dtype), digest
    if isinstance(value, nn.Module):
        for name, module in objective.named_modules():
            if module is value:
                return "module", name
        raise Unlike(f"{type(value).__name__} is no part of the objective")
    if isinstance(value, type):
        return "class", f"{value.__module__}.{value.__qualname__}"
    if inspect.ismethod(value):
        return "method", value.__func__.__qualname__, plain(value.__self__)
    if inspect.isfunction(value):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        kept = [*cells, *(value.__defaults__ or ()), value.__kwdefaults__]
        return "function", f"{value.__module__}.{value.__qualname__}", plain(kept)
    if inspect.isbuiltin(value):
        return "function", f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, functools.partial):
        return "partial", plain(value.func), plain(value.args), plain(value.keywords)
    slots = any(getattr(kind, "__slots__", ()) for kind in type(value).__mro__)
    if hasattr(value, "__dict__") and not slots:
        return "object", plain(type(value)), plain(vars(value))
    raise Unlike(f"{type(value).__name__} cannot be compared")


def differing(objectives: Sequence[Objective]) -> dict[Place, list[float]]:
    """Return the numbers in which objectives of one shape differ, a value for each.

    Args:
        objectives: Those of a stack.
    """
    first, *rest = (numbers(objective) for objective in objectives)
    return {
        place: [value, *(other[place] for other in rest)]
        for place, value in first.items()
        if any(other[place] != value for other in rest)
    }
