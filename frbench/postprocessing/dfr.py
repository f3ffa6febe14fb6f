"""Deep feature re-weighting: a last layer that is refitted on group-balanced held-out rows.

And the same on rows that are mixed with others of their class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegativeInt, Positive, Share, checked
from frbench.postprocessing.base import Head, HeldOut, LastLayer
from frbench.postprocessing.linear import check_classes

#: Rows of the other half that a group needs to take part in the choice of C.
MIN_GROUP_ROWS = 10
#: Inverse strengths C of the L1 term that the paper's code tries.
STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


@checked
@dataclass(frozen=True)
class DFR(LastLayer):
    """Deep feature re-weighting (Kirichenko et al., arXiv 2204.02937, section 6 and appendix B).

    The features of a trained network are kept; its last layer is replaced by the mean of
    ``redraws`` logistic regressions, min_w C sum_i l(w; x_i, y_i) + |w|_1 on standardised
    features, each fitted on a draw with equally many held-out rows of every (y, z) cell. C is
    chosen first: fitted in the same way on one half of the rows, the C with the best worst-group
    accuracy on the other half wins, over the groups with 10 rows or more there (all, if none has
    as many), of equals the one with the better balanced accuracy, then the earlier. Two classes
    give one regression, more give one against the rest each.

    Args:
        redraws: Balanced draws that are averaged.
        strengths: Values of C to choose from.
        seed: Seed of halves and draws.

    Raises:
        UserError: If there is nothing to draw or to choose from.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, z = np.repeat([0, 1], 100), np.tile([0, 0, 0, 1, 1, 1, 1, 1], 25)
        >>> features = np.stack([y + 0.3 * rng.normal(size=200), z.astype(float)], 1)
        >>> rows = HeldOut(features, np.zeros((200, 2)), y, z, 2, 2)
        >>> head = DFR(redraws=5, strengths=[0.3]).fit(rows)
        >>> (features @ head.weight.T + head.bias).argmax(1)[[0, 199]].tolist()
        [0, 1]
    """

    uses_all: ClassVar[bool] = True

    redraws: Count = 20
    strengths: Sequence[Positive] = STRENGTHS
    seed: NotNegativeInt = 0

    def __post_init__(self) -> None:
        if not self.strengths:
            raise UserError("DFR.strengths: give at least one number.")

    def fit(self, rows: HeldOut) -> Head:
        """Fit the last layer; standardisation is folded into it.

        Args:
            rows: Outputs of the network on held-out rows.

        Raises:
            UserError: If a class has no rows, or a group that occurs fewer than two.
        """
        from frbench.support.stratified import cut

        rows = rows.take(rows.z >= 0)
        features, y, group, num_classes = rows.features, rows.y, rows.group, rows.num_classes
        groups, counts = np.unique(group, return_counts=True)
        if len(counts) == 0 or counts.min() < 2:
            rare = groups[counts < 2]
            name = rows.name(rare[0]) if len(rare) else "any group"
            raise UserError(
                f"{type(self).__name__} halves the held-out rows of each group, but has fewer "
                f"than two of {name}; use a larger held-out split, or the training split."
            )
        check_classes(type(self).__name__, y, num_classes)
        mean, scale = features.mean(0), features.std(0)
        scale[scale == 0] = np.inf  # a feature that never varies gets no weight
        x = (features - mean) / scale
        rng = np.random.default_rng([self.seed, 21])
        half = cut(group, (1, 1), rng)
        held = half == 1
        sizes = {g: int((held & (group == g)).sum()) for g in groups}
        # Chance decides which of several groups of a few rows looks worst.
        compared = [g for g in groups if sizes[g] >= MIN_GROUP_ROWS] or list(groups)
        scores, ties = {}, {}
        for strength in self.strengths:
            weight, bias = self._mean_fit(x, y, group, half == 0, strength, num_classes)
            hit = (x @ weight.T + bias).argmax(1) == y
            scores[strength] = min(hit[held & (group == g)].mean() for g in compared)
            recall = [hit[held & (y == c)].mean() for c in np.unique(y[held])]
            ties[strength] = scores[strength], float(np.mean(recall))
        best = max(scores, key=ties.__getitem__)
        weight, bias = self._mean_fit(x, y, group, np.ones(len(y), bool), best, num_classes)
        weight = weight / scale
        report = {
            "strength": best,
            "scores": [[float(c), float(score)] for c, score in scores.items()],
            "per_group": int(counts.min()),
        }
        return Head(weight, bias - weight @ mean, report)

    def _mean_fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        group: np.ndarray,
        allowed: np.ndarray,
        strength: float,
        num_classes: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Average the regressions over balanced draws of the allowed rows."""
        from sklearn.linear_model import LogisticRegression

        # The option's name changed in scikit-learn 1.8; the old one is refused from 1.10 on.
        parameters = signature(LogisticRegression).parameters
        old = "penalty" in parameters and parameters["penalty"].default == "l2"
        l1: dict[str, Any] = {"penalty": "l1"} if old else {"l1_ratio": 1.0}
        members = [np.flatnonzero(allowed & (group == g)) for g in np.unique(group)]
        size = min(map(len, members))
        weight, bias = np.zeros((num_classes, x.shape[1])), np.zeros(num_classes)
        for redraw in range(self.redraws):
            rng = np.random.default_rng([self.seed, 22, redraw])
            rows = np.concatenate([rng.choice(m, size, replace=False) for m in members])
            drawn = self._inputs(x, y, rows, redraw)
            for label in range(1 if num_classes == 2 else 0, num_classes):
                model = LogisticRegression(C=strength, solver="liblinear", random_state=0, **l1)
                model.fit(drawn, y[rows] == label)
                weight[label] += model.coef_[0] / self.redraws
                bias[label] += model.intercept_[0] / self.redraws
        return weight, bias

    def _inputs(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, redraw: int) -> np.ndarray:
        """Return the inputs of the rows of one draw."""
        drawn: np.ndarray = x[rows]
        return drawn


@checked
@dataclass(frozen=True)
class DISPEL(DFR):
    """Group-balanced last layers on mixed rows (DISPEL; read in SpuCo).

    As :class:`DFR`, but in each draw a row x of the balanced rows becomes, with probability
    ``alpha``, s x + (1 - s) x', where x' is a random held-out row of its class. s = 1 is DFR.

    Args:
        redraws: Balanced draws that are averaged.
        strengths: Values of C to choose from.
        seed: Seed of halves, draws and mixing.
        alpha: Probability of mixing a row.
        s: Share of the balanced row.

    Raises:
        UserError: As :class:`DFR`.

    Example:
        >>> DISPEL(s=0.8).alpha
        1.0
    """

    alpha: Share = 1.0
    s: Share = 0.9

    def _inputs(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, redraw: int) -> np.ndarray:
        """Return the inputs of the rows of one draw, some of them mixed."""
        drawn: np.ndarray = x[rows]
        if self.s == 1 or self.alpha == 0:
            return drawn
        rng = np.random.default_rng([self.seed, 25, redraw])
        mixed = rng.random(len(rows)) < self.alpha
        other = np.empty(len(rows), np.int64)
        for label in np.unique(y[rows]):
            here = y[rows] == label
            other[here] = rng.choice(np.flatnonzero(y == label), here.sum())
        share = np.where(mixed, self.s, 1.0)[:, None]
        result: np.ndarray = share * drawn + (1 - share) * x[other]
        return result
