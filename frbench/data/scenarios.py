"""Tasks drawn from a causal graph over real digit images, with P, Q and P0 test tables."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from frbench.batch import Sizes
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.errors import UserError

Distribution = Literal["P", "Q", "P0"]


def purely_spurious(
    n: int, distribution: Distribution, eta: float, z_rates: list[float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw Y, the digit's class T and Z of the purely spurious task.

    Y ~ Bern(1/2), T = Y xor Bern(eta). P: Z ~ Bern(z_Y). Q (jointly balanced): Z ~ Bern of the
    mean rate, independent of Y. P0: Z ~ Bern(1/2). Source: arXiv 2406.17433, Figure 1(a) and
    Appendix D.

    Args:
        n: Number of rows.
        distribution: P, Q or P0.
        eta: Label noise, P(T != Y).
        z_rates: P(Z=1 | Y=0) and P(Z=1 | Y=1) under P.
        rng: Source of randomness.

    Returns:
        y, t, z, int64 [n] each.
    """
    y = rng.integers(0, 2, n)
    t = y ^ (rng.random(n) < eta)
    rates = {
        "P": np.asarray(z_rates)[y],
        "Q": np.full(n, np.mean(z_rates)),
        "P0": np.full(n, 0.5),
    }[distribution]
    return y, t, (rng.random(n) < rates).astype(np.int64)


class Digits(GroupDataModule):
    """Scikit-learn's 8x8 digits in a purely spurious colour task; needs no file.

    The label is whether the digit is at least five, flipped with probability eta; two rows of
    noise above the digit are red where z = 0 and blue where z = 1. Under P the colour follows
    the label (95 / 10), under Q and P0 it does not. Training, validation and test draw from
    disjoint images. Test tables ``test/P``, ``test/Q``, ``test/P0``; validation is from P.

    Args:
        train_on: Distribution of the training rows.
        n: Training rows.
        n_eval: Rows of the validation table and of each test table.
        eta: Label noise.
        z_rates: P(Z=1 | Y=0) and P(Z=1 | Y=1) under P.
        **kwargs: Arguments of :class:`GroupDataModule`.

    Raises:
        UserError: For a rate outside [0, 1] or no rows.

    Example:
        >>> data = Digits(n=50, n_eval=20)
        >>> sorted(data.splits), data.splits["train"].x.shape
        (['test/P', 'test/P0', 'test/Q', 'train', 'val'], (50, 3, 12, 8))
    """

    sizes = Sizes(2, 2, (3, 12, 8))
    class_names = ("0-4", "5-9")
    attribute_names = ("red", "blue")

    #: Images of each pool, after a permutation drawn by the seed: in the file's own order the
    #: writers of the test images differ, and P(X | Y, Z) would not be the same in all tables.
    POOLS: ClassVar = {
        "train": slice(0, 1100),
        "val": slice(1100, 1300),
        "test": slice(1300, None),
    }
    NOISE_ROWS = 2

    def __init__(
        self,
        train_on: Distribution = "P",
        n: int = 6000,
        n_eval: int = 4000,
        eta: float = 0.12,
        z_rates: list[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.train_on = train_on
        self.n = n
        self.n_eval = n_eval
        self.eta = eta
        self.z_rates = [0.05, 0.90] if z_rates is None else z_rates
        if n < 1 or n_eval < 1:
            raise UserError(f"Digits needs n and n_eval of at least 1, got {n} and {n_eval}.")
        if len(self.z_rates) != 2 or not all(0 <= r <= 1 for r in [eta, *self.z_rates]):
            raise UserError(
                f"Digits needs eta in [0, 1] and two z_rates in [0, 1], got {eta}, {self.z_rates}."
            )

    def _draw(self, split: str, distribution: Distribution, n: int, stream: int) -> Table:
        from sklearn.datasets import load_digits

        rng = np.random.default_rng([self.seed, stream])
        y, t, z = purely_spurious(n, distribution, self.eta, self.z_rates, rng)
        images, digit = load_digits(return_X_y=True)
        pool = np.random.default_rng([self.seed, 99]).permutation(len(images))[self.POOLS[split]]
        images = images.reshape(-1, 8, 8)[pool].astype(np.float32) / 16
        digit = digit[pool]
        choices = [np.flatnonzero((digit >= 5) == bool(c)) for c in (0, 1)]
        chosen = np.where(t == 1, rng.choice(choices[1], n), rng.choice(choices[0], n))
        x = np.zeros((n, *self.sizes.input_shape), dtype=np.float32)
        noise = rng.random((n, self.NOISE_ROWS, 8), dtype=np.float32)
        x[np.arange(n), np.where(z == 1, 2, 0), : self.NOISE_ROWS] = noise
        x[:, :, self.NOISE_ROWS : self.NOISE_ROWS + 8] = images[chosen][:, None]
        return Table(x, y, z)

    def tables(self) -> dict[str, Table]:
        """Draw the splits; each has a random stream of its own."""
        tests: list[Distribution] = ["P", "Q", "P0"]
        return {
            "train": self._draw("train", self.train_on, self.n, 0),
            "val": self._draw("val", "P", self.n_eval, 1),
            **{
                f"test/{d}": self._draw("test", d, self.n_eval, 2 + i) for i, d in enumerate(tests)
            },
        }
