"""Metrics of one's own: functions from a table of counts to a number, given by import path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import TypeVar

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.names import DIRECTION

#: Counts [C, A + 1, C] over (y, z, prediction) of one table, the last z for unknown -> value.
CountMetric = Callable[[np.ndarray], float]
Function = TypeVar("Function", bound=CountMetric)


def metric(*, higher_is_better: bool) -> Callable[[Function], Function]:
    """Say which direction of a metric is better; the function itself is returned.

    Args:
        higher_is_better: Whether larger values are better.

    Example:
        >>> @metric(higher_is_better=True)
        ... def share_of_first_class(counts):
        ...     return counts[..., 0].sum() / counts.sum()
        >>> share_of_first_class.higher_is_better
        True
    """

    def mark(function: Function) -> Function:
        function.higher_is_better = higher_is_better  # type: ignore[attr-defined]
        return function

    return mark


def import_metrics(paths: Iterable[str]) -> list[CountMetric]:
    """Import metrics by their paths; a path that is given twice counts once.

    Args:
        paths: Import paths, ``my_file.my_metric``.

    Raises:
        UserError: If one cannot be imported, is no function, or has the name of another metric.
    """
    found = []
    for path in dict.fromkeys(paths):
        module, _, name = path.rpartition(".")
        try:
            found.append(getattr(import_module(module), name))
        except Exception as error:  # whatever a file does that is not ready to be imported
            raise UserError(
                f"metrics: cannot import {path!r} ({type(error).__name__}: {error}). Write "
                "my_file.my_function, and run where my_file.py can be imported."
            ) from error
    check_metrics(found)
    return found


def check_metrics(metrics: Sequence[CountMetric]) -> None:
    """Refuse what cannot be a metric, or could be taken for another one.

    Raises:
        UserError: If one is no function with a name, or two metrics have one name.
    """
    names: list[str] = []
    for function in metrics:
        name = getattr(function, "__name__", "")
        if not callable(function) or isinstance(function, type) or not name.isidentifier():
            raise UserError(f"metrics: {function!r} is no function of a table of counts.")
        if name in DIRECTION or name in names:
            raise UserError(f"metrics: there is another metric {name!r}; rename the function.")
        names.append(name)


def metric_paths(metrics: Iterable[CountMetric]) -> list[str]:
    """Return the import paths of metrics, as run configurations and checkpoints keep them."""
    return [f"{function.__module__}.{function.__name__}" for function in metrics]


def directions(metrics: Iterable[CountMetric]) -> dict[str, int]:
    """Return name -> 1 if higher is better, -1 if lower is, 0 if the function does not say.

    Example:
        >>> def first(counts): return 0.0
        >>> directions([first, metric(higher_is_better=False)(lambda counts: 0.0)])
        {'first': 0, '<lambda>': -1}
    """
    signs = {True: 1, False: -1, None: 0}
    return {f.__name__: signs[getattr(f, "higher_is_better", None)] for f in metrics}


def evaluate_own(metrics: Iterable[CountMetric], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Compute metrics of one table, or of each of several.

    Each function gets a copy; what it divides by zero is NaN or infinite, without a warning.

    Args:
        metrics: Functions of counts [C, A + 1, C].
        counts: Counts [..., C, A + 1, C].

    Returns:
        Name of the function -> values [...].

    Raises:
        UserError: If a function returns something else than a number.

    Example:
        >>> def first(counts): return counts[0].sum() / counts.sum()
        >>> evaluate_own([first], np.ones((2, 2, 3, 2)))
        {'first': array([0.5, 0.5])}
    """
    tables = counts.reshape(-1, *counts.shape[-3:])
    out = {}
    for function in metrics:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = [function(table.copy()) for table in tables]
        try:
            column = np.array([float(value) for value in values])
        except (TypeError, ValueError):
            raise UserError(
                f"metrics: {function.__module__}.{function.__name__} must return a number, got "
                f"{values[0]!r:.60}."
            ) from None
        out[function.__name__] = column.reshape(counts.shape[:-3])
    return out
