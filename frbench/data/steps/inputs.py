"""Changes of the inputs of every table, learnt from the training rows."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt, Share
from frbench.data.step import InputTransform


class CorrelationRemover(InputTransform):
    """Takes what the attribute explains linearly out of each input.

    X becomes alpha (X - (Z - mean Z) B) + (1 - alpha) X with B the least-squares coefficients of X
    on the centred attribute (one 0/1 column for each value but the first). fairlearn has a class
    of this name with the same formula. The attribute is read wherever inputs are, so at test too;
    rows without one stay as they are.

    Args:
        alpha: How much of it is taken out, in [0, 1].

    Example:
        >>> from frbench import Sizes
        >>> x, z = np.array([[1.0, 2], [2, 1], [3, 0], [6, 5]]), np.array([0, 0, 1, 1])
        >>> step = CorrelationRemover()
        >>> learnt = step.learn(x, z, z, Sizes(2, 2, (2,)))
        >>> step.transform(x, z, learnt).round(9).tolist()
        [[2.5, 2.5], [3.5, 1.5], [1.5, -0.5], [4.5, 4.5]]
    """

    def __init__(self, alpha: Share = 1.0) -> None:
        self.alpha = alpha

    def learn(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, sizes: Any) -> dict[str, Any]:
        """Return shares of the attribute values and the coefficients."""
        known = z >= 0
        columns = _columns(z[known], sizes.num_attributes)
        mean = columns.mean(0)
        found, *_ = np.linalg.lstsq(columns - mean, x[known], rcond=None)
        return {"mean": mean.tolist(), "coefficients": found.tolist()}

    def transform(self, x: np.ndarray, z: np.ndarray, learnt: dict[str, Any]) -> np.ndarray:
        """Subtract what the attribute explains."""
        mean = np.array(learnt["mean"])
        explained = (_columns(z, len(mean) + 1) - mean) @ np.array(learnt["coefficients"])
        result: np.ndarray = x - self.alpha * np.where((z < 0)[:, None], 0, explained)
        return result


def _columns(z: np.ndarray, num_attributes: int) -> np.ndarray:
    """One 0/1 column for each value of the attribute but the first [N, A - 1]."""
    columns: np.ndarray = (z[:, None] == np.arange(1, num_attributes)).astype(float)
    return columns


class DisparateImpactRemover(InputTransform):
    """Moves each input to a distribution that is the same in every group, keeping ranks.

    A value at quantile q of its group becomes the median over the groups of their values at q
    (Feldman et al., arXiv 1412.3756); ``level`` of the way is gone. Quantiles are learnt from the
    training rows at ``quantiles`` levels, and values between them are interpolated. Inputs of two
    values (the 0/1 columns of categories), and rows without an attribute, stay as they are.

    Args:
        level: 0 for no change, 1 for the full repair.
        quantiles: Number of levels, at least 2.

    Raises:
        UserError: If an attribute value has no training rows.

    Example:
        >>> from frbench import Sizes
        >>> x, z = np.array([[0.0], [1], [2], [10], [11], [12]]), np.repeat([0, 1], 3)
        >>> step = DisparateImpactRemover(quantiles=3)
        >>> learnt = step.learn(x, z, z, Sizes(2, 2, (1,)))
        >>> step.transform(x, z, learnt).ravel().tolist()
        [5.0, 6.0, 7.0, 5.0, 6.0, 7.0]
    """

    def __init__(self, level: Share = 1.0, quantiles: Count = 101) -> None:
        self.level = level
        self.quantiles = quantiles
        if quantiles < 2:
            raise UserError(f"DisparateImpactRemover.quantiles must be at least 2: {quantiles}.")

    def learn(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, sizes: Any) -> dict[str, Any]:
        """Return the quantiles of each group, and which inputs are moved."""
        known = z[z >= 0]
        if len(absent := np.setdiff1d(np.arange(sizes.num_attributes), known)):
            raise UserError(
                f"DisparateImpactRemover: there are no training rows of attribute value "
                f"{absent[0]}."
            )
        levels = np.linspace(0, 1, self.quantiles)
        each = [np.quantile(x[z == a], levels, axis=0) for a in range(sizes.num_attributes)]
        moved = [len(np.unique(column)) > 2 for column in x.T]
        return {"moved": moved, "quantiles": np.stack(each).tolist()}

    def transform(self, x: np.ndarray, z: np.ndarray, learnt: dict[str, Any]) -> np.ndarray:
        """Move each value towards the median of the groups at its quantile."""
        table = np.array(learnt["quantiles"])  # [A, K, D]
        levels = np.linspace(0, 1, table.shape[1])
        median = np.median(table, axis=0)
        out = x.copy()
        for d in np.flatnonzero(learnt["moved"]):
            for a in range(len(table)):
                rows = z == a
                # The middle of the levels at which the value stands, for values that repeat.
                low, high = (
                    _level(x[rows, d], table[a, :, d], levels, side) for side in ("left", "right")
                )
                target = np.interp((low + high) / 2, levels, median[:, d])
                out[rows, d] += self.level * (target - x[rows, d])
        return out


def _level(value: np.ndarray, quantile: np.ndarray, levels: np.ndarray, side: Any) -> np.ndarray:
    """Return the lowest, or highest, level whose quantile is the value, interpolated."""
    values, first = np.unique(quantile, return_index=True)
    place = first if side == "left" else np.append(first[1:], len(quantile)) - 1
    found: np.ndarray = np.interp(value, values, levels[place])
    return found


class FairRepresentation(InputTransform):
    """Replaces inputs by a mixture of learnt prototypes (LFR; Zemel et al., ICML 2013).

    x becomes sum_k M_k(x) v_k with M = softmax(-|x - v_k|), the distance weighed by input;
    prototypes and weights trade reconstruction, prediction of y and equal mean M in the groups.
    They are learnt by fairlearn's ``PrototypeRepresentationLearner``, which is not needed to apply
    them; the attribute is read in training alone. fairlearn takes gradients by finite differences,
    so that its time grows with the square of inputs times prototypes.

    Args:
        prototypes: Number of prototypes.
        reconstruction: Weight of the reconstruction error.
        target: Weight of the prediction error.
        fairness: Weight of the difference of the groups.
        max_iter: Iterations of the optimiser.
        rows: Rows to learn from, the first of a random order; 0 for all.
        seed: Seed of that order and of the optimiser's start.

    Raises:
        UserError: If fairlearn is missing, or there are more than two classes.

    Example:
        >>> FairRepresentation(prototypes=5).reads_attribute
        False
    """

    reads_attribute = False

    def __init__(
        self,
        prototypes: Count = 5,
        reconstruction: NotNegative = 1.0,
        target: NotNegative = 1.0,
        fairness: NotNegative = 1.0,
        max_iter: Count = 50,
        rows: NotNegativeInt = 500,
        seed: NotNegativeInt = 0,
    ) -> None:
        self.prototypes = prototypes
        self.reconstruction = reconstruction
        self.target = target
        self.fairness = fairness
        self.max_iter = max_iter
        self.rows = rows
        self.seed = seed

    def learn(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, sizes: Any) -> dict[str, Any]:
        """Return prototypes and the weights of the inputs in the distance."""
        if sizes.num_classes != 2:
            raise UserError(
                f"FairRepresentation is for two classes; the data has {sizes.num_classes}."
            )
        try:
            package = importlib.import_module("fairlearn.preprocessing")
        except ImportError:
            raise UserError(
                "FairRepresentation needs the package fairlearn: pip install fairlearn."
            ) from None
        order = np.random.default_rng([self.seed, 28]).permutation(np.flatnonzero(z >= 0))
        chosen = np.sort(order[: self.rows or None])
        model = package.PrototypeRepresentationLearner(
            n_prototypes=self.prototypes,
            reconstruct_weight=self.reconstruction,
            target_weight=self.target,
            fairness_weight=self.fairness,
            max_iter=self.max_iter,
            random_state=self.seed,
        )
        with warnings.catch_warnings():  # that it has not converged, and of pandas
            warnings.simplefilter("ignore")
            model.fit(x[chosen], y[chosen], sensitive_features=z[chosen])
        return {"prototypes": model.prototypes_.tolist(), "weights": model.alpha_.tolist()}

    def transform(self, x: np.ndarray, z: np.ndarray, learnt: dict[str, Any]) -> np.ndarray:
        """Return the mixtures of prototypes."""
        from scipy.spatial.distance import cdist
        from scipy.special import softmax

        centres, weights = np.array(learnt["prototypes"]), np.array(learnt["weights"])
        distance = cdist(x, centres, "euclidean", w=weights)
        result: np.ndarray = softmax(-distance, axis=1) @ centres
        return result
