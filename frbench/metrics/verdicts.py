"""The four-fifths rule for all pairs of groups, with one error probability; numpy only."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from frbench.metrics.counts import count_metrics
from frbench.metrics.estimates import Interval, Rates
from frbench.metrics.limits import ratios, smallest
from frbench.metrics.power import POWER, decidable_ratios
from frbench.metrics.table_intervals import count_intervals, proportions

# Beyond this number of attribute values, each is compared with the most selected alone.
MAX_VALUES = 50
THRESHOLD = 0.8


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
