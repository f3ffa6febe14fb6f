"""Verified rows: which rows of a data set they are, and how far they can be trusted."""

from __future__ import annotations

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.mixed import join
from frbench.data.table import Table


def hold_out(
    train: Table, own: Table | None, share: float, rng: np.random.Generator
) -> tuple[Table, Table]:
    """Divide the training rows into those to train on and the verified rows.

    Args:
        train: The training split.
        own: Verified rows that the data set itself has, or None: then they are training rows.
        share: Share of all these rows that is verified, in [0, 1).
        rng: Draws the rows.

    Returns:
        The rows to train on, and the verified ones with ``clean`` set.

    Raises:
        UserError: If the share gives no verified row, more than there are, or leaves no other.

    Example:
        >>> table = Table(np.arange(10), np.zeros(10), np.zeros(10))
        >>> [len(part) for part in hold_out(table, None, 0.2, np.random.default_rng(0))]
        [8, 2]
    """
    total = len(train) + (0 if own is None else len(own))
    count = round(share * total)
    most = len(train) - 1 if own is None else len(own)
    if share and not 0 < count <= most:
        raise UserError(
            f"data.clean_share: {share} of {total} training rows is {count} verified rows; there "
            f"may be 1 to {most}."
        )
    pool = train if own is None else own
    rows = rng.permutation(len(pool)) if count else np.arange(len(pool))
    verified = pool.take(np.sort(rows[:count])).replace(clean=np.ones(count, bool))
    return (train.take(np.sort(rows[count:])) if own is None else train), verified


def mislabel(table: Table, rate: float, num_classes: int, rng: np.random.Generator) -> Table:
    """Give a share of the rows another label, drawn uniformly, verified or not.

    Args:
        table: Any rows.
        rate: The share, in [0, 1].
        num_classes: C.
        rng: Draws rows and labels.

    Example:
        >>> table = Table(np.zeros(4), [0, 1, 0, 1], np.zeros(4))
        >>> mislabel(table, 1.0, 2, np.random.default_rng(0)).y.tolist()
        [1, 0, 1, 0]
    """
    rows = rng.permutation(len(table))[: round(rate * len(table))]
    y = table.y.copy()
    y[rows] = (y[rows] + rng.integers(1, num_classes, len(rows))) % num_classes
    return table.replace(y=y)


def beside(rows: Table, verified: Table) -> Table:
    """Lay verified rows behind the training rows; both have encoded inputs."""
    names = ("y", "z", "clean", "synthetic", "continuous")
    columns = {
        name: np.concatenate([getattr(rows, name), getattr(verified, name)]) for name in names
    }
    return Table(join([rows.x, verified.x]), **columns)
