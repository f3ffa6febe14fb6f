"""A head that compares directions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CosineHead(nn.Linear):
    """Logits ``scale`` times the cosine between features and a vector of each class.

    Source: the normalised head of arXiv 1906.07413 (released code); vectors near zero have
    cosine 0.

    Args:
        num_features: D.
        num_classes: C.
        scale: Factor of the cosines.

    Example:
        >>> import torch
        >>> head = CosineHead(2, 1, scale=10.0)
        >>> _ = head.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> head(torch.tensor([[6.0, 8.0], [-4.0, 3.0]])).flatten().tolist()
        [10.0, 0.0]
    """

    def __init__(self, num_features: int, num_classes: int, scale: float) -> None:
        super().__init__(num_features, num_classes, bias=False)
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits [B, C]."""
        unit = [F.normalize(vectors, eps=1e-6) for vectors in (features, self.weight)]
        return self.scale * F.linear(*unit)
