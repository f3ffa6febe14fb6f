"""Overlapping groups: rates of each group over all of its rows, and the worst of them."""

from collections.abc import Sequence

import numpy as np

from frbench.metrics.counts import Empty, count_values
from frbench.metrics.estimates import Ends
from frbench.metrics.names import OVERLAPPING, keys_of, overlapping_names
from frbench.metrics.parallel import merged
from frbench.metrics.table_intervals import count_intervals
from frbench.support.overlap import sets_of


def overlapping_metrics(
    counts: np.ndarray,
    class_names: Sequence[str],
    attribute_names: Sequence[str],
    empty: Empty = "ignore",
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Compute the accuracy of each overlapping group, and the metrics of `OVERLAPPING`.

    A row counts in each group that it is in; rows in no group count in none. This is the
    evaluation of CivilComments in WILDS (arXiv 2012.07421).

    Args:
        counts: Table over sets of groups [..., C, A + 1, C].
        class_names: C names.
        attribute_names: Names of sets, see `frbench.support.overlap.group_sets`; for others there
            are no such metrics.
        empty: As of `frbench.metrics.count_metrics`, like the next two.
        min_group_rows: Rows that a rate must be over to take part.
        rows: Rows of each cell [..., C, A], if the counts are weighted.

    Example:
        >>> table = np.zeros((2, 5, 2))
        >>> table[0, :4] = [[9, 1], [4, 1], [3, 2], [0, 5]]
        >>> names = ["{}", "{black}", "{male}", "{black+male}"]
        >>> found = overlapping_metrics(table, ["no", "yes"], names)
        >>> float(found["group_accuracy/y=no,z=black"]), float(found["group_accuracy/y=no,z=male"])
        (0.4, 0.3)
        >>> float(found["worst_group_accuracy/overlapping"])
        0.3
    """
    groups, member = sets_of(attribute_names)
    if not groups:
        return {}
    own = None if rows is None else rows @ member
    values = count_values(merged(counts, member), None, empty, min_group_rows, own)
    each = values["group_accuracy/y,z"]
    keys = keys_of("group_accuracy/y,z", class_names, groups)
    return {f"{name}/overlapping": values[name] for name in OVERLAPPING} | {
        key: each[..., i] for i, key in enumerate(keys)
    }


def overlapping_intervals(
    counts: np.ndarray,
    squares: np.ndarray | None,
    class_names: Sequence[str],
    attribute_names: Sequence[str],
    level: float = 0.95,
    empty: Empty = "ignore",
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, Ends]:
    """Compute the intervals of `overlapping_metrics`, as if groups shared no rows.

    Rows that two groups share make their difference less uncertain than that.

    Args:
        counts: As in :func:`overlapping_metrics`, like the other tables and names.
        squares: Sums of the squared weights in the same cells, if the table is weighted.
        class_names: C names.
        attribute_names: Names of sets.
        level: Coverage aimed at.
        empty: As of `frbench.metrics.count_metrics`, like the next two.
        min_group_rows: Rows that a rate must be over to take part.
        rows: Rows of each cell, if the counts are weighted.
    """
    groups, member = sets_of(attribute_names)
    if not groups:
        return {}
    found = count_intervals(
        merged(counts, member),
        level,
        squares=None if squares is None else merged(squares, member),
        class_names=class_names,
        attribute_names=groups,
        empty=empty,
        min_group_rows=min_group_rows,
        rows=None if rows is None else rows @ member,
    )
    wanted = {key: key.removesuffix("/overlapping") for key in
              overlapping_names(class_names, attribute_names)}  # fmt: skip
    return {key: found[name] for key, name in wanted.items() if name in found}
