"""Randomised flips: equalized odds of hard decisions, and calibrated odds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import NotNegativeInt, Share
from frbench.postprocessing.base import Attribute, HeldOut
from frbench.postprocessing.rules import OWN, Part, ThresholdMap, curves, upper_hull

_APART = "withholding scores, even all of them, does not make the costs equal"


class EqOddsMixing(ThresholdMap):
    """Equalized odds by flips of the network's decisions (Hardt et al., arXiv 1610.02413).

    A linear programme over P(decision = 1 | network's decision, z): true and false positive rates
    are equal in all groups, and the accuracy is the largest. Needs hard decisions alone.

    Args:
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Seed of randomised decisions.

    Raises:
        UserError: If a group has rows of one class only.

    Example:
        >>> from frbench import Sizes
        >>> p = np.array([0.9, 0.8, 0.7, 0.4, 0.6, 0.4, 0.3, 0.1])
        >>> rows = HeldOut(np.zeros((8, 0)), np.log(np.stack([1 - p, p], 1)),
        ...                np.array([1, 1, 0, 0, 1, 1, 0, 0]), np.repeat([0, 1], 4), 2, 2)
        >>> method = EqOddsMixing()
        >>> method.bind(Sizes(2, 2, (1,)), 0)
        >>> found = method.fit(rows)  # rates (FPR, TPR) before: (.5, 1) and (0, .5)
        >>> [[round(r, 3) for r in rate] for rate in found["rate"].values()]
        [[0.333, 0.667], [0.333, 0.667]]
    """

    parts = 2

    def __init__(
        self,
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)

    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Solve the programme."""
        from scipy.optimize import linprog

        curves(self, rows)  # refuses groups of one class
        groups = self.num_attributes
        hard = rows.probabilities.argmax(1)
        rate = np.array([[hard[(rows.z == a) & (rows.y == c)].mean() for c in (0, 1)]
                         for a in range(groups)])  # fmt: skip
        count = np.array([[((rows.z == a) & (rows.y == c)).sum() for c in (0, 1)]
                          for a in range(groups)])  # fmt: skip
        # Variables of group a: P(1 | network says 1), P(1 | network says 0).
        share = np.stack([rate, 1 - rate], 2)  # [A, y, 2]
        cost = (count[:, 0, None] * share[:, 0] - count[:, 1, None] * share[:, 1]) / len(rows.y)
        lines = []
        for a in range(1, groups):
            for c in (0, 1):
                line = np.zeros((groups, 2))
                line[0], line[a] = share[0, c], -share[a, c]
                lines.append(line.ravel())
        equal = {"A_eq": np.array(lines), "b_eq": np.zeros(len(lines))} if lines else {}
        solved = linprog(cost.ravel(), bounds=(0, 1), method="highs", **equal)
        flips = solved.x.reshape(groups, 2)
        found = (share * flips[:, None]).sum(2)
        mixtures: list[Sequence[Part]] = [
            [Part(float(stay), 0.5), Part(float(flip), np.nextafter(0.5, 1), above=False)]
            for stay, flip in flips
        ]
        names = self.names_of(rows)
        return mixtures, {
            "value": float(count[:, 0].sum() / len(rows.y) - solved.fun),
            "rate": {name: [float(v) for v in point]
                     for name, point in zip(names, found, strict=True)},
        }  # fmt: skip


class CalibratedOdds(ThresholdMap):
    """Equal generalised costs by withheld scores (Pleiss et al., arXiv 1709.02012), two groups.

    The group of the lower cost gets, with probability r, its base rate in place of its score;
    r = (cost of the other - cost) / (cost of the base rate - cost), at most 1. Generalised rates
    are means of scores: FPR = E[s | y = 0], FNR = E[1 - s | y = 1]. Calibration is kept;
    predictions compare the score, or the base rate, with 1/2.

    Args:
        cost: What is equal in expectation: the generalised false negative rate, false positive
            rate, or their mean weighed by the base rates.
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Seed of randomised decisions.

    Raises:
        UserError: Unless there are two attribute values, each with rows of both classes.

    Example:
        >>> from frbench import Sizes
        >>> p = np.array([0.9, 0.1, 0.6, 0.4])
        >>> rows = HeldOut(np.zeros((4, 0)), np.log(np.stack([1 - p, p], 1)),
        ...                np.array([1, 0, 1, 0]), np.array([0, 0, 1, 1]), 2, 2)
        >>> method = CalibratedOdds("weighted")
        >>> method.bind(Sizes(2, 2, (1,)), 0)
        >>> found = method.fit(rows)  # costs .1 and .4, that of the base rate is .5
        >>> found["withheld"], found["cost"]["0"] == found["cost"]["1"]
        ({'0': 0.75}, True)
    """

    parts = 2

    def __init__(
        self,
        cost: Literal["false_negative_rate", "false_positive_rate", "weighted"] = "weighted",
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)
        self.cost = cost

    def bind(self, sizes: Sizes, num_features: int) -> None:
        """Create the buffers; there must be two attribute values."""
        super().bind(sizes, num_features)
        if self.num_attributes != 2:
            raise UserError(
                f"CalibratedOdds is for two attribute values; the data has {self.num_attributes}."
            )

    def _cost(self, score: np.ndarray, y: np.ndarray) -> float:
        base = float(y.mean())
        false_positive, false_negative = score[y == 0].mean(), 1 - score[y == 1].mean()
        by_name = {
            "false_positive_rate": false_positive,
            "false_negative_rate": false_negative,
            "weighted": (1 - base) * false_positive + base * false_negative,
        }
        return float(by_name[self.cost])

    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Choose the group and the probability r."""
        curves(self, rows)  # refuses groups of one class
        score = rows.probabilities[:, 1]
        members = [rows.z == a for a in (0, 1)]
        cost = [self._cost(score[m], rows.y[m]) for m in members]
        base = [float(rows.y[m].mean()) for m in members]
        trivial = [self._cost(np.full(int(m.sum()), b), rows.y[m])
                   for m, b in zip(members, base, strict=True)]  # fmt: skip
        low = int(np.argmin(cost))
        gain = trivial[low] - cost[low]
        wanted = (cost[1 - low] - cost[low]) / gain if gain > 0 else 0.0
        r = min(1.0, max(0.0, wanted))
        constant = Part(r, -np.inf if base[low] > 0.5 else np.inf)
        mixtures: list[Sequence[Part]] = [OWN, OWN]
        mixtures[low] = [Part(1 - r, 0.5), constant]
        after = [*cost]
        after[low] = (1 - r) * cost[low] + r * trivial[low]
        names = self.names_of(rows)
        return mixtures, {
            "withheld": {names[low]: r},
            "cost_before": dict(zip(names, cost, strict=True)),
            "cost": dict(zip(names, after, strict=True)),
            **({} if after[0] == after[1] or 0 < wanted <= 1 else {"limited": _APART}),
        }


class RejectOption(ThresholdMap):
    """Favourable decisions for one group near the threshold (Kamiran et al., ICDM 2012).

    Between t - m and t + m rows of the unprivileged group are selected and others are not; outside
    the score decides. (t, m) are searched on a grid for the best balanced accuracy among those
    whose gap is at most ``bound``. If there are none, as decisions are discrete, the bound is kept
    by the best lottery over two points of the grid; if all gaps are of one sign, the smallest is
    taken, which the record says. (AIF360 takes the smallest signed gap in both cases.)

    Args:
        gap: What is to be small between the unprivileged group and the others: the difference of
            selection rates, of true positive rates, or the mean of those of both rates.
        bound: Largest absolute gap.
        unprivileged: The attribute value that is favoured, as a number; by default the one that
            the network selects least often.
        thresholds: Values of t, equally spaced in [.01, .99].
        margins: Values of m for each t, equally spaced in [0, min(t, 1 - t)].
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Seed of the draws of a lottery.

    Raises:
        UserError: If a group has rows of one class only, or there is no such attribute value.

    Example:
        >>> from frbench import Sizes
        >>> p = np.array([0.9, 0.45, 0.3, 0.2, 0.8, 0.7, 0.55, 0.1])
        >>> rows = HeldOut(np.zeros((8, 0)), np.log(np.stack([1 - p, p], 1)),
        ...                np.array([1, 1, 0, 0, 1, 1, 0, 0]), np.repeat([0, 1], 4), 2, 2)
        >>> method = RejectOption(bound=0.0, thresholds=99, margins=99)
        >>> method.bind(Sizes(2, 2, (1,)), 0)
        >>> found = method.fit(rows)  # the rows of scores .45 and .55 change sides
        >>> found["favoured"], found["gap"], found["balanced_accuracy"]
        ('0', 0.0, 1.0)
    """

    parts = 2

    def __init__(
        self,
        gap: Literal["demographic_parity", "equal_opportunity", "average_odds"] = (
            "demographic_parity"
        ),
        bound: Share = 0.05,
        unprivileged: NotNegativeInt | None = None,
        thresholds: NotNegativeInt = 100,
        margins: NotNegativeInt = 50,
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)
        self.gap = gap
        self.bound = bound
        self.unprivileged = unprivileged
        self.thresholds = thresholds
        self.margins = margins

    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Search the grid; every point is counted from the sorted scores."""
        curves(self, rows)  # refuses groups of one class
        score = rows.probabilities[:, 1]
        rates = [float((score[rows.z == a] > 0.5).mean()) for a in range(self.num_attributes)]
        favoured = int(np.argmin(rates)) if self.unprivileged is None else self.unprivileged
        if favoured >= self.num_attributes:
            raise UserError(
                f"RejectOption.unprivileged: there are attribute values 0 to "
                f"{self.num_attributes - 1}, not {favoured}."
            )
        middle = np.linspace(0.01, 0.99, self.thresholds)
        margin = np.linspace(0, 1, self.margins) * np.minimum(middle, 1 - middle)[:, None]
        ends = {
            True: (middle[:, None] - margin).ravel(),
            False: (middle[:, None] + margin).ravel(),
        }
        own = rows.z == favoured
        selected, total = {}, {}
        for here, threshold in ends.items():
            for c in (0, 1):
                ordered = np.sort(score[(own == here) & (rows.y == c)])
                total[here, c] = len(ordered)
                above = len(ordered) - np.searchsorted(ordered, threshold, side="right")
                selected[here, c] = above
        rate = {key: selected[key] / total[key] for key in selected}
        both = {h: (selected[h, 0] + selected[h, 1]) / (total[h, 0] + total[h, 1]) for h in ends}
        gaps = {
            "demographic_parity": both[True] - both[False],
            "equal_opportunity": rate[True, 1] - rate[False, 1],
            "average_odds": (rate[True, 1] - rate[False, 1] + rate[True, 0] - rate[False, 0]) / 2,
        }[self.gap]
        share = {c: (selected[True, c] + selected[False, c]) / (total[True, c] + total[False, c])
                 for c in (0, 1)}  # fmt: skip
        balanced = 0.5 + share[1] / 2 - share[0] / 2
        chosen = _best_of(gaps, balanced, self.bound)
        mixtures: list[Sequence[Part]] = [
            [Part(w, float(ends[a == favoured][k])) for w, k in chosen]
            for a in range(self.num_attributes)
        ]
        gap = float(sum(w * gaps[k] for w, k in chosen))
        kept = abs(gap) <= self.bound + 1e-9
        return mixtures, {
            "favoured": self.names_of(rows)[favoured],
            "points": [{"chance": w, "threshold": float(middle[k // self.margins]),
                        "margin": float(margin.ravel()[k])} for w, k in chosen],
            "gap": gap,
            "balanced_accuracy": float(sum(w * balanced[k] for w, k in chosen)),
            **({} if kept else {"limited": "no point of the grid, and no two, keep the bound"}),
        }  # fmt: skip


def _best_of(gaps: np.ndarray, value: np.ndarray, bound: float) -> list[tuple[float, int]]:
    """Return the best point whose gap is within the bound, or the best lottery over two.

    Example:
        >>> gaps, value = np.array([-0.3, 0.1, 0.5]), np.array([0.9, 0.8, 0.4])
        >>> _best_of(gaps, value, 0.1), [(round(w, 4), k) for w, k in _best_of(gaps, value, 0.0)]
        ([(1.0, 1)], [(0.25, 0), (0.75, 1)])
    """
    within = np.abs(gaps) <= bound
    if within.any():
        return [(1.0, int(np.where(within, value, -np.inf).argmax()))]
    if gaps.min() > 0 or gaps.max() < 0:
        return [(1.0, int(np.abs(gaps).argmin()))]
    # Means of two points fill the hull of all; no point is within, so that one edge crosses.
    order = np.lexsort([value, gaps])
    hull = order[upper_hull(gaps[order], value[order])]
    right = int(np.flatnonzero(gaps[hull] > 0)[0])
    low, high = int(hull[right - 1]), int(hull[right])
    share = [(gaps[high] - end) / (gaps[high] - gaps[low]) for end in (-bound, bound)]
    share = [float(w) for w in share]
    best = max(share, key=lambda w: w * value[low] + (1 - w) * value[high])
    return [(best, low), (1 - best, high)]
