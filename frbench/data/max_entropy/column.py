"""One column of a discrete domain: its values and their coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frbench.contracts.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


Kind = Literal["categorical", "ordinal"]


@dataclass(frozen=True)
class Column:
    """One feature of a domain.

    Attributes:
        name: Name of the column.
        values: The values that it may take, in the order of their codes.
        kind: categorical, embedded as one-hot; or ordinal, embedded as one number: the value, or
            its position if the values are no numbers. Two values need one number either way.
        parts: The columns that this one crosses, see :meth:`cross`.

    Raises:
        UserError: If there are no values, or a value is given twice.
    """

    name: str
    values: tuple[Any, ...]
    kind: Kind = "categorical"
    parts: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        if not self.values or len(set(self.values)) < len(self.values):
            raise UserError(
                f"column '{self.name}' must declare distinct values, got {list(self.values)}."
            )

    @classmethod
    def cross(cls, parts: Sequence[Column]) -> Column:
        """Make one column of the combinations of several, the last of which runs fastest.

        Example:
            >>> Column.cross([Column("sex", ("f", "m")), Column("old", (0, 1))]).values
            ('f&0', 'f&1', 'm&0', 'm&1')
        """
        values = ("&".join(map(str, v)) for v in product(*(part.values for part in parts)))
        return cls("&".join(part.name for part in parts), tuple(values), parts=tuple(parts))

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
            result: np.ndarray = ((numbers - numbers.min()) / span)[:, None]
            return result
        v = len(self.values)
        basis = np.zeros((v, v - 1))
        for j in range(1, v):
            basis[:j, j - 1] = 1 / math.sqrt(j * (j + 1))
            basis[j, j - 1] = -j / math.sqrt(j * (j + 1))
        return basis

    def codes(self, values: Sequence[Any] | pd.Series) -> np.ndarray:
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
        result: np.ndarray = codes.astype(np.int64)
        return result

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
            result: np.ndarray = shares @ self.points
            return result
        if not self.is_number:
            raise UserError(
                f"marginals: column '{self.name}' has {len(self.values)} categories; give the "
                "share of every one as {value: share}."
            )
        numbers, span = self.scale
        return np.array([(float(given) - numbers.min()) / span])
