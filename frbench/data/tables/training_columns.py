"""Columns of the training rows alone: sample weights, and a continuous attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from frbench.contracts.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def sample_weights(column: pd.Series, train: np.ndarray, path: str) -> np.ndarray:
    """Return the weights of the training rows, of mean one [M].

    Args:
        column: The weights of all rows [N].
        train: Positions of the training rows [M].
        path: Name of the table, for messages.

    Raises:
        UserError: If a value is no number, missing, infinite or negative, or those of the
            training rows are all zero.

    Example:
        >>> import pandas as pd
        >>> sample_weights(pd.Series([1, 3, 5]), np.array([0, 1]), "t.csv").tolist()
        [0.5, 1.5]
    """
    import pandas as pd

    what = f"{path}: column {column.name!r} (data.weight)"
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    for wrong, why in ((~np.isfinite(values), "is no finite number"), (values < 0, "is negative")):
        if wrong.any():
            raise UserError(
                f"{what} must hold non-negative numbers; {wrong.sum()} rows have another value, "
                f"the first {str(column[wrong].iloc[0])[:40]!r}, which {why}."
            )
    largest = values[train].max()
    if largest == 0:
        raise UserError(f"{what} is zero in every training row; give another column.")
    scaled = values[train] / largest
    weight: np.ndarray = scaled / scaled.mean()
    return weight


def standardised(column: pd.Series, path: str) -> np.ndarray:
    """Return a continuous attribute of the training rows, of mean 0 and deviation 1 [M].

    Missing values are NaN.

    Args:
        column: Its values in the training rows [M].
        path: Name of the table, for messages.

    Raises:
        UserError: If a value is no finite number, or all are equal.

    Example:
        >>> import pandas as pd
        >>> standardised(pd.Series([20, None, 40]), "t.csv").tolist()
        [-1.0, nan, 1.0]
    """
    import pandas as pd

    what = f"{path}: column {column.name!r} (data.continuous)"
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(values) & column.notna().to_numpy()
    if wrong.any():
        raise UserError(
            f"{what} must hold finite numbers; {wrong.sum()} rows have another value, the first "
            f"{str(column[wrong].iloc[0])[:40]!r}."
        )
    known = values[~np.isnan(values)]
    if not len(known) or known.min() == known.max():
        raise UserError(f"{what} has one value in all training rows; give another column.")
    result: np.ndarray = (values - known.mean()) / known.std()
    return result
