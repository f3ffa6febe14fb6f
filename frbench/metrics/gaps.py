"""Gaps of rates between pairs of groups: tests against a tolerance, rows needed; numpy only."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from frbench.metrics.estimates import Ends, Interval, Rates, quantile
from frbench.metrics.limits import differences
from frbench.metrics.multiplicity import holm
from frbench.metrics.names import check_names, group_name
from frbench.metrics.power import decidable_gap, rows_needed, rows_within
from frbench.metrics.shares import positive_classes
from frbench.metrics.table_intervals import proportions

#: Entries of `shares` that gaps are tested of -> the rate, and the rows that it is over.
TESTED = {
    "attribute": ("accuracy", "all"),
    "selection_rate": ("selection_rate", "all"),
    "true_positive_rate": ("true_positive_rate", "label {positive}"),
    "false_positive_rate": ("false_positive_rate", "label {negative}"),
    "positive_predictive_value": ("positive_predictive_value", "predicted {positive}"),
}
#: Gaps and ratios -> entries of `shares` of which they are the largest or the smallest.
_PAIRS = {
    "accuracy_gap": ["attribute"],
    "demographic_parity_difference": ["selection_rate"],
    "disparate_impact": ["selection_rate"],
    "equal_opportunity_difference": ["true_positive_rate"],
    "equalized_odds_difference": ["true_positive_rate", "false_positive_rate"],
    "predictive_parity_difference": ["positive_predictive_value"],
}
#: Pairs whose p-values are computed at a time.
_BLOCK = 512


class GapTest(NamedTuple):
    """A test whether two attribute values differ by more than a tolerance, or by less.

    Attributes:
        metric: The rate.
        groups: The value with the lower rate, the value with the higher.
        gap: Difference of the rates.
        interval: Interval of the difference, higher less lower; those of a table hold all at once.
        p: p-value of "not above the tolerance", corrected for all tests of the table (Holm).
        p_within: p-value of "not within the tolerance" (two one-sided tests), corrected likewise.
        verdict: ``above`` if p < 1 - level, ``within`` if p_within < 1 - level, else
            ``undecided``.
        detectable: Smallest true gap that these rows would find with a power of 80 %.
    """

    metric: str
    groups: tuple[str, str]
    gap: float
    interval: Interval
    p: float
    p_within: float
    verdict: str
    detectable: float

    @property
    def above(self) -> bool:
        """Whether the gap is above the tolerance."""
        return self.verdict == "above"


class Plan(NamedTuple):
    """Rows that deciding about a gap needs.

    Attributes:
        metric: The rate.
        rows_of: Which rows count: ``all``, those of a label, or those of a prediction.
        rate: Its value over all groups.
        rows: Rows of each group with which the gap is found with a power of 80 %; infinite if it
            does not exceed the tolerance.
        within: Rows of each group with which equal groups are found to be within the tolerance;
            infinite without a tolerance.
        short: Values that have fewer than the larger of the two that is finite, with their rows.
    """

    metric: str
    rows_of: str
    rate: float
    rows: float
    within: float
    short: tuple[tuple[str, float], ...]


def gap_tests(
    counts: np.ndarray,
    attribute_names: tuple[str, ...],
    tolerance: float,
    level: float = 0.95,
    squares: np.ndarray | None = None,
) -> list[GapTest]:
    """Test each rate and pair of attribute values: do they differ by more than a tolerance?

    The p-value is that of the interval of the difference (Newcombe's) which just leaves the
    tolerance out, on both sides. Two one-sided tests (Schuirmann 1987) ask the opposite: the
    interval of level 1 - 2 p just lies inside the tolerance. Each kind is corrected for all tests
    together, so that one wrong ``above`` or more, and one wrong ``within`` or more, each have a
    probability of at most 1 - level.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`.
        attribute_names: A names.
        tolerance: Gap that is accepted.
        level: 1 - probability of one false mark or more.
        squares: Sums of the squared weights in the same cells, if the table is weighted.

    Example:
        >>> table = np.array([[[90, 10], [50, 50], [0, 0]], [[5, 95], [10, 90], [0, 0]]])
        >>> [(t.metric, round(t.gap, 2), t.verdict) for t in gap_tests(table, ("f", "m"), 0.2)]
        ... # doctest: +NORMALIZE_WHITESPACE
        [('accuracy', 0.23, 'undecided'), ('selection_rate', 0.17, 'undecided'),
         ('true_positive_rate', 0.05, 'within'), ('false_positive_rate', 0.4, 'above'),
         ('positive_predictive_value', 0.26, 'undecided')]
    """
    metrics: list[str] = []
    names: list[tuple[str, str]] = []
    value: list[np.ndarray] = []
    size: list[np.ndarray] = []
    for metric, _, p, n in _rates(counts, squares):
        pairs = list(combinations(np.flatnonzero(n > 0).tolist(), 2))
        both = np.array(pairs, int).reshape(-1, 2)
        both = np.where((p[both[:, 0]] <= p[both[:, 1]])[:, None], both, both[:, ::-1])
        names += [(attribute_names[i], attribute_names[j]) for i, j in both]
        metrics += [metric] * len(both)
        value.append(p[both])
        size.append(n[both])
    if not names:
        return []
    found = Rates(np.concatenate(value), np.concatenate(size))
    blocks = [Rates(*(x[i : i + _BLOCK] for x in found)) for i in range(0, len(names), _BLOCK)]
    raw = np.concatenate([_p_values(one, tolerance) for one in blocks])
    above, within = (holm(column.tolist()) for column in raw.T)
    alpha, number = 1 - level, len(names)
    low, high = _limits(found, quantile(alpha / 2 / number))
    mean = (found.value * found.size).sum(-1) / found.size.sum(-1)
    detectable = tolerance + decidable_gap(
        mean, found.size[:, 0], found.size[:, 1], alpha / 2 / number
    )
    return [
        GapTest(
            metrics[i],
            names[i],
            float(found.value[i, 1] - found.value[i, 0]),
            (float(low[i]), float(high[i])),
            above[i],
            within[i],
            "above" if above[i] < alpha else "within" if within[i] < alpha else "undecided",
            float(detectable[i]),
        )
        for i in range(len(names))
    ]


def _rates(
    counts: np.ndarray, squares: np.ndarray | None
) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Yield each tested rate and positive class with values and effective numbers of rows [A]."""
    for name, (value, size) in proportions(counts, squares).items():
        if name in TESTED:
            value, size = (x.reshape(-1, x.shape[-1]) for x in (value, size))
            for i, (p, n) in enumerate(zip(value, size, strict=True)):
                yield TESTED[name][0], positive_classes(counts.shape[-1])[i], p, n


def _limits(rates: Rates, q: np.ndarray) -> Ends:
    """Return limits of second less first of pairs [..., P, 2] for normal quantiles [..., P]."""
    low, high = differences(rates)(q)  # both orders
    return low[..., 1], high[..., 1]


@lru_cache(maxsize=1)
def _tails() -> tuple[np.ndarray, np.ndarray]:
    """Return the error probabilities that p-values are looked for among, and their quantiles."""
    tails = np.concatenate([np.logspace(-12, -2, 201), np.linspace(0.0105, 0.5, 400)])
    return tails, quantile(tails)


def _p_values(rates: Rates, tolerance: float) -> np.ndarray:
    """Return the p-values of pairs [P, 2]: above the tolerance, and within it [P, 2]."""
    tails, q = _tails()
    shape = (len(tails), *rates.value.shape)
    repeated = Rates(*(np.broadcast_to(x, shape) for x in rates))
    low, high = _limits(repeated, np.broadcast_to(q[:, None], shape[:2]))

    def first(holds: np.ndarray) -> np.ndarray:
        return np.where(holds.any(0), tails[holds.argmax(0)], 0.5)

    gap = rates.value[:, 1] - rates.value[:, 0]
    above = np.where(gap > tolerance, 2 * first(low > tolerance), 1.0)
    within = first((high < tolerance) & (low > -tolerance))
    return np.stack([above, np.where(gap < tolerance, within, 1.0)], -1)


def plan(
    counts: np.ndarray,
    attribute_names: tuple[str, ...],
    gap: float,
    level: float = 0.95,
    squares: np.ndarray | None = None,
    tolerance: float = 0.0,
    class_names: Sequence[str] | None = None,
) -> list[Plan]:
    """Compute the rows of each attribute value that are needed to find a gap in each rate.

    The error probability is divided among all tests that `gap_tests` makes of the table; of more
    than two classes the one that needs the most rows counts.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`.
        attribute_names: A names.
        gap: The gap, in (0, 1].
        level: 1 - probability of one false mark or more.
        squares: Sums of the squared weights in the same cells, if the table is weighted.
        tolerance: Gap that is accepted.
        class_names: C names.

    Example:
        >>> table = np.array([[[90, 10], [50, 50], [0, 0]], [[5, 95], [10, 90], [0, 0]]])
        >>> [(p.metric, round(p.rows), p.short) for p in plan(table, ("f", "m"), 0.1)][:1]
        [('accuracy', 350, (('f', 200.0), ('m', 200.0)))]
    """
    classes = check_names(class_names, counts.shape[-1], "class_names")
    rates = list(_rates(counts, squares))
    present = [int((n > 0).sum()) for *_, n in rates]
    tests = sum(number * (number - 1) // 2 for number in present)
    out: dict[str, Plan] = {}
    for metric, c, p, n in rates:
        if not n.sum():
            continue
        mean = float(np.where(n > 0, p * n, 0.0).sum() / n.sum())
        rows = rows_needed(mean, gap, tests, level, tolerance)
        within = rows_within(mean, tolerance, tests, level)
        most = max((x for x in (rows, within) if np.isfinite(x)), default=0.0)
        if metric in out and most <= _most(out[metric]):
            continue
        negative = classes[0] if len(classes) == 2 else f"not {classes[c]}"
        rows_of = next(of for name, of in TESTED.values() if name == metric)
        short = tuple(
            (attribute_names[j], float(n[j])) for j in np.flatnonzero((n > 0) & (n < most))
        )
        rows_of = rows_of.format(positive=classes[c], negative=negative)
        out[metric] = Plan(metric, rows_of, mean, rows, within, short)
    return list(out.values())


def _most(found: Plan) -> float:
    return max((x for x in (found.rows, found.within) if np.isfinite(x)), default=0.0)


def gap_groups(
    counts: np.ndarray, class_names: Sequence[str], attribute_names: Sequence[str]
) -> dict[str, str]:
    """Say which groups the minima, gaps and ratios of a table are of.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`.
        class_names: C names.
        attribute_names: A names.

    Returns:
        Key of the metric -> ``lower : higher``, with the rate where it may be one of two, and
        with the class of more than two; the group alone for a minimum; empty where undefined.

    Example:
        >>> table = np.array([[[90, 10], [50, 50], [0, 0]], [[5, 95], [10, 90], [0, 0]]])
        >>> gap_groups(table, ("no", "yes"), ("f", "m"))["equalized_odds_difference"]
        'f : m (false_positive_rate)'
    """
    out = {}
    value = {name: rates.value for name, rates in proportions(counts).items()}
    for key, entries in _PAIRS.items():
        found = []
        for entry in entries:
            for i, rates in enumerate(value[entry].reshape(-1, value[entry].shape[-1])):
                defined = np.flatnonzero(~np.isnan(rates))
                if len(defined) < 2:
                    continue
                own = rates[defined]
                low, high = int(defined[own.argmin()]), int(defined[own.argmax()])
                notes = [entry] * (len(entries) > 1)
                if len(class_names) > 2 and entry != "attribute":
                    notes.append(f"class {class_names[i]}")
                text = f"{attribute_names[low]} : {attribute_names[high]}"
                text += f" ({', '.join(notes)})" * bool(notes)
                gap = rates[high] - rates[low]
                ratio = rates[low] / rates[high] if rates[high] > 0 else 1.0
                found.append((ratio if key == "disparate_impact" else -gap, text))
        out[key] = min(found, key=lambda one: one[0])[1] if found else ""
    for key, entry in (
        ("worst_attribute_accuracy", "attribute"),
        ("worst_group_accuracy", "group"),
    ):
        rates, out[key] = value[entry], ""
        if not np.isnan(rates).all():
            *c, j = (int(i) for i in np.unravel_index(np.nanargmin(rates), rates.shape))
            name = attribute_names[j]
            out[key] = group_name(class_names[c[0]], name) if c else name
    return out
