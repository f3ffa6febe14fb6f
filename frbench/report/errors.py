"""The numbers behind the figures of errors: confusion, ROC, the worst errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Beside the predictions of a run: the errors of its worst groups, as they can be shown.
ERRORS = "errors.json"


def confusion(
    y: np.ndarray, z: np.ndarray, decided: np.ndarray, sizes: Sequence[int]
) -> np.ndarray:
    """Count rows by attribute value, label and decision.

    Args:
        y: Labels [N].
        z: Attribute values [N]; rows with a value outside 0..A-1 are left out.
        decided: Decisions [N].
        sizes: C and A.

    Returns:
        Counts [A, C, C].

    Example:
        >>> confusion(np.array([0, 1]), np.array([0, 0]), np.array([1, 1]), (2, 1)).tolist()
        [[[0, 1], [0, 1]]]
    """
    classes, values = sizes
    known = (z >= 0) & (z < values)
    cell = (z[known].astype(np.int64) * classes + y[known]) * classes + decided[known]
    counts = np.bincount(cell, minlength=values * classes**2)
    return counts.reshape(values, classes, classes)


def roc(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false and true positive rates of all thresholds, from (0, 0) to (1, 1).

    Rows of one score share a point.

    Args:
        score: Score of the positive class [N].
        positive: Whether the row is of that class, bool [N].

    Example:
        >>> [v.tolist() for v in roc(np.array([0.9, 0.4, 0.4]), np.array([True, False, True]))]
        [[0.0, 0.0, 1.0], [0.0, 0.5, 1.0]]
    """
    order = np.argsort(-score, kind="stable")
    hits = positive[order]
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    rates = []
    for kind in (~hits, hits):
        total = np.cumsum(kind)[last]
        rates.append(np.concatenate([[0.0], total / max(total[-1], 1)]))
    return rates[0], rates[1]


def thinned(x: np.ndarray, y: np.ndarray, points: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Keep so many points of a curve at most, at even distances along it, ends included."""
    if len(x) <= points:
        return x, y
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], points)).clip(0, len(x) - 1))
    kept = np.union1d(kept, [0, len(x) - 1])
    return x[kept], y[kept]


def confident_errors(
    probabilities: np.ndarray,
    decided: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    least: int = 1,
    most: int = 8,
) -> tuple[tuple[int, int], np.ndarray] | None:
    """Find the group of lowest accuracy and the errors in it that the scores are surest of.

    Args:
        probabilities: Class probabilities [N, C].
        decided: Decisions [N].
        y: Labels [N].
        z: Attribute values, negative where unknown [N].
        least: Rows that a group needs to be looked at.
        most: Errors at most.

    Returns:
        Label and attribute value of the group; positions of the errors, the surest first. None
        if nothing is decided wrongly in any such group.

    Example:
        >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
        >>> group, rows = confident_errors(p, p.argmax(1), np.array([1, 1, 1]), np.zeros(3, int))
        >>> group, rows.tolist()
        ((1, 0), [0, 1])
    """
    wrong = decided != y
    known = z >= 0
    groups, place = np.unique(np.stack([y[known], z[known]]), axis=1, return_inverse=True)
    rows = np.bincount(place, minlength=groups.shape[1])
    share = np.where(rows >= least, np.bincount(place, wrong[known], len(rows)) / rows, -1.0)
    if not share.size or share.max() <= 0:
        return None
    worst = int(groups[0, share.argmax()]), int(groups[1, share.argmax()])
    found = np.flatnonzero(wrong & (y == worst[0]) & (z == worst[1]))
    sure = probabilities[found, decided[found]]
    return worst, found[np.argsort(-sure, kind="stable")[:most]]
