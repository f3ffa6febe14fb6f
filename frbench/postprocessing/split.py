"""Held-out rows divided into those that fit a method and those that select."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from frbench.postprocessing.base import Postprocessor
from frbench.support.stratified import cut


class Split(NamedTuple):
    """Rows that a method is fitted on, and those that are left to select by.

    Attributes:
        name: Name of the split.
        share: Share of its rows, of each group, that fits; the others select.
        seed: Seed of the division.
    """

    name: str = "val"
    share: float = 0.5
    seed: int = 0

    def fitting(self, group: np.ndarray) -> np.ndarray:
        """Return a mask of the rows that fit [N].

        Args:
            group: Groups of the rows, -1 where unknown [N].
        """
        if self.share == 1:
            return np.ones(len(group), bool)
        rng = np.random.default_rng([self.seed, 31])
        fits: np.ndarray = cut(group, (self.share, 1 - self.share), rng) == 0
        return fits


def split_for(method: Postprocessor, name: str | None, share: float | None, seed: int) -> Split:
    """Return the rows that a method is fitted on.

    Args:
        method: The method.
        name: Name of the split; None for the method's own.
        share: Share that fits; None for a half of validation rows, or all rows where the method
            makes its own choices, or where the split selects nothing.
        seed: Seed of the division.
    """
    name = name or method.fits_on
    if share is None:
        share = 1.0 if method.uses_all or name != "val" else 0.5
    return Split(name, share, seed)
