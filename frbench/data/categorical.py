"""Columns of a table as named integer codes: labels, attributes, and their combinations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import printable, short
from frbench.support.overlap import group_sets

if TYPE_CHECKING:
    import pandas as pd

#: More distinct numbers than this are a quantity that nobody binned; texts may be more.
MAX_VALUES, MAX_TEXTS = 50, 1000
#: Edges or values that stay; or a number of quantile bins.
Bins = int | Sequence[float | str]


class Categorical(NamedTuple):
    """A column of few values.

    Attributes:
        codes: Position of each row's value in ``names``, int64, -1 where missing [N].
        names: The values that occur, in their order.
    """

    codes: np.ndarray
    names: list[str]


def value_name(value: Any) -> str:
    """Write a value as people do: 1, not 1.0, for an integer that shares a column with NaN."""
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value) if whole else value)


def texts(column: pd.Series) -> np.ndarray:
    """Write the values of a column as people do, None where missing [N].

    Example:
        >>> import pandas as pd
        >>> texts(pd.Series([1.0, None, 2.5])).tolist()
        ['1', None, '2.5']
    """
    import pandas as pd

    codes, values = pd.factorize(column)
    names = np.array([*(value_name(value) for value in values), None], dtype=object)
    result: np.ndarray = names[codes]
    return result


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Name the combinations of values as :func:`cross` does, None where one is missing [N].

    Args:
        parts: What :func:`texts` gives of each column.

    Example:
        >>> joined([np.array(["f", None], object), np.array(["old", "young"], object)]).tolist()
        ['f&old', None]
    """
    rows = zip(*parts, strict=True)
    names = [None if None in row else "&".join(map(_part, row)) for row in rows]
    result: np.ndarray = np.array(names, dtype=object)
    return result


def _part(name: Any) -> str:
    """Write a value inside a combination, so that no two combinations have one name."""
    return f'"{name}"' if "&" in str(name) or '"' in str(name) else str(name)


def made_up(name: str, taken: Iterable[str]) -> str:
    """Return a name of ours that is none of the data's.

    Example:
        >>> made_up("other", ["a"]), made_up("other", ["other"])
        ('other', '(other)')
    """
    taken = set(taken)
    while name in taken:
        name = f"({name})"
    return name


def codes_of(names: np.ndarray, known: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Look names up among known ones; a number may be written in another way (``1.0`` for 1).

    Args:
        names: What :func:`texts` gives [N].
        known: Names in the order of their codes.

    Returns:
        Codes, -1 where missing and -2 where unknown, int64 [N]; the unknown names.

    Example:
        >>> codes_of(np.array(["1.0", None, "x", "0"], dtype=object), ["0", "1"])
        (array([ 1, -1, -2,  0]), ['x'])
    """
    import pandas as pd

    place = {name: i for i, name in reversed(list(enumerate(known)))}
    position, values = pd.factorize(pd.Series(names, dtype=object))
    found = [place.get(str(value), place.get(_plain(str(value)), -2)) for value in values]
    codes: np.ndarray = np.array([*found, -1], dtype=np.int64)[position]
    unknown = [str(v) for v, code in zip(values, found, strict=True) if code == -2]
    return codes, unknown


def _plain(text: str) -> str:
    """Write a number in a text as :func:`value_name` does."""
    try:
        return value_name(float(text))
    except (ValueError, OverflowError):
        return text


def categorize(
    column: pd.Series, bins: Bins | None = None, most: int | None = None, option: str = "--data."
) -> Categorical:
    """Give a column's values names and codes, in sorted order, or that of an ordered categorical.

    Args:
        column: Values [N]; NaN or None where missing.
        bins: For numbers, ascending edges of half-open intervals, or a number of quantile bins;
            for text, the values that stay while all others become ``other``.
        most: Distinct values at most; by default 50 numbers or 1000 texts.
        option: What stands before the name of an option, for messages.

    Raises:
        UserError: If there are too many values, or the bins do not fit the column.

    Example:
        >>> import pandas as pd
        >>> categorize(pd.Series([30, 20, 25], name="age"), bins=[25])
        Categorical(codes=array([1, 0, 1]), names=['age<25', 'age>=25'])
        >>> categorize(pd.Series(["b", None, "c"]), bins=["b"])
        Categorical(codes=array([ 0, -1,  1]), names=['b', 'other'])
    """
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numeric = is_numeric_dtype(column) and not is_bool_dtype(column)
    if bins is not None and numeric:
        return _intervals(column, edges_of(column, bins))
    if isinstance(dtype := column.dtype, pd.CategoricalDtype) and dtype.ordered:
        there = set(column.dropna())
        values = [value for value in dtype.categories if value in there]
    else:
        values = sorted_values(column.dropna().unique())
    if isinstance(bins, int):
        raise UserError(
            f"bins: column '{column.name}' is no number and has no quantiles; list the values "
            "that stay."
        )
    if bins is not None:
        kept = [value_name(value) for value in bins]
        if absent := set(kept) - {value_name(value) for value in values}:
            raise UserError(
                f"bins: {sorted(absent)[0]!r} does not occur in column '{column.name}', whose "
                f"values are: {few(values)}.{quoting(bins)}"
            )
        renamed = {v: value_name(v) if value_name(v) in kept else "other" for v in values}
        names = list(dict.fromkeys([*kept, "other"]))
    else:
        # A text that hardly repeats says who a row is.
        usual = MAX_VALUES if numeric or 2 * len(values) > len(column) else MAX_TEXTS
        if len(values) > (most or usual):
            raise UserError(
                f"column '{column.name}' has {len(values)} different values, more than "
                f"{most or usual}: {few(values)}. Bin it ({option.lstrip('-')}bins, attributes "
                f"only), raise {option.lstrip('-')}max_values, or choose another column."
            )
        renamed = {value: value_name(value) for value in values}
        names = list(dict.fromkeys(renamed.values()))
    texts = pd.Index(column.astype(object).map(renamed), dtype="object")
    return _occurring(pd.Index(names, dtype="object").get_indexer(texts), names)


def edges_of(column: pd.Series, bins: Bins) -> Sequence[float | str]:
    """Return the edges of intervals of a numeric column; a number asks for so many quantile bins.

    Raises:
        UserError: If the column has too few distinct numbers.

    Example:
        >>> import pandas as pd
        >>> edges_of(pd.Series(range(8), name="age"), 4)
        [2, 4, 6]
    """
    if not isinstance(bins, int):
        return bins
    known = column.dropna().to_numpy(np.float64)
    if bins < 2 or not len(known):
        raise UserError(f"bins: give '{column.name}' at least 2 quantile bins, got {bins}.")
    quantiles = np.quantile(known, np.arange(1, bins) / bins, method="higher")
    edges = [edge for edge in dict.fromkeys(quantiles.tolist()) if edge > known.min()]
    if not edges:
        raise UserError(f"bins: '{column.name}' has too few distinct numbers for {bins} bins.")
    return [int(edge) if edge.is_integer() else edge for edge in edges]


def quoting(values: Sequence[Any]) -> str:
    """Say that YAML read a word as a truth value, if it did."""
    if not any(isinstance(value, bool) for value in values):
        return ""
    return (
        " YAML reads yes, no, on, off, true and false as truth values: quote the word, \"'yes'\"."
    )


def binned(column: pd.Series, edges: Sequence[float | str]) -> np.ndarray:
    """Name the interval of each number of a column, None where missing [N]."""
    import pandas as pd

    numbers = pd.Series(pd.to_numeric(column, errors="coerce"), name=column.name)
    found = _intervals(numbers, edges)
    result: np.ndarray = np.array([*found.names, None], dtype=object)[found.codes]
    return result


def _intervals(column: pd.Series, edges: Sequence[float | str]) -> Categorical:
    numbers = [math.nan if isinstance(edge, str | bool) else float(edge) for edge in edges]
    good = all(math.isfinite(number) for number in numbers)
    if not edges or not good or any(not a < b for a, b in pairwise(numbers)):
        raise UserError(
            f"bins: the edges of '{column.name}' must ascend and be finite, got "
            f"{short(list(edges))}."
        )
    shown = [value_name(edge) for edge in edges]
    names = [
        f"{column.name}<{shown[0]}",
        *(f"{low}<={column.name}<{high}" for low, high in pairwise(shown)),
        f"{column.name}>={shown[-1]}",
    ]
    values = column.to_numpy(np.float64, na_value=np.nan)
    codes = np.searchsorted(np.asarray(numbers), values, side="right")
    return _occurring(np.where(np.isnan(values), -1, codes), names)


def cross(columns: Sequence[Categorical], most: int | None = None) -> Categorical:
    """Combine columns: each combination that occurs is a value, missing if any part is.

    Args:
        columns: The columns.
        most: Combinations at most; by default 50.

    Raises:
        UserError: If there are too many combinations.

    Example:
        >>> sex = Categorical(np.array([0, 1, 1]), ["f", "m"])
        >>> race = Categorical(np.array([1, 1, -1]), ["black", "white"])
        >>> cross([sex, race])
        Categorical(codes=array([ 0,  1, -1]), names=['f&white', 'm&white'])
    """
    if len(columns) == 1:
        return columns[0]
    codes = np.zeros(len(columns[0].codes), dtype=np.int64)
    for part in columns:
        known = (codes >= 0) & (part.codes >= 0)
        codes = np.where(known, codes * len(part.names) + part.codes, -1)
    if (count := len(np.unique(codes[codes >= 0]))) > (most or MAX_VALUES):
        raise UserError(
            f"the attribute columns have {count} combinations, more than {most or MAX_VALUES}: "
            "bin some (data.bins), cross fewer, or raise data.max_values."
        )
    used = np.unique(codes[codes >= 0])
    names = []
    for code in used.tolist():  # of the product of all values, those that occur
        parts = []
        for part in reversed(columns):
            code, value = divmod(code, len(part.names))
            parts.append(_part(part.names[value]))
        names.append("&".join(reversed(parts)))
    closed = np.where(codes < 0, -1, np.searchsorted(used, codes))
    return Categorical(closed.astype(np.int64), names)


def membership_sets(frame: pd.DataFrame) -> Categorical:
    """Name the set of overlapping groups that each row is in, unknown where a cell is missing.

    Args:
        frame: A column for each group: true or false, 1 or 0, or the share of those who said so,
            of which a half is enough.

    Raises:
        UserError: For a column with other values, or as
            :func:`~frbench.support.overlap.group_sets`.

    Example:
        >>> import pandas as pd
        >>> membership_sets(pd.DataFrame({"black": [0, 1, 1], "male": [0.2, 0.5, None]}))
        Categorical(codes=array([ 0,  3, -1]), names=['{}', '{black}', '{male}', '{black+male}'])
    """
    import pandas as pd

    columns, missing = [], frame.isna().any(axis=1).to_numpy()
    for name in frame.columns:
        words = frame[name].astype(str).str.lower().map({"true": 1.0, "false": 0.0})
        share = pd.to_numeric(frame[name], errors="coerce").astype(np.float64).fillna(words)
        if (strange := frame[name][share.isna() & frame[name].notna()].to_list()) or (
            strange := share[(share < 0) | (share > 1)].to_list()
        ):
            raise UserError(
                f"column '{name}' has the value {short(strange[0])}; columns of overlapping "
                "groups hold true or false, or numbers from 0 to 1."
            )
        columns.append((share >= 0.5).to_numpy())
    codes, names = group_sets(np.stack(columns, 1), [str(name) for name in frame.columns])
    return Categorical(np.where(missing, -1, codes), names)


def _occurring(codes: np.ndarray, names: list[str]) -> Categorical:
    """Leave out the names that no row has and close the gaps in the codes."""
    used = np.unique(codes[codes >= 0])
    closed = np.where(codes < 0, -1, np.searchsorted(used, codes))
    return Categorical(closed.astype(np.int64), [names[code] for code in used])


def few(values: Sequence[Any]) -> str:
    """Write the first of many values."""
    shown = [printable(value_name(value))[:80] for value in values[:10]]
    return ", ".join(shown) + (", ..." if len(values) > 10 else "")


def sorted_values(values: Iterable[Any]) -> list[Any]:
    """Sort distinct values; mixed types, which have no order, by their text."""
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)
