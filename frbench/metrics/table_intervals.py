"""An interval for every metric of a count table, in closed form; numpy only."""

from collections.abc import Sequence

import numpy as np

from frbench.metrics.counts import Empty, count_metrics, rate, theil
from frbench.metrics.estimates import (
    Combined,
    Ends,
    Estimates,
    Rates,
    effective_size,
    mean_of,
    plain,
    quantile,
)
from frbench.metrics.limits import (
    differences,
    joined,
    largest,
    largest_sum,
    pairs,
    ratios,
    singles,
    smallest,
)
from frbench.metrics.names import DIRECTION, check_names, group_name
from frbench.metrics.shares import RATES, benefits, shares, taking_part

#: Metrics of counts that have no interval: what a table lacks is a fact about the table.
WITHOUT = frozenset({"empty_groups"})
# Draws for the one metric without limits in closed form.
_DRAWS = 1000


def count_intervals(
    counts: np.ndarray,
    level: float = 0.95,
    *,
    squares: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[str] | None = None,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, Ends]:
    """Compute an interval for every count metric but the number of empty groups.

    Proportions have Wilson's interval. Minima, gaps and ratios are extremes of contrasts between
    groups, see `frbench.metrics.limits`. Only the Theil index is drawn: from the posterior of the
    shares of its three benefits. A group without rows takes part in nothing: an interval speaks of
    the groups that the table has.

    Args:
        counts: Table [..., C, A + 1, C] as made by `frbench.metrics.tabulate`.
        level: Coverage aimed at.
        squares: Sums of the squared weights in the same cells, if the table is weighted; every
            rate then has its own effective number of rows.
        class_names: As in `frbench.metrics.count_metrics`.
        attribute_names: As in `frbench.metrics.count_metrics`.
        train_counts: As in `frbench.metrics.count_metrics`.
        empty: As in `frbench.metrics.count_metrics`.
        min_group_rows: As in `frbench.metrics.count_metrics`.
        rows: As in `frbench.metrics.count_metrics`.

    Returns:
        Metric key -> lower and upper ends, each [...]; NaN where the metric is.

    Example:
        >>> table = np.array([[[60, 20], [40, 40], [0, 0]], [[20, 60], [0, 80], [0, 0]]])
        >>> low, high = count_intervals(table)["accuracy"]
        >>> float(low.round(3)), float(high.round(3))
        (0.7, 0.794)
    """
    names = class_names, attribute_names
    classes = check_names(class_names, counts.shape[-1], "class_names")
    attributes = check_names(attribute_names, counts.shape[-2] - 1, "attribute_names")
    value = count_metrics(counts, *names, train_counts, empty, min_group_rows, rows)
    rates = proportions(counts, squares, empty)
    taken = taking_part(counts[..., :-1, :].sum(-1) if rows is None else rows, min_group_rows)
    compared = {
        name: Rates(np.where(taken[name], found.value, np.nan), found.size)
        if name in taken
        else found
        for name, found in rates.items()
    }
    out = {
        "accuracy": plain(rates["accuracy"], level),
        "balanced_accuracy": mean_of(rates["recall"], np.ones(len(classes)), level),
        "worst_class_accuracy": smallest(singles(rates["recall"]), level),
        "worst_group_accuracy": smallest(singles(compared["group"], 2), level),
        "worst_attribute_accuracy": smallest(singles(compared["attribute"]), level),
        "accuracy_gap": _gap([compared["attribute"]], level, 1),
        "weighted_average_accuracy": _average(
            counts, squares, rates["group"], train_counts, level
        ),
        "theil_index": _theil(counts, squares, level),
        "representation_rate": _representation(counts, squares, level),
    }
    if min_group_rows:
        out["rare_groups_accuracy"] = _pooled(counts, squares, ~taken["group"], level)
    out |= _one_vs_rest(rates, compared, attributes, level)
    chosen = compared["chosen"]
    out["statistical_rate"] = _ratio(chosen, level, 2)
    for i, name in enumerate(classes):
        one = Rates(chosen.value[..., i, :], chosen.size[..., i, :])
        out[f"statistical_rate/y={name}"] = _ratio(one, level, 1)
    by_attribute, by_group = plain(rates["attribute"], level), plain(rates["group"], level)
    for j, name in enumerate(attributes):
        out[f"accuracy/z={name}"] = by_attribute[0][..., j], by_attribute[1][..., j]
        for i, label in enumerate(classes):
            key = f"group_accuracy/{group_name(label, name)}"
            out[key] = by_group[0][..., i, j], by_group[1][..., i, j]
    ordered = {key: out[key] for key in value if key not in WITHOUT}
    undefined = {key: np.isnan(value[key]) for key in ordered}
    return {
        key: (np.where(undefined[key], np.nan, low), np.where(undefined[key], np.nan, high))
        for key, (low, high) in ordered.items()
    }


def proportions(
    counts: np.ndarray, squares: np.ndarray | None = None, empty: Empty = "ignore"
) -> dict[str, Rates]:
    """Give every proportion of `frbench.metrics.shares` its effective number of rows.

    Example:
        >>> proportions(np.array([[[3, 1], [0, 0]], [[1, 3], [0, 0]]]))["attribute"].size.tolist()
        [8]
    """
    parts = shares(counts)
    squared = parts if squares is None else shares(squares)
    out = {}
    for name, (part, whole) in parts.items():
        part, whole = np.broadcast_arrays(part, whole)
        size = whole if squares is None else effective_size(part, whole, *squared[name])
        out[name] = Rates(rate(part, whole, empty), size)
    return out


def _gap(estimates: Sequence[Estimates], level: float, axes: int) -> Ends:
    """Return limits of the largest difference; 0 for a single group."""
    value = estimates[0].value
    if value.shape[-1] == 1:
        zero = np.zeros(value.shape[: value.ndim - axes])
        return zero, zero
    low, high = largest(joined([differences(x, axes) for x in estimates]), level)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def _ratio(estimates: Estimates, level: float, axes: int) -> Ends:
    """Return limits of the smallest ratio; 1 for a single group."""
    value = estimates.value
    if value.shape[-1] == 1:
        one = np.ones(value.shape[: value.ndim - axes])
        return one, one
    low, high = smallest(ratios(estimates, axes), level)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def _one_vs_rest(
    rates: dict[str, Rates], compared: dict[str, Rates], attributes: Sequence[str], level: float
) -> dict[str, Ends]:
    """Compute the intervals of the metrics that need a positive class."""
    selected, tpr, fpr, ppv = (compared[name] for name in RATES)
    odds = Combined([tpr, fpr], [0.5, 0.5])
    one = odds.value.shape[-1] == 1
    total = _gap([tpr], level, 2) if one else largest_sum(tpr, fpr, level, 2)
    total = np.maximum(total[0], 0.0), np.minimum(total[1], 2.0)
    out = {
        "demographic_parity_difference": _gap([selected], level, 2),
        "disparate_impact": _ratio(selected, level, 2),
        "equal_opportunity_difference": _gap([tpr], level, 2),
        "equalized_odds_difference": _gap([tpr, fpr], level, 2),
        "equalized_odds_mean": (total[0] / 2, total[1] / 2),
        "equalized_odds_sum": total,
        "predictive_parity_difference": _gap([ppv], level, 2),
    }
    if odds.value.shape[-2:] == (1, 2):
        low, high = differences(odds)(quantile((1 - level) / 2))
        out["average_odds_difference"] = low[..., 0, 0], high[..., 0, 0]
    else:
        out["average_odds_difference"] = _gap([odds], level, 2)
    for name in RATES:
        extreme = smallest if DIRECTION[name] > 0 else largest
        value, size = (np.swapaxes(x, -1, -2) for x in rates[name])  # [..., A, S]
        low, high = extreme(singles(Rates(value, size)), level)
        for j, attribute in enumerate(attributes):
            out[f"{name}/z={attribute}"] = low[..., j], high[..., j]
    return out


def _average(
    counts: np.ndarray,
    squares: np.ndarray | None,
    group: Rates,
    train_counts: np.ndarray | None,
    level: float,
) -> Ends:
    """Return limits of the average over groups, weighted as in training."""
    if train_counts is None:  # then it is the accuracy of the rows of known z
        every = np.ones((counts.shape[-1], counts.shape[-2] - 1), bool)
        return _pooled(counts, squares, every, level)
    flat = Rates(*(x.reshape(*x.shape[:-2], -1) for x in group))
    return mean_of(flat, np.asarray(train_counts, float).ravel(), level)


def _pooled(
    counts: np.ndarray, squares: np.ndarray | None, among: np.ndarray, level: float
) -> Ends:
    """Return limits of the accuracy of all rows in some of the groups together."""

    def sums(table: np.ndarray) -> list[np.ndarray]:
        return [np.where(among, x, 0).sum((-2, -1)) for x in shares(table)["group"]]

    right, cell = sums(counts)
    size = cell if squares is None else effective_size(right, cell, *sums(squares))
    return plain(Rates(rate(right, cell, "ignore"), size), level)


def _representation(counts: np.ndarray, squares: np.ndarray | None, level: float) -> Ends:
    """Return limits of the smallest ratio of two groups' numbers of rows.

    Given their sum, one of two numbers is binomial, and its odds are the ratio.
    """
    people = counts[..., :-1, :].sum((-3, -1)).astype(float)
    if people.shape[-1] == 1:
        return np.ones(people.shape[:-1]), np.ones(people.shape[:-1])
    i, j = pairs(people.shape[-1])
    whole = people[..., i] + people[..., j]
    size = whole
    if squares is not None:
        own = squares[..., :-1, :].sum((-3, -1))
        size = effective_size(people[..., i], whole, own[..., i], own[..., i] + own[..., j])
    share = Rates(rate(people[..., i], whole, "ignore"), size)

    def odds(q: np.ndarray) -> Ends:
        with np.errstate(divide="ignore"):
            low, high = (p / (1 - p) for p in singles(share)(q))
        return low, high

    low, high = smallest(odds, level)
    return low, np.minimum(high, 1.0)


def _theil(counts: np.ndarray, squares: np.ndarray | None, level: float) -> Ends:
    """Return limits of the Theil index from draws of the shares of its benefits."""
    rows = benefits(counts).astype(float)
    if squares is not None:
        total = benefits(squares).sum(-1)
        rows = rows * rate(rows.sum(-1), total, "ignore")[..., None]
    observed = theil(benefits(counts))
    drawn = np.random.default_rng(0).gamma(np.nan_to_num(rows) + 0.5, size=(_DRAWS, *rows.shape))
    sampled, alpha = theil(drawn), 1 - level
    number = max(2, observed.shape[-1])
    low, high = np.quantile(sampled, [alpha / number, 1 - alpha / 2], axis=0)
    return np.fmin(low, observed).max(-1), np.fmax(high, observed).max(-1)
