"""The disparities of FairBatch's released code: distances to the rate of all rows.

They are metrics for ``metrics`` of a grid, or ``--metrics`` of a command, run in the folder of
the repository. Source: arXiv 2012.01696 and its released code.
"""

from __future__ import annotations

import numpy as np

from frbench.metrics import metric


def _deviation(counts: np.ndarray) -> float:
    """Return max_z |P(prediction 1 | z) - P(prediction 1)| of counts [A + 1, 2]."""
    rows = counts[:-1].sum(1)
    rates = counts[:-1, 1] / rows
    overall = counts[:-1, 1].sum() / rows.sum()
    return float(np.nanmax(np.abs(rates - overall)))


@metric(higher_is_better=False)
def demographic_parity_deviation(counts: np.ndarray) -> float:
    """Return the largest distance of a selection rate from that of all rows.

    Args:
        counts: [2, A + 1, 2] over label, attribute and prediction.

    Example:
        >>> table = np.array([[[3, 1], [1, 0], [0, 0]], [[1, 1], [1, 3], [0, 0]]])
        >>> round(demographic_parity_deviation(table), 4)  # 0.6 and 5 / 11
        0.1455
    """
    return _deviation(counts.sum(0))


@metric(higher_is_better=False)
def equal_opportunity_deviation(counts: np.ndarray) -> float:
    """Return the same of the rows of label 1."""
    return _deviation(counts[1])


@metric(higher_is_better=False)
def equalized_odds_deviation(counts: np.ndarray) -> float:
    """Return the larger one of both labels."""
    return max(_deviation(counts[0]), _deviation(counts[1]))
