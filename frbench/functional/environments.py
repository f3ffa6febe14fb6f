"""Means over environments of the global batch, and penalties on their differences."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.distributed import all_sum, all_total, rank

#: Where a square goes on as a straight line: squares of the logits of a diverging network, and
#: products of these with its weights, would overflow before the losses themselves do.
LARGEST = 1e3


def membership(environment: Tensor, weight: Tensor, count: int) -> Tensor:
    """Return the weight of each row in each environment, without a gradient [B / W, E].

    Args:
        environment: Environment of each row, -1 where unknown [B / W].
        weight: Weights of the rows [B / W].
        count: Number of environments E.
    """
    values = torch.arange(count, device=environment.device)
    return (environment[:, None] == values) * weight[:, None].detach()


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


def square(value: Tensor) -> Tensor:
    """Square each element up to 1000, and go on with the slope that it has there.

    Example:
        >>> square(torch.tensor([3.0, -1000.0, 2000.0])).tolist()
        [9.0, 1000000.0, 3000000.0]
    """
    zero = torch.zeros_like(value)
    return 2 * F.huber_loss(value, zero, reduction="none", delta=LARGEST)


def variance(value: Tensor, present: Tensor) -> Tensor:
    """Mean of :func:`square` of the deviations from the mean over environments with rows [...].

    Args:
        value: A number or a vector of each environment [E, ...].
        present: Which environments have rows [E].
    """
    return mean_of_present(square(value - mean_of_present(value, present)), present)


def ones_like_rows(rows: Tensor, weight: Tensor | None) -> Tensor:
    """Return the weights of rows, ones where none are given [B].

    Args:
        rows: Anything with B rows.
        weight: Weights [B], or None.
    """
    return torch.ones(len(rows), device=rows.device) if weight is None else weight


def irm(
    logits: Tensor,
    y: Tensor,
    environment: Tensor,
    num_environments: int,
    weight: Tensor | None = None,
    estimate: Literal["squared", "unbiased"] = "squared",
) -> Tensor:
    """Return the mean over environments of the squared slope of the risk in a scale of the logits.

    With R_e(w) the mean cross-entropy of environment e for logits times w, mean_e (dR_e / dw)^2
    at w = 1. Source: arXiv 1907.02893, IRMv1; see :class:`frbench.penalties.IRM`.

    Args:
        logits: Of this process's rows, float [B, C].
        y: Labels, long [B].
        environment: Environment of each row in 0..E-1, -1 where unknown [B].
        num_environments: E.
        weight: Weights of the rows [B].
        estimate: squared; or unbiased, the product of the slopes on rows at even and odd places.

    Example:
        >>> logits = torch.tensor([[1.0, -1.0], [0.5, 0.0], [-0.25, 0.75], [2.0, 0.0]])
        >>> y, z = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> round(irm(logits, y, z, 2).item(), 4)
        0.0328
    """
    weight = ones_like_rows(y, weight)
    slope = (logits.softmax(1) * logits).sum(1) - logits.gather(1, y[:, None])[:, 0]
    if estimate == "squared":
        mean, present = environment_means(slope, environment, weight, num_environments)
        return mean_of_present(square(mean), present)
    place = torch.arange(len(slope), device=slope.device) + rank() * len(slope)
    half = torch.where(environment >= 0, 2 * environment + place % 2, -1)
    mean, present = environment_means(slope, half, weight, 2 * num_environments)
    pairs = mean.clamp(-LARGEST, LARGEST).view(-1, 2)
    return mean_of_present(pairs.prod(1), present.view(-1, 2).any(1))


def vrex(
    losses: Tensor, environment: Tensor, num_environments: int, weight: Tensor | None = None
) -> Tensor:
    """Return the variance of the mean losses of the environments, mean_e (R_e - mean R)^2.

    Source: arXiv 2003.00688, equation 8; see :class:`frbench.penalties.VREx`.

    Args:
        losses: Loss of each row of this process [B].
        environment: Environment of each row in 0..E-1, -1 where unknown [B].
        num_environments: E.
        weight: Weights of the rows [B].

    Example:
        >>> vrex(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 0, 1]), 2).item()
        3.0625
    """
    weight = ones_like_rows(losses, weight)
    return variance(*environment_means(losses, environment, weight, num_environments))
