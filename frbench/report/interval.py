"""Means over seeds or folds with their t-intervals, cut where values cannot be."""

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
        low: Lower end of the 95 % t-interval of the mean, cut at the smallest possible value.
        high: Upper end of it, cut at the largest.
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float


def estimate(
    values: Iterable[float],
    folds: int | None = None,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Estimate a mean with its 95 % t-interval; undefined values are left out.

    Cutting an interval to the values that a metric can have takes nothing from its coverage.

    Args:
        values: One value per seed, or per fold.
        folds: Number of folds k if the values are folds. Their training sets overlap, so the
            variance s^2 / n of the mean is corrected to s^2 (1/n + 1/(k-1)), test over training
            size being 1/(k-1) (Nadeau and Bengio 2003); still an approximation.
        within: Smallest and largest value that the mean can have, see
            `frbench.metrics.bounds.bounds`.

    Example:
        >>> [round(v, 3) for v in estimate([0.9, 0.95, 1.0], within=(0.0, 1.0))[3:]]
        [0.826, 1.0]
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
    variance = sd**2 * (1 / n + (1 / (folds - 1) if folds and folds > 1 else 0))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * variance**0.5
    low, high = within
    # The mean itself stays inside, whatever rounding has made of it.
    return Estimate(
        mean, sd, n, max(mean - half, min(low, mean)), min(mean + half, max(high, mean))
    )
