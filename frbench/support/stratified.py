"""Random divisions of rows that are exact in every stratum."""

import numpy as np


def stratified_order(strata: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows sorted by stratum, at random inside each."""
    shuffled = rng.permutation(len(strata))
    return shuffled[np.argsort(strata[shuffled], kind="stable")]


def cut(strata: np.ndarray, shares: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Assign rows to parts so that each stratum is divided by the same shares.

    Args:
        strata: Stratum of each row, int [N].
        shares: Share of each part; they are normalised.
        rng: Source of randomness.

    Returns:
        Part of each row, int64 in 0..len(shares)-1 [N].

    Example:
        >>> part = cut(np.repeat([0, 1], [10, 20]), (3, 2), np.random.default_rng(0))
        >>> np.bincount(part[:10]).tolist(), np.bincount(part[10:]).tolist()
        ([6, 4], [12, 8])
    """
    part = np.empty(len(strata), dtype=np.int64)
    bounds = np.cumsum(shares)[:-1] / np.sum(shares)
    order = stratified_order(strata, rng)
    _, starts = np.unique(strata[order], return_index=True)
    for rows in np.split(order, starts[1:]):
        part[rows] = np.searchsorted(np.rint(bounds * len(rows)), np.arange(len(rows)), "right")
    return part
