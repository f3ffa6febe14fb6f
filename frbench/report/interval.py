"""Means over seeds or folds with their t-intervals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over independent runs with its spread and uncertainty.

    Attributes:
        mean: Mean of the defined values.
        sd: Standard deviation of one run (n - 1 in the denominator).
        n: Number of defined values.
        low: Lower end of the 95 % t-interval of the mean.
        high: Upper end of it.
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float


def estimate(values: Iterable[float], folds: int | None = None) -> Estimate:
    """Estimate a mean with its 95 % t-interval; undefined values are left out.

    Args:
        values: One value per seed, or per fold.
        folds: Number of folds k if the values are folds. Their training sets overlap, so the
            variance s^2 / n of the mean is corrected to s^2 (1/n + 1/(k-1)), test over training
            size being 1/(k-1) (Nadeau and Bengio 2003); still an approximation.

    Example:
        >>> [round(v, 3) for v in estimate([0.8, 0.82, 0.84, float("nan")])]
        [0.82, 0.02, 3, 0.77, 0.87]
    """
    found = np.fromiter(values, float)
    found = found[np.isfinite(found)]
    n = len(found)
    mean = float(found.mean()) if n else np.nan
    if n < 2:
        return Estimate(mean, np.nan, n, np.nan, np.nan)
    sd = float(found.std(ddof=1))
    variance = sd**2 * (1 / n + (1 / (folds - 1) if folds else 0))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * variance**0.5
    return Estimate(mean, sd, n, mean - half, mean + half)
