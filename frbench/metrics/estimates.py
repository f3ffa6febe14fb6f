"""Estimates with a variance each: proportions, means and their combinations.

All functions carry leading dimensions; numpy only.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple, Protocol

import numpy as np

Interval = tuple[float, float]
Ends = tuple[np.ndarray, np.ndarray]


def quantile(tail: np.ndarray | float) -> np.ndarray:
    """Return the normal quantile that leaves `tail` above it.

    Example:
        >>> quantile(np.array([0.05, 0.025])).round(3).tolist()
        [1.645, 1.96]
    """
    found, where = np.unique(np.asarray(tail, float), return_inverse=True)
    values = np.array([-NormalDist().inv_cdf(t) if 0 < t < 1 else np.nan for t in found])
    return values[where].reshape(np.shape(tail))


def wilson(successes: np.ndarray, trials: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Compute Wilson's score interval of proportions; NaN where there are no trials.

    Args:
        successes: Numbers of successes [...].
        trials: Numbers of trials [...].
        level: Coverage.

    Returns:
        Lower and upper ends [..., 2].

    Example:
        >>> wilson(np.array([0, 8]), np.array([10, 10])).round(3).tolist()
        [[0.0, 0.278], [0.49, 0.943]]
    """
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    low, high = _wilson(successes / n, n, quantile((1 - level) / 2))
    return np.stack([low, high], -1)


def _wilson(p: np.ndarray, n: np.ndarray, q: np.ndarray) -> Ends:
    centre, half = p + q * q / (2 * n), q * np.sqrt(p * (1 - p) / n + (q / (2 * n)) ** 2)
    scale = 1 + q * q / n
    return np.clip((centre - half) / scale, 0.0, p), np.clip((centre + half) / scale, p, 1.0)


class Estimates(Protocol):
    """Independent estimates with limits of their own."""

    @property
    def value(self) -> np.ndarray:
        """The estimates [..., K], NaN where undefined."""

    def deviations(self, q: np.ndarray) -> Ends:
        """Return how far the limits for a normal quantile lie below and above the estimates."""


class Rates(NamedTuple):
    """Proportions with Wilson's limits.

    Attributes:
        value: Proportions [...].
        size: Numbers of rows, effective ones under weights [...]; 0 for a value by convention,
            which has no uncertainty.
    """

    value: np.ndarray
    size: np.ndarray

    def deviations(self, q: np.ndarray) -> Ends:
        """See `Estimates`."""
        counted = self.size > 0
        low, high = _wilson(self.value, np.where(counted, self.size, 1), q)
        return np.where(counted, self.value - low, 0.0), np.where(counted, high - self.value, 0.0)


class Means(NamedTuple):
    """Means with normal limits.

    Attributes:
        value: Means [...].
        error: Standard errors [...].
    """

    value: np.ndarray
    error: np.ndarray

    def deviations(self, q: np.ndarray) -> Ends:
        """See `Estimates`."""
        return q * self.error, q * self.error


class Combined(NamedTuple):
    """A weighted sum of independent estimates, its limits by the rule of Zou and Donner.

    The distances of the limits add as root of the sum of squares (MOVER, Statistics in Medicine
    27, 2008; for the difference of two of Wilson's intervals this is Newcombe's method).

    Attributes:
        parts: The estimates, each [..., K].
        weights: Weight of each.
    """

    parts: Sequence[Estimates]
    weights: Sequence[float]

    @property
    def value(self) -> np.ndarray:
        """See `Estimates`."""
        return sum_of([w * p.value for p, w in zip(self.parts, self.weights, strict=True)])

    def deviations(self, q: np.ndarray) -> Ends:
        """See `Estimates`."""
        below, above = [], []
        for part, weight in zip(self.parts, self.weights, strict=True):
            down, up = (weight * d for d in part.deviations(q))
            below.append(np.square(down if weight >= 0 else up))
            above.append(np.square(up if weight >= 0 else down))
        return np.sqrt(sum_of(below)), np.sqrt(sum_of(above))


def sum_of(terms: Sequence[np.ndarray]) -> np.ndarray:
    """Add arrays."""
    total: np.ndarray = np.sum(np.broadcast_arrays(*terms), 0)
    return total


def effective_size(
    part: np.ndarray, whole: np.ndarray, part_squares: np.ndarray, whole_squares: np.ndarray
) -> np.ndarray:
    """Return the number of unweighted rows that a weighted proportion is worth.

    Kish's (sum w)^2 / sum w^2 of the rows that it is over or, where smaller, p (1 - p) over the
    linearised variance, which sees that rows of one outcome may weigh more than the others.

    Args:
        part: Sum of the weights of the successes [...].
        whole: Sum of all weights [...].
        part_squares: Sum of the squared weights of the successes [...].
        whole_squares: Sum of all squared weights [...].

    Example:
        >>> two_heavy = np.array([100, 200, 10_000, 20_000])
        >>> thousand_light = np.array([900, 1000, 900, 1000])
        >>> [round(float(effective_size(*rows))) for rows in (two_heavy, thousand_light)]
        [2, 1000]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        kish = whole**2 / whole_squares
        p = part / whole
        variance = (1 - p) ** 2 * part_squares + p**2 * (whole_squares - part_squares)
        linear = p * (1 - p) * whole**2 / variance
    inside = (part > 0) & (part < whole) & (variance > 0)
    size = np.where(inside, np.fmin(kish, np.where(inside, linear, np.inf)), kish)
    return np.where(whole > 0, size, 0.0)


def plain(estimates: Estimates, level: float) -> Ends:
    """Return the limits of each estimate by itself."""
    down, up = estimates.deviations(quantile((1 - level) / 2))
    return estimates.value - down, estimates.value + up


def mean_of(estimates: Estimates, weights: np.ndarray, level: float) -> Ends:
    """Return the limits of weighted means over the last axis; undefined estimates are left out."""
    value = estimates.value
    used = np.where(np.isnan(value), 0.0, weights)
    total = used.sum(-1, keepdims=True)
    share = np.divide(used, total, out=np.full(used.shape, np.nan), where=total > 0)
    down, up = (
        np.where(np.isnan(value), 0.0, d) for d in estimates.deviations(quantile((1 - level) / 2))
    )
    centre = (share * np.where(np.isnan(value), 0.0, value)).sum(-1)
    below, above = (np.sqrt(np.square(share * d).sum(-1)) for d in (down, up))
    return centre - below, centre + above
