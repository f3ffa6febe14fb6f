"""Temperatures that calibrate the scores of each group."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.batch import Sizes
from frbench.contracts.ranges import NotNegativeInt
from frbench.postprocessing.base import Attribute, GroupMap, HeldOut


class TemperatureScaling(GroupMap):
    """Logits divided by a temperature of each group (Guo et al., arXiv 1706.04599, per group).

    T_a minimises the cross-entropy of logits / T over the held-out rows of attribute value a;
    calibration then holds within groups as far as one number reaches. Rows of unknown group get
    the temperature of all rows. Predictions stay; probabilities and every score metric change.

    Args:
        attribute: What tells the group of a row, see :class:`GroupMap`.
        seed: Without effect: nothing is drawn.

    Raises:
        UserError: If an attribute value has no held-out rows.

    Example:
        >>> method = TemperatureScaling()
        >>> method.bind(Sizes(2, 1, (1,)), 0)
        >>> logits = np.array([[0, 4.0], [0, 4.0], [0, 4.0], [0, 4.0]])
        >>> y, z = np.array([1, 1, 1, 0]), np.zeros(4, int)
        >>> rows = HeldOut(np.zeros((4, 0)), logits, y, z, 2, 1)
        >>> fitted = method.fit(rows)
        >>> round(4 / fitted["temperature"]["0"], 4)  # log(3): three in four are right
        1.0986
    """

    binary = False
    temperature: Tensor

    def __init__(
        self,
        attribute: Attribute = "known",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__(attribute, seed)

    def bind(self, sizes: Sizes, num_features: int) -> None:
        """Create the buffer: one temperature a group, and the last for rows of none."""
        super().bind(sizes, num_features)
        ones = torch.ones(self.num_attributes + 1, dtype=torch.float64)
        self.register_buffer("temperature", ones)

    def fit(self, rows: HeldOut) -> dict[str, Any]:
        """Choose the temperatures."""
        known = self.fit_groups(rows)
        members = [known.z == a for a in range(self.num_attributes)]
        found = [_best(known.logits[m], known.y[m]) for m in members]
        found.append(_best(rows.logits, rows.y))
        self.temperature.copy_(torch.tensor(found, dtype=torch.float64))
        names = [*self.names_of(known), "unknown"]
        return {"temperature": dict(zip(names, found, strict=True))}

    def scores(self, logits: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """Return logits / T of the row's group."""
        group = self.groups(features, z)
        return logits / self.temperature[group][:, None].to(logits.dtype)


def _best(logits: np.ndarray, y: np.ndarray) -> float:
    """Return the temperature of least cross-entropy, in [exp(-6), exp(6)].

    The loss is convex in 1 / T: Newton's steps, and halves of the interval where one leaves it. At
    an end where it still falls it is least, as where all rows are right (T = exp(-6)).
    """
    under = np.ascontiguousarray(logits.T)  # sums over classes are faster there [C, N]
    top = under.max(0)
    miss = float((top - under[y, np.arange(len(y))]).mean())
    under = under - top

    def slopes(scale: float) -> tuple[float, float]:
        share = np.exp(scale * under)
        share /= share.sum(0)
        share *= under
        mean = share.sum(0)
        return mean.mean() + miss, ((share * under).sum(0) - mean**2).mean()

    low, high, scale = np.exp(-6), np.exp(6), 1.0
    if slopes(low)[0] >= 0:
        return float(1 / low)
    if slopes(high)[0] <= 0:
        return float(1 / high)
    for _ in range(200):
        slope, curvature = slopes(scale)
        low, high = (low, scale) if slope > 0 else (scale, high)
        step = slope / curvature if curvature > 0 else np.inf
        if abs(step) <= 1e-12 * scale or high - low <= 1e-12 * high:
            break
        scale = scale - step if low < scale - step < high else np.sqrt(low * high)
    return float(1 / scale)
