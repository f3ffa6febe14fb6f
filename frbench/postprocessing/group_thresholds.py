"""One threshold per group, searched for any pair of a measure and a bound on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np

from frbench.contracts.ranges import Count, NotNegativeInt, Share
from frbench.postprocessing.base import Attribute, HeldOut
from frbench.postprocessing.rules import Part, ThresholdMap, curves

Measure = Literal[
    "accuracy",
    "balanced_accuracy",
    "minimum_recall",
    "minimum_accuracy",
    "worst_group_accuracy",
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
]

#: Combinations of thresholds that are all tried; beyond them one group is moved at a time.
_ALL = 200_000


def _spread(rate: np.ndarray) -> np.ndarray:
    found: np.ndarray = rate.max(-1) - rate.min(-1)
    return found


#: Measure -> function of rows selected [M, A, 2] and all rows [A, 2], by attribute and label.
_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": lambda s, n: (s[..., 1] + n[:, 0] - s[..., 0]).sum(-1) / n.sum(),
    "balanced_accuracy": lambda s, n: (
        0.5 * (s[..., 1].sum(-1) / n[:, 1].sum() + 1 - s[..., 0].sum(-1) / n[:, 0].sum())
    ),
    "minimum_recall": lambda s, n: (s[..., 1] / n[:, 1]).min(-1),
    "minimum_accuracy": lambda s, n: ((s[..., 1] + n[:, 0] - s[..., 0]) / n.sum(1)).min(-1),
    "worst_group_accuracy": lambda s, n: np.minimum(
        (s[..., 1] / n[:, 1]).min(-1), 1 - (s[..., 0] / n[:, 0]).max(-1)
    ),
    "demographic_parity_difference": lambda s, n: _spread(s.sum(-1) / n.sum(1)),
    "equal_opportunity_difference": lambda s, n: _spread(s[..., 1] / n[:, 1]),
    "equalized_odds_difference": lambda s, n: np.maximum(
        _spread(s[..., 1] / n[:, 1]), _spread(s[..., 0] / n[:, 0])
    ),
}


class GroupThresholds(ThresholdMap):
    """The best threshold of each group for one measure under a bound on another.

    max objective subject to constraint >= bound (<= for a difference), over a grid of thresholds
    in each group, nothing drawn at random (OxonFair, arXiv 2407.13710). ``minimum_recall`` is
    levelling up: every group's true positive rate is at least the bound. Up to three groups (and
    small grids) every combination is tried; beyond that one group is moved at a time until nothing
    improves. If no point keeps the bound, the nearest is taken, which the record says. Where
    groups are inferred, the thresholds belong to the groups as they are told from the features,
    and the measures to those that they stand for.

    Args:
        objective: Measure that is maximised (a difference: minimised).
        constraint: Measure that is bounded; null for none.
        bound: The bound.
        grid: Thresholds that are tried in each group, at quantiles of its scores.
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Without effect: nothing is drawn.

    Raises:
        UserError: If a group has rows of one class only.

    Example:
        >>> from frbench import Sizes
        >>> p = np.array([0.9, 0.4, 0.3, 0.2, 0.8, 0.7, 0.6, 0.1])
        >>> rows = HeldOut(np.zeros((8, 0)), np.log(np.stack([1 - p, p], 1)),
        ...                np.array([1, 1, 0, 0, 1, 1, 0, 0]), np.repeat([0, 1], 4), 2, 2)
        >>> method = GroupThresholds("accuracy", "minimum_recall", 1.0)
        >>> method.bind(Sizes(2, 2, (1,)), 0)
        >>> method.fit(rows)["rule"]  # each between its least positive and its largest negative
        {'0': [[1.0, '> 0.35']], '1': [[1.0, '> 0.65']]}
    """

    parts = 1
    allows_empty = True

    def __init__(
        self,
        objective: Measure = "accuracy",
        constraint: Measure | None = "minimum_recall",
        bound: Share = 0.8,
        grid: Count = 100,
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)
        self.objective = objective
        self.constraint = constraint
        self.bound = bound
        self.grid = grid

    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Search the thresholds."""
        score, groups, treated = rows.probabilities[:, 1], self.num_attributes, rows.z
        if rows.true_z is not None:  # what is measured
            rows = rows._replace(z=rows.true_z)
        curves(self, rows)  # refuses groups of one class
        total = np.array([[((rows.z == a) & (rows.y == c)).sum() for c in (0, 1)]
                          for a in range(groups)], float)  # fmt: skip
        tried = [self._candidates(score[treated == g]) for g in range(groups)]
        selected = [self._selected(rows, score, treated == g, tried[g]) for g in range(groups)]
        if np.prod([float(len(t)) for t in tried]) <= _ALL:
            every = np.array(list(product(*(range(len(t)) for t in tried))))
            sums = sum(selected[g][every[:, g]] for g in range(groups))
            best = every[int(self._value(np.asarray(sums), total).argmax())]
        else:
            best = self._by_coordinate(selected, tried, total)
        at_best = np.asarray(sum(selected[g][best[g]] for g in range(groups)))[None]
        report: dict[str, Any] = {"value": float(_MEASURES[self.objective](at_best, total)[0])}
        if self.constraint is not None:
            report[self.constraint] = float(_MEASURES[self.constraint](at_best, total)[0])
            if self._excess(at_best, total)[0] > 0:
                report |= {"limited": "no thresholds of the grid keep the bound"}
        mixtures: list[Sequence[Part]] = [
            [Part(1.0, float(t[k]))] for t, k in zip(tried, best, strict=True)
        ]
        return mixtures, report

    def _candidates(self, score: np.ndarray) -> np.ndarray:
        """Thresholds between scores of the group, the network's own among them."""
        if not len(score):
            return np.array([0.5])
        values = np.unique(np.quantile(score, np.linspace(0, 1, self.grid), method="lower"))
        between = (values[1:] + values[:-1]) / 2
        found: np.ndarray = np.unique(np.concatenate([[-np.inf, 0.5, np.inf], between]))
        return found

    def _selected(
        self, rows: HeldOut, score: np.ndarray, here: np.ndarray, tried: np.ndarray
    ) -> np.ndarray:
        """Count rows above each threshold, by true attribute and label [K, A, 2]."""
        found = np.zeros((len(tried), self.num_attributes, 2))
        for a, c in product(range(self.num_attributes), (0, 1)):
            ordered = np.sort(score[here & (rows.z == a) & (rows.y == c)])
            found[:, a, c] = len(ordered) - np.searchsorted(ordered, tried, side="right")
        return found

    def _excess(self, selected: np.ndarray, total: np.ndarray) -> np.ndarray:
        """By how much the bound is missed [M]."""
        if self.constraint is None:
            return np.zeros(len(selected))
        value = _MEASURES[self.constraint](selected, total)
        sign = 1 if self.constraint.endswith("difference") else -1
        found: np.ndarray = np.maximum(sign * (value - self.bound), 0)
        return np.where(found < 1e-12, 0, found)

    def _value(self, selected: np.ndarray, total: np.ndarray) -> np.ndarray:
        """The objective; where the bound is missed, less than any that keeps it [M]."""
        value = _MEASURES[self.objective](selected, total)
        sign = -1 if self.objective.endswith("difference") else 1
        excess = self._excess(selected, total)
        found: np.ndarray = np.where(excess > 0, -10 - excess, sign * value)
        return found

    def _by_coordinate(
        self, selected: list[np.ndarray], tried: list[np.ndarray], total: np.ndarray
    ) -> np.ndarray:
        """Move one group at a time: from the network's thresholds on, and from all or none.

        Where all rows are selected, or none, every difference is 0: a bound on one can be kept.
        """
        groups = range(len(tried))
        own = [int(np.flatnonzero(t == 0.5)[0]) for t in tried]
        ends = []
        for start in (own, [0] * len(tried), [len(t) - 1 for t in tried]):
            best, value, before = np.array(start), -np.inf, np.nan
            while value != before:
                before = value
                for g in groups:
                    others = sum(selected[h][best[h]] for h in groups if h != g)
                    found = self._value(selected[g] + others, total)
                    if found.max() > value:
                        best[g], value = int(found.argmax()), float(found.max())
            ends.append((value, best))
        return max(ends, key=lambda end: end[0])[1]
