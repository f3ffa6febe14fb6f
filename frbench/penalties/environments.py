"""Statistics of environments in the global batch, and the base of penalties that compare them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import NotNegative
from frbench.distributed import all_sum, all_total
from frbench.penalties.base import Penalty

#: What an environment is: a value of z, or a group (y, z).
Environments = Literal["z", "group"]


def membership(environment: Tensor, weight: Tensor, count: int) -> Tensor:
    """Return the weight of each row in each environment, without a gradient [B / W, E].

    Args:
        environment: Environment of each row, -1 where unknown [B / W].
        weight: Weights of the rows [B / W].
        count: Number of environments E.
    """
    values = torch.arange(count, device=environment.device)
    return (environment[:, None] == values) * weight[:, None].detach()


def continuous_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the continuous attribute, 0 where unknown, and the weights of rows that have one.

    Args:
        batch: This process's rows.

    Raises:
        UserError: If the batch has none.

    Example:
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


def environment_means(
    value: Tensor, environment: Tensor, weight: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return the weighted mean of each environment over the global batch, with gradients.

    Args:
        value: A number or a vector of each row of this process [B / W, ...].
        environment: Environment of each row, -1 where unknown, which leaves the row out [B / W].
        weight: Weights of the rows [B / W].
        count: Number of environments E.

    Returns:
        Means, 0 for an environment without rows [E, ...], and which environments have rows [E].

    Example:
        >>> value, one = torch.tensor([1.0, 3.0, 5.0]), torch.ones(3)
        >>> environment_means(value, torch.tensor([0, 0, 2]), one, 3)
        (tensor([2., 0., 5.]), tensor([ True, False,  True]))
    """
    member = membership(environment, weight, count)
    mass = all_sum(member.sum(0))
    # One product, forward and backward, instead of a dozen small steps around an index_add.
    sums = all_total(member.T @ value.reshape(len(value), -1))
    means = sums / mass.clamp(min=1e-12)[:, None]
    return means.view(count, *value.shape[1:]), mass > 0


def mean_of_present(value: Tensor, present: Tensor) -> Tensor:
    """Return the mean over the environments with rows [...].

    Args:
        value: A number or a vector of each environment [E, ...].
        present: Which environments have rows [E].
    """
    share = present.to(value) / present.sum().clamp(min=1)
    return (value.movedim(0, -1) * share).sum(-1)


def variance_of_present(value: Tensor, present: Tensor) -> Tensor:
    """Return the mean squared deviation from the mean over the environments with rows [...].

    Args:
        value: A number or a vector of each environment [E, ...].
        present: Which environments have rows [E].
    """
    return mean_of_present((value - mean_of_present(value, present)).square(), present)


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
