"""FR-Train's two Gaussians: the released arrays, or rows generated like them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Interval, OpenShare, Positive
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.support.files import locate, open_binary

_MEANS = np.array([[-2.0, -2.0], [2.0, 2.0]])
_COVARIANCES = np.array([[[10.0, 1.0], [1.0, 3.0]], [[5.0, 1.0], [1.0, 5.0]]])


def _density(x: np.ndarray, label: int) -> np.ndarray:
    """Density of N(mean, covariance) of a label at the points x [N, 2]."""
    centred = x - _MEANS[label]
    covariance = _COVARIANCES[label]
    energy = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    result: np.ndarray = np.exp(-energy / 2) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    return result


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


#: Rows of the released arrays that the released code uses, and, for validation, rows that it
#: leaves unused (it selects nothing).
_RELEASED = {
    "train": slice(0, 1800),
    "clean": slice(2000, 2200),
    "val": slice(2200, 2700),
    "test": slice(2700, 3700),
}


def released(name: str) -> np.ndarray:
    """Read one released array.

    Args:
        name: Of the file below the data folder, without ``.npy``.

    Raises:
        UserError: If there is no such file, or it cannot be read.
    """
    path = locate(f"{name}.npy")
    try:
        with open_binary(path) as file:
            result: np.ndarray = np.load(file)
            return result
    except (EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable array file ({error}).") from error


class TwoGaussians(GroupDataModule):
    """FR-Train's synthetic data: two overlapping Gaussians, an attribute that follows the label.

    Generated, training has n rows, validation and test n // 2. Poison it with ``corrupt:
    PoisonLargestMargin``, the rule of the released poisoned labels. Released, the rows are those
    of the released code: 1800 to train, 200 verified (all of them for ``clean_share: 0.1``), 1000
    to test; validation has 500 rows that it leaves unused.

    Source: arXiv 2002.10234 and its released code.

    Args:
        n: Training rows; generated data only, like the next two.
        positive_rate: P(Y=1), in (0, 1).
        c: Factor of P(z=1 | x), positive; 1 is the original.
        attribute_as_input: Whether z is a third input, as in the released code.
        source: ``generated``, or ``released``: the arrays ``fr_train/*.npy`` of the data folder.
        poisoned: Whether training has the released poisoned labels (10 % flipped, all z = 1).
        **kwargs: Arguments of :class:`GroupDataModule`.

    Raises:
        UserError: For a value out of range, an option of the other source, or a missing file.

    Example:
        >>> TwoGaussians(n=100).splits["train"].x.shape
        (100, 2)
    """

    class_names = ("0", "1")
    attribute_names = ("0", "1")

    def __init__(
        self,
        n: Annotated[int, Interval(2)] = 2000,
        positive_rate: OpenShare = 0.5,
        c: Positive = 1.0,
        attribute_as_input: bool = False,
        source: Literal["generated", "released"] = "generated",
        poisoned: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if source == "released" and (n, positive_rate, c) != (2000, 0.5, 1.0):
            raise UserError(
                "TwoGaussians: n, positive_rate and c shape generated data; drop them, or drop "
                "source: released."
            )
        if source == "generated" and poisoned:
            raise UserError(
                "TwoGaussians.poisoned are the released labels; set source: released, or poison "
                "generated data by corrupt: PoisonLargestMargin."
            )
        self.n = n
        self.positive_rate = positive_rate
        self.c = c
        self.attribute_as_input = attribute_as_input
        self.source = source
        self.poisoned = poisoned

    @property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Two inputs, or three with the attribute."""
        return Sizes(2, 2, (3 if self.attribute_as_input else 2,))

    def tables(self) -> dict[str, Table]:
        """Draw the three splits, or cut the released arrays into four."""
        if self.source == "released":
            x, y, z = (released(f"fr_train/{name}_synthetic") for name in ("X", "y", "s1"))
            rows = {name: (x[part], y[part] > 0, z[part]) for name, part in _RELEASED.items()}
            if self.poisoned:
                train = _RELEASED["train"]
                rows["train"] = (x[train], released("fr_train/y_poi")[train] > 0, z[train])
        else:
            sizes = {"train": self.n, "val": self.n // 2, "test": self.n // 2}
            rows = {
                name: two_gaussians(
                    n, self.positive_rate, self.c, np.random.default_rng([self.seed, i])
                )
                for i, (name, n) in enumerate(sizes.items())
            }
        return {name: self._table(*columns) for name, columns in rows.items()}

    def _table(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Table:
        if self.attribute_as_input:
            x = np.concatenate([x, z[:, None].astype(np.float32)], 1)
        return Table(x, y, z)
