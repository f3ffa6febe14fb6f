"""The base of methods that are fitted after training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Head(NamedTuple):
    """A refitted last layer and how it came about.

    Attributes:
        weight: Float64 [C, D].
        bias: Float64 [C].
        strength: The chosen C of the L1 term.
        scores: Worst-group accuracy on the second half for each strength.
        per_group: Rows of each group in a balanced draw.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    scores: dict[float, float]
    per_group: int


class LastLayer(ABC):
    """Base class of methods that replace a network's last layer, features unchanged.

    It knows arrays alone: :func:`frbench.training.extract.reweight` runs the network and writes
    the checkpoint.
    """

    @abstractmethod
    def fit(
        self,
        features: np.ndarray,
        y: np.ndarray,
        group: np.ndarray,
        num_classes: int,
        names: Sequence[str] | None = None,
    ) -> Head:
        """Fit the last layer.

        Args:
            features: Features of the held-out rows [N, D].
            y: Their labels, int [N].
            group: Their groups, -1 where unknown, which leaves a row out [N].
            num_classes: C.
            names: Names of the groups, for messages.

        Returns:
            The layer for features as they are: standardisation is folded into it.
        """
