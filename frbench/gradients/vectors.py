"""Directions in the space of parameters: a tensor for each parameter, by its name."""

from __future__ import annotations

import torch
from torch import Tensor

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


def unproved(ours: Vector, theirs: Vector, tolerance: float, names: set[str] | None) -> set[str]:
    """Compare a combination of gradients from layers with autograd's.

    Args:
        ours: From layers.
        theirs: From autograd.
        tolerance: Largest relative error.
        names: Parameters to compare; None for all.

    Returns:
        Parameters whose gradients are too small to be evidence.

    Raises:
        NotCovered: If a parameter's gradients differ.
    """
    total = torch.stack([g.norm() for g in theirs.values()]).norm()
    left: set[str] = set()
    for name, wanted in theirs.items():
        if names is not None and name not in names:
            continue
        error, size = (ours[name] - wanted).norm(), wanted.norm()
        # A tenth of the whole: gradients that are zero but for rounding are no evidence.
        if not error <= tolerance * (size + 0.1 * total):
            raise NotCovered(f"{name} has gradients that its layer's calls do not explain")
        if size <= 0.01 * total:  # behind a head that begins at zero, say
            left.add(name)
    return left
