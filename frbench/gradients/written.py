"""A sum of losses whose gradient is written down from what the layers saw."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from frbench.gradients.layer import Layer


def leaves(value: Tensor) -> set[int]:
    """Return the ids of the leaf tensors that a tensor's graph ends in."""
    found: set[int] = set()
    nodes = [value.grad_fn]
    seen = set(nodes)
    while nodes:
        node: Any = nodes.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        after = {n for n, _ in getattr(node, "next_functions", ())} - seen - {None}
        seen |= after
        nodes += after
    return found


class _Written(torch.autograd.Function):
    """Hands autograd the gradients of parameters: hooks, DDP and scalers see a normal loss."""

    @staticmethod
    def forward(
        ctx: Any, losses: Tensor, coef: Tensor, layers: list[Layer], *parameters: nn.Parameter
    ) -> Tensor:
        nothing = coef.new_empty(0)
        ctx.calls = [layer.of(nothing, nothing) for layer in layers]
        # Not attributes: autograd frees what is saved so once it has been used.
        ctx.save_for_backward(coef, *(side for layer in layers for side in (layer.a, layer.d)))
        return coef @ losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        coef, *sides = ctx.saved_tensors
        grads: list[Tensor] = []
        kind = coef.device.type
        plain = torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else None
        with plain or contextlib.nullcontext():
            coef = coef * grad
            for call, a, d in zip(ctx.calls, sides[::2], sides[1::2], strict=True):
                found = call.of(a, d).weighted(coef.to(d.dtype))
                grads += [found[name] for name in call.trained]
        return None, None, None, *grads


def written_sum(losses: Tensor, coef: Tensor, layers: list[Layer]) -> Tensor:
    """Return sum_i coef_i l_i with the gradient sum_i coef_i g_i of the layers' parameters.

    Args:
        losses: Per-sample losses [B].
        coef: Coefficients [B].
        layers: The calls of all layers whose parameters the losses depend on.

    Example:
        >>> from frbench.gradients.dense import Dense
        >>> layer, x, y = nn.Linear(3, 1), torch.randn(4, 3), torch.randn(4)
        >>> errors = layer(x).squeeze(1) - y
        >>> call = Dense(layer, x, 2 * errors.detach().unsqueeze(1))
        >>> coef = torch.tensor([0.5, 0.0, 0.25, 0.25])
        >>> ours = torch.autograd.grad(
        ...     written_sum(errors.square(), coef, [call]), list(layer.parameters()))
        >>> autograds = torch.autograd.grad(coef @ errors.square(), list(layer.parameters()))
        >>> all(torch.allclose(a, b) for a, b in zip(ours, autograds))
        True
    """
    parameters = [p for layer in layers for p in layer.trained.values()]
    total: Tensor = _Written.apply(losses.detach(), coef.detach(), layers, *parameters)
    return total
