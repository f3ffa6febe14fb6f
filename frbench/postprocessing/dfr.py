"""Deep feature re-weighting: a last layer that is refitted on group-balanced held-out rows.

And the same on rows that are mixed with others of their class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, ClassVar, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegativeInt, Positive, Share, checked
from frbench.postprocessing.base import Head, HeldOut, LastLayer
from frbench.postprocessing.l1 import L1Regressions
from frbench.postprocessing.linear import check_classes

#: Rows of the other half that a group needs to take part in the choice of C.
MIN_GROUP_ROWS = 10
#: Inverse strengths C of the L1 term that the paper's code tries.
STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
#: Numbers in the inputs of all regressions up to which liblinear takes a few seconds.
LIBLINEAR_NUMBERS = 5e7

Layer = tuple[np.ndarray, np.ndarray]  #: Weights [C, D] and biases [C].


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

    The paper's code minimises by liblinear, one regression at a time, up to its tolerance of
    1e-4. ``solver: newton`` solves all draws together (:class:`L1Regressions`), closer to the
    minimum and many times faster on large tables.

    Args:
        redraws: Balanced draws that are averaged.
        strengths: Values of C to choose from.
        seed: Seed of halves and draws.
        solver: liblinear, newton, or auto: liblinear, unless the inputs of all regressions are
            more than 5e7 numbers, for which it would take more than about five seconds.

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
    solver: Literal["auto", "liblinear", "newton"] = "auto"

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
        numbers = self.redraws * len(self.strengths) * (1 if num_classes == 2 else num_classes)
        numbers *= int(counts.min()) * len(counts) * x.shape[1]
        large = numbers > LIBLINEAR_NUMBERS
        solver = {"auto": "newton" if large else "liblinear"}.get(self.solver, self.solver)
        layer_of = self._mean_fit(x, y, group, half == 0, num_classes, solver)
        layers = {c: layer_of(c, None) for c in sorted(self.strengths)}
        for strength in self.strengths:
            weight, bias = layers[strength]
            hit = (x @ weight.T + bias).argmax(1) == y
            scores[strength] = min(hit[held & (group == g)].mean() for g in compared)
            recall = [hit[held & (y == c)].mean() for c in np.unique(y[held])]
            ties[strength] = scores[strength], float(np.mean(recall))
        best = max(scores, key=ties.__getitem__)
        every = np.ones(len(y), bool)
        layer_of = self._mean_fit(x, y, group, every, num_classes, solver)
        weight, bias = layer_of(best, layers[best])
        weight = weight / scale
        report = {
            "strength": best,
            "scores": [[float(c), float(score)] for c, score in scores.items()],
            "per_group": int(counts.min()),
            "solver": solver,
        }
        return Head(weight, bias - weight @ mean, report)

    def _mean_fit(
        self,
        x: np.ndarray,
        y: np.ndarray,
        group: np.ndarray,
        allowed: np.ndarray,
        num_classes: int,
        solver: str,
    ) -> Callable[[float, Layer | None], Layer]:
        """Return the mean of the regressions over balanced draws of the allowed rows.

        It is a function of C and of a layer near the mean, if one is known.
        """
        x, y, group = x[allowed], y[allowed], group[allowed]
        members = [np.flatnonzero(group == g) for g in np.unique(group)]
        size = min(map(len, members))
        draws = []
        for redraw in range(self.redraws):
            rng = np.random.default_rng([self.seed, 22, redraw])
            draws.append(np.concatenate([rng.choice(m, size, replace=False) for m in members]))
        labels = range(1 if num_classes == 2 else 0, num_classes)
        mean_layer = self._together if solver == "newton" else self._one_by_one
        return mean_layer(x, y, draws, labels, (num_classes, x.shape[1]))

    def _one_by_one(
        self,
        x: np.ndarray,
        y: np.ndarray,
        draws: list[np.ndarray],
        labels: range,
        shape: tuple[int, int],
    ) -> Callable[[float, Layer | None], Layer]:
        """Fit each regression by liblinear."""
        from sklearn.linear_model import LogisticRegression

        # The option's name changed in scikit-learn 1.8; the old one is refused from 1.10 on.
        parameters = signature(LogisticRegression).parameters
        old = "penalty" in parameters and parameters["penalty"].default == "l2"
        l1: dict[str, Any] = {"penalty": "l1"} if old else {"l1_ratio": 1.0}

        def layer(strength: float, near: Layer | None) -> Layer:
            weight, bias = np.zeros(shape), np.zeros(shape[0])
            for redraw, rows in enumerate(draws):
                drawn = self._inputs(x, y, rows, redraw)
                for label in labels:
                    model = LogisticRegression(
                        C=strength, solver="liblinear", random_state=0, **l1
                    )
                    model.fit(drawn, y[rows] == label)
                    weight[label] += model.coef_[0] / self.redraws
                    bias[label] += model.intercept_[0] / self.redraws
            return weight, bias

        return layer

    def _together(
        self,
        x: np.ndarray,
        y: np.ndarray,
        draws: list[np.ndarray],
        labels: range,
        shape: tuple[int, int],
    ) -> Callable[[float, Layer | None], Layer]:
        """Fit all regressions at once."""
        from scipy.sparse import eye_array

        # Inputs are linear in the rows: those of unit rows are their matrix.
        units = eye_array(len(x), format="csr")
        matrices = [self._inputs(units, y, rows, k).tocsr() for k, rows in enumerate(draws)]
        every = [(matrix, y[rows] == label) for label in labels
                 for matrix, rows in zip(matrices, draws, strict=True)]  # fmt: skip
        regressions = L1Regressions(x, *zip(*every, strict=True))

        def layer(strength: float, near: Layer | None) -> Layer:
            weight, bias = np.zeros(shape), np.zeros(shape[0])
            if near is not None:
                regressions.begin(*(np.repeat(part[labels], len(draws), 0) for part in near))
            found = regressions.solve(strength)
            weight[labels] = found[0].reshape(len(labels), len(draws), -1).mean(1)
            bias[labels] = found[1].reshape(len(labels), -1).mean(1)
            return weight, bias

        return layer

    def _inputs(self, x: Any, y: np.ndarray, rows: np.ndarray, redraw: int) -> Any:
        """Return the inputs of the rows of one draw, linear in the rows x, dense or sparse."""
        return x[rows]


@checked
@dataclass(frozen=True)
class DISPEL(DFR):
    """Group-balanced last layers on mixed rows (DISPEL; read in SpuCo).

    As :class:`DFR`, but in each draw a row x of the balanced rows becomes, with probability
    ``alpha``, s x + (1 - s) x', where x' is a random row of its class among those that it is
    fitted on. s = 1 is DFR.

    Args:
        redraws: Balanced draws that are averaged.
        strengths: Values of C to choose from.
        seed: Seed of halves, draws and mixing.
        solver: As of :class:`DFR`.
        alpha: Probability of mixing a row.
        s: Share of the balanced row.

    Raises:
        UserError: As :class:`DFR`.

    Example:
        >>> y, z = np.repeat([0, 1], 40), np.tile([0, 0, 0, 1], 20)
        >>> rows = HeldOut(np.eye(2)[y], np.zeros((80, 2)), y, z, 2, 2)
        >>> mixed = DISPEL(2, [1.0], s=0.8).fit(rows)  # classes of one point each: no mixing
        >>> bool(np.allclose(mixed.weight, DFR(2, [1.0]).fit(rows).weight))
        True
    """

    alpha: Share = 1.0
    s: Share = 0.9

    def _inputs(self, x: Any, y: np.ndarray, rows: np.ndarray, redraw: int) -> Any:
        """Return the inputs of the rows of one draw, some of them mixed."""
        drawn = x[rows]
        if self.s == 1 or self.alpha == 0:
            return drawn
        rng = np.random.default_rng([self.seed, 25, redraw])
        mixed = rng.random(len(rows)) < self.alpha
        other = np.empty(len(rows), np.int64)
        for label in np.unique(y[rows]):
            here = y[rows] == label
            other[here] = rng.choice(np.flatnonzero(y == label), here.sum())
        share = np.where(mixed, self.s, 1.0)[:, None]
        return share * drawn + (1 - share) * x[other]
