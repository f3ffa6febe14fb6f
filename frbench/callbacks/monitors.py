"""Metrics that callbacks look at: which direction is better, and whether validation has them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pytorch_lightning import Trainer

from frbench.contracts.errors import UserError
from frbench.data.module import datamodule_of
from frbench.metrics import evaluate, higher_is_better, metric_names, split_key
from frbench.metrics.names import NO_METRICS
from frbench.metrics.own import CountMetric, directions


def optimised(
    option: str, monitor: str, mode: str, own: Mapping[str, int] = NO_METRICS
) -> Literal["min", "max"]:
    """Give ``max`` or ``min`` for a metric, unless the user said which.

    Args:
        option: The option that names the metric, for the message.
        monitor: The metric, with its table.
        mode: ``min``, ``max`` or ``auto``.
        own: Directions of the user's own metrics, by name.

    Raises:
        UserError: If the metric is unknown or has no direction; the message names the option.
    """
    if mode == "auto":
        metric = split_key(monitor, own)[1]
        if own.get(metric) == 0:
            raise UserError(
                f"{option}: {metric} does not say which direction is better; mark it with "
                "@frbench.metrics.metric(higher_is_better=...), or set "
                f"{option.split('.')[0]}.mode."
            )
        try:
            return "max" if higher_is_better(monitor, own) else "min"
        except UserError as error:
            raise UserError(f"{option}: {error}") from error
    return "max" if mode == "max" else "min"


def check_monitor(option: str, monitor: str, trainer: Trainer, decides: bool = True) -> None:
    """Refuse to select on what validation does not evaluate.

    Args:
        option: The option that names the metric, for the message.
        monitor: The metric, with its table.
        trainer: The trainer, which knows the data and the user's own metrics.
        decides: Whether anything depends on it; then it must have a value on these rows.

    Raises:
        UserError: If ``monitor`` is a test metric and the data does not allow selecting on it,
            or if there is no such table or metric, or no value of it; the message names the
            option.
    """
    data = datamodule_of(trainer)
    if data is None:
        return
    own = getattr(trainer.lightning_module, "metrics", ())
    names = [*metric_names(data.class_names, data.attribute_names, rare=True), *directions(own)]
    table, metric = next(
        ((name, monitor[len(name) + 1 :]) for name in data.val_names
         if monitor.startswith(f"{name}/")), (None, ""),
    )  # fmt: skip
    if monitor.startswith("test") and not data.test_while_training:
        raise UserError(
            f"{option}: {monitor} would select on test data. If that is wanted (an oracle), say "
            "so with --data.test_while_training true; results are then marked."
        )
    if table is None:
        raise UserError(
            f"{option}: no table of this data set gives {monitor}; metrics start with "
            f"{' or '.join(name + '/' for name in data.val_names)}."
        )
    if metric not in names:
        near = difflib.get_close_matches(metric, names, n=3, cutoff=0) or names
        raise UserError(
            f"{option}: {table} has no metric {metric}; did you mean {' or '.join(near)}?"
        )
    if decides and np.isnan(_any_value(data, data.splits[table], own)[metric]):
        raise UserError(
            f"{option}: {metric} has no value on {table}, which lacks rows that it is about; "
            "choose another metric, or another split."
        )


def _any_value(data: Any, table: Any, own: Sequence[CountMetric]) -> dict[str, float]:
    """Evaluate a table in which each group that has rows is predicted as each class once.

    A metric that has no value here has none for any predictions.
    """
    y, z = np.unique([table.y, table.z], axis=1)
    guess = np.tile(np.arange(data.num_classes), len(y))
    found: dict[str, float] = evaluate(
        np.repeat(y, data.num_classes),
        guess,
        np.repeat(z, data.num_classes),
        scores=np.eye(data.num_classes)[guess],
        class_names=data.class_names,
        attribute_names=data.attribute_names,
        train_counts=data.train_counts,
        metrics=own,
    )
    # It depends on the predictions' table alone whether there are rare groups.
    return {"rare_groups_accuracy": 0.0, **found}
