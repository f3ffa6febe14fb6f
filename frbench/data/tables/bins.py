"""Bins of attribute columns as a checkpoint keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from frbench.data.categorical import Bins, edges_of, value_name

if TYPE_CHECKING:
    import pandas as pd


def plain_bins(column: pd.Series, bins: Bins) -> list[Any]:
    """Write bins of a column as plain values: edges of intervals as they are, others as text."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(column) and not is_bool_dtype(column):
        return list(edges_of(column, bins))
    assert not isinstance(bins, int)
    return [value_name(value) for value in bins]


def are_edges(bins: list[Any]) -> bool:
    """Whether learnt bins are edges; values that stay are stored as text."""
    return bool(bins) and not isinstance(bins[0], str)
