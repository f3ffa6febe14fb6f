"""Verdicts about pairs of groups, with one error probability over all pairs; numpy only."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from frbench.metrics.counts import count_metrics
from frbench.metrics.estimates import Interval, Rates, quantile
from frbench.metrics.limits import differences, ratios, smallest
from frbench.metrics.multiplicity import holm
from frbench.metrics.power import POWER, decidable_gap, decidable_ratios, rows_needed
from frbench.metrics.table_intervals import count_intervals, proportions

# Beyond this number of attribute values, each is compared with the most selected alone.
MAX_VALUES = 50
THRESHOLD = 0.8
#: Rates that gaps are tested of, and what a row is of in `plan`.
TESTED = {
    "attribute": "accuracy",
    "selection_rate": "selection_rate",
    "true_positive_rate": "true_positive_rate",
    "false_positive_rate": "false_positive_rate",
}


class FourFifths(NamedTuple):
    """The four-fifths rule for two values of an attribute, or for all (``groups`` is empty).

    Attributes:
        groups: The value selected less often, the value selected more often.
        ratio: Lower / higher selection rate.
        interval: Interval of that ratio; those of the pairs hold all at once.
        verdict: ``pass`` or ``fail`` if the interval lies on one side of 0.8, else ``undecided``.
        note: What would decide an undecided pair.
    """

    groups: tuple[str, ...]
    ratio: float
    interval: Interval
    verdict: str
    note: str = ""


class GapTest(NamedTuple):
    """A test whether two attribute values differ by more than a tolerance.

    Attributes:
        metric: The rate.
        groups: The value with the lower rate, the value with the higher.
        gap: Difference of the rates.
        p: p-value, corrected for all tests of the table (Holm).
        above: Whether the gap is above the tolerance, p < 1 - level.
        detectable: Smallest true gap that these rows would find with a power of 80 %.
    """

    metric: str
    groups: tuple[str, str]
    gap: float
    p: float
    above: bool
    detectable: float


class Plan(NamedTuple):
    """Rows that finding a gap needs.

    Attributes:
        metric: The rate.
        rate: Its value over all groups.
        rows: Rows of each group with which the gap is found with a power of 80 %.
        short: Values that have fewer, with the rows they have.
    """

    metric: str
    rate: float
    rows: float
    short: tuple[tuple[str, float], ...]


def pair_limits(
    selection: Rates, compared: list[tuple[int, int]], number: int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return simultaneous limits of lower / higher selection rate of pairs.

    Args:
        selection: Selection rates [..., S, A].
        compared: The pairs.
        number: Number of pairs that the error probability is shared by.
        level: Probability that all intervals hold their true ratio.

    Returns:
        Lower and upper limits [..., P], of the worst class.
    """
    both = np.array(compared, int).reshape(-1, 2)
    value, size = (np.moveaxis(x[..., both], -3, -2) for x in selection)  # [..., P, S, 2]
    alone = 1 - (1 - level) / max(number, 1)
    low, high = smallest(ratios(Rates(value, size), axes=2), alone)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def decide(low: float, high: float) -> str:
    """Compare an interval with four fifths.

    Example:
        >>> decide(0.7, 0.9), decide(0.5, 0.79), decide(0.8, 1.0)
        ('undecided', 'fail', 'pass')
    """
    return "pass" if low >= THRESHOLD else "fail" if high < THRESHOLD else "undecided"


def four_fifths(
    counts: np.ndarray,
    attribute_names: tuple[str, ...],
    level: float = 0.95,
    squares: np.ndarray | None = None,
) -> list[FourFifths]:
    """Apply the four-fifths rule to all attribute values at once, then to each pair.

    The intervals of the pairs hold their ratios all at once, so that the probability of one false
    verdict or more is at most 1 - level. Values without rows are left out; of more than two
    classes the worst counts; of more than 50 values each is compared with the one selected most.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`.
        attribute_names: A names.
        level: Coverage of the intervals.
        squares: Sums of the squared weights in the same cells, if the table is weighted.

    Example:
        >>> from frbench.metrics import tabulate
        >>> y_pred, z = np.array([0, 1] * 100 + [0, 0] * 100), np.repeat([0, 1], 200)
        >>> found = four_fifths(tabulate(y_pred, y_pred, z, 2, 2), ("f", "m"))
        >>> [(one.groups, one.ratio, one.verdict) for one in found]
        [((), 0.0, 'fail'), (('m', 'f'), 0.0, 'fail')]
    """
    selection = proportions(counts, squares)["selection_rate"]
    value, size = selection  # [S, A]
    present = np.flatnonzero(size[0] > 0)
    if len(present) < 2:
        return []
    number = len(present) * (len(present) - 1) // 2
    if len(present) <= MAX_VALUES:
        compared = list(combinations(present.tolist(), 2))
    else:
        top = int(present[np.argmax(value.max(0)[present])])
        compared = [(int(i), top) for i in present if i != top]
    low, high = pair_limits(selection, compared, number, level)
    both = np.array(compared)
    ordered = np.sort(value[:, both], -1)  # [S, P, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(ordered[..., 1] > 0, ordered[..., 0] / ordered[..., 1], 1.0)
    worst = found.argmin(0)  # [P]
    overall = count_intervals(counts, level, squares=squares)["disparate_impact"]
    ratio = float(count_metrics(counts)["disparate_impact"])
    span = float(overall[0]), float(overall[1])
    verdict = decide(*span)
    note = "see the pairs" if verdict == "undecided" else ""
    out = [FourFifths((), ratio, span, verdict, note)]
    for k, pair in enumerate(compared):
        rates = value[worst[k], list(pair)]
        lower, higher = (pair[i] for i in np.argsort(rates, kind="stable"))
        span = float(low[k]), float(high[k])
        verdict, note = decide(*span), ""
        if verdict == "undecided":
            rows = size[worst[k], [lower, higher]]
            names = attribute_names[lower], attribute_names[higher]
            note = _note(names, rows, float(rates.max()), (1 - level) / 2 / number)
        groups = attribute_names[lower], attribute_names[higher]
        out.append(FourFifths(groups, float(found[worst[k], k]), span, verdict, note))
    return out


def _note(names: tuple[str, str], rows: np.ndarray, rate: float, tail: float) -> str:
    """Say what would decide a pair."""
    below, above = (
        float(x) for x in decidable_ratios(np.array(rate), rows[0], rows[1], tail, THRESHOLD)
    )
    if np.isnan(below) and np.isnan(above):
        few = int(np.argmin(rows))
        count = f"{rows[few]:.0f} row" + "s" * (round(float(rows[few])) != 1)
        return f"{names[few]} has {count}: no ratio could be decided"
    parts = [] if np.isnan(below) else [f"fails if the true ratio is {below:.2f} or less"]
    parts += [] if np.isnan(above) else [f"passes if it is {above:.2f} or more"]
    return f"with these rows {' and '.join(parts)} (power {100 * POWER:.0f} %)"


def gap_tests(
    counts: np.ndarray,
    attribute_names: tuple[str, ...],
    tolerance: float,
    level: float = 0.95,
    squares: np.ndarray | None = None,
) -> list[GapTest]:
    """Test each rate and pair of attribute values: do they differ by more than a tolerance?

    The p-value is that of the interval of the difference (Newcombe's) which just leaves the
    tolerance out, on both sides; all are corrected together.

    Args:
        counts: Table [2, A + 1, 2] as made by `frbench.metrics.tabulate`.
        attribute_names: A names.
        tolerance: Gap that is accepted.
        level: 1 - probability of one false mark or more.
        squares: Sums of the squared weights in the same cells, if the table is weighted.

    Example:
        >>> table = np.array([[[90, 10], [50, 50], [0, 0]], [[5, 95], [10, 90], [0, 0]]])
        >>> [(t.metric, round(t.gap, 2), t.above) for t in gap_tests(table, ("f", "m"), 0.1)]
        ... # doctest: +NORMALIZE_WHITESPACE
        [('accuracy', 0.23, True), ('selection_rate', 0.17, False),
         ('true_positive_rate', 0.05, False), ('false_positive_rate', 0.4, True)]
    """
    found: list[tuple[str, tuple[str, str], float, float, np.ndarray]] = []
    for name, (value, size) in proportions(counts, squares).items():
        if name not in TESTED:
            continue
        per_class = value[None] if value.ndim == 1 else value
        sizes = size[None] if size.ndim == 1 else size
        for p, n in zip(per_class, sizes, strict=True):
            present = np.flatnonzero(n > 0).tolist()
            for a, b in combinations(present, 2):
                lower, higher = (a, b) if p[a] <= p[b] else (b, a)
                gap = float(p[higher] - p[lower])
                one = Rates(p[[higher, lower]], n[[higher, lower]])
                names = attribute_names[lower], attribute_names[higher]
                rate = float((one.value * one.size).sum() / one.size.sum())
                power = np.array([rate, *one.size])
                found.append((TESTED[name], names, gap, _p_value(one, gap, tolerance), power))
    corrected = holm([p for *_, p, _ in found])
    tail = (1 - level) / 2 / max(len(found), 1)
    return [
        GapTest(
            metric,
            names,
            gap,
            p,
            p < 1 - level,
            tolerance + float(decidable_gap(power[0], power[1], power[2], tail)),
        )
        for (metric, names, gap, _, power), p in zip(found, corrected, strict=True)
    ]


def _p_value(rates: Rates, gap: float, tolerance: float) -> float:
    """Return twice the tail at which the lower limit of the difference is the tolerance."""
    if gap <= tolerance:
        return 1.0
    tails = np.concatenate([np.logspace(-12, -2, 201), np.linspace(0.0105, 0.5, 400)])
    repeated = Rates(*(np.broadcast_to(x, (len(tails), 2)) for x in rates))
    low = differences(repeated)(quantile(tails))[0][:, 0]
    return float(2 * tails[np.argmax(low > tolerance)]) if (low > tolerance).any() else 1.0


def plan(
    counts: np.ndarray,
    attribute_names: tuple[str, ...],
    gap: float,
    level: float = 0.95,
    squares: np.ndarray | None = None,
) -> list[Plan]:
    """Compute the rows of each attribute value that are needed to find a gap in each rate.

    The error probability is divided among all pairs of values; of more than two classes the one
    that needs the most rows counts.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`.
        attribute_names: A names.
        gap: The gap, in (0, 1].
        level: 1 - probability of one false mark or more.
        squares: Sums of the squared weights in the same cells, if the table is weighted.

    Example:
        >>> table = np.array([[[90, 10], [50, 50], [0, 0]], [[5, 95], [10, 90], [0, 0]]])
        >>> [(p.metric, round(p.rows), p.short) for p in plan(table, ("f", "m"), 0.1)][:1]
        [('accuracy', 235, (('f', 200.0), ('m', 200.0)))]
    """
    pairs = len(attribute_names) * (len(attribute_names) - 1) // 2
    out = []
    for name, (value, size) in proportions(counts, squares).items():
        if name not in TESTED:
            continue
        value, size = (x.reshape(-1, x.shape[-1]) for x in (value, size))
        total = size.sum(-1)
        means = np.where(np.isnan(value), 0.0, value * size).sum(-1) / np.maximum(total, 1e-300)
        needed = [rows_needed(float(m), gap, pairs, level) if t else 0.0
                  for m, t in zip(means, total, strict=True)]  # fmt: skip
        most = int(np.argmax(needed))
        short = tuple(
            (attribute_names[j], float(size[most, j]))
            for j in range(len(attribute_names))
            if size[most, j] < needed[most]
        )
        out.append(Plan(TESTED[name], float(means[most]), needed[most], short))
    return out
