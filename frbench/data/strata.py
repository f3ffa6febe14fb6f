"""Batches with a least number of rows of each group, and the weights that make up for it."""

from __future__ import annotations

import numpy as np

from frbench.contracts.errors import UserError


def allot(share: np.ndarray, batch_size: int, least: np.ndarray) -> np.ndarray:
    """Divide a batch among strata: in proportion to their shares, but none below its least.

    Args:
        share: Shares, summing to one [S].
        batch_size: B, at least the sum of ``least``.
        least: Least number of rows of each stratum [S].

    Returns:
        Rows of each stratum, summing to B [S].

    Example:
        >>> allot(np.array([0.48, 0.02, 0.05, 0.45]), 100, np.full(4, 8)).tolist()
        [43, 8, 8, 41]
    """
    rows = least.astype(np.int64)
    held = np.zeros(len(share), dtype=bool)
    while True:
        # What is left for the strata that get more than their least, by largest remainder.
        left = batch_size - rows[held].sum()
        scale = share[~held].sum()
        wanted = left * share / scale if scale > 0 else least.astype(float)
        below = ~held & (wanted < least)
        if not below.any():
            break
        held |= below
    free = np.flatnonzero(~held)
    if len(free):
        rows[free] = np.floor(wanted[free]).astype(np.int64)
        remainder = wanted[free] - rows[free]
        rows[free[np.argsort(-remainder, kind="stable")[: batch_size - rows.sum()]]] += 1
    else:  # nobody wants more than the least: the rest goes to the largest
        rows[share.argmax()] += batch_size - rows.sum()
    return rows


def stratified_order(
    group: np.ndarray,
    sampling: np.ndarray | None,
    batch_size: int,
    batches: int,
    rows_per_group: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an epoch of batches that all hold the same number of rows of each group.

    A batch of B rows has n_g rows of group g with share s_g of the sampling weights: n_g is near
    B s_g, at least ``rows_per_group``. Inside a group, rows are drawn in proportion to their
    weights; if those are equal, every row comes once before any comes again. Weighing rows by
    B s_g / n_g makes a weighted mean over the batch an unbiased estimate of the mean under the
    sampling weights.

    Args:
        group: Group of each row, -1 for none (a stratum of its own, without a least number) [N].
        sampling: Sampling weights [N]; None for equal ones.
        batch_size: B.
        batches: Number of batches M.
        rows_per_group: Least number of rows of each group in a batch.
        rng: Source of randomness.

    Returns:
        Row positions [M * B]; factor of each row's weight [N].
    """
    names, stratum = np.unique(group, return_inverse=True)
    weight = np.ones(len(group)) if sampling is None else sampling
    mass = np.bincount(stratum, weights=weight)
    share = mass / mass.sum()
    # One row at least of whatever has a share: a stratum of no rows could not be weighed up.
    least = np.where(names < 0, 1, max(1, rows_per_group)) * (mass > 0)
    rows = allot(share, batch_size, least)
    parts = []
    for i, count in enumerate(rows):
        members = np.flatnonzero(stratum == i)
        own, total = weight[members], batches * count
        if total and not np.allclose(own, own[0], atol=0):
            drawn = rng.choice(members, size=total, p=own / own.sum())
        else:
            passes = -(-total // len(members))
            drawn = np.concatenate([members[:0], *(rng.permutation(members) for _ in
                                                   range(passes))])[:total]  # fmt: skip
        parts.append(drawn.reshape(batches, count))
    order = rng.permuted(np.concatenate(parts, 1), axis=1).ravel()
    factor = np.divide(batch_size * share, rows, out=np.ones(len(rows)), where=rows > 0)
    return order, factor[stratum]


def check_strata(
    rows_per_group: int,
    batch_size: int,
    via: str,
    counts: np.ndarray,
    names: list[str],
    unknown: bool = False,
) -> None:
    """Refuse stratified batches that cannot be.

    Args:
        rows_per_group: Least number of rows of each group in a batch.
        batch_size: B.
        via: How the balance is reached.
        counts: Training rows of each group [C, A].
        names: Names of the groups.
        unknown: Whether there are rows without group, which take a row of the batch.

    Raises:
        UserError: Naming what cannot be and the remedy.
    """
    if via == "weight":
        raise UserError(
            "data.rows_per_group draws by group and weighs the loss itself, so it cannot be "
            "combined with via: weight; use via: sample, which gives the same distribution."
        )
    if missing := [name for name, n in zip(names, counts.ravel(), strict=True) if not n]:
        raise UserError(
            f"data.rows_per_group needs rows of every group, but the training table has none of "
            f"[{'; '.join(missing)}]; merge attribute values, or set it to 0."
        )
    if (needed := rows_per_group * len(names) + unknown) > batch_size:
        raise UserError(
            f"data.rows_per_group: {rows_per_group} rows of {len(names)} groups need a batch of "
            f"{needed}, but it has {batch_size}; raise data.batch_size."
        )
