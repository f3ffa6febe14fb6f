"""From the mixed columns of a table to float32 inputs, by what the training split shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.categorical import codes_of, sorted_values, texts, value_name

if TYPE_CHECKING:
    import pandas as pd

#: More levels than this are an identifier or free text, not a category.
MAX_LEVELS = 1000
#: What to do about text in a column of numbers, before training and after.
_OF_TRAINING = "List it under categorical, drop it, or give the text that marks missing values."
_OF_OTHERS = (
    "It was a column of numbers in training: write a number, or leave the cell empty where the "
    "value is missing."
)


@dataclass(frozen=True)
class _Numeric:
    """A standardised column and, if training rows lack it, a 0/1 column that says where."""

    name: str
    median: float
    mean: float
    scale: float
    flagged: bool

    @classmethod
    def fit(cls, column: pd.Series) -> _Numeric:
        values = cls._values(column)
        seen = values[~np.isnan(values)]
        if not len(seen):
            raise UserError(
                f"Column '{column.name}' has no value in the training split; drop the column."
            )
        # A column that is constant in training says nothing: dividing by inf makes it 0 in every
        # split, also where another value turns up (its weights would be untrained).
        scale = seen.std() if seen.min() < seen.max() else np.inf
        return cls(str(column.name), np.median(seen), seen.mean(), scale, len(seen) < len(values))

    @staticmethod
    def _values(column: pd.Series, remedy: str = _OF_TRAINING) -> np.ndarray:
        import pandas as pd

        numbers = pd.to_numeric(column, errors="coerce")
        if (bad := numbers.isna() & column.notna()).any():
            raise UserError(
                f"Column '{column.name}' is not numeric: it holds {column[bad].iloc[0]!r}. "
                f"{remedy}"
            )
        values = numbers.to_numpy(np.float64, na_value=np.nan)
        if np.isinf(values).any():
            raise UserError(f"Column '{column.name}' holds infinite values; clean or drop it.")
        return values

    @property
    def feature_names(self) -> list[str]:
        return [self.name, f"{self.name} missing"][: 1 + self.flagged]

    def write(self, column: pd.Series, out: np.ndarray) -> None:
        values = self._values(column, _OF_OTHERS)
        missing = np.isnan(values)
        out[:, 0] = (np.where(missing, self.median, values) - self.mean) / self.scale
        if self.flagged:
            out[:, 1] = missing

    def unseen(self, column: pd.Series) -> int:
        return 0

    def state(self) -> dict[str, Any]:
        numbers = {k: float(getattr(self, k)) for k in ("median", "mean", "scale")}
        return {"name": self.name, **numbers, "flagged": bool(self.flagged)}


@dataclass(frozen=True)
class _Categorical:
    """One 0/1 column per level of the training rows, and one for missing if it occurs there."""

    name: str
    levels: pd.Index
    flagged: bool

    @classmethod
    def fit(cls, column: pd.Series) -> _Categorical:
        import pandas as pd

        values = column.dropna().unique()
        if len(values) > MAX_LEVELS:
            raise UserError(
                f"Column '{column.name}' has {len(values)} different values in the training "
                f"split, more than {MAX_LEVELS}; drop it, or list it under numeric if it is one."
            )
        levels = pd.Index(sorted_values(values), dtype="object")
        return cls(str(column.name), levels, bool(column.isna().any()))

    @property
    def feature_names(self) -> list[str]:
        names = [f"{self.name}={level}" for level in self.levels]
        return [*names, f"{self.name} missing"] if self.flagged else names

    def _codes(self, column: pd.Series) -> np.ndarray:
        """Positions in ``levels``, -1 for a value that is missing or new.

        What another file holds as text (``1`` for the number 1) is found by its text.
        """
        import pandas as pd

        position, values = pd.factorize(column)
        found = self.levels.get_indexer(pd.Index(values, dtype="object"))
        if (lost := np.flatnonzero(found < 0)).size:
            by_text, _ = codes_of(texts(pd.Series(values[lost])), self.names)
            found[lost] = np.maximum(by_text, -1)
        result: np.ndarray = np.append(found, -1)[position]
        return result

    @cached_property
    def names(self) -> list[str]:
        return [value_name(level) for level in self.levels]

    def write(self, column: pd.Series, out: np.ndarray) -> None:
        codes = self._codes(column)
        known = np.flatnonzero(codes >= 0)
        out[known, codes[known]] = 1
        if self.flagged:
            out[:, -1] = column.isna()

    def unseen(self, column: pd.Series) -> int:
        return int(((self._codes(column) < 0) & column.notna().to_numpy()).sum())

    def state(self) -> dict[str, Any]:
        levels = [v.item() if isinstance(v, np.generic) else v for v in self.levels]
        plain = [v if isinstance(v, str | int | float | bool) else str(v) for v in levels]
        return {"name": self.name, "levels": plain, "flagged": self.flagged}


class TableEncoder:
    """Encodes a table by what its training rows show.

    Text, category and bool columns, and those listed as categorical, become 0/1 columns, one per
    level and never standardised (bool dummies standardised like numbers cost two points of
    accuracy on COMPAS). All others are numeric, integers with few distinct values too: they are
    standardised by mean and population standard deviation of the training values. Missing values
    that occur in training get a 0/1 column of their own, and a missing number becomes the
    training median. A level that training lacks is all zeros. Columns keep their order.

    Args:
        categorical: Columns to treat as categorical whatever their type.
        numeric: Columns to treat as numeric whatever their type.

    Example:
        >>> import pandas as pd
        >>> train = pd.DataFrame({"age": [20, 40], "job": ["cook", "nurse"]})
        >>> encoder = TableEncoder().fit(train)
        >>> encoder.feature_names
        ['age', 'job=cook', 'job=nurse']
        >>> encoder.transform(pd.DataFrame({"age": [30], "job": ["nurse"]})).tolist()
        [[0.0, 0.0, 1.0]]
    """

    def __init__(self, categorical: Sequence[str] = (), numeric: Sequence[str] = ()) -> None:
        self.categorical = categorical
        self.numeric = numeric
        self._columns: list[_Numeric | _Categorical] = []
        self._rows = 0

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn levels, medians and scales from the training rows.

        Raises:
            UserError: If a column is of a type that is neither, holds text under ``numeric``,
                infinite values, no values, or too many levels.
        """
        self._columns = [
            (_Categorical if self._is_categorical(frame[name]) else _Numeric).fit(frame[name])
            for name in frame.columns
        ]
        self._rows = len(frame)
        return self

    def state(self) -> list[dict[str, Any]]:
        """Return what was learnt, a dictionary of plain values for each column."""
        return [column.state() for column in self._columns]

    @classmethod
    def from_state(cls, state: Sequence[Mapping[str, Any]]) -> Self:
        """Build an encoder from what :meth:`state` returned.

        Example:
            >>> import pandas as pd
            >>> first = TableEncoder().fit(pd.DataFrame({"age": [20, 40], "job": ["a", "b"]}))
            >>> again = TableEncoder.from_state(first.state())
            >>> again.transform(pd.DataFrame({"job": ["b", "c"], "age": [50, 30]})).tolist()
            [[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
        """
        import pandas as pd

        encoder = cls()
        for entry in state:
            if "levels" in entry:
                levels = pd.Index(entry["levels"], dtype="object")
                encoder._columns.append(_Categorical(**{**entry, "levels": levels}))
            else:
                encoder._columns.append(_Numeric(**entry))
        return encoder

    @property
    def columns(self) -> dict[str, bool]:
        """The raw columns in their order, and whether each is numeric."""
        return {column.name: isinstance(column, _Numeric) for column in self._columns}

    def _is_categorical(self, column: pd.Series) -> bool:
        from pandas.api import types

        if column.name in self.categorical:
            return True
        if column.name in self.numeric or (
            types.is_numeric_dtype(column) and not types.is_bool_dtype(column)
        ):
            return False
        if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
            raise UserError(
                f"Column '{column.name}' holds dates or durations; drop it or turn it into a "
                "number."
            )
        return True

    @property
    def feature_names(self) -> list[str]:
        """Names of the D encoded columns."""
        return [name for column in self._columns for name in column.feature_names]

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """Encode rows of any split.

        Returns:
            Inputs, float32 [N, D].

        Raises:
            UserError: If a numeric column holds text or infinite values.
        """
        if absent := [name for name in self.columns if name not in frame.columns]:
            raise UserError(
                f"There is no column {absent[0]!r}, which is an input; the columns are: "
                f"{', '.join(map(str, frame.columns))}."
            )
        out = np.zeros((len(frame), len(self.feature_names)), dtype=np.float32)
        start = 0
        for column in self._columns:
            stop = start + len(column.feature_names)
            column.write(frame[column.name], out[:, start:stop])
            start = stop
        return out

    def identifiers(self) -> dict[str, int]:
        """Count the levels of each category that has more than half as many as training rows.

        Such a column (a name, a number of a file) says who a row is, not what it is like.
        """
        if not self._rows:  # restored: said when it was fitted
            return {}
        found = {c.name: len(c.levels) for c in self._columns if isinstance(c, _Categorical)}
        return {name: count for name, count in found.items() if 2 * count > max(self._rows, 20)}

    def new_levels(self, column: pd.Series, most: int = 3) -> list[str]:
        """Name values of a category that training lacks, so many at most."""
        known = next(c for c in self._columns if c.name == column.name)
        if not isinstance(known, _Categorical):
            return []
        values = column.dropna().drop_duplicates()
        return [value_name(v) for v in values[known._codes(values) < 0].iloc[:most]]

    def unseen(self, frame: pd.DataFrame) -> dict[str, int]:
        """Count, for each column where there are any, the values that training lacks."""
        counts = {column.name: column.unseen(frame[column.name]) for column in self._columns}
        return {name: count for name, count in counts.items() if count}
