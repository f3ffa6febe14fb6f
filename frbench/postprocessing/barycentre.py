"""Decisions of equal selection rates: the Wasserstein barycentre of the groups' scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from frbench.contracts.ranges import NotNegativeInt
from frbench.postprocessing.base import Attribute, HeldOut
from frbench.postprocessing.rules import Part, ThresholdMap


class Barycentre(ThresholdMap):
    """Demographic parity of the scores by their barycentre (Chzhen et al., arXiv 2006.07286).

    A score s of group a becomes sum_b p_b Q_b(F_a(s)), with F_a the distribution function and Q_b
    the quantile function of the groups; its distribution is then the same in every group, and the
    decision is whether it is above 1/2. The map rises within a group, so that the decision is a
    threshold of the untouched score in each; where equal scores meet it, they are divided at
    random, so that the rates of selection are equal.

    Args:
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Seed of the draws among equal scores.

    Raises:
        UserError: If an attribute value has no held-out rows.

    Example:
        >>> p, z = np.array([0.2, 0.6, 0.4, 0.8, 0.9]), np.array([0, 0, 1, 1, 1])
        >>> Barycentre.transformed(p, z).round(2).tolist()
        [0.56, 0.78, 0.32, 0.72, 0.78]
    """

    parts = 2

    def __init__(
        self,
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)

    @staticmethod
    def transformed(score: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Return the scores moved to their barycentre [N].

        Args:
            score: Scores [N].
            z: Attributes 0, 1, ... [N].
        """
        each = [np.sort(score[z == a]) for a in np.unique(z)]
        out = np.zeros(len(score))
        for a, own in zip(np.unique(z), each, strict=True):
            rank = np.searchsorted(own, score[z == a], side="right") / len(own)
            out[z == a] = sum(len(b) / len(score) * _quantile(b, rank) for b in each)
        return out

    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Find the rate that the barycentre selects, and the thresholds that give it."""
        score = rows.probabilities[:, 1]
        each = [np.sort(score[rows.z == a]) for a in range(self.num_attributes)]
        # The barycentre's quantile function is a staircase; its steps are those of the groups.
        steps = np.unique(np.concatenate([np.arange(1, len(b) + 1) / len(b) for b in each]))
        value = np.sum([len(b) / len(score) * _quantile(b, steps) for b in each], axis=0)
        above = value > 0.5
        rate = 1.0 - (0.0 if above[0] else float(steps[~above][-1]))
        mixtures: list[Sequence[Part]] = [_top(own, rate) for own in each]
        return mixtures, {"rate": rate}


def _quantile(ordered: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the smallest value whose share of values up to it is at least the level."""
    place = np.ceil(level * len(ordered) - 1e-9).astype(int) - 1
    found: np.ndarray = ordered[place.clip(0, len(ordered) - 1)]
    return found


def _top(ordered: np.ndarray, rate: float) -> list[Part]:
    """Return the thresholds that select a share of values, the largest first."""
    wanted = rate * len(ordered)
    values, count = np.unique(ordered, return_counts=True)
    kept = np.append(np.cumsum(count[::-1])[::-1], 0)  # values from each on, and none
    between = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    after = int(np.flatnonzero(kept <= wanted + 1e-9)[0])
    if after == 0:
        return [Part(1.0, -np.inf)]
    share = float((wanted - kept[after]) / (kept[after - 1] - kept[after]))
    return [Part(1 - share, float(between[after])), Part(share, float(between[after - 1]))]
