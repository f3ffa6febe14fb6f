"""One column of what people have, as codes, text or numbers; numpy only."""

from typing import Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError


class Text(NamedTuple):
    """A column of text.

    Attributes:
        values: The values that occur.
        codes: Position of each row's value among them [N].
    """

    values: list[str]
    codes: np.ndarray


def read_column(values: Any, name: str) -> np.ndarray | Text:
    """Return a column as int64 or as text.

    Args:
        values: The column.
        name: What messages call it.

    Example:
        >>> read_column([1.0, 2.0], "y").tolist(), read_column(["b", "a"], "y").values
        ([1, 2], ['b', 'a'])
    """
    array = values if _is_pandas_text(values) else np.asarray(_detached(values))
    if array.ndim != 1:
        raise UserError(f"{name} must be one column, got shape {array.shape}")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise UserError(f"{name} has missing values: drop the rows or name the missing group")
        if (array != np.floor(array)).any():
            raise UserError(f"{name} has fractional numbers: bin it into groups or classes first")
    if array.dtype.kind in "iufb":
        return array.astype(np.int64, copy=False)
    from pandas import factorize  # hashes in C: no loop over rows

    codes, found = factorize(array)
    if len(codes) and codes.min() < 0:
        raise UserError(f"{name} has missing values: drop the rows or name the missing group")
    cells = list(found)
    if cells and all(isinstance(v, bool | int | float | np.number | np.bool_) for v in cells):
        return read_column(np.array(cells, float)[codes], name)
    return Text(list(map(str, cells)), codes)


def _is_pandas_text(values: Any) -> bool:
    """Tell a pandas column of text, whose cells numpy would copy one by one."""
    dtype = getattr(values, "dtype", None)
    return hasattr(values, "iloc") and getattr(dtype, "kind", "O") == "O"


def _detached(values: Any) -> Any:
    """Return a tensor of any device and precision as one that numpy takes."""
    if not hasattr(values, "detach"):
        return values
    values = values.detach().cpu()
    return values.double() if values.is_floating_point() else values  # numpy has no bfloat16


def read_floats(values: Any, name: str) -> np.ndarray:
    """Return a column of finite numbers as float64.

    Args:
        values: The column, or several.
        name: What messages call it.

    Example:
        >>> read_floats([1, 2], "weight").tolist()
        [1.0, 2.0]
    """
    try:
        array = np.asarray(_detached(values), dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} must be numbers: {error}") from None
    if not np.isfinite(array).all():
        raise UserError(f"{name} has missing or infinite values: drop the rows or fill them")
    return array
