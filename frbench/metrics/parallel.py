"""Crossed attributes seen one by one: the largest violation over the single attributes."""

from collections.abc import Sequence

import numpy as np

from frbench.contracts.text import factors
from frbench.metrics.counts import Empty, count_values
from frbench.metrics.names import DIRECTION, PARALLEL, PARALLEL_SOFT
from frbench.metrics.scores import ScoreState, soft_gaps
from frbench.metrics.table_intervals import count_intervals


def parallel_metrics(
    counts: np.ndarray,
    state: ScoreState | None,
    attribute_names: Sequence[str],
    empty: Empty = "ignore",
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Compute the worst value over single attributes of each metric of `PARALLEL`.

    Args:
        counts: Table over crossed attributes [..., C, A + 1, C].
        state: As made by `frbench.metrics.scores.score_state`; None leaves score metrics out.
        attribute_names: The crossed values, ``f&black``; for others there are no such metrics.
        empty: As of `frbench.metrics.count_metrics`, like the next two.
        min_group_rows: Rows that a rate must be over to take part.
        rows: Rows of each group [..., C, A], if the counts are weighted.

    Example:
        >>> table = np.zeros((2, 5, 2))
        >>> table[0, :4] = [[8, 2], [4, 6], [4, 6], [8, 2]]  # rates .2, .6, .6, .2
        >>> names = ["f&black", "f&white", "m&black", "m&white"]
        >>> float(count_values(table)["demographic_parity_difference"].round(4))
        0.4
        >>> float(parallel_metrics(table, None, names)["demographic_parity_difference/parallel"])
        0.0
    """
    found = []
    for member in _members(attribute_names):
        own = None if rows is None else rows @ member
        values = count_values(merged(counts, member), None, empty, min_group_rows, own)
        if state is not None:
            rates = state.score_sum, state.histogram.sum(-1)
            values |= soft_gaps(*(part[..., :-1] @ member for part in rates))
        found.append(values)
    if not found:
        return {}
    names = PARALLEL + (PARALLEL_SOFT if state is not None else ())
    return {f"{name}/parallel": _worst(name, [v[name] for v in found]) for name in names}


def parallel_intervals(
    counts: np.ndarray,
    squares: np.ndarray | None,
    attribute_names: Sequence[str],
    level: float = 0.95,
    empty: Empty = "ignore",
    min_group_rows: int = 0,
    rows: np.ndarray | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Compute an interval of each metric of :func:`parallel_metrics` that is of counts alone.

    With K attributes each has an interval of level 1 - (1 - level) / K; all of them hold together
    at the level aimed at (Bonferroni), and so do the worst of their lower and of their upper ends.

    Args:
        counts: As in :func:`parallel_metrics`, like the other tables and names.
        squares: Sums of the squared weights in the same cells, if the table is weighted.
        attribute_names: The crossed values.
        level: Coverage aimed at.
        empty: As of `frbench.metrics.count_metrics`, like the next two.
        min_group_rows: Rows that a rate must be over to take part.
        rows: Rows of each group, if the counts are weighted.

    Example:
        >>> table = np.zeros((2, 5, 2))
        >>> table[0, :4] = [[8, 2], [4, 6], [4, 6], [8, 2]]
        >>> names = ["f&black", "f&white", "m&black", "m&white"]
        >>> ends = parallel_intervals(table, None, names)["demographic_parity_difference/parallel"]
        >>> [round(float(end), 3) for end in ends]
        [0.0, 0.313]
    """
    members = _members(attribute_names)
    found = [
        count_intervals(
            merged(counts, member),
            1 - (1 - level) / len(members),
            squares=None if squares is None else merged(squares, member),
            empty=empty,
            min_group_rows=min_group_rows,
            rows=None if rows is None else rows @ member,
        )
        for member in members
    ]
    return {
        f"{name}/parallel": (
            _worst(name, [v[name][0] for v in found]),
            _worst(name, [v[name][1] for v in found]),
        )
        for name in (PARALLEL if found else ())
    }


def _members(attribute_names: Sequence[str]) -> list[np.ndarray]:
    """Return which crossed values belong to each value of each single attribute [A, A_k]."""
    return [np.eye(max(codes) + 1)[codes] for codes in factors(attribute_names)]


def merged(table: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Return a table over other values [..., C, A' + 1, C]; rows of unknown value stay last.

    Args:
        table: Table of counts [..., C, A + 1, C].
        member: Whether each value belongs to each new one [A, A'].
    """
    known = np.einsum("...yzp,za->...yap", table[..., :-1, :], member)
    return np.concatenate([known, table[..., -1:, :]], -2)


def _worst(name: str, values: Sequence[np.ndarray]) -> np.ndarray:
    worst: np.ndarray = (np.fmin if DIRECTION[name] > 0 else np.fmax).reduce(values)
    return worst
