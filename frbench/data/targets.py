"""The classes of a target column: positive values, a threshold, and what is no class."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.categorical import (
    MAX_VALUES,
    Categorical,
    few,
    made_up,
    quoting,
    sorted_values,
    value_name,
)

if TYPE_CHECKING:
    import pandas as pd

#: More distinct numbers with a fraction than this are a measurement, not a class.
MAX_FRACTIONS = 10
#: How a threshold of a numeric target is written.
THRESHOLD = re.compile(r"\s*(<=|>=|<|>)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


def binary(target: Categorical, positive: Sequence[Any]) -> Categorical:
    """Turn labels into class 1, the positive values, against class 0, all others.

    Raises:
        UserError: If a positive value does not occur, or no other value does.

    Example:
        >>> binary(Categorical(np.array([0, 1, 2]), ["a", "b", "c"]), ["c", "a"])
        Categorical(codes=array([1, 0, 1]), names=['b', 'c|a'])
    """
    wanted = list(dict.fromkeys(value_name(value) for value in positive))
    others = [name for name in target.names if name not in wanted]
    if not others or not set(wanted) <= set(target.names):
        raise UserError(
            "positive must name some but not all values of the target, which are: "
            f"{few(target.names)}; got {few(wanted)}.{quoting(positive)}"
        )
    chosen = np.isin(np.asarray(target.names), wanted)
    one = "|".join(wanted)
    names = [others[0] if len(others) == 1 else made_up("other", [one]), one]
    names[1] = made_up(one, names[:1])
    return Categorical(chosen[target.codes].astype(np.int64), names)


def above(column: pd.Series, threshold: str) -> Categorical:
    """Turn a numeric target into class 1, where a comparison holds, against class 0.

    Args:
        column: Numbers [N], NaN where missing.
        threshold: The comparison, such as ``> 50000``.

    Raises:
        UserError: If the column is no number.

    Example:
        >>> import pandas as pd
        >>> above(pd.Series([1.5, 3.0], name="pay"), "> 2")
        Categorical(codes=array([0, 1]), names=['pay<=2', 'pay>2'])
    """
    import pandas as pd

    match = THRESHOLD.fullmatch(threshold)
    assert match is not None
    sign, text = match.groups()
    try:
        numbers = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
        limit = float(text)
    except (TypeError, ValueError):
        raise UserError(
            f"positive: {threshold!r} compares numbers, but column '{column.name}' is none."
        ) from None
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[sign]
    against = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}[sign]
    codes = np.where(np.isnan(numbers), -1, compare(numbers, limit))
    names = [f"{column.name}{mark}{value_name(limit)}" for mark in (against, sign)]
    return Categorical(codes.astype(np.int64), names)


def check_classes_of(column: pd.Series, most: int | None = None) -> None:
    """Refuse a target of measurements.

    Raises:
        UserError: Naming the column and how to make classes of it.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if not is_numeric_dtype(column) or is_bool_dtype(column):
        return
    values = column.dropna().unique().astype(np.float64)
    fractions = bool((values != np.floor(values)).any())
    if len(values) > (most or (MAX_FRACTIONS if fractions else MAX_VALUES)):
        middle = value_name(float(f"{np.median(values):.3g}"))
        raise UserError(
            f"the target '{column.name}' has {len(values)} different numbers, "
            f"{few(sorted_values(values))}; frbench classifies; threshold the column with "
            f"positive: '> {middle}', or raise data.max_values if they are classes."
        )
