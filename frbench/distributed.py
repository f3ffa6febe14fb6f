"""Sums and gathers over processes; each is the identity on one process."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes W."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process, 0..W-1."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def all_sum(value: Tensor) -> Tensor:
    """Sum a tensor over processes, without gradient; on one process, the tensor itself."""
    value = value.detach()
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def all_mean(value: Tensor) -> Tensor:
    """Average a tensor over processes, without gradient."""
    return value.detach() if (w := world_size()) == 1 else all_sum(value) / w


def all_total(value: Tensor) -> Tensor:
    """Sum a tensor over processes, with gradients in the sense of :func:`all_gather`."""
    w = world_size()
    return value if w == 1 else all_sum(value) + w * (value - value.detach())


class _Gather(torch.autograd.Function):
    """All-gather whose backward hands each process the sum of the gradients of its share."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor) -> Tensor:
        parts = [torch.empty_like(value) for _ in range(world_size())]
        dist.all_gather(parts, value.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        return all_sum(grads[0]).chunk(world_size())[rank()]


def all_gather(value: Tensor) -> Tensor:
    """Concatenate the rows of all processes, in rank order, with gradients.

    A scalar computed from the gathered rows is the same on every process; its gradient with
    respect to this process's rows is W times the gradient of one copy, which DDP's averaging
    over W processes turns back into the gradient of the one scalar.

    Args:
        value: This process's rows [B / W, ...]; the same shape on every process.

    Returns:
        All rows [B, ...].
    """
    return value if world_size() == 1 else _Gather.apply(value)
