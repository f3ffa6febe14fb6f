"""Methods over several data sets: mean ranks, win rates and the tests of Friedman and Nemenyi."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2, rankdata, studentized_range

from frbench.contracts.errors import UserError
from frbench.report.interval import LEVEL
from frbench.report.summary import Report
from frbench.support.sheet import Cell, Sheet, Value

#: Draws of the bootstrap over data sets.
RESAMPLES = 2000


class Ranking(NamedTuple):
    """Methods compared on one metric over data sets.

    Attributes:
        metric: Its name.
        data: Names of the N data sets, each with its test table.
        methods: Names of the k methods, best mean rank first.
        ranks: Mean ranks [k]; 1 is best, equal values share the mean of their ranks.
        rank_ends: 95 % bootstrap intervals of the mean ranks, over data sets [k, 2].
        wins: Shares of pairs (another method, a data set) in which the method is better, an equal
            value counted as half [k].
        win_ends: Their 95 % bootstrap intervals, over data sets [k, 2].
        statistic: Friedman's chi-squared, corrected for equal values.
        p: Its p-value with k - 1 degrees of freedom; NaN where all ranks are equal.
        critical: Nemenyi's critical difference of mean ranks at 5 %.
    """

    metric: str
    data: tuple[str, ...]
    methods: tuple[str, ...]
    ranks: np.ndarray
    rank_ends: np.ndarray
    wins: np.ndarray
    win_ends: np.ndarray
    statistic: float
    p: float
    critical: float


def rank(report: Report, metric: str, seed: int = 0) -> Ranking:
    """Rank the methods of a report over its data sets by one test metric.

    Of a data set with several test tables the first one that is shown counts: tables of one data
    set are no independent evidence. Friedman's statistic is
    chi2 = 12 N / (k (k + 1)) (sum_j r_j^2 - k (k + 1)^2 / 4) for mean ranks r_j, divided by
    1 - sum (t^3 - t) / (N (k^3 - k)) for groups of t equal values; Nemenyi's critical difference
    is q sqrt(k (k + 1) / (6 N)), q being the .95 quantile of the studentized range over sqrt(2).
    Source: Demsar, Journal of Machine Learning Research 7 (2006), section 3.2.

    Args:
        report: What `frbench.report.summarise` returns.
        metric: Name without split and table, of known direction.
        seed: Seed of the bootstrap.

    Raises:
        UserError: If the metric has no direction, or fewer than two data sets have values of the
            same two methods.
    """
    sign = report.direction(metric)
    if not sign:
        raise UserError(f"--ranks: {metric} has no better direction; choose another by --metrics.")
    data = [name for name, tables in report.tables.items() if tables]
    means = {
        (row.data, row.method): sign * row.metrics[f"{report.tables[row.data][0]}/{metric}"].mean
        for row in report.rows
        if row.data in data
    }
    data = [name for name in data if any(known[0] == name for known in means)]
    everywhere = [
        method
        for method in dict.fromkeys(row.method for row in report.rows)
        if all(math.isfinite(means.get((name, method), math.nan)) for name in data)
    ]
    if len(data) < 2 or len(everywhere) < 2:
        raise UserError(
            f"--ranks needs two methods with {metric} on each of two data sets; here "
            f"{len(everywhere)} have it on all {len(data)}."
        )
    values = np.array([[means[name, method] for method in everywhere] for name in data])
    ranks = rankdata(-values, axis=1)
    beats = values[:, :, None] - values[:, None, :]
    wins = ((beats > 0) + 0.5 * (beats == 0)).sum(2) - 0.5  # not against itself
    wins = wins / (len(everywhere) - 1)
    drawn = np.random.default_rng(seed).integers(0, len(data), (RESAMPLES, len(data)))
    order = np.argsort(ranks.mean(0), kind="stable")
    statistic, p = friedman(ranks)
    return Ranking(
        metric,
        tuple(f"{name} {report.tables[name][0].replace('/', ' ')}" for name in data),
        tuple(everywhere[i] for i in order),
        ranks.mean(0)[order],
        _ends(ranks[drawn].mean(1))[order],
        wins.mean(0)[order],
        _ends(wins[drawn].mean(1))[order],
        statistic,
        p,
        critical_difference(len(everywhere), len(data)),
    )


def _ends(draws: np.ndarray) -> np.ndarray:
    """Return the ends of percentile intervals [k, 2] of draws [R, k]."""
    tail = (1 - LEVEL) / 2
    ends: np.ndarray = np.quantile(draws, [tail, 1 - tail], axis=0).T
    return ends


def friedman(ranks: np.ndarray) -> tuple[float, float]:
    """Return Friedman's statistic and its p-value for ranks [N, k], see `rank`.

    Example:
        >>> statistic, p = friedman(np.array([[1, 2, 3], [1, 2, 3], [1, 3, 2.0]]))
        >>> round(statistic, 3), round(p, 3)
        (4.667, 0.097)
    """
    n, k = ranks.shape
    equal = sum(
        float((counts.astype(float) ** 3 - counts).sum())
        for row in ranks
        for counts in (np.unique(row, return_counts=True)[1],)
    )
    scale = 1 - equal / (n * (k**3 - k))
    if scale <= 0:
        return math.nan, math.nan
    spread = float((ranks.mean(0) ** 2).sum()) - k * (k + 1) ** 2 / 4
    statistic = 12 * n / (k * (k + 1)) * spread / scale
    return statistic, float(chi2.sf(statistic, k - 1))


def critical_difference(k: int, n: int) -> float:
    """Return Nemenyi's critical difference of mean ranks at 5 % for k methods on n data sets.

    Example:
        >>> round(critical_difference(4, 14), 2)
        1.25
    """
    quantile = float(studentized_range.ppf(1 - 0.05, k, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(k * (k + 1) / (6 * n))


def rank_sheets(report: Report, metrics: Sequence[str]) -> Iterator[Sheet]:
    """Lay out the ranking by each metric that has a direction."""
    for metric in metrics:
        found = rank(report, metric)
        left_out = sorted({row.method for row in report.rows} - {*found.methods})
        lines = [
            f"Ranks of the means over seeds on {len(found.data)} data sets: "
            f"{', '.join(found.data)}; 1 is best. Intervals: bootstrap over data sets.",
            f"Friedman's test of equal methods: chi-squared {found.statistic:.2f}, "
            f"p = {found.p:.3g}. Nemenyi's critical difference at 5 %: {found.critical:.2f}; "
            "bold: not further than that from the best mean rank, where another method is.",
        ]
        if left_out:
            lines.append(f"Left out, without a value on some data set: {', '.join(left_out)}.")
        behind = found.ranks - found.ranks[0] > found.critical
        rows: list[list[Value]] = [
            [
                method,
                Cell(
                    f"{found.ranks[i]:.2f}",
                    _span(found.rank_ends[i]),
                    "bold" * bool(behind.any() and not behind[i]),
                ),
                Cell(f"{found.wins[i]:.2f}", _span(found.win_ends[i])),
            ]
            for i, method in enumerate(found.methods)
        ]
        title = f"ranks by {metric.replace('_', ' ')}"
        yield Sheet(title, ("method", "mean rank", "win rate"), rows, lines)


def _span(ends: np.ndarray) -> str:
    return f"[{ends[0]:.2f}, {ends[1]:.2f}]"
