"""Discrete domains and their compressed samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.categorical import sorted_values
from frbench.data.max_entropy.column import Column

if TYPE_CHECKING:
    import pandas as pd


#: Keys of rows are mixed-radix numbers below this.
_MAX_KEY = 2**62


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

    def frame(self, codes: np.ndarray) -> pd.DataFrame:
        """Return the values of rows given by their codes, crossed columns taken apart again."""
        import pandas as pd

        out = {}
        for column, code in zip(self.columns, codes.T, strict=True):
            parts = column.parts or (column,)
            places = np.unravel_index(code, [len(part.values) for part in parts])
            for part, place in zip(parts, places, strict=True):
                out[part.name] = pd.Series(list(part.values)).to_numpy()[place]
        return pd.DataFrame(out)

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

    def cross(self, names: str | Sequence[str], role: str) -> tuple[Samples, str]:
        """Replace several columns by one of their combinations, the last; return its name, too.

        The points of the domain stay the same, and so do the distinct rows and their order; but
        the shares of the combinations become means of coordinates. One column stays as it is.

        Raises:
            UserError: If a column is unknown or given twice, or none is.
        """
        names = [names] if isinstance(names, str) else list(names)
        places = [self.domain.position(name, role) for name in names]
        if not names or len(set(names)) < len(names):
            raise UserError(f"max entropy: give one or more distinct {role} columns, got {names}.")
        if len(names) == 1:
            return self, names[0]
        kept = [i for i in range(len(self.domain.columns)) if i not in places]
        column = Column.cross([self.domain.columns[i] for i in places])
        codes = np.ravel_multi_index(tuple(self.rows[:, places].T), self.domain.widths[places])
        domain = Domain((*(self.domain.columns[i] for i in kept), column))
        rows = np.column_stack([self.rows[:, kept], codes])
        return Samples(domain, rows, self.counts, self.inverse), column.name

    def cells(self, label: int, protected: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the (y, z) cell of each distinct row, ``y * A + z`` [K], and (C, A)."""
        shape = (int(self.domain.widths[label]), int(self.domain.widths[protected]))
        return self.rows[:, label] * shape[1] + self.rows[:, protected], shape


def cell_mass(cells: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Sum the weight in every (y, z) cell [C, A]."""
    return np.bincount(cells, weights=weight, minlength=shape[0] * shape[1]).reshape(shape)
