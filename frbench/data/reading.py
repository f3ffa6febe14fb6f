"""Reading a user's table; imports no torch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frbench.data.files import FILES, locate, open_binary
from frbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: str, sep: str = ",", missing_values: list[str] | None = None) -> pd.DataFrame:
    """Read a CSV, JSON lines (both also .gz) or Parquet file, or one that ``frbench data`` lists.

    Raises:
        UserError: If the file is missing, cannot be read, or names two columns alike.
    """
    import pandas as pd

    file = Path(path)
    if not file.is_file():
        if path.removesuffix(".gz") not in FILES:
            raise UserError(f"data.path: there is no file {path} (seen from {Path.cwd()}).")
        file = locate(path)
    try:
        if file.suffix in (".parquet", ".pq"):
            return pd.read_parquet(file).rename(columns=str).reset_index(drop=True)
        if file.name.removesuffix(".gz").endswith((".json", ".jsonl")):
            with open_binary(file) as lines:
                frame = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
            return frame.rename(columns=str).replace(dict.fromkeys(missing_values or [], np.nan))
        # pandas renames the second of two equal columns: the names must be read as data.
        # Without NaN for words: a column may be called NA or None.
        head = pd.read_csv(
            file, sep=sep, header=None, nrows=1, dtype=str, keep_default_na=False, na_values=[""]
        )
        names = head.iloc[0]
        with warnings.catch_warnings():  # of rows longer than the header
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                file, sep=sep, na_values=missing_values, index_col=False, low_memory=False
            )
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install frbench[parquet]") from error
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if doubles := list(names[names.duplicated() & names.notna()]):
        raise UserError(f"{path}: two columns are named {doubles[0]!r}; rename one.")
    # A column without a name is the row number that DataFrame.to_csv writes.
    return frame.iloc[:, np.flatnonzero(names.notna())]
