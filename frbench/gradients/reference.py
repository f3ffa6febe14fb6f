"""The matrix that the rest of this package avoids."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from frbench.contracts.errors import UserError
from frbench.gradients.settings import batch_statistics


def per_sample_gradients(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor
) -> Tensor:
    """Instantiate per-sample gradients by ``vmap`` of ``grad``, for comparison.

    Args:
        model: The network.
        loss: Maps outputs [1, ...] and labels [1] to a scalar.
        x: Inputs [B, ...].
        y: Labels [B].

    Returns:
        Gradients of all trainable parameters [B, P].

    Raises:
        UserError: Where BatchNorm trains: each sample would be normalised by itself.

    Example:
        >>> net = nn.Linear(3, 2)
        >>> g = per_sample_gradients(net, nn.functional.cross_entropy, torch.ones(4, 3),
        ...                          torch.tensor([0, 1, 0, 1]))
        >>> g.shape
        torch.Size([4, 8])
    """
    if (name := batch_statistics(model)) is not None:
        raise UserError(
            f"vmap over samples would give {name} batches of one, and another loss than the "
            "network's; use GradientSimilarity, evaluation mode, or GroupNorm."
        )
    parameters = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad}

    def one(values: dict[str, Tensor], xi: Tensor, yi: Tensor) -> Tensor:
        out = torch.func.functional_call(model, values, (xi.unsqueeze(0),))
        return loss(out, yi.unsqueeze(0))

    grads = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0))(parameters, x, y)
    return torch.cat([g.flatten(1) for g in grads.values()], 1)
