"""Discrete domains: columns, their embedding, compressed samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frbench.data.encode import sorted_values
from frbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


Kind = Literal["categorical", "ordinal"]

#: Keys of rows are mixed-radix numbers below this.
_MAX_KEY = 2**62


@dataclass(frozen=True)
class Column:
    """One feature of a domain.

    Attributes:
        name: Name of the column.
        values: The values that it may take, in the order of their codes.
        kind: categorical, embedded as one-hot; or ordinal, embedded as one number: the value, or
            its position if the values are no numbers. Two values need one number either way.

    Raises:
        UserError: If there are no values, or a value is given twice.
    """

    name: str
    values: tuple[Any, ...]
    kind: Kind = "categorical"

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise UserError(
                f"column '{self.name}' must declare distinct values, got {list(self.values)}."
            )

    @property
    def is_number(self) -> bool:
        """Whether one number embeds the column."""
        return self.kind == "ordinal" or len(self.values) == 2

    @cached_property
    def scale(self) -> tuple[np.ndarray, float]:
        """The values as numbers [V], and their range; positions if they are no numbers."""
        numeric = all(isinstance(v, int | float | np.number) for v in self.values)
        raw = self.values if numeric and self.kind == "ordinal" else range(len(self.values))
        numbers = np.asarray(raw, dtype=np.float64)
        return numbers, float(np.ptp(numbers)) or 1.0

    @cached_property
    def points(self) -> np.ndarray:
        """Coordinates of the values [V, r].

        Numbers are scaled to [0, 1]. One-hot vectors lie in the plane of sum one, along whose
        normal the dual is flat: an orthonormal basis of that plane takes the gauge away.
        """
        if self.is_number:
            numbers, span = self.scale
            return ((numbers - numbers.min()) / span)[:, None]
        v = len(self.values)
        basis = np.zeros((v, v - 1))
        for j in range(1, v):
            basis[:j, j - 1] = 1 / math.sqrt(j * (j + 1))
            basis[j, j - 1] = -j / math.sqrt(j * (j + 1))
        return basis

    def codes(self, values: Sequence | pd.Series) -> np.ndarray:
        """Return positions of the given values in ``values``, int64 [N].

        Raises:
            UserError: If the column does not declare a value.
        """
        import pandas as pd

        index = pd.Index(list(self.values), dtype="object")
        given = pd.Index(values, dtype="object")
        codes = index.get_indexer(given)
        if (codes < 0).any():
            raise UserError(
                f"column '{self.name}' holds {given[codes < 0][0]!r}, a value that its domain "
                f"does not declare ({', '.join(map(str, self.values[:10]))}); add the value to "
                "the domain, or drop the rows."
            )
        return codes.astype(np.int64)

    def mean(self, given: float | Mapping[Any, float]) -> np.ndarray:
        """Turn a marginal that a user gives into coordinates.

        Args:
            given: The mean of a numeric column, the share of the second of two values, or the
                share of every value.

        Returns:
            Mean of the coordinates [r].

        Raises:
            UserError: If the marginal does not fit the column.
        """
        if isinstance(given, Mapping):
            shares = np.zeros(len(self.values))
            shares[self.codes(list(given))] = list(given.values())
            if (shares < 0).any() or abs(shares.sum() - 1) > 1e-9:
                raise UserError(
                    f"marginals: the shares of column '{self.name}' must be at least 0 and sum "
                    f"to 1, got {dict(given)}."
                )
            return shares @ self.points
        if not self.is_number:
            raise UserError(
                f"marginals: column '{self.name}' has {len(self.values)} categories; give the "
                "share of every one as {value: share}."
            )
        numbers, span = self.scale
        return np.array([(float(given) - numbers.min()) / span])


@dataclass(frozen=True)
class Domain:
    """The product Omega of the values of all columns.

    Attributes:
        columns: The columns in the order of the codes.

    Raises:
        UserError: If two columns have one name.

    Example:
        >>> domain = Domain((Column("sex", ("f", "m")), Column("age", (20, 30, 50), "ordinal")))
        >>> domain.size, domain.codes({"sex": ["m", "f"], "age": [20, 50]}).tolist()
        (6, [[1, 0], [0, 2]])
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if doubles := [name for name in names if names.count(name) > 1]:
            raise UserError(f"two columns of the domain are named {doubles[0]!r}; rename one.")

    @classmethod
    def of(cls, frame: pd.DataFrame, ordinal: Sequence[str] = ()) -> Domain:
        """Declare the values that occur in a table.

        Args:
            frame: Discrete columns.
            ordinal: Columns that one number embeds; all others are categorical.

        Raises:
            UserError: If a value is missing.
        """
        if (missing := frame.isna().any()).any():
            raise UserError(
                f"column '{missing.idxmax()}' lacks values in some rows; drop the rows, or give "
                "missing a value of its own."
            )
        return cls(
            tuple(
                Column(
                    str(name),
                    tuple(sorted_values(frame[name].unique())),
                    "ordinal" if name in ordinal else "categorical",
                )
                for name in frame.columns
            )
        )

    @property
    def size(self) -> int:
        """|Omega|, exact however large."""
        return math.prod(len(column.values) for column in self.columns)

    @cached_property
    def widths(self) -> np.ndarray:
        """Number of values of each column [F]."""
        return np.array([len(column.values) for column in self.columns])

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each column in ``points`` [F]."""
        return np.concatenate([[0], np.cumsum(self.widths)[:-1]])

    @cached_property
    def blocks(self) -> list[slice]:
        """Coordinates of each column [F]."""
        stops = np.cumsum([column.points.shape[1] for column in self.columns])
        return [slice(a, b) for a, b in zip([0, *stops[:-1]], stops, strict=True)]

    @cached_property
    def points(self) -> np.ndarray:
        """Coordinates of every value of every column, zero outside the column's block [V, d]."""
        points = np.zeros((self.widths.sum(), self.blocks[-1].stop))
        for column, start, block in zip(self.columns, self.starts, self.blocks, strict=True):
            points[start : start + len(column.values), block] = column.points
        return points

    def position(self, name: str, role: str) -> int:
        """Return the position of a column.

        Raises:
            UserError: If there is no such column.
        """
        names = [column.name for column in self.columns]
        if name not in names:
            raise UserError(
                f"there is no {role} column {name!r}; the columns are: {', '.join(names)}."
            )
        return names.index(name)

    def codes(self, frame: Mapping[str, Any] | pd.DataFrame) -> np.ndarray:
        """Return the codes of a table's rows, int64 [N, F].

        Raises:
            UserError: If a column holds a value that is not declared.
        """
        return np.stack([column.codes(frame[column.name]) for column in self.columns], axis=1)

    def embed(self, codes: np.ndarray) -> np.ndarray:
        """Return the coordinates of rows, float64 [N, d]."""
        parts = [c.points[codes[:, i]] for i, c in enumerate(self.columns)]
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Samples:
    """Samples of a domain, equal rows counted once.

    Attributes:
        domain: The domain.
        rows: Codes of the distinct rows [K, F].
        counts: Total weight of the samples equal to each [K].
        inverse: Distinct row of each sample [N].
    """

    domain: Domain
    rows: np.ndarray
    counts: np.ndarray
    inverse: np.ndarray

    @classmethod
    def compress(
        cls, domain: Domain, codes: np.ndarray, weight: np.ndarray | None = None
    ) -> Samples:
        """Count equal rows, in O(N log N F) whatever the size of the domain.

        Args:
            domain: The domain.
            codes: Codes of the samples [N, F].
            weight: Weights of the samples [N]; ones by default. Samples of weight 0 are left out.

        Raises:
            UserError: If there is no sample.

        Example:
            >>> domain = Domain((Column("a", (0, 1)), Column("b", (0, 1))))
            >>> Samples.compress(domain, np.array([[0, 1], [1, 0], [0, 1]])).counts.tolist()
            [2.0, 1.0]
        """
        weight = np.ones(len(codes)) if weight is None else np.asarray(weight, np.float64)
        if not (weight > 0).any():
            raise UserError("max entropy: there are no samples with a weight above 0.")
        key, size = np.zeros(len(codes), np.int64), 1
        for column, width in enumerate(domain.widths.tolist()):
            if size * width >= _MAX_KEY:  # rename the keys that occur, and go on
                used, key = np.unique(key, return_inverse=True)
                size = len(used)
            key = key * width + codes[:, column]
            size *= width
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        counts = np.bincount(inverse, weights=weight)
        rows = codes[first]
        if (counts <= 0).any():
            kept = counts > 0
            renamed = np.where(kept, np.cumsum(kept) - 1, -1)
            rows, counts, inverse = rows[kept], counts[kept], renamed[inverse]
        return cls(domain, rows, counts, inverse)

    @cached_property
    def embedded(self) -> np.ndarray:
        """Coordinates of the distinct rows [K, d]."""
        return self.domain.embed(self.rows)

    def cells(self, label: int, protected: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the (y, z) cell of each distinct row, ``y * A + z`` [K], and (C, A)."""
        shape = (int(self.domain.widths[label]), int(self.domain.widths[protected]))
        return self.rows[:, label] * shape[1] + self.rows[:, protected], shape


def cell_mass(cells: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sum the weight in every (y, z) cell [C, A]."""
    return np.bincount(cells, weights=weight, minlength=shape[0] * shape[1]).reshape(shape)
