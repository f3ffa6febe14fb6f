"""The base of penalties that compare environments."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from frbench.contracts.batch import Batch, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import NotNegative
from frbench.functional.environments import environment_means
from frbench.penalties.base import Penalty

#: What an environment is: a value of z, or a group (y, z).
Environments = Literal["z", "group"]


def continuous_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the continuous attribute, 0 where unknown, and the weights of rows that have one.

    Args:
        batch: This process's rows.

    Raises:
        UserError: If the batch has none.

    Example:
        >>> import torch
        >>> row = torch.ones(2)
        >>> batch = Batch(row, row, row, row, row, row, row, row, torch.tensor([0.5, torch.nan]))
        >>> continuous_rows(batch)
        (tensor([0.5000, 0.0000]), tensor([1., 0.]))
    """
    if batch.continuous.shape != batch.y.shape:
        raise UserError(
            "The batch has no continuous attribute; fit a datamodule with data.continuous, or "
            "give Batch.continuous."
        )
    known = ~batch.continuous.isnan()
    return batch.continuous.nan_to_num(0.0), batch.weight.detach() * known


class EnvironmentPenalty(Penalty):
    """A penalty that compares environments; an environment without rows has no part in it.

    Args:
        weight: Factor of the term in the loss.
        environments: Whether an environment is a value of ``z`` or a ``group`` (y, z).
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.
    """

    #: Number of environments E; known after :meth:`bind`.
    count: int

    def __init__(
        self, weight: NotNegative = 1.0, environments: Environments = "z", **schedule: Any
    ) -> None:
        super().__init__(weight, **schedule)
        self.environments = environments

    def bind(self, sizes: Sizes) -> None:
        """Count the environments."""
        self.count = sizes.num_attributes if self.environments == "z" else sizes.num_groups

    def environment(self, batch: Batch) -> Tensor:
        """Return the environment of each row, -1 where unknown [B]."""
        return batch.z if self.environments == "z" else batch.group

    def means(self, value: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return :func:`environment_means` of a batch."""
        return environment_means(value, self.environment(batch), batch.weight, self.count)
