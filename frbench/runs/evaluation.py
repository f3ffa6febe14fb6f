"""The evaluation of a trained model on the tables of its data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from frbench.report.predictions import KeptPredictions, Predictions
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
        model.kept = None if keep is None else Kept()
        try:
            evaluate(model, datamodule=data, verbose=False, **options)
            metrics |= model.evaluation.flat()
            if model.kept is not None:
                tables |= model.kept.tables(data)
        finally:
            model.kept = None
    if keep is not None and trainer.is_global_zero:
        names = data.class_names, data.attribute_names
        KeptPredictions(tables, *names, data.observed_counts).write(keep)
    return metrics
