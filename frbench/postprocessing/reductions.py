"""Cost-sensitive reductions over cached features, by fairlearn."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt, Positive, checked
from frbench.postprocessing.base import Head, HeldOut, LastLayer, OutputMap

Constraint = Literal[
    "demographic_parity", "equalized_odds", "true_positive_rate", "false_positive_rate",
    "error_rate",
]  # fmt: skip
_CLASSES = {
    "demographic_parity": "DemographicParity",
    "equalized_odds": "EqualizedOdds",
    "true_positive_rate": "TruePositiveRateParity",
    "false_positive_rate": "FalsePositiveRateParity",
    "error_rate": "ErrorRateParity",
}


def _reductions(owner: str) -> Any:
    """Import fairlearn's reductions.

    Raises:
        UserError: If the package is missing.
    """
    try:
        return importlib.import_module("fairlearn.reductions")
    except ImportError:
        raise UserError(f"{owner} needs the package fairlearn: pip install fairlearn.") from None


def _moment(package: Any, constraint: str, tolerance: float | None) -> Any:
    options = {} if tolerance is None else {"difference_bound": tolerance}
    return getattr(package, _CLASSES[constraint])(**options)


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, solver="lbfgs", max_iter=500)


def _fit(model: Any, x: np.ndarray, rows: HeldOut) -> None:
    """Fit one of fairlearn's classes; what it uses of pandas may be on its way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, rows.y, sensitive_features=rows.z)


class _Scaled:
    """Standardised features, and layers for features as they are."""

    def __init__(self, features: np.ndarray) -> None:
        self.mean, self.scale = features.mean(0), features.std(0)
        self.scale[self.scale == 0] = np.inf
        self.x = (features - self.mean) / self.scale

    def layer(self, model: Any) -> np.ndarray:
        """Return weights and bias [D + 1] of a regression, or of a constant."""
        if not hasattr(model, "coef_"):  # fairlearn's answer to labels of one class
            constant = float(np.asarray(model.predict(self.x[:1]))[0])
            return np.append(np.zeros(self.x.shape[1]), 2 * constant - 1)
        weight = model.coef_[0] / self.scale
        return np.append(weight, model.intercept_[0] - weight @ self.mean)


def _binary(name: str, rows: HeldOut) -> HeldOut:
    if rows.num_classes != 2:
        raise UserError(f"{name} is for two classes; the data has {rows.num_classes}.")
    return rows.take(rows.z >= 0)


class ExponentiatedGradient(OutputMap):
    """A randomised choice among last layers under a constraint (Agarwal et al., arXiv 1803.02453).

    fairlearn's class of this name, with logistic regressions on the standardised features as its
    learner: a game of the layers with multipliers of the constraint. P(decision = 1 | x) =
    sum_k q_k [w_k f(x) + b_k > 0]; the decision does not read the attribute. The layers and q are
    stored, and fairlearn is not needed to apply them. Score metrics keep the network's scores.

    Args:
        constraint: demographic_parity, equalized_odds, true_positive_rate, false_positive_rate, or
            error_rate.
        tolerance: Largest violation of the constraint.
        max_iter: Largest number of rounds.
        strength: C of the regressions.
        seed: Seed of randomised decisions.

    Raises:
        UserError: If fairlearn is missing, or there are more than two classes.

    Example:
        >>> ExponentiatedGradient("equalized_odds", tolerance=0.05).reads_attribute
        False
    """

    uses_features = True
    layers: Tensor
    chance: Tensor

    def __init__(
        self,
        constraint: Constraint = "demographic_parity",
        tolerance: Positive = 0.01,
        max_iter: Count = 50,
        strength: Positive = 1.0,
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.constraint = constraint
        self.tolerance = tolerance
        self.max_iter = max_iter
        self.strength = strength
        self.seed = seed

    def bind(self, sizes: Sizes, num_features: int) -> None:
        """Create the buffers: as many layers as there may be rounds or corners of the dual."""
        if sizes.num_classes != 2:
            raise UserError(
                f"ExponentiatedGradient is for two classes; the data has {sizes.num_classes}."
            )
        rooms = self.max_iter + 8 * sizes.num_attributes
        shape = rooms, num_features + 1
        self.register_buffer("layers", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("chance", torch.zeros(rooms, dtype=torch.float64))

    def fit(self, rows: HeldOut) -> dict[str, Any]:
        """Play the game."""
        package = _reductions("ExponentiatedGradient")
        rows = _binary("ExponentiatedGradient", rows)
        scaled = _Scaled(rows.features)
        model = package.ExponentiatedGradient(
            _regression(self.strength),
            constraints=_moment(package, self.constraint, self.tolerance),
            eps=self.tolerance,
            max_iter=self.max_iter,
        )
        _fit(model, scaled.x, rows)
        weights = np.asarray(model.weights_, float)
        used = np.argsort(-weights, kind="stable")[: len(self.chance)]
        used = used[weights[used] > 0]
        self.chance.zero_()
        self.layers.zero_()
        for k, i in enumerate(used):
            self.chance[k] = weights[i] / weights[used].sum()
            self.layers[k] = torch.as_tensor(scaled.layer(model.predictors_[i]))
        return {
            "layers": len(used),
            "gap": float(model.best_gap_),
            "rounds": int(model.last_iter_) + 1,
        }

    def decide(self, probabilities: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """Return the probability of each decision [B, 2]."""
        above = features.double() @ self.layers[:, :-1].T + self.layers[:, -1] > 0
        one = (above * self.chance).sum(1).clamp(0, 1)
        return torch.stack([1 - one, one], 1)


@checked
@dataclass(frozen=True)
class GridSearch(LastLayer):
    """The best of last layers for a grid of multipliers (Agarwal et al., arXiv 1803.02453).

    fairlearn's class of this name, with logistic regressions on the standardised features as its
    learner; of the grid, the layer with the best mean of error and violation is kept.

    Args:
        constraint: As of :class:`ExponentiatedGradient`.
        grid_size: Number of multipliers.
        grid_limit: Largest absolute multiplier.
        weight: Weight of the violation against the error.
        strength: C of the regressions.

    Raises:
        UserError: If fairlearn is missing, or there are more than two classes.

    Example:
        >>> GridSearch(grid_size=20).weight
        0.5
    """

    constraint: Constraint = "demographic_parity"
    grid_size: Count = 10
    grid_limit: Positive = 2.0
    weight: NotNegative = 0.5
    strength: Positive = 1.0

    def fit(self, rows: HeldOut) -> Head:
        """Fit a layer for each multiplier and keep one."""
        package = _reductions("GridSearch")
        rows = _binary("GridSearch", rows)
        scaled = _Scaled(rows.features)
        model = package.GridSearch(
            _regression(self.strength),
            constraints=_moment(package, self.constraint, None),
            constraint_weight=self.weight,
            grid_size=self.grid_size,
            grid_limit=self.grid_limit,
        )
        _fit(model, scaled.x, rows)
        best = int(model.best_idx_)
        layer = scaled.layer(model.predictors_[best])
        both = np.stack([np.zeros_like(layer), layer])
        report = {"chosen": best, "objective": float(model.objectives_[best])}
        return Head(both[:, :-1], both[:, -1], report)
