"""What can be decided with the rows there are, and how many rows a decision needs; numpy only."""

import numpy as np

from frbench.metrics.estimates import quantile

#: Probability with which a decision is to be reached.
POWER = 0.8
_RATIOS = np.arange(0.01, 1.0001, 0.01)


def decidable_ratios(
    rate: np.ndarray,
    low_rows: np.ndarray,
    high_rows: np.ndarray,
    tail: float,
    threshold: float = 0.8,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratios of two selection rates that would be told from a threshold.

    By the normal law of the logarithm of a ratio, on a grid of .01.

    Args:
        rate: Selection rate of the group selected more often [P].
        low_rows: Rows of the group selected less often [P].
        high_rows: Rows of the other group [P].
        tail: One-sided error probability, corrected for the number of pairs.
        threshold: The ratio.

    Returns:
        The largest ratio that is found to lie below with a power of 80 %, and the smallest that
        is found to lie above; NaN where there is none.

    Example:
        >>> below, above = decidable_ratios(*np.array([[0.5], [200], [200]]), 0.025)
        >>> below.round(2).tolist(), above.round(2).tolist()
        ([0.54], [nan])
    """
    r, p = _RATIOS, np.asarray(rate, float)[..., None]
    n, m = (np.asarray(x, float)[..., None] for x in (low_rows, high_rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt((1 - r * p) / (n * r * p) + (1 - p) / (m * p))
        distance = np.log(r / threshold) / error
    needed = quantile(tail) + quantile(1 - POWER)
    # The normal law says nothing about a group of which nobody is expected to be selected.
    fails = (distance <= -needed) & (n * r * p >= 1)
    passes = distance >= needed
    below = np.where(fails, r, -np.inf).max(-1)
    above = np.where(passes, r, np.inf).min(-1)
    return np.where(np.isfinite(below), below, np.nan), np.where(np.isfinite(above), above, np.nan)


def decidable_gap(
    rate: np.ndarray, rows: np.ndarray, other_rows: np.ndarray, tail: float
) -> np.ndarray:
    """Return the smallest gap between two rates that is found with a power of 80 %.

    Args:
        rate: Rate of both groups if they are equal [P].
        rows: Rows of the one [P].
        other_rows: Rows of the other [P].
        tail: One-sided error probability, corrected for the number of pairs.

    Example:
        >>> decidable_gap(*np.array([[0.5], [200], [200]]), 0.025).round(3).tolist()
        [0.14]
    """
    rate = np.asarray(rate, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(rate * (1 - rate) * (1 / rows + 1 / other_rows))
    result: np.ndarray = (quantile(tail) + quantile(1 - POWER)) * error
    return result


def rows_needed(
    rate: float, gap: float, tests: int, level: float = 0.95, tolerance: float = 0.0
) -> float:
    """Return the rows of each group with which a gap is found with a power of 80 %.

    Two groups of n rows and rates a gap apart, symmetric to the rate where there is room; the
    error probability is divided among the tests.

    Args:
        rate: Rate about which the two lie.
        gap: Difference to be found.
        tests: Number of tests that are made.
        level: 1 - error probability over all tests.
        tolerance: What the gap is to be found to exceed; no number of rows finds a gap up to it.

    Example:
        >>> round(rows_needed(0.5, 0.1, tests=1)), round(rows_needed(0.5, 0.1, tests=28))
        (389, 778)
        >>> rows_needed(0.5, 0.1, tests=1, tolerance=0.1)
        inf
    """
    low = min(max(rate - gap / 2, 0.0), max(1 - gap, 0.0))
    high = min(low + gap, 1.0)
    if high - low <= tolerance + 1e-12:
        return np.inf
    needed = quantile((1 - level) / 2 / max(tests, 1)) + quantile(1 - POWER)
    variance = low * (1 - low) + high * (1 - high)
    return float(needed**2 * variance / (high - low - tolerance) ** 2)


def rows_within(rate: float, tolerance: float, tests: int, level: float = 0.95) -> float:
    """Return the rows of each group that show equal groups to differ by less than a tolerance.

    Two one-sided tests of groups that are equal, with a power of 80 %: both limits of the
    difference must lie within the tolerance. The error probability is divided among the tests.

    Args:
        rate: Rate of both groups.
        tolerance: Gap that is accepted.
        tests: Number of tests that are made.
        level: 1 - error probability over all tests.

    Example:
        >>> round(rows_within(0.5, 0.1, tests=1))
        428
    """
    if tolerance <= 0:
        return np.inf
    needed = quantile((1 - level) / max(tests, 1)) + quantile((1 - POWER) / 2)
    return float(needed**2 * 2 * rate * (1 - rate) / tolerance**2)
