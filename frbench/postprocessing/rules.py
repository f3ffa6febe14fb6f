"""Decisions by mixtures of thresholds per group, and the curves that they are chosen from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.postprocessing.base import GroupMap, HeldOut


class Part(NamedTuple):
    """One part of a mixture: with probability ``weight`` the threshold decides.

    Attributes:
        weight: In [0, 1].
        threshold: The second class is chosen where its score is above; infinite for always and
            never.
        above: Whether "above" is meant, else below.
    """

    weight: float
    threshold: float
    above: bool = True


#: The network's own decision.
OWN = (Part(1.0, 0.5),)


class ThresholdMap(GroupMap):
    """Base class of maps that draw among a few thresholds of the score, by group.

    P(decision = 1 | score s, group g) = sum_k w_gk [s > t_gk], or [s < t_gk]. Every rule by
    thresholds, by constants and by randomised flips of the network's decision is of this form, so
    that it is stored as three numbers for each part and needs nothing else when it is applied. A
    subclass writes :meth:`rule`.
    """

    #: Largest number of parts of a mixture.
    parts = 3
    mixture_weight: Tensor
    threshold: Tensor
    above: Tensor

    def bind(self, sizes: Sizes, num_features: int) -> None:
        """Create the buffers; until it is fitted, the network's own decision."""
        super().bind(sizes, num_features)
        shape = self.num_attributes, self.parts
        own = torch.zeros(shape, dtype=torch.float64)
        own[:, 0] = 1.0
        self.register_buffer("mixture_weight", own)
        self.register_buffer("threshold", torch.full(shape, 0.5, dtype=torch.float64))
        self.register_buffer("above", torch.ones(shape, dtype=torch.bool))

    @abstractmethod
    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Choose the parts of each group.

        Args:
            rows: Held-out rows of known group, which is their ``z``; every group occurs.

        Returns:
            The parts of each group, and what the record says of the choice.
        """

    def fit(self, rows: HeldOut) -> dict[str, Any]:
        """Choose thresholds and write them into the buffers."""
        known = self.fit_groups(rows)
        mixtures, report = self.rule(known)
        self.mixture_weight.zero_()
        for group, mixture in enumerate(mixtures):
            for k, part in enumerate(mixture):
                self.mixture_weight[group, k] = min(max(part.weight, 0.0), 1.0)
                self.threshold[group, k] = part.threshold
                self.above[group, k] = part.above
        shown = {
            name: [
                [float(p.weight), f"{'>' if p.above else '<'} {p.threshold:.6g}"] for p in parts
            ]
            for name, parts in zip(self.names_of(known), mixtures, strict=True)
        }
        if known.true_z is not None:
            report = {"groups_told_right": float((known.z == known.true_z).mean()), **report}
        return {"rule": shown, "rows_without_attribute": len(rows.y) - len(known.y), **report}

    def decide(self, probabilities: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """Return the probability of each decision [B, 2]; rows of no group keep the network's."""
        group = self.groups(features, z)
        known = group.clamp(min=0)
        score = probabilities[:, 1:]
        threshold = self.threshold[known]
        chosen = torch.where(self.above[known], score > threshold, score < threshold)
        one = (self.mixture_weight[known] * chosen).sum(1).clamp(0, 1)
        own = F.one_hot(probabilities.argmax(1), 2).double()
        return torch.where((group < 0)[:, None], own, torch.stack([1 - one, one], 1))


class Curve(NamedTuple):
    """What every threshold of the score gives in one group, from the largest threshold down.

    Attributes:
        threshold: Thresholds between the scores that occur, first plus, last minus infinity [K].
        false_positives: Negative rows above each threshold [K].
        true_positives: Positive rows above each threshold [K].
    """

    threshold: np.ndarray
    false_positives: np.ndarray
    true_positives: np.ndarray

    @property
    def negatives(self) -> float:
        """Number of negative rows."""
        return float(self.false_positives[-1])

    @property
    def positives(self) -> float:
        """Number of positive rows."""
        return float(self.true_positives[-1])

    @property
    def rates(self) -> np.ndarray:
        """False and true positive rates [K, 2]."""
        both = np.stack([self.false_positives, self.true_positives], 1)
        found: np.ndarray = both / both[-1]
        return found


def curve(score: np.ndarray, y: np.ndarray) -> Curve:
    """Count both kinds of positives for each threshold of the score.

    Args:
        score: Scores [N].
        y: Labels 0 and 1 [N].

    Example:
        >>> found = curve(np.array([0.2, 0.8, 0.8, 0.4]), np.array([0, 1, 0, 1]))
        >>> found.threshold.round(2).tolist(), found.true_positives.tolist()
        ([inf, 0.6, 0.3, -inf], [0, 1, 2, 2])
    """
    order = np.argsort(-score)
    score, positive = score[order], y[order] == 1
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))  # of rows of equal score
    true = np.append(0, np.cumsum(positive)[last])
    false = np.append(0, (last + 1)) - true
    between = (score[last[:-1]] + score[last[1:]]) / 2
    return Curve(np.concatenate([[np.inf], between, [-np.inf]]), false, true)


def curves(owner: GroupMap, rows: HeldOut) -> list[Curve]:
    """Return the curve of each value of the attribute.

    Raises:
        UserError: If the held-out rows of a value are of one class alone.
    """
    score = rows.probabilities[:, 1]
    found = []
    for a, name in enumerate(owner.names_of(rows)):
        member = rows.z == a
        one = curve(score[member], rows.y[member])
        if not (one.negatives and one.positives):
            raise UserError(
                f"{type(owner).__name__} needs held-out rows of both classes in every group, and "
                f"{name} has one class; use a larger held-out split."
            )
        found.append(one)
    return found


def prune(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return positions of points that are not under the chord of their neighbours.

    The others are no vertices of the upper hull. Whole arrays at a time, so that a million points
    leave a few.

    Args:
        x: Coordinates that never decrease [K].
        y: Coordinates [K].
    """
    kept = np.arange(len(x))
    while len(kept) > 2:
        xs, ys = x[kept], y[kept]
        dx, dy = np.diff(xs), np.diff(ys)
        corner = dy[:-1] * (dx[:-1] + dx[1:]) > (dy[:-1] + dy[1:]) * dx[:-1]
        mask = np.concatenate([[True], corner, [True]])
        if mask.sum() > 0.95 * len(kept):
            break
        kept = kept[mask]
    return kept


def upper_hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return positions of the upper convex hull, by increasing x; points on an edge are left out.

    Args:
        x: Coordinates, sorted by x, then y [K].
        y: Coordinates [K].

    Example:
        >>> upper_hull(np.array([0.0, 0.25, 0.5, 1.0]), np.array([0.0, 0.1, 0.9, 1.0])).tolist()
        [0, 2, 3]
    """
    kept = prune(x, y)
    xs, ys = x[kept].tolist(), y[kept].tolist()  # Python's numbers are faster one by one
    hull: list[int] = []
    for i in range(len(xs)):
        while len(hull) >= 2:
            a, b = hull[-2], hull[-1]
            if (ys[b] - ys[a]) * (xs[i] - xs[a]) > (ys[i] - ys[a]) * (xs[b] - xs[a]):
                break
            hull.pop()
        hull.append(i)
    found: np.ndarray = kept[hull]
    return found
