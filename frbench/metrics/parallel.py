"""Crossed attributes seen one by one: the largest violation over the single attributes."""

from collections.abc import Sequence

import numpy as np

from frbench.contracts.text import factors
from frbench.metrics.counts import Empty, count_values
from frbench.metrics.names import DIRECTION, PARALLEL, PARALLEL_SOFT
from frbench.metrics.scores import ScoreState, soft_gaps


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
    for codes in factors(attribute_names):
        member = np.eye(max(codes) + 1)[codes]  # [A, A_k]
        merged = np.einsum("...yzp,za->...yap", counts[..., :-1, :], member)
        table = np.concatenate([merged, counts[..., -1:, :]], -2)
        own = None if rows is None else rows @ member
        values = count_values(table, None, empty, min_group_rows, own)
        if state is not None:
            rates = state.score_sum, state.histogram.sum(-1)
            values |= soft_gaps(*(part[..., :-1] @ member for part in rates))
        found.append(values)
    if not found:
        return {}
    names = PARALLEL + (PARALLEL_SOFT if state is not None else ())
    worst = {
        name: (np.fmin if DIRECTION[name] > 0 else np.fmax).reduce([v[name] for v in found])
        for name in names
    }
    return {f"{name}/parallel": value for name, value in worst.items()}
