"""Directions in the space of parameters: a tensor for each parameter, by its name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frbench.distributed import all_sum, world_size
from frbench.gradients.layer import Layer
from frbench.gradients.tape import NotCovered

Vector = dict[str, Tensor]


def weighted(calls: dict[str, Layer], coef: Tensor) -> Vector:
    """Return sum_i coef_i g_i of the recorded layers.

    Args:
        calls: Module name -> its recorded call.
        coef: Coefficient of each sample [B].
    """
    return {
        f"{owner}.{name}" if owner else name: g
        for owner, layer in calls.items()
        for name, g in layer.weighted(coef.to(layer.d.dtype)).items()
    }


def summed(vector: Vector) -> Vector:
    """Sum over processes in one call."""
    if world_size() == 1:
        return vector
    flat = all_sum(torch.cat([g.flatten() for g in vector.values()]))
    parts = flat.split([g.numel() for g in vector.values()])
    return {n: part.view_as(g) for (n, g), part in zip(vector.items(), parts, strict=True)}


def gradient(losses: Tensor, coef: Tensor, parameters: dict[str, nn.Parameter]) -> Vector:
    """Return sum_i coef_i g_i by autograd; the graph stays.

    Args:
        losses: Per-sample losses with their graph [B].
        coef: Coefficient of each sample [B].
        parameters: The parameters, by name.
    """
    grads = torch.autograd.grad(
        losses @ coef.to(losses.dtype), list(parameters.values()), retain_graph=True,
        allow_unused=True, materialize_grads=True,
    )  # fmt: skip
    return dict(zip(parameters, grads, strict=True))


def proved(
    calls: dict[str, Layer], losses: Tensor, parameters: dict[str, nn.Parameter], tolerance: float
) -> set[str]:
    """Compare a random combination of per-sample gradients with autograd's.

    Parameters used outside their module, samples that mix and layouts that only look right
    all end here: only a sum with equal coefficients would hide them.

    Args:
        calls: Module name -> its recorded call.
        losses: Per-sample losses with their graph [B].
        parameters: The parameters of these modules, by name.
        tolerance: Largest relative error.

    Returns:
        Parameters whose gradients agree. Those of the others, behind a head that begins at zero
        say, are zero but for rounding: they are no evidence.

    Raises:
        NotCovered: If a parameter's gradients differ.
    """
    coef = torch.randn(len(losses), generator=torch.Generator().manual_seed(0)).to(losses)
    ours, theirs = weighted(calls, coef), gradient(losses, coef, parameters)
    total = torch.stack([g.norm() for g in theirs.values()]).norm()
    found: set[str] = set()
    for name, wanted in theirs.items():
        error, size = (ours[name] - wanted).norm(), wanted.norm()
        # A tenth of the whole: gradients that are zero but for rounding are no evidence.
        if not error <= tolerance * (size + 0.1 * total):
            raise NotCovered(f"{name} has gradients that its layer's calls do not explain")
        if size > 0 and error <= tolerance * size:
            found.add(name)
    return found
