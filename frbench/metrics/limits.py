"""Confidence limits of proportions, and of the largest and smallest of several contrasts.

A gap is the largest of the differences between two groups, a worst group the smallest of the
accuracies, a disparate impact the smallest of the ratios. Such an extreme is not a smooth function
of the rates: where groups are equal, its plug-in value is biased and resampling does not cover
(docs/intervals.md). Here each contrast has an interval of its own, and

- the upper limit of a maximum is the largest of the upper limits of the contrasts. No correction
  is needed: it fails only if the limit of the true largest contrast fails (intersection-union);
- the lower limit of a maximum is the largest of the lower limits, each at the level corrected for
  the number of contrasts that may be the largest (union-intersection).

Minima are the same with the sign turned. All functions carry leading dimensions; numpy only.
"""

from collections.abc import Callable, Sequence

import numpy as np

from frbench.metrics.estimates import Ends, Estimates, quantile

#: Limits of contrasts [..., M] for a normal quantile [...].
Family = Callable[[np.ndarray], Ends]

# Share of the error probability that the choice of the contenders may use.
CONTENDERS = 0.05
# Contrasts of a sum of two gaps (8 groups); of more groups, the limits of the gaps are combined.
MAX_CONTRASTS = 5000


def singles(estimates: Estimates, axes: int = 1) -> Family:
    """Return the family of the estimates themselves, the last `axes` axes as one."""

    def limits(q: np.ndarray) -> Ends:
        down, up = estimates.deviations(_spread(q, estimates.value, axes))
        low, high = estimates.value - down, estimates.value + up
        return _flat(low, axes), _flat(high, axes)

    return limits


def differences(estimates: Estimates, axes: int = 1) -> Family:
    """Return the family of value_i - value_j for all ordered pairs of the last axis."""
    i, j = pairs(estimates.value.shape[-1])

    def limits(q: np.ndarray) -> Ends:
        value = estimates.value
        down, up = (np.square(d) for d in estimates.deviations(_spread(q, value, axes)))
        centre = value[..., i] - value[..., j]
        low = centre - np.sqrt(down[..., i] + up[..., j])
        high = centre + np.sqrt(up[..., i] + down[..., j])
        return _flat(low, axes), _flat(high, axes)

    return limits


def ratios(estimates: Estimates, axes: int = 1) -> Family:
    """Return the family of value_i / value_j for all ordered pairs of the last axis.

    The limits are those of Donner and Zou (Statistical Methods in Medical Research 21, 2012), in
    a form without 0 / 0.
    """
    i, j = pairs(estimates.value.shape[-1])

    def limits(q: np.ndarray) -> Ends:
        value = estimates.value
        down, up = (np.square(d) for d in estimates.deviations(_spread(q, value, axes)))
        square = np.square(value)
        product = value[..., i] * value[..., j]
        below = (square - down)[..., i], (square - up)[..., j]  # l (2 p - l), u (2 p - u)
        above = (square - up)[..., i], (square - down)[..., j]
        root = np.sqrt(np.maximum(product**2 - below[0] * below[1], 0))
        zero = np.where(np.isnan(product), np.nan, 0.0)
        low = np.divide(below[0], product + root, out=zero.copy(), where=product + root > 0)
        root = np.sqrt(np.maximum(product**2 - above[0] * above[1], 0))
        infinite = np.where(np.isnan(product), np.nan, np.inf)
        high = np.divide(product + root, above[1], out=infinite, where=above[1] > 1e-300)
        return _flat(low, axes), _flat(high, axes)

    return limits


def joined(families: Sequence[Family]) -> Family:
    """Return the union of families."""

    def limits(q: np.ndarray) -> Ends:
        found = [family(q) for family in families]
        return np.concatenate([f[0] for f in found], -1), np.concatenate([f[1] for f in found], -1)

    return limits


def pairs(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of all ordered pairs.

    Example:
        >>> [x.tolist() for x in pairs(2)]
        [[0, 1], [1, 0]]
    """
    i, j = np.nonzero(~np.eye(number, dtype=bool))
    return i, j


def largest(family: Family, level: float) -> Ends:
    """Return limits of the largest contrast, see the text of the module.

    Args:
        family: The contrasts.
        level: Coverage.

    Example:
        >>> from frbench.metrics.estimates import Rates
        >>> equal = Rates(np.array([0.5, 0.5]), np.array([100, 100]))
        >>> low, high = largest(differences(equal), 0.95)
        >>> float(low.round(3)), float(high.round(3))
        (-0.137, 0.136)
    """
    alpha = 1 - level
    low, high = family(quantile(alpha / 2))
    number = (~np.isnan(low)).sum(-1)
    wide_low, wide_high = family(quantile(CONTENDERS * alpha / 2 / np.maximum(number, 1)))
    contends = wide_high >= np.fmax.reduce(wide_low, -1)[..., None]
    # Where two or more tie, all of their upper limits would have to fail together, so that the
    # whole error probability is left for the lower limit; it is shared by the contenders.
    tail = (1 - CONTENDERS) * alpha / np.maximum(contends.sum(-1), 2)
    low = family(quantile(np.where(number > 1, tail, alpha / 2)))[0]
    return np.fmax.reduce(np.where(contends, low, np.nan), -1), np.fmax.reduce(high, -1)


def smallest(family: Family, level: float) -> Ends:
    """Return limits of the smallest contrast, see `largest`.

    Example:
        >>> from frbench.metrics.estimates import Rates
        >>> groups = Rates(np.array([0.7, 0.9]), np.array([100, 100]))
        >>> low, high = smallest(singles(groups), 0.95)
        >>> float(low.round(3)), float(high.round(3))
        (0.604, 0.782)
    """

    def turned(q: np.ndarray) -> Ends:
        low, high = family(q)
        return -high, -low

    low, high = largest(turned, level)
    return -high, -low


def largest_sum(first: Estimates, second: Estimates, level: float, axes: int = 1) -> Ends:
    """Return limits of the sum of two gaps, the largest of S sums where `axes` is 2.

    Each pair of groups of the one gap with each pair of the other is a contrast. Of more than 8
    groups, the lower limits of the two gaps are added, each at half of the error probability, and
    the distances of the upper limits from the gaps are added as root of the sum of squares.

    Args:
        first: Estimates [..., A], or [..., S, A].
        second: The same, independent of the first.
        level: Coverage.
        axes: 1, or 2 to take the largest over S.
    """
    number = first.value.shape[-1] * (first.value.shape[-1] - 1)
    if number**2 > MAX_CONTRASTS:
        families = [differences(x, axes) for x in (first, second)]
        lows = [np.maximum(largest(family, (1 + level) / 2)[0], 0.0) for family in families]
        gaps = [np.fmax.reduce(family(np.array(0.0))[0], -1) for family in families]
        tops = [np.fmax.reduce(family(quantile((1 - level) / 2))[1], -1) for family in families]
        above = np.hypot(*(top - gap for top, gap in zip(tops, gaps, strict=True)))
        return lows[0] + lows[1], gaps[0] + gaps[1] + above
    i, j = pairs(first.value.shape[-1])
    axes += 1

    def limits(q: np.ndarray) -> Ends:
        centre, below, above = [], [], []
        for x in (first, second):
            down, up = (np.square(d) for d in x.deviations(_spread(q, x.value, axes - 1)))
            centre.append(x.value[..., i] - x.value[..., j])
            below.append(down[..., i] + up[..., j])
            above.append(up[..., i] + down[..., j])
        middle, down, up = (a[..., None] + b[..., None, :] for a, b in (centre, below, above))
        return _flat(middle - np.sqrt(down), axes), _flat(middle + np.sqrt(up), axes)

    return largest(limits, level)


def _spread(q: np.ndarray, value: np.ndarray, axes: int) -> np.ndarray:
    """Give quantiles of the leading dimensions the axes of the estimates."""
    return q if np.ndim(q) == 0 else q.reshape(*q.shape, *(1,) * axes)


def _flat(x: np.ndarray, axes: int) -> np.ndarray:
    return x.reshape(*x.shape[: x.ndim - axes], -1)
