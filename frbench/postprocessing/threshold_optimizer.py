"""Thresholds per group by their trade-off curves: exact constraints, and relaxed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from frbench.contracts.ranges import Count, NotNegativeInt, Share
from frbench.postprocessing.base import Attribute, HeldOut
from frbench.postprocessing.rules import Curve, Part, ThresholdMap, curves, prune, upper_hull

Objective = Literal["accuracy", "balanced_accuracy"]
Constraint = Literal[
    "demographic_parity",
    "equalized_odds",
    "true_positive_rate",
    "false_positive_rate",
    "true_negative_rate",
    "false_negative_rate",
]


def _metric(name: str, fp: Any, tp: Any, negatives: float, positives: float) -> Any:
    """Return a rate from counts; the order of operations is the definition's."""
    if name == "accuracy":
        return (tp + (negatives - fp)) / (negatives + positives)
    if name == "balanced_accuracy":
        return 0.5 * tp / positives + 0.5 * (negatives - fp) / negatives
    return {
        "demographic_parity": lambda: (tp + fp) / (negatives + positives),
        "true_positive_rate": lambda: tp / positives,
        "false_positive_rate": lambda: fp / negatives,
        "true_negative_rate": lambda: (negatives - fp) / negatives,
        "false_negative_rate": lambda: (positives - tp) / positives,
    }[name]()


class _Frontier(NamedTuple):
    """The upper hull of one group on a grid of the constrained rate."""

    y: np.ndarray
    p0: np.ndarray
    left: np.ndarray
    right: np.ndarray
    operations: list[tuple[float, bool]]

    def parts(self, i: int, weight: float = 1.0) -> list[Part]:
        """Return the two thresholds that give point i of the grid."""
        ends = (self.p0[i], self.left[i]), (1 - self.p0[i], self.right[i])
        return [Part(weight * p, *self.operations[k]) for p, k in ends]


def _frontier(one: Curve, x_name: str, y_name: str, flip: bool, grid: np.ndarray) -> _Frontier:
    sizes = one.negatives, one.positives
    points = []
    for above in (True, False)[: 2 if flip else 1]:
        fp, tp = one.false_positives, one.true_positives
        if not above:
            fp, tp = one.negatives - fp, one.positives - tp
        x, y = (_metric(name, fp, tp, *sizes) for name in (x_name, y_name))
        kept = prune(x, y) if x[0] <= x[-1] else len(x) - 1 - prune(x[::-1], y[::-1])
        points.append((x[kept], y[kept], one.threshold[kept], np.full(len(kept), above), kept))
    x, y, threshold, upwards, place = (np.concatenate(part) for part in zip(*points, strict=True))
    order = np.lexsort([~upwards, place, y, x])  # of equal points the first threshold
    order = order[upper_hull(x[order], y[order])]
    x, y = x[order], y[order]
    left = np.searchsorted(x, grid, side="right") - 1
    left[1:] -= (grid[1:] == x[left[1:]]) & (left[1:] > 0)
    p0 = (x[left + 1] - grid) / (x[left + 1] - x[left])
    value = p0 * y[left] + (1 - p0) * y[left + 1]
    chosen = list(zip(threshold[order].tolist(), upwards[order].tolist(), strict=True))
    return _Frontier(value, p0, left, left + 1, chosen)


class ThresholdOptimizer(ThresholdMap):
    """Randomised thresholds per group under a parity constraint (Hardt et al., arXiv 1610.02413).

    For one rate, each group's trade-off curve is the upper convex hull of (rate, objective) over
    all thresholds, and the best common rate on a grid of ``grid_size`` steps is taken. For
    equalized odds, the hulls are those of the ROC curves: of the points (FPR, min_g TPR_g) the
    best is taken, and a group whose curve lies above it mixes in the constant FPR. Two thresholds,
    or two and a constant, give each group its point. Of equal points the smallest rate is taken.
    The probabilities of decisions are those of fairlearn's class of this name (grid, ties and
    thresholds between scores as there).

    Args:
        constraint: The rate that is equal in all groups; demographic_parity is the rate of
            selection, equalized_odds are both true and false positive rate.
        objective: What is maximised: accuracy or balanced_accuracy.
        grid_size: Steps of the grid.
        flip: Whether rows below a threshold may be selected in place of those above.
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Seed of randomised decisions.

    Raises:
        UserError: If a group has rows of one class only.

    Example:
        >>> from frbench.postprocessing import HeldOut
        >>> from frbench import Sizes
        >>> p = np.array([0.9, 0.4, 0.6, 0.2])
        >>> rows = HeldOut(np.zeros((4, 0)), np.log(np.stack([1 - p, p], 1)),
        ...                np.array([1, 0, 1, 0]), np.array([0, 0, 1, 1]), 2, 2)
        >>> method = ThresholdOptimizer("equalized_odds")
        >>> method.bind(Sizes(2, 2, (1,)), 0)
        >>> method.fit(rows)["value"]
        1.0
    """

    def __init__(
        self,
        constraint: Constraint = "demographic_parity",
        objective: Objective = "accuracy",
        grid_size: Count = 1000,
        flip: bool = False,
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)
        self.constraint = constraint
        self.objective = objective
        self.grid_size = grid_size
        self.flip = flip

    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Choose the best point of the grid."""
        each = curves(self, rows)
        grid = np.linspace(0, 1, self.grid_size + 1)
        negatives, positives = (
            sum(getattr(c, k) for c in each) for k in ("negatives", "positives")
        )
        if self.constraint != "equalized_odds":
            found = [_frontier(c, self.constraint, self.objective, self.flip, grid) for c in each]
            shares = [(c.negatives + c.positives) / len(rows.y) for c in each]
            total = np.stack([s * f.y for s, f in zip(shares, found, strict=True)], 1).sum(1)
            best = int(total.argmax())
            chosen = {"value": float(total[best]), "rate": float(grid[best])}
            return [f.parts(best) for f in found], chosen
        found = [
            _frontier(c, "false_positive_rate", "true_positive_rate", self.flip, grid)
            for c in each
        ]
        lowest = np.min([f.y for f in found], axis=0)
        total = _metric(self.objective, negatives * grid, positives * lowest, negatives, positives)
        best = int(np.around(total, 15).argmax())
        mixtures: list[Sequence[Part]] = []
        for f in found:
            above = f.y[best] - grid[best]
            ignored = (f.y[best] - lowest[best]) / above if above != 0 else 0.0
            constant = Part(ignored * grid[best], -np.inf)
            mixtures.append([*f.parts(best, 1 - ignored), constant])
        report: dict[str, Any] = {
            "value": float(total[best]),
            "rate": {"false_positive_rate": float(grid[best]),
                     "true_positive_rate": float(lowest[best])},
        }  # fmt: skip
        return mixtures, report


class RelaxedEqualizedOdds(ThresholdMap):
    """Randomised thresholds per group whose odds differ by at most a tolerance.

    A linear programme (Cruz and Hardt, arXiv 2306.07261): each group gets a point of the convex
    hull of its ROC curve; max_{a,b} |TPR_a - TPR_b| <= tolerance and the same of FPR; the accuracy
    over all groups is maximised. A point is given by at most three thresholds. Tolerance 0 is
    equalized odds, 1 the best threshold of each group. With ``constraint``, the rate that is held
    equal may be another one.

    Args:
        tolerance: Largest difference of rates between groups, in [0, 1].
        constraint: equalized_odds, or one of its two rates, or demographic_parity.
        objective: accuracy, or balanced_accuracy.
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Seed of randomised decisions.

    Raises:
        UserError: If a group has rows of one class only.

    Example:
        >>> from frbench import Sizes
        >>> p = np.array([0.9, 0.4, 0.6, 0.2, 0.3, 0.7])
        >>> rows = HeldOut(np.zeros((6, 0)), np.log(np.stack([1 - p, p], 1)),
        ...                np.array([1, 0, 1, 0, 1, 0]), np.array([0, 0, 0, 1, 1, 1]), 2, 2)
        >>> for tolerance in (0.0, 0.25, 1.0):
        ...     method = RelaxedEqualizedOdds(tolerance)
        ...     method.bind(Sizes(2, 2, (1,)), 0)
        ...     print(tolerance, round(method.fit(rows)["value"], 4))
        0.0 0.75
        0.25 0.8125
        1.0 0.8333
    """

    def __init__(
        self,
        tolerance: Share = 0.0,
        constraint: Literal[
            "equalized_odds", "demographic_parity", "true_positive_rate", "false_positive_rate"
        ] = "equalized_odds",
        objective: Objective = "accuracy",
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)
        self.tolerance = tolerance
        self.constraint = constraint
        self.objective = objective

    def rule(self, rows: HeldOut) -> tuple[list[Sequence[Part]], dict[str, Any]]:
        """Solve the programme for the point of each group."""
        from scipy.optimize import linprog
        from scipy.sparse import coo_array

        each = curves(self, rows)
        places = [upper_hull(*c.rates.T) for c in each]
        hulls = [c.rates[place] for c, place in zip(each, places, strict=True)]
        owner = np.repeat(np.arange(len(each)), [len(h) for h in hulls])
        fpr, tpr = np.concatenate(hulls).T
        negatives, positives = (np.array([getattr(c, k) for c in each])
                                for k in ("negatives", "positives"))  # fmt: skip
        gain_n, gain_p = negatives / len(rows.y), positives / len(rows.y)
        if self.objective == "balanced_accuracy":
            gain_n, gain_p = negatives / negatives.sum() / 2, positives / positives.sum() / 2
        selected = (negatives[owner] * fpr + positives[owner] * tpr) / (negatives + positives)[
            owner
        ]
        held = {"false_positive_rate": [fpr], "true_positive_rate": [tpr],
                "demographic_parity": [selected]}.get(self.constraint, [fpr, tpr])  # fmt: skip
        # Of each rate, the largest and the smallest over the groups are variables.
        size, groups = len(owner), len(each)
        cells: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        limit, line = [], 0
        for r, rate in enumerate(held):
            top = size + 2 * r
            for sign, variable in ((1.0, top), (-1.0, top + 1)):
                cells.append((line + owner, np.arange(size), sign * rate))
                cells.append((line + np.arange(groups), np.full(groups, variable),
                              np.full(groups, -sign)))  # fmt: skip
                limit += [0.0] * groups
                line += groups
            cells.append((np.full(2, line), np.array([top, top + 1]), np.array([1.0, -1.0])))
            limit.append(self.tolerance)
            line += 1
        row, column, value = (np.concatenate(part) for part in zip(*cells, strict=True))
        width = size + 2 * len(held)
        cost = np.zeros(width)
        cost[:size] = gain_n[owner] * fpr - gain_p[owner] * tpr
        ones = coo_array((np.ones(size), (owner, np.arange(size))), shape=(groups, width))
        solved = linprog(
            cost,
            A_ub=coo_array((value, (row, column)), shape=(line, width)).tocsr(),
            b_ub=np.array(limit),
            A_eq=ones.tocsr(),
            b_eq=np.ones(groups),
            bounds=(0, 1),
            method="highs",
        )
        share = solved.x[:size]
        points = [np.array([share[owner == a] @ v[owner == a] for v in (fpr, tpr)])
                  for a in range(groups)]  # fmt: skip
        mixtures: list[Sequence[Part]] = [
            [Part(w, float(c.threshold[place[k]])) for w, k in mixture_of(point, hull)]
            for point, hull, place, c in zip(points, hulls, places, each, strict=True)
        ]
        return mixtures, {
            "value": float(gain_n.sum() - solved.fun),
            "rate": {name: [float(v) for v in point]
                     for name, point in zip(self.names_of(rows), points, strict=True)},
        }  # fmt: skip


def mixture_of(point: np.ndarray, hull: np.ndarray) -> list[tuple[float, int]]:
    """Write a point as a mean of at most three vertices of a convex polygon.

    Args:
        point: A point inside or on it [2].
        hull: Vertices, the first one (0, 0), in the order of an upper hull [K, 2].

    Returns:
        Weight and position of each vertex.

    Example:
        >>> hull = np.array([[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]])
        >>> [(round(w, 3), k) for w, k in mixture_of(np.array([0.5, 0.75]), hull)]
        [(0.25, 0), (0.5, 2), (0.25, 3)]
    """
    best: tuple[float, list[tuple[float, int]]] = (-np.inf, [])
    for k in range(1, len(hull) - 1):  # the triangles that fan out from the first vertex
        corner = np.vstack([hull[[0, k, k + 1]].T, np.ones(3)])
        if abs(np.linalg.det(corner)) < 1e-15:
            continue
        weight = np.linalg.solve(corner, np.append(point, 1.0))
        if weight.min() > best[0]:
            best = weight.min(), list(zip(weight.tolist(), (0, k, k + 1), strict=True))
    if not best[1]:  # the hull is the diagonal
        along = float(point[1])
        return [(1 - along, 0), (along, len(hull) - 1)]
    found = [(max(w, 0.0), k) for w, k in best[1]]
    total = sum(w for w, _ in found)
    return [(w / total, k) for w, k in found if w > 0]
