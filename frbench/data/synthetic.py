"""FR-Train's two Gaussians, generated."""

from __future__ import annotations

from typing import Any

import numpy as np

from frbench.batch import Sizes
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.errors import UserError

_MEANS = np.array([[-2.0, -2.0], [2.0, 2.0]])
_COVARIANCES = np.array([[[10.0, 1.0], [1.0, 3.0]], [[5.0, 1.0], [1.0, 5.0]]])


def _density(x: np.ndarray, label: int) -> np.ndarray:
    """Density of N(mean, covariance) of a label at the points x [N, 2]."""
    centred = x - _MEANS[label]
    covariance = _COVARIANCES[label]
    energy = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    return np.exp(-energy / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))


def two_gaussians(
    n: int, positive_rate: float, c: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw x, y, z of FR-Train's synthetic data.

    y ~ Bernoulli(P(Y=1)); x | y=0 ~ N((-2,-2), [[10,1],[1,3]]), x | y=1 ~ N((2,2), [[5,1],[1,5]]);
    z ~ Bernoulli(min(1, c p1(x') / (p0(x') + p1(x')))) with x' = x rotated by -pi/4.
    Source: arXiv 2002.10234; c and P(Y=1) after the imbalance study of it, whose printed
    rotation +pi/4 does not fit the released arrays.

    Args:
        n: Number of rows.
        positive_rate: P(Y=1), in (0, 1).
        c: Factor of P(z=1 | x), positive.
        rng: Source of randomness.

    Returns:
        x, float32 [n, 2]; y [n]; z [n].
    """
    y = (rng.random(n) < positive_rate).astype(np.int64)
    factor = np.linalg.cholesky(_COVARIANCES)
    x = _MEANS[y] + np.einsum("nij,nj->ni", factor[y], rng.standard_normal((n, 2)))
    cos = sin = np.sqrt(0.5)
    rotated = x @ np.array([[cos, -sin], [sin, cos]])
    p0, p1 = _density(rotated, 0), _density(rotated, 1)
    z = (rng.random(n) < np.minimum(1.0, c * p1 / (p0 + p1))).astype(np.int64)
    return x.astype(np.float32), y, z


class TwoGaussians(GroupDataModule):
    """FR-Train's synthetic data: two overlapping Gaussians, an attribute that follows the label.

    Poison it with ``corrupt: PoisonLargestMargin``, the rule of the released poisoned labels.

    Args:
        n: Training rows; validation and test have half as many each.
        positive_rate: P(Y=1), in (0, 1).
        c: Factor of P(z=1 | x), positive; 1 is the original.
        attribute_as_input: Whether z is a third input, as in the released code.
        **kwargs: Arguments of :class:`GroupDataModule`.

    Raises:
        UserError: For a value out of range.

    Example:
        >>> TwoGaussians(n=100).splits["train"].x.shape
        (100, 2)
    """

    class_names = ("0", "1")
    attribute_names = ("0", "1")

    def __init__(
        self,
        n: int = 2000,
        positive_rate: float = 0.5,
        c: float = 1.0,
        attribute_as_input: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < positive_rate < 1 or c <= 0 or n < 2:
            raise UserError(
                "TwoGaussians needs 0 < positive_rate < 1, c > 0 and n >= 2, got "
                f"{positive_rate}, {c}, {n}."
            )
        self.n = n
        self.positive_rate = positive_rate
        self.c = c
        self.attribute_as_input = attribute_as_input

    @property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Two inputs, or three with the attribute."""
        return Sizes(2, 2, (3 if self.attribute_as_input else 2,))

    def tables(self) -> dict[str, Table]:
        """Draw the three splits."""
        tables = {}
        for i, (name, n) in enumerate(
            {"train": self.n, "val": self.n // 2, "test": self.n // 2}.items()
        ):
            rng = np.random.default_rng([self.seed, i])
            x, y, z = two_gaussians(n, self.positive_rate, self.c, rng)
            if self.attribute_as_input:
                x = np.concatenate([x, z[:, None].astype(np.float32)], 1)
            tables[name] = Table(x, y, z)
        return tables
