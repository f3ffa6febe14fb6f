"""Stratified splits of rows, exact in every stratum and a function of the seed alone."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Interval, NotNegativeInt, OpenShare, checked
from frbench.support.stratified import cut, stratified_order

#: Names of the splits in the order of their part ids.
SPLITS = ("train", "val", "test")

Split = Literal["fraction", "column", "folds"]
Fractions = tuple[OpenShare, OpenShare, OpenShare]
Folds = Annotated[int, Interval(2)]


def deal(strata: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Deal rows like cards into k folds whose sizes, and shares of each stratum, differ by one.

    Args:
        strata: Stratum of each row, int [N].
        k: Number of folds.
        rng: Source of randomness.

    Returns:
        Fold of each row, int64 in 0..k-1 [N].

    Example:
        >>> fold = deal(np.repeat([0, 1], [4, 7]), 3, np.random.default_rng(0))
        >>> np.bincount(fold).tolist(), np.bincount(fold[:4]).tolist()
        ([4, 4, 3], [2, 1, 1])
    """
    fold = np.empty(len(strata), dtype=np.int64)
    fold[stratified_order(strata, rng)] = np.arange(len(strata)) % k
    return fold


@checked
@dataclass(frozen=True)
class SplitPolicy:
    """How rows are divided into train (0), val (1) and test (2).

    Attributes:
        split: fraction, column, or folds (repeated).
        fractions: Shares of train, val and test; where test is given otherwise, val takes its
            share, relative to train, out of the rest.
        folds: Number of folds k.
        repeats: Number of times the rows are dealt into folds anew.
        fold: Which of the repeats * k folds is test.
        seed: Seed of the division.

    Raises:
        UserError: If the shares or the fold are out of range.
    """

    split: Split = "fraction"
    fractions: Fractions = (0.6, 0.2, 0.2)
    folds: Folds = 5
    repeats: Count = 1
    fold: NotNegativeInt = 0
    seed: NotNegativeInt = 0

    def __post_init__(self) -> None:
        if not np.isclose(sum(self.fractions), 1):
            raise UserError(
                "data.fractions: the shares of train, val and test must sum to 1, got "
                f"{list(self.fractions)}."
            )
        last = self.repeats * self.folds - 1
        if self.split == "folds" and self.fold > last:
            raise UserError(
                f"data.fold must lie in 0..{last} (repeats * folds - 1), got fold {self.fold} of "
                f"{self.folds} folds, {self.repeats} repeats."
            )

    def assign(
        self, y: np.ndarray, z: np.ndarray, given: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """Divide the rows.

        Args:
            y: Labels, int [N].
            z: Attributes, -1 where unknown, int [N].
            given: For ``column``, the part of each row, int [N]; val may be absent.

        Returns:
            Part of each row [N], and notes on what differs from what was asked for.
        """
        cell = y * (z.max() + 2) + z + 1  # unknown z is a cell of its own
        if self.split == "fraction":
            return self._cut(y, cell, self.fractions)
        if self.split == "folds":
            repeat, fold = divmod(self.fold, self.folds)
            dealt = deal(cell, self.folds, np.random.default_rng([self.seed, 11, repeat]))
            part = np.where(dealt == fold, 2, 0)
        else:
            assert given is not None
            part = given.copy()
            if (part == 1).any():
                return part, []
        rest = np.flatnonzero(part == 0)
        part[rest], notes = self._cut(y[rest], cell[rest], self.fractions[:2])
        return part, notes

    def _cut(
        self, y: np.ndarray, cell: np.ndarray, shares: tuple[float, ...]
    ) -> tuple[np.ndarray, list[str]]:
        """Cut by (y, z), or by y if that would leave a cell out of a part."""
        seed = [self.seed, 12]
        part = cut(cell, shares, np.random.default_rng(seed))
        if len(np.unique(cell * len(shares) + part)) == len(np.unique(cell)) * len(shares):
            return part, []
        note = "split stratified on y alone: a (y, z) cell is too small for every part"
        return cut(y, shares, np.random.default_rng(seed)), [note]
