"""Columns of a table as named integer codes: labels, attributes, and their combinations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

#: More distinct values than this are numbers that nobody binned.
MAX_VALUES = 50


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
    names = [None if None in row else "&".join(map(str, row)) for row in rows]
    result: np.ndarray = np.array(names, dtype=object)
    return result


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


def categorize(column: pd.Series, bins: Sequence[float | str] | None = None) -> Categorical:
    """Give a column's values names and codes.

    Args:
        column: Values [N]; NaN or None where missing.
        bins: For numbers, ascending edges of half-open intervals; for text, the values that stay
            while all others become ``other``.

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

    if bins is not None and is_numeric_dtype(column) and not is_bool_dtype(column):
        return _intervals(column, bins)
    values = sorted_values(column.dropna().unique())
    if bins is not None:
        kept = [value_name(value) for value in bins]
        if absent := set(kept) - {value_name(value) for value in values}:
            raise UserError(
                f"bins: {sorted(absent)[0]!r} does not occur in column '{column.name}', whose "
                f"values are: {_few(values)}."
            )
        renamed = {v: value_name(v) if value_name(v) in kept else "other" for v in values}
        names = list(dict.fromkeys([*kept, "other"]))
    else:
        if len(values) > MAX_VALUES:
            raise UserError(
                f"column '{column.name}' has {len(values)} different values, more than "
                f"{MAX_VALUES}: {_few(values)}. Bin it (data.bins, attributes only) or choose "
                "another column."
            )
        renamed = {value: value_name(value) for value in values}
        names = list(dict.fromkeys(renamed.values()))
    texts = pd.Index(column.astype(object).map(renamed), dtype="object")
    return _occurring(pd.Index(names, dtype="object").get_indexer(texts), names)


def binned(column: pd.Series, edges: Sequence[float | str]) -> np.ndarray:
    """Name the interval of each number of a column, None where missing [N]."""
    import pandas as pd

    numbers = pd.Series(pd.to_numeric(column, errors="coerce"), name=column.name)
    found = _intervals(numbers, edges)
    result: np.ndarray = np.array([*found.names, None], dtype=object)[found.codes]
    return result


def _intervals(column: pd.Series, edges: Sequence[float | str]) -> Categorical:
    if not edges or any(isinstance(edge, str) for edge in edges) or list(edges) != sorted(edges):
        raise UserError(f"bins: the edges of '{column.name}' must ascend, got {list(edges)}.")
    shown = [value_name(edge) for edge in edges]
    names = [
        f"{column.name}<{shown[0]}",
        *(f"{low}<={column.name}<{high}" for low, high in pairwise(shown)),
        f"{column.name}>={shown[-1]}",
    ]
    numbers = column.to_numpy(np.float64, na_value=np.nan)
    codes = np.searchsorted(np.asarray(edges, np.float64), numbers, side="right")
    return _occurring(np.where(np.isnan(numbers), -1, codes), names)


def binary(target: Categorical, positive: Sequence[Any]) -> Categorical:
    """Turn labels into class 1, the positive values, against class 0, all others.

    Raises:
        UserError: If a positive value does not occur, or no other value does.

    Example:
        >>> binary(Categorical(np.array([0, 1, 2]), ["a", "b", "c"]), ["c", "a"])
        Categorical(codes=array([1, 0, 1]), names=['b', 'c|a'])
    """
    wanted = [value_name(value) for value in positive]
    others = [name for name in target.names if name not in wanted]
    if not others or not set(wanted) <= set(target.names):
        raise UserError(
            "positive must name some but not all values of the target, which are: "
            f"{', '.join(target.names)}; got {', '.join(wanted)}."
        )
    chosen = np.isin(np.asarray(target.names), wanted)
    names = [others[0] if len(others) == 1 else "other", "|".join(wanted)]
    return Categorical(chosen[target.codes].astype(np.int64), names)


def cross(columns: Sequence[Categorical]) -> Categorical:
    """Combine columns: each combination that occurs is a value, missing if any part is.

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
    if (count := len(np.unique(codes[codes >= 0]))) > MAX_VALUES:
        raise UserError(
            f"the attribute columns have {count} combinations, more than {MAX_VALUES}: "
            "bin some (data.bins) or cross fewer."
        )
    return _occurring(codes, ["&".join(part) for part in product(*(f.names for f in columns))])


def _occurring(codes: np.ndarray, names: list[str]) -> Categorical:
    """Leave out the names that no row has and close the gaps in the codes."""
    used = np.unique(codes[codes >= 0])
    closed = np.where(codes < 0, -1, np.searchsorted(used, codes))
    return Categorical(closed.astype(np.int64), [names[code] for code in used])


def _few(values: Sequence[Any]) -> str:
    shown = [value_name(value) for value in values[:10]]
    return ", ".join(shown) + (", ..." if len(values) > 10 else "")


def sorted_values(values: Iterable[Any]) -> list[Any]:
    """Sort distinct values; mixed types, which have no order, by their text."""
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)
