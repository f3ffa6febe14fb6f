"""The evaluation of a trained model on the tables of its data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frbench.report.predictions import KeptPredictions, Predictions
from frbench.runs.errors import figure_loggers, log_figures, write_errors
from frbench.training.kept import Kept

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule
    from frbench.objectives import Objective


def evaluated(
    trainer: Any,
    model: Objective,
    data: GroupDataModule,
    keep: Path | None = None,
    **options: Any,
) -> dict[str, float]:
    """Evaluate a model on the validation and test tables of its data.

    Args:
        trainer: Lightning's trainer.
        model: The model.
        data: Its data.
        keep: File for the predictions of every row, or None; they are those of this evaluation.
        **options: Of ``trainer.validate`` and ``trainer.test``.

    Returns:
        Metrics by ``<table>/<metric>``.
    """
    metrics: dict[str, float] = {}
    tables: dict[str, Predictions] = {}
    for evaluate in (trainer.validate, trainer.test):
        run = partial(evaluate, model, datamodule=data, verbose=False, **options)
        tables |= _keeping(model, data, keep is not None, run)
        metrics |= model.evaluation.flat()
    if keep is not None and trainer.is_global_zero:
        kept = _with_names(tables, data)
        kept.write(keep)
        write_errors(kept, data, model.min_group_rows, keep.parent)
        log_figures(trainer.loggers, kept, trainer.global_step)
    return metrics


def evaluate_with_figures(
    trainer: Any, model: Objective, data: GroupDataModule, evaluate: Callable[[], Any]
) -> None:
    """Evaluate a model, and send figures of its errors to the loggers that take figures.

    Args:
        trainer: Lightning's trainer.
        model: The model.
        data: Its data.
        evaluate: Evaluates the model.
    """
    tables = _keeping(model, data, bool(figure_loggers(trainer.loggers)), evaluate)
    if trainer.is_global_zero:
        log_figures(trainer.loggers, _with_names(tables, data), trainer.global_step)


def _with_names(tables: dict[str, Predictions], data: GroupDataModule) -> KeptPredictions:
    return KeptPredictions(tables, data.class_names, data.attribute_names, data.observed_counts)


def _keeping(
    model: Objective, data: GroupDataModule, keep: bool, evaluate: Callable[[], Any]
) -> dict[str, Predictions]:
    """Evaluate; return the predictions on each table, a collective, none if none are kept."""
    model.kept = Kept() if keep else None
    try:
        evaluate()
        return {} if model.kept is None else model.kept.tables(data)
    finally:
        model.kept = None
