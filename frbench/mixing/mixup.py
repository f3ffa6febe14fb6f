"""Mixup."""

from __future__ import annotations

import numpy as np

from frbench.contracts.ranges import NotNegative
from frbench.mixing.base import At, Mixing, Named


class Mixup(Mixing):
    """Mixup: rows are combined with those of a random permutation of the batch.

    One share t ~ Beta(alpha, alpha) for the batch. Source: Zhang et al., arXiv 1710.09412.

    Args:
        alpha: Strength; 0 is t = 1, which is ERM.
        at: Whether inputs are combined or the backbone's features.
        label: Whether label, attribute, group and weight are those of the row itself (first) or
            of the one with the larger share.

    Example:
        >>> y = np.array([0, 1, 1])
        >>> partner, share = Mixup(alpha=0.0).pairs(y, y, np.random.default_rng(0))
        >>> sorted(partner.tolist()), share.tolist()
        ([0, 1, 2], [1.0, 1.0, 1.0])
    """

    def __init__(
        self, alpha: NotNegative = 0.2, at: At = "inputs", label: Named = "first"
    ) -> None:
        super().__init__(at, label)
        self.alpha = alpha

    def pairs(
        self, y: np.ndarray, z: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a permutation and one share."""
        share = rng.beta(self.alpha, self.alpha) if self.alpha else 1.0
        return rng.permutation(len(y)), np.full(len(y), share)
