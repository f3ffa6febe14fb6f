"""Which values a published table must not show, because few people are behind them; numpy only."""

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.names import group_name
from frbench.metrics.shares import RATES, positive_classes


def suppressed(
    cells: np.ndarray,
    least: int,
    class_names: tuple[str, ...],
    attribute_names: tuple[str, ...],
) -> set[str]:
    """Return the keys of the values that are over fewer people than may be shown.

    Minima, gaps and ratios are not among them: computed with ``min_group_rows=least``, they are
    over the other groups. Values of larger groups stay, so that a reader who knows the totals may
    still work out a small one.

    Args:
        cells: Rows of each group [C, A].
        least: Rows of a group from which on it is shown.
        class_names: C names.
        attribute_names: A names.

    Raises:
        UserError: If fewer than two groups have as many rows of some class.

    Example:
        >>> found = suppressed(np.array([[50, 9], [50, 20]]), 10, ("no", "yes"), ("f", "m"))
        >>> sorted(found)
        ['false_positive_rate/z=m', 'group_accuracy/y=no,z=m', 'rare_groups_accuracy']
    """
    positive = positive_classes(len(class_names))
    people = cells.sum(0)
    for name, rows in [("", people), *((f"y={class_names[c]}", cells[c]) for c in positive)]:
        if len(rows) > 1 and (second := np.sort(rows)[-2]) < least:
            raise UserError(
                f"--min_cell {least}: fewer than two groups have as many rows"
                f"{name and f' of {name}'}; use {second:g} or less"
            )
    out = set()
    rare = cells[(cells > 0) & (cells < least)].sum()
    if rare < least:
        out.add("rare_groups_accuracy")
    members = cells[positive]
    negatives = people - members
    small = {
        "accuracy": people < least,
        "selection_rate": people < least,
        "positive_predictive_value": people < least,
        "true_positive_rate": (members < least).any(0),
        "false_positive_rate": (negatives < least).any(0),
    }
    assert set(RATES) <= set(small)
    for key, hidden in small.items():
        out |= {f"{key}/z={attribute_names[j]}" for j in np.flatnonzero(hidden & (people > 0))}
    for i, j in np.argwhere((cells > 0) & (cells < least)):
        out.add(f"group_accuracy/{group_name(class_names[i], attribute_names[j])}")
    return out
