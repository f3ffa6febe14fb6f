"""One forward-mode pass: how every sample's loss changes along a direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frbench.similarity.settings import Conditions, forward_mode


class _Losses(nn.Module):
    """A function of a model's parameters, for ``functional_call``."""

    def __init__(self, model: nn.Module, losses: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.losses = losses

    def forward(self, batch: Any) -> Tensor:
        """Return the per-sample losses [B]."""
        return self.losses(batch)


def directional_losses(
    model: nn.Module,
    losses: Callable[[Any], Tensor],
    batch: Any,
    parameters: dict[str, nn.Parameter],
    vector: dict[str, Tensor],
    conditions: Conditions,
) -> Tensor:
    """Return <g_i, vector> for every sample by ``torch.func.jvp`` of the loss vector.

    Args:
        model: The network.
        losses: Runs it on a batch and returns per-sample losses [B].
        batch: The batch.
        parameters: The parameters that count, by their names in the model.
        vector: A direction, by the same names; emptied, so that what the caller does not hold
            takes no memory during the pass.
        conditions: Random state and autocast of the pass that is differentiated.

    Returns:
        Directional derivatives, without a graph [B].
    """
    holder = _Losses(model, losses)
    # Detached: otherwise the tangent would carry a reverse tape as large as the network's.
    point = {f"model.{k}": p.detach() for k, p in parameters.items()}
    # Of length one: in float16, products with the gradient of many samples overflow.
    length = torch.stack([g.norm() for g in vector.values()]).norm()
    length = length.clamp(min=torch.finfo(length.dtype).tiny)
    direction = {f"model.{k}": (vector.pop(k) / length).to(p.dtype) for k, p in parameters.items()}

    def function(values: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(holder, values, (batch,))

    autocast = conditions.autocast is not None
    with torch.no_grad(), conditions.again(), forward_mode(model, autocast):
        return torch.func.jvp(function, (point,), (direction,))[1] * length
