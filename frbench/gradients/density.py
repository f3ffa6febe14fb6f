"""DBSCAN's noise label, without its clusters."""

import torch
from torch import Tensor

from frbench.gradients.layer import BLOCK


def dbscan_noise(distances: Tensor, eps: Tensor | float, min_samples: int) -> Tensor:
    """Mark the points that DBSCAN labels -1.

    A core point has at least ``min_samples`` points (itself included) within ``eps``; noise is
    what is neither core nor within ``eps`` of a core point. Which cluster a point belongs to is
    never needed, so two reductions on the device replace the search.

    Args:
        distances: Pairwise distances, symmetric, zero on the diagonal [B, B].
        eps: Radius, in the unit of the distances.
        min_samples: Points that make a neighbourhood dense.

    Returns:
        Whether each point is noise, bool [B].

    Example:
        >>> import torch
        >>> x = torch.tensor([0.0, 0.1, 0.2, 5.0])
        >>> dbscan_noise((x[:, None] - x).abs(), 0.15, 2).tolist()
        [False, False, False, True]
    """
    return noise_of(distances <= eps, min_samples)


def noise_of(near: Tensor, min_samples: int) -> Tensor:
    """Mark the points that DBSCAN labels -1, given who is near whom.

    Args:
        near: Whether two points are within eps, symmetric, overwritten [B, B].
        min_samples: Points that make a neighbourhood dense.
    """
    # In blocks: torch counts after a conversion to integers of eight bytes.
    counts = [rows.sum(1) for rows in near.split(max(1, BLOCK // max(1, len(near))))]
    core = torch.cat(counts) >= min_samples
    return ~(core | near.logical_and_(core).any(1))
