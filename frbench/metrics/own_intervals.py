"""Intervals of metrics of one's own, whose form is not known: percentiles of resampled tables."""

from collections.abc import Sequence

import numpy as np

from frbench.metrics.estimates import Ends
from frbench.metrics.own import CountMetric, evaluate_own


def own_intervals(
    metrics: Sequence[CountMetric],
    counts: np.ndarray,
    draws: float | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Ends]:
    """Compute percentile intervals of metrics of one's own.

    Multinomial tables with the proportions of the counts have the law of the tables of resampled
    rows. Such intervals do not cover where a metric is a minimum or a gap and groups are equal;
    one that would leave out the value itself is extended to it.

    Args:
        metrics: Functions of counts.
        counts: Table [C, A + 1, C].
        draws: Rows of a resample, for weighted tables an effective number; the total by default.
        n_resamples: Number of resamples.
        level: Coverage aimed at.
        seed: Seed of the resamples.

    Example:
        >>> def first(counts): return counts[0].sum() / counts.sum()
        >>> low, high = own_intervals([first], np.full((2, 3, 2), 25.0))["first"]
        >>> round(float(low), 2), round(float(high), 2)
        (0.44, 0.56)
    """
    if not metrics:
        return {}
    total = counts.sum()
    rows = max(1, round(float(total if draws is None else draws)))
    rng = np.random.default_rng(seed)
    tables = rng.multinomial(rows, counts.ravel() / total, n_resamples)
    sampled = evaluate_own(metrics, tables.reshape(-1, *counts.shape))
    out = {}
    for key, value in evaluate_own(metrics, counts).items():
        defined = sampled[key][~np.isnan(sampled[key])]
        ends = np.array([np.nan, np.nan])
        if len(defined):
            ends = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
        out[key] = np.fmin(ends[0], value), np.fmax(ends[1], value)
    return out
