"""Several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons (Holm 1979), in their order.

    The i-th smallest of m, i from 0, is multiplied by m - i; the results are cut at 1 and never
    fall below that of a smaller p-value. The probability of one false mark or more among the m
    is at most the level, however the tests depend on each other.

    Args:
        values: One p-value per comparison; NaN, no test, is none of the m and stays NaN.

    Example:
        >>> [round(p, 3) for p in holm([0.01, float("nan"), 0.04, 0.03])]
        [0.03, nan, 0.06, 0.06]
    """
    p = np.asarray(values, float)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN are sorted last
    out = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    out[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return out.tolist()
