"""The four-fifths rule for the predictions of a table; numpy only."""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from frbench.metrics.counts import positive_classes, rate, ratio, tabulate
from frbench.metrics.rows import Rows
from frbench.metrics.uncertainty import Interval, effective_size, percentile, resample

# Beyond this number of attribute values, each is compared with the most selected alone.
MAX_VALUES = 50


class FourFifths(NamedTuple):
    """The four-fifths rule for two values of an attribute, or for all (``groups`` is empty).

    Attributes:
        groups: The value selected less often, the value selected more often.
        ratio: Lower / higher selection rate.
        interval: Percentile interval of that ratio.
        verdict: ``pass`` or ``fail`` if the interval lies on one side of 0.8, else ``undecided``.
    """

    groups: tuple[str, ...]
    ratio: float
    interval: Interval
    verdict: str


def four_fifths(
    rows: Rows, n_resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> list[FourFifths]:
    """Apply the four-fifths rule to all attribute values at once, then to each pair.

    The ratio of a resample is again lower / higher, whichever group is lower in it. Values
    without rows are left out; of more than two classes the worst counts; of more than 50 values
    each is compared with the one selected most.

    Args:
        rows: Coded rows.
        n_resamples: Number of bootstrap resamples.
        level: Coverage of the intervals.
        seed: Seed of the resamples.

    Example:
        >>> from frbench.metrics.rows import to_rows
        >>> rows = to_rows([0, 1] * 200, [0, 1] * 100 + [0, 0] * 100, [0] * 200 + [1] * 200)
        >>> [(found.groups, found.ratio, found.verdict) for found in four_fifths(rows)]
        [((), 0.0, 'fail'), (('1', '0'), 0.0, 'fail')]
    """
    counts = tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes, rows.weight)
    # The rule sees predictions and attributes only: [A, C].
    tables = counts.sum(0)[:-1].astype(float)
    drawn = resample(counts, n_resamples, seed, effective_size(rows.weight)).sum(1)[:, :-1]

    def selection(table: np.ndarray) -> np.ndarray:
        chosen = np.swapaxes(table, -1, -2)[..., positive_classes(rows.sizes[0]), :]
        return rate(chosen, table.sum(-1)[..., None, :], "ignore")  # [..., S, A]

    observed, sampled = selection(tables), selection(drawn)
    present = np.flatnonzero(tables.sum(-1) > 0)
    out: list[FourFifths] = []
    if len(present) <= MAX_VALUES:
        pairs = list(combinations(present, 2))
    else:
        top = present[np.argmax(np.nanmax(observed, 0)[present])]
        pairs = [(i, top) for i in present if i != top]
    for pick in [present, *map(np.array, pairs)]:
        if len(pick) < 2:
            continue
        by_class = ratio(observed[:, pick], "ignore")
        worst = int(np.argmin(by_class))
        worst_ratio = float(by_class[worst])
        sampled_ratio = np.fmin.reduce(ratio(sampled[..., pick], "ignore"), -1)
        low, high = percentile(sampled_ratio, worst_ratio, level)
        verdict = "pass" if low >= 0.8 else "fail" if high < 0.8 else "undecided"
        order = pick[np.argsort(observed[worst, pick], kind="stable")] if out else pick[:0]
        groups = tuple(rows.attribute_names[i] for i in order)
        out.append(FourFifths(groups, worst_ratio, (low, high), verdict))
    return out
