"""MNIST's digits in two colours that depend on the label."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.ranges import Interval
from frbench.data.images.idx import read_idx
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.support.files import locate


class ColouredMNIST(GroupDataModule):
    """Whether a digit is at least five, in a colour that mostly says the same.

    P(green | 5-9) = P(red | 0-4) = ``skew`` in training, validation and ``test/P``; colours of
    ``test/balanced`` are independent of the digits. A digit's brightness varies at random.
    Images are 3x28x28; the two test tables show MNIST's test images.

    Args:
        skew: Share of the larger colour within each label, in [.5, 1).
        target: What is the label: digit, or colour (the digit is then the attribute), for the
            classifier of the attribute that latent de-biasing needs.
        n: Training rows, at most 50,000; 10,000 more are for validation.
        n_eval: Rows of validation and of each test table, at most 10,000.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: For values out of range, or if a file is missing or damaged.
    """

    sizes = Sizes(2, 2, (3, 28, 28))
    class_names = ("0-4", "5-9")
    attribute_names = ("red", "green")

    def __init__(
        self,
        skew: Annotated[float, Interval(0.5, 1, closed="left")] = 0.95,
        target: Literal["digit", "colour"] = "digit",
        n: Annotated[int, Interval(1, 50_000)] = 10_000,
        n_eval: Annotated[int, Interval(1, 10_000)] = 5_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.skew = skew
        self.target = target
        self.n = n
        self.n_eval = n_eval
        if target == "colour":
            self.class_names, self.attribute_names = self.attribute_names, self.class_names

    def tables(self) -> dict[str, Table]:
        """Read the files, choose rows by the seed and colour them."""
        images, labels = self._read("train")
        tests = self._read("t10k")
        order = np.random.default_rng([self.seed, 32]).permutation(len(images))
        val = order[50_000 : 50_000 + self.n_eval]
        return {
            "train": self._colour(images, labels, order[: self.n], self.skew, 0),
            "val": self._colour(images, labels, val, self.skew, 1),
            "test/P": self._colour(*tests, np.arange(self.n_eval), self.skew, 2),
            "test/balanced": self._colour(*tests, np.arange(self.n_eval), 0.5, 3),
        }

    @staticmethod
    def _read(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        images = read_idx(locate(f"MNIST/raw/{prefix}-images-idx3-ubyte"))
        return images, read_idx(locate(f"MNIST/raw/{prefix}-labels-idx1-ubyte"))

    def _colour(
        self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, skew: float, stream: int
    ) -> Table:
        rng = np.random.default_rng([self.seed, 33, stream])
        digit = (labels[rows] >= 5).astype(np.int64)
        colour = np.where(rng.random(len(rows)) < skew, digit, 1 - digit)
        shade = rng.uniform(0.6, 1.0, (len(rows), 1, 1)) * images[rows]
        x = np.zeros((len(rows), 3, *images.shape[1:]), np.uint8)
        x[np.arange(len(rows)), colour] = shade.round().astype(np.uint8)
        y, z = (digit, colour) if self.target == "digit" else (colour, digit)
        return Table(x, y, z)
