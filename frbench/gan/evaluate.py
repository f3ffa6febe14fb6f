"""``frbench gan metrics``: the metrics of the de-biasing literature for trained classifiers."""

from __future__ import annotations

import numpy as np
import torch

from frbench.contracts.errors import UserError
from frbench.data.module import GroupDataModule
from frbench.metrics.debiasing import calibrated_threshold, debiasing_metrics
from frbench.metrics.module import GroupCounts
from frbench.training.objective import Objective

#: What is said of the training rows, and of every table at the end of training.
FIT = ("accuracy", "worst_group_accuracy", "negative_log_likelihood")


@torch.inference_mode()
def predict(objective: Objective, data: GroupDataModule, name: str) -> tuple[np.ndarray, ...]:
    """Return labels, P(y = 1) and attributes of a table's rows with known attribute."""
    objective.eval()
    parts = [(batch.y, objective(batch.x).float().softmax(1)[:, 1], batch.z)
             for batch in data.eval_loader(name)]  # fmt: skip
    y, scores, z = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return y[z >= 0], scores[z >= 0], z[z >= 0]


def evaluate_debiasing(
    objective: Objective, data: GroupDataModule, resamples: int = 0, seed: int = 0
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Evaluate every test table; the threshold is calibrated on validation.

    Args:
        objective: A classifier of two classes.
        data: Its data, with two attribute values.
        resamples: Resamples of each table for the intervals; 0 gives none.
        seed: Seed of the resamples.

    Returns:
        Values by ``<table>/<metric>``, and 95 % percentile intervals.

    Raises:
        UserError: For more classes or attribute values.
    """
    if (data.num_classes, data.num_attributes) != (2, 2):
        raise UserError(
            "gan metrics are for two classes and two attribute values; the data have "
            f"{data.num_classes} and {data.num_attributes}."
        )
    threshold = calibrated_threshold(*predict(objective, data, "val")[:2])
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name in data.test_names:
        y, scores, z = predict(objective, data, name)
        found = debiasing_metrics(y, scores, z, threshold)
        values |= {f"{name}/{key}": value for key, value in found.items()}
        rng = np.random.default_rng([seed, 51])
        drawn = []
        for _ in range(resamples):
            rows = rng.integers(0, len(y), len(y))
            drawn.append(debiasing_metrics(y[rows], scores[rows], z[rows], threshold, 0))
        for key in drawn[0] if drawn else []:
            low, high = np.nanpercentile([one[key] for one in drawn], [2.5, 97.5])
            intervals[f"{name}/{key}"] = (float(low), float(high))
    return values, intervals


@torch.inference_mode()
def evaluate_fit(objective: Objective, data: GroupDataModule, name: str) -> dict[str, float]:
    """Average and worst-group accuracy and mean loss on a table, the training rows say.

    Args:
        objective: A classifier.
        data: Its data; of the training split the real rows count, without transforms or weights.
        name: Name of the table.

    Returns:
        Values by ``<table>/<metric>``.
    """
    objective.eval()
    metric = GroupCounts(data.num_classes, data.num_attributes)
    for batch in data.eval_loader(name):
        metric.update(objective(batch.x), batch.y, batch.z)
    found = metric.compute()
    return {f"{name}/{key}": found[key] for key in FIT}
