"""What the columns of a table hold, and what each is used as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frbench.contracts.text import short
from frbench.data.encode import MAX_LEVELS
from frbench.support.sheet import Sheet

if TYPE_CHECKING:
    import pandas as pd

#: Columns that are listed, and levels of a column that are named.
_ROWS, _NAMED = 60, 4


def kind_of(column: pd.Series) -> str:
    """Name what a column holds.

    Example:
        >>> import pandas as pd
        >>> kind_of(pd.Series([1, 2])), kind_of(pd.Series(["a", None]))
        ('whole number', 'text')
    """
    from pandas.api import types

    if types.is_bool_dtype(column):
        return "truth value"
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        return "date"
    if types.is_numeric_dtype(column):
        values = column.dropna()
        return "whole number" if len(values) and bool((values % 1 == 0).all()) else "number"
    if types.infer_dtype(column, skipna=True) == "mixed":
        return "list or mixed"
    return "text"


def levels_of(column: pd.Series) -> int | None:
    """Count the distinct values; None where cells are lists."""
    try:
        return int(column.nunique())
    except TypeError:
        return None


def schema(frame: pd.DataFrame, used_as: Mapping[str, str]) -> Sheet:
    """Lay out column, kind, levels, missing values and use of a table.

    Args:
        frame: The table.
        used_as: What each column is used as.
    """
    rows = []
    for name in frame.columns[:_ROWS]:
        column, kind = frame[name], kind_of(frame[name])
        count = levels_of(column)
        shown = "" if count is None else f"{count:,}"
        if kind == "text" and count is not None and count <= _NAMED:
            shown += f": {', '.join(short(str(v), 30) for v in column.dropna().unique())}"
        elif kind.endswith("number") and count:
            shown += f": {column.min():g} to {column.max():g}"
        rows.append((str(name), kind, shown, int(column.isna().sum()), used_as.get(str(name), "")))
    left = len(frame.columns) - _ROWS
    lines = [f"{left} further columns"] if left > 0 else []
    return Sheet("", ("column", "kind", "levels", "missing", "used as"), rows, lines)


def named(codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the values behind codes, as numbers where all names are numbers.

    Example:
        >>> named(np.array([0, 1]), ["1", "2"]).tolist(), named(np.array([1]), ["f", "m"]).tolist()
        ([1.0, 2.0], ['m'])
    """
    try:
        values = np.array([*map(float, names), np.nan])
    except ValueError:
        values = np.array([*names, None], dtype=object)
    found: np.ndarray = values[codes]
    return found


def problems(frame: pd.DataFrame, inputs: list[str]) -> dict[str, str]:
    """Say why a column cannot be, or should not be, an input; all of them at once."""
    found = {}
    for name in inputs:
        column, kind, count = frame[name], kind_of(frame[name]), levels_of(frame[name])
        if count is None:
            found[name] = "holds lists or mappings"
        elif count == 0:
            found[name] = "has no value"
        elif count == 1:
            found[name] = "is the same in every row"
        elif kind == "date":
            found[name] = "holds dates"
        elif kind.endswith("number") and bool(column.abs().max() == float("inf")):
            found[name] = "holds infinite values"
        elif kind == "text" and (count > MAX_LEVELS or 2 * count > max(len(frame), 20)):
            found[name] = f"has {count} different texts: it names single rows"
    return found
