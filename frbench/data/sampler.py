"""A sampler that balances any torch data set by its labels and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

from frbench.contracts.errors import UserError
from frbench.data.balance import Balance, Marginals, balance_weights
from frbench.data.table import Table


def balanced_sampler(
    y: Any,
    z: Any,
    balance: Balance = "joint",
    marginals: Marginals = "uniform",
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
) -> WeightedRandomSampler:
    """Return a sampler for a ``DataLoader`` that draws rows of a balanced distribution.

    The targets are those of ``data.balance``, see docs/balancing.md; ``joint`` with ``uniform``
    draws all groups (y, z) equally often. A row whose attribute is unknown keeps its chance.

    Args:
        y: Labels of the data set's rows, in its order, integers in 0..C-1 [N].
        z: Their attributes, integers in 0..A-1, -1 where unknown [N].
        balance: What to equalise.
        marginals: For ``joint``: keep P(Y) and P(Z), or make both uniform.
        num_samples: Rows of an epoch; N by default.
        generator: Source of the draws.

    Raises:
        UserError: If the columns differ in length or hold no integers, or a cell that the target
            needs has no rows.

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> y, z = torch.tensor([0] * 90 + [1] * 10), torch.tensor([0] * 85 + [1] * 6 + [0] * 9)
        >>> loader = DataLoader(TensorDataset(y, z), batch_size=50,
        ...                     sampler=balanced_sampler(y, z, "class", "keep"))
        >>> len(loader)
        2
    """
    y, z = np.asarray(y), np.asarray(z)
    if y.ndim != 1 or y.shape != z.shape or not len(y):
        raise UserError(
            f"balanced_sampler: y and z need one code for each row, got shapes {y.shape} and "
            f"{z.shape}."
        )
    try:
        table = Table(np.zeros(len(y)), y, z)
    except ValueError as error:
        raise UserError(f"balanced_sampler: {error}") from error
    if table.y.min() < 0 or table.z.min() < -1:
        raise UserError("balanced_sampler: y must not be negative, and z not below -1 (unknown).")
    classes, values = int(table.y.max()) + 1, max(1, int(table.z.max()) + 1)
    names = [f"y={c},z={a}" for c in range(classes) for a in range(values)]
    weights = balance_weights(table, classes, values, balance, marginals, names)
    return WeightedRandomSampler(
        torch.as_tensor(weights).tolist(), num_samples or len(y), generator=generator
    )
