"""The table that every data step maps to another; numpy only, so that steps need no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Table:
    """Samples of one split before they become tensors.

    Attributes:
        x: Inputs [N, ...]: an array, a DataFrame of raw columns, or any object with ``len`` and
            indexing by an integer array.
        y: Labels, int64 in 0..C-1 [N].
        z: Attributes, int64 in 0..A-1, -1 where unknown [N].
        weight: Sample weights for training, float64 [N]; ones by default. Metrics count rows.
        clean: Whether the row is verified (its label was not corrupted), bool [N].
        true_y: Labels before any corruption, int64 [N]; y by default. No method sees them: they
            tell which rows were flipped when a result is evaluated.
        synthetic: Whether the row was generated, not observed, bool [N].
        continuous: A continuous attribute beside z, for penalties that take one, float64 [N]; NaN
            where unknown, as by default.

    Raises:
        ValueError: If the columns differ in length, or y or z holds no integers.

    Example:
        >>> table = Table(x=np.zeros((3, 2)), y=[0, 1, 1], z=[1, 0, 1])
        >>> table.take(np.array([2, 0])).y.tolist()
        [1, 0]
    """

    x: Any
    y: np.ndarray
    z: np.ndarray
    weight: np.ndarray = field(default=None)  # type: ignore[arg-type]
    clean: np.ndarray = field(default=None)  # type: ignore[arg-type]
    true_y: np.ndarray = field(default=None)  # type: ignore[arg-type]
    synthetic: np.ndarray = field(default=None)  # type: ignore[arg-type]
    continuous: np.ndarray = field(default=None)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        n = len(self.y)
        set_ = object.__setattr__
        for name in ("y", "z"):
            column = np.asarray(getattr(self, name))
            if column.dtype.kind not in "iub" and not (
                column.dtype.kind == "f" and (column == np.floor(column)).all()
            ):
                raise ValueError(
                    f"Column {name} of a Table holds integer codes 0, 1, ..., not "
                    f"{column.dtype} values like {column[:1]}; code them first."
                )
            set_(self, name, column.astype(np.int64))
        weight = np.ones(n) if self.weight is None else np.asarray(self.weight, dtype=np.float64)
        flags = {k: getattr(self, k) for k in ("clean", "synthetic")}
        set_(self, "weight", weight)
        for name, flag in flags.items():
            set_(self, name, np.zeros(n, bool) if flag is None else np.asarray(flag, bool))
        set_(self, "true_y", self.y if self.true_y is None else np.asarray(self.true_y, np.int64))
        number = np.full(n, np.nan) if self.continuous is None else self.continuous
        set_(self, "continuous", np.asarray(number, np.float64))
        columns = ("x", "y", "z", "weight", "clean", "true_y", "synthetic", "continuous")
        lengths = {k: len(getattr(self, k)) for k in columns}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Columns of a Table must have one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> Table:
        """Return the given rows (integer positions or a boolean mask), in that order."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        x = self.x.iloc[rows] if hasattr(self.x, "iloc") else self.x[rows]
        columns = (self.y, self.z, self.weight, self.clean, self.true_y, self.synthetic)
        return Table(x, *(column[rows] for column in (*columns, self.continuous)))

    @property
    def flipped(self) -> np.ndarray:
        """Whether a row's label is not its true one, bool [N]."""
        result: np.ndarray = self.y != self.true_y
        return result

    def replace(self, **columns: Any) -> Table:
        """Return a copy with the given columns exchanged."""
        return replace(self, **columns)

    def counts(self, num_classes: int, num_attributes: int) -> np.ndarray:
        """Count the rows of each (y, z) cell [C, A]; rows of unknown z are left out."""
        known = self.z >= 0
        cell = self.y[known] * num_attributes + self.z[known]
        size = num_classes * num_attributes
        return np.bincount(cell, minlength=size).reshape(num_classes, num_attributes)
