"""MNIST's digits in colours that depend on the label."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Interval, NotNegative, Share
from frbench.data.images.conflicts import conflicting_values
from frbench.data.images.idx import read_idx
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.support.files import locate

#: Training and evaluation rows that MNIST has, 10,000 of its training rows for validation.
TrainRows = Annotated[int, Interval(1, 50_000)]
EvalRows = Annotated[int, Interval(1, 10_000)]
#: The colours of the digits 0 to 9, red, green and blue in [0, 1].
COLOURS = {
    "red": (1.0, 0.0, 0.0), "green": (0.0, 0.8, 0.0), "blue": (0.1, 0.2, 1.0),
    "yellow": (0.9, 0.9, 0.0), "magenta": (0.9, 0.0, 0.9), "cyan": (0.0, 0.9, 0.9),
    "orange": (1.0, 0.5, 0.0), "violet": (0.5, 0.0, 1.0), "brown": (0.5, 0.3, 0.1),
    "grey": (0.6, 0.6, 0.6),
}  # fmt: skip


class MNISTImages(GroupDataModule):
    """MNIST's images and digits, for data sets that colour them."""

    @property
    def files(self) -> list[str]:
        """The four files of MNIST."""
        kinds = ("images-idx3", "labels-idx1")
        return [f"MNIST/raw/{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in kinds]

    def digits(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Read images [N, 28, 28] and digits [N] of train, val and test, shuffled by the seed.

        The first 50,000 of MNIST's training images in that order are for training, the others
        for validation; its test images keep their order.
        """
        images, digits, tests, test_digits = (read_idx(locate(name)) for name in self.files)
        order = np.random.default_rng([self.seed, 32]).permutation(len(images))
        parts = {"train": order[:50_000], "val": order[50_000:]}
        found = {name: (images[rows], digits[rows]) for name, rows in parts.items()}
        return {**found, "test": (tests, test_digits)}


class ColouredMNIST(MNISTImages):
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
        n: TrainRows = 10_000,
        n_eval: EvalRows = 5_000,
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
        found = self.digits()
        return {
            "train": self._colour(*found["train"], self.n, self.skew, 0),
            "val": self._colour(*found["val"], self.n_eval, self.skew, 1),
            "test/P": self._colour(*found["test"], self.n_eval, self.skew, 2),
            "test/balanced": self._colour(*found["test"], self.n_eval, 0.5, 3),
        }

    def _colour(
        self, images: np.ndarray, digits: np.ndarray, n: int, skew: float, stream: int
    ) -> Table:
        rng = np.random.default_rng([self.seed, 33, stream])
        images, digit = images[:n], (digits[:n] >= 5).astype(np.int64)
        colour = np.where(rng.random(n) < skew, digit, 1 - digit)
        shade = rng.uniform(0.6, 1.0, (n, 1, 1)) * images
        x = np.zeros((n, 3, *images.shape[1:]), np.uint8)
        x[np.arange(n), colour] = shade.round().astype(np.uint8)
        y, z = (digit, colour) if self.target == "digit" else (colour, digit)
        return Table(x, y, z)


class TenColourMNIST(MNISTImages):
    """Ten digits in ten colours: each digit has its own colour, but for a few rows.

    In training and validation a share ``conflicting`` of each digit's rows has one of the nine
    other colours, each equally often. The colours of ``test`` are drawn uniformly, whatever the
    digit. Every image's colour is its mean colour plus normal noise. After Nam et al., arXiv
    2007.02561, section 4.1, whose colours and noise are others; images are 3x28x28.

    Args:
        conflicting: Share of the rows whose colour is not that of their digit, in [0, 1].
        jitter: Standard deviation of the noise of each channel, in units of the channel's range.
        n: Training rows, at most 50,000; 10,000 more are for validation.
        n_eval: Rows of validation and test, at most 10,000 each.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: For values out of range, or if a file is missing or damaged.
    """

    sizes = Sizes(10, 10, (3, 28, 28))
    class_names = tuple("0123456789")
    attribute_names = tuple(COLOURS)

    def __init__(
        self,
        conflicting: Share = 0.01,
        jitter: NotNegative = 0.05,
        n: TrainRows = 50_000,
        n_eval: EvalRows = 10_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conflicting = conflicting
        self.jitter = jitter
        self.n = n
        self.n_eval = n_eval

    def tables(self) -> dict[str, Table]:
        """Read the files, choose rows by the seed and colour them."""
        tables = {}
        for stream, (name, (images, digits)) in enumerate(self.digits().items()):
            rng = np.random.default_rng([self.seed, 34, stream])
            n = self.n if name == "train" else self.n_eval
            y = digits[:n].astype(np.int64)
            share = self.conflicting if name != "test" else None
            z = conflicting_values(y, self.sizes.num_attributes, share, rng)
            colour = np.array(list(COLOURS.values()), np.float32)[z]
            colour += rng.normal(0, self.jitter, colour.shape).astype(np.float32)
            x = np.empty((n, 3, *images.shape[1:]), np.uint8)
            for channel, shade in enumerate(colour.clip(0, 1).T):
                x[:, channel] = np.rint(shade[:, None, None] * images[:n])
            tables[name] = Table(x, y, z)
        return tables


class MNISTEnvironments(MNISTImages):
    """Whether a digit is at least five, with wrong labels and a colour that predicts better.

    A share ``label_noise`` of the labels is flipped, and the colour is the flipped label's but
    for a share of rows that depends on the environment: those of ``flips`` in training and
    validation, in equal parts, and ``test_flip`` in ``test``. By the shape nobody reaches more
    than 1 - ``label_noise``. Source: Arjovsky et al., arXiv 1907.02893, section 5.1, whose test
    environment has the last 10,000 of MNIST's training images; here it has MNIST's test images,
    and those 10,000 are for validation. Images are 2x14x14, every second pixel.

    Args:
        label_noise: Share of flipped labels, in [0, .5).
        flips: For each training environment the share of rows with the other colour.
        test_flip: The same of the test environment.
        attribute: What z is: environment, which IRM needs, or colour. Training has no row of the
            last environment, that of ``test``.
        grey: Both channels hold the image, so that no colour can be used: the paper's bound.
        n: Training rows, at most 50,000; 10,000 more are for validation.
        n_eval: Rows of validation and test, at most 10,000 each.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: For values out of range, or if a file is missing or damaged.
    """

    class_names = ("0-4", "5-9")

    def __init__(
        self,
        label_noise: Annotated[float, Interval(0, 0.5, closed="left")] = 0.25,
        flips: list[Share] | None = None,
        test_flip: Share = 0.9,
        attribute: Literal["environment", "colour"] = "environment",
        grey: bool = False,
        n: TrainRows = 50_000,
        n_eval: EvalRows = 10_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.label_noise = label_noise
        self.flips = [0.1, 0.2] if flips is None else flips
        self.test_flip = test_flip
        self.attribute = attribute
        self.grey = grey
        self.n = n
        self.n_eval = n_eval
        if not self.flips:
            raise UserError("MNISTEnvironments.flips is empty; give a share per environment.")
        self.attribute_names = ("red", "green")
        if attribute == "environment":
            shares = [f"{e}: {flip:g}" for e, flip in enumerate(self.flips)]
            self.attribute_names = (*shares, f"test: {test_flip:g}")
        self.sizes = Sizes(2, len(self.attribute_names), (2, 14, 14))

    def tables(self) -> dict[str, Table]:
        """Read the files, choose rows by the seed, and draw labels and colours."""
        tables = {}
        flips = np.array([*self.flips, self.test_flip])
        for stream, (name, (images, digits)) in enumerate(self.digits().items()):
            rng = np.random.default_rng([self.seed, 35, stream])
            n = self.n if name == "train" else self.n_eval
            shape = digits[:n] >= 5
            y = shape ^ (rng.random(n) < self.label_noise)
            last = len(self.flips)
            environment = np.full(n, last) if name == "test" else np.arange(n) % last
            colour = (y ^ (rng.random(n) < flips[environment])).astype(np.int64)
            x = np.zeros((n, 2, 14, 14), np.uint8)
            for channel in (0, 1):
                shown = slice(None) if self.grey else colour == channel
                x[shown, channel] = images[:n, ::2, ::2][shown]
            z = environment if self.attribute == "environment" else colour
            tables[name] = Table(x, y, z)
        return tables
