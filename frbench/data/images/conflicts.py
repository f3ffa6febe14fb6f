"""Attributes that equal the label but for a few rows."""

from __future__ import annotations

import numpy as np


def conflicting_values(
    y: np.ndarray, num_values: int, share: float | None, rng: np.random.Generator
) -> np.ndarray:
    """Return an attribute that conflicts with the label in a share of each class's rows [N].

    The conflicting rows of a class, chosen at random and rounded to whole rows, have each of the
    other values equally often, so that no group of a large table is empty by chance.

    Args:
        y: Labels, which are the values of rows that do not conflict [N].
        num_values: Number of values A, at least that of the classes.
        share: Share of conflicting rows, in [0, 1]; None draws every value uniformly.
        rng: Source of the random numbers.

    Example:
        >>> y = np.repeat([0, 1], 100)
        >>> z = conflicting_values(y, 3, 0.04, np.random.default_rng(0))
        >>> [np.bincount(z[y == c], minlength=3).tolist() for c in (0, 1)]
        [[96, 2, 2], [2, 96, 2]]
    """
    if share is None:
        return rng.integers(0, num_values, len(y))
    z = y.copy()
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label))
        rows = rows[: round(share * len(rows))]
        steps = rng.permutation(num_values - 1) + 1
        z[rows] = (label + np.resize(steps, len(rows))) % num_values
    return z
