"""Tests of A ⊥ B | S on columns: contingency tables, or residuals where S is continuous."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

#: Numbers with more distinct values than this are continuous.
MAX_LEVELS = 12
#: Quantile bins of a continuous column that is tested, not conditioned on.
BINS = 5
#: Random tables with the margins of a sparse one.
DRAWS = 999
#: Levels of a discrete column whose residuals are taken; rarer ones are one level.
RESIDUAL_LEVELS = 5
#: Strata in which the regression on a continuous condition is fitted apart.
MAX_STRATA = 20


class Column(NamedTuple):
    """A column without missing values.

    Attributes:
        values: Codes 0..k-1, int [N], or normal scores, float [N].
        continuous: Which of the two.
    """

    values: np.ndarray
    continuous: bool


class Outcome(NamedTuple):
    """The result of one test.

    Attributes:
        method: Name of the test.
        rows: Rows that say something about the statement.
        strata: Number of strata that do.
        smallest: Rows in the smallest of them.
        p: p-value.
        df: Degrees of freedom.
        effect: Size of the dependence, sqrt(max(statistic - df, 0) / rows): Cohen's w, for two
            binary columns the correlation.
    """

    method: str
    rows: int
    strata: int
    smallest: int
    p: float
    df: int
    effect: float


def column(values: np.ndarray) -> Column:
    """Turn raw values into a column.

    Numbers of more than twelve values become normal scores of their ranks: independence does not
    change under such a map, and neither tails nor units matter.

    Args:
        values: Numbers, or anything that can be compared for equality [N].

    Example:
        >>> column(np.array(["b", "a", "b"], dtype=object))
        Column(values=array([1, 0, 1]), continuous=False)
    """
    if np.issubdtype(values.dtype, np.number):
        levels, codes = np.unique(values, return_inverse=True)
        if len(levels) > MAX_LEVELS:
            from scipy.stats import norm, rankdata

            return Column(norm.ppf((rankdata(values) - 0.5) / len(values)), True)
        return Column(codes, False)
    return Column(np.unique([str(value) for value in values], return_inverse=True)[1], False)


def examine(a: Column, b: Column, given: Sequence[Column], rng: np.random.Generator) -> Outcome:
    """Test A ⊥ B | S.

    With a discrete S: the G-test summed over the strata of S, continuous A and B in five quantile
    bins. Binning A or B keeps an independence; binning S would not. Tables too sparse for the
    chi-squared law (Cochran: an expected count below 1, or a fifth of them below 5) are compared
    with random tables of the same margins, an exact permutation test; beyond the largest of them
    the tail is a gamma law with their mean and variance.

    With a continuous S: A and B are regressed on S, and the covariance of the residuals is tested
    (generalised covariance measure, arXiv 1804.07203). It has no power against dependences that
    leave the residuals uncorrelated, and its level rests on the regression: cubic splines, fitted
    apart in each stratum of the discrete part of S where that has few.

    Args:
        a: One side.
        b: The other.
        given: The condition, any number of columns.
        rng: Source of the random tables.
    """
    if any(one.continuous for one in given):
        return _residual_covariance(a, b, given)
    return _tables(_binned(a), _binned(b), _crossed(given, len(a.values)), rng)


def _crossed(columns: Sequence[Column], n: int) -> np.ndarray:
    """Codes of the combinations that occur, for discrete columns."""
    pairs = (one.values for one in columns)
    return reduce(
        lambda s, v: np.unique(s * (v.max() + 1) + v, return_inverse=True)[1],
        pairs,
        np.zeros(n, np.int64),
    )


def _binned(one: Column) -> np.ndarray:
    if not one.continuous:
        return one.values
    edges = np.unique(np.quantile(one.values, np.arange(1, BINS) / BINS))
    return np.searchsorted(edges, one.values, side="right")


def _g(tables: np.ndarray) -> np.ndarray:
    """G = 2 sum n log(n / expected) of each table [..., A, B]."""
    total = tables.sum((-1, -2), keepdims=True)
    margins = tables.sum(-1, keepdims=True) * tables.sum(-2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = tables * np.log(tables * total / margins)
    result: np.ndarray = 2 * np.where(tables > 0, terms, 0).sum((-1, -2))
    return result


def _tables(a: np.ndarray, b: np.ndarray, s: np.ndarray, rng: np.random.Generator) -> Outcome:
    from scipy.stats import chi2, gamma, random_table

    # Only the cells of a stratum are held at a time: there can be many strata of many cells.
    order = np.argsort(s, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(s[order])) + 1)
    tables = []
    for part in parts:
        table = np.zeros((a.max() + 1, b.max() + 1))
        np.add.at(table, (a[part], b[part]), 1)
        table = table[table.any(1)][:, table.any(0)]
        if min(table.shape) > 1:
            tables.append(table)
    if not tables:
        return Outcome("G", 0, 0, 0, 1.0, 0, 0.0)
    sizes = [int(table.sum()) for table in tables]
    rows, df = sum(sizes), sum((t.shape[0] - 1) * (t.shape[1] - 1) for t in tables)
    statistic = float(sum(_g(table) for table in tables))
    expected = np.concatenate([(t.sum(1)[:, None] * t.sum(0) / t.sum()).ravel() for t in tables])
    if expected.min() >= 1 and (expected < 5).mean() <= 0.2:
        p, centre, method = float(chi2.sf(statistic, df)), float(df), "G"
    else:
        drawn = np.zeros(DRAWS)
        for table in tables:
            law = random_table(table.sum(1).astype(int), table.sum(0).astype(int))
            drawn += _g(law.rvs(size=DRAWS, random_state=rng))
        reached = int((drawn >= statistic - 1e-9).sum())
        centre, spread = float(drawn.mean()), float(drawn.var())
        p, method = (1 + reached) / (1 + DRAWS), "G, random tables"
        if not reached and spread > 0:
            p = min(p, float(gamma.sf(statistic, centre**2 / spread, scale=spread / centre)))
    effect = np.sqrt(max(statistic - centre, 0) / rows)
    return Outcome(method, rows, len(tables), min(sizes), p, df, float(effect))


def _residual_covariance(a: Column, b: Column, given: Sequence[Column]) -> Outcome:
    from scipy.stats import chi2

    design = _design(given)
    n = len(design)
    left, right = (_residuals(_columns(one), design) for one in (a, b))
    products = (left[:, :, None] * right[:, None, :]).reshape(n, -1)
    mean = products.mean(0)
    spread = products.T @ products / n - np.outer(mean, mean)
    # Redundant products (a level that S decides) have no variance: the rank counts, not the width.
    values, vectors = np.linalg.eigh(spread)
    kept = values > 1e-8 * max(values.max(initial=0), 1e-12)
    df = int(kept.sum())
    if not df:
        return Outcome("residuals", 0, 0, 0, 1.0, 0, 0.0)
    # The regression has used up as many rows as its design has columns.
    rows = n - np.linalg.matrix_rank(design)
    statistic = float(rows * ((vectors[:, kept].T @ mean) ** 2 / values[kept]).sum())
    effect = float(np.sqrt(max(statistic - df, 0) / n))
    return Outcome("residuals", n, 1, n, float(chi2.sf(statistic, df)), df, effect)


def _columns(one: Column) -> np.ndarray:
    """Write a column as numbers: itself, or 0/1 columns of its frequent levels but one."""
    if one.continuous:
        return one.values[:, None]
    counts = np.bincount(one.values)
    frequent = np.argsort(-counts, kind="stable")[: min(RESIDUAL_LEVELS, len(counts) - 1)]
    result: np.ndarray = (one.values[:, None] == frequent).astype(float)
    return result


def _design(given: Sequence[Column]) -> np.ndarray:
    """Columns whose span holds the regressions on S."""
    from sklearn.preprocessing import SplineTransformer

    n = len(given[0].values)
    numbers = np.stack([one.values for one in given if one.continuous], 1)
    discrete = [one for one in given if not one.continuous]
    strata = _crossed(discrete, n)
    few = strata.max() < MAX_STRATA and np.bincount(strata).min() * len(given) >= 100
    knots = int(np.clip(n // (40 * numbers.shape[1] * (strata.max() + 1 if few else 1)), 2, 6))
    spline = SplineTransformer(n_knots=knots, degree=3, knots="quantile", include_bias=False)
    smooth = spline.fit_transform(numbers)
    i, j = np.triu_indices(numbers.shape[1], 1)
    smooth = np.column_stack([np.ones(n), smooth, numbers[:, i] * numbers[:, j]])
    if few:
        inside = strata[:, None] == np.arange(strata.max() + 1)
        result: np.ndarray = (inside[:, :, None] * smooth[:, None, :]).reshape(n, -1)
        return result
    return np.column_stack([smooth, *(_columns(one) for one in discrete)])


def _residuals(values: np.ndarray, design: np.ndarray) -> np.ndarray:
    result: np.ndarray = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return result


def detectable(df: int, rows: int, alpha: float, power: float = 0.8) -> float:
    """Return the smallest effect (Cohen's w) that a test finds with the given probability.

    Example:
        >>> round(detectable(df=1, rows=785, alpha=0.05), 3)
        0.1
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, ncx2

    if not rows or not df:
        return float("inf")
    limit = chi2.isf(alpha, df)
    size = brentq(lambda x: ncx2.sf(limit, df, x) - power, 1e-6, 10 * (limit + df) + 100)
    return float(np.sqrt(size / rows))
