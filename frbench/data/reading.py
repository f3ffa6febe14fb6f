"""Reading a user's table; imports no torch."""

from __future__ import annotations

import json
import math
import warnings
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.support.files import FILES, locate, open_binary

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of a text file's last row, at most, in which the values are counted.
MAX_ROW = 2**20


def find_table(path: str, folders: Sequence[Path] = (Path(),)) -> Path:
    """Return a table's file: seen from the folders, or one that ``frbench data`` lists.

    Raises:
        UserError: If there is none.
    """
    for folder in folders:
        if (file := folder / path).is_file():
            return file
    if path.removesuffix(".gz") not in FILES:
        seen = f"seen from {Path.cwd()}" + (", nor from the run's folder" * (len(folders) > 1))
        raise UserError(f"data.path: there is no file {path} ({seen}).")
    return locate(path)


def read_table(
    path: str,
    sep: str = ",",
    missing_values: list[str] | None = None,
    folders: Sequence[Path] = (Path(),),
) -> pd.DataFrame:
    """Read a CSV, JSON lines (both also .gz) or Parquet file, or one that ``frbench data`` lists.

    Raises:
        UserError: If the file is missing, cannot be read, or names two columns alike.
    """
    import pandas as pd

    file = find_table(path, folders)
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(file).rename(columns=str).reset_index(drop=True)
            return frame.replace(dict.fromkeys(missing_values or [], np.nan))
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
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not encoded in UTF-8 ({error}); save it so.") from error
    except (ValueError, OSError, EOFError, zlib.error, pd.errors.ParserWarning) as error:
        raise UserError(
            f"{path} cannot be read: {' '.join(str(error).split())}; fetch or save it again."
        ) from error
    if (width := _last_row(file, sep)) < len(names):
        raise UserError(
            f"{path}: its last row has {width} of {len(names)} values, so the file is truncated; "
            "fetch it again, or remove that row."
        )
    if doubles := list(names[names.duplicated() & names.notna()]):
        raise UserError(f"{path}: two columns are named {doubles[0]!r}; rename one.")
    # A column without a name is the row number that DataFrame.to_csv writes.
    return frame.iloc[:, np.flatnonzero(names.notna())]


def table_parts(
    source: Any,
    size: int,
    folders: Sequence[Path] = (Path(),),
    sep: str = ",",
    missing_values: list[str] | None = None,
    numeric: Sequence[str] = (),
) -> Iterator[pd.DataFrame]:
    """Read a table part by part; of a text file, columns that are not numeric stay text.

    Args:
        source: Path of a table, or a DataFrame.
        size: Rows of a part.
        folders: Folders from which the path is tried.
        sep: Separator of a text file.
        missing_values: Further texts that stand for a missing value.
        numeric: Columns that are read as numbers where they hold nothing else.

    Raises:
        UserError: As :func:`read_table`.
    """
    import pandas as pd

    if not isinstance(source, pd.DataFrame):
        path = str(source)
        file = find_table(path, folders)
        if file.name.removesuffix(".gz").endswith((".json", ".jsonl", ".parquet", ".pq")):
            source = read_table(path, sep, missing_values, folders)
    if isinstance(source, pd.DataFrame):
        for start in range(0, len(source), size):
            yield source.iloc[start : start + size]
        return
    head = read_head(file, sep)
    kinds = {name: str for name in head if name not in numeric}
    try:
        with pd.read_csv(
            file, sep=sep, na_values=missing_values, index_col=False, chunksize=size, dtype=kinds,
            low_memory=False, usecols=[name for name in head if name],
        ) as parts:  # fmt: skip
            yield from parts
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not encoded in UTF-8 ({error}); save it so.") from error
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read: {' '.join(str(error).split())}; fetch or save it again."
        ) from error


def read_head(file: Path, sep: str) -> list[str]:
    """Return the column names of a text file, empty where there is none.

    Raises:
        UserError: If the file is empty or not text.
    """
    import pandas as pd

    try:
        head = pd.read_csv(
            file, sep=sep, header=None, nrows=1, dtype=str, keep_default_na=False, na_values=[""]
        )
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())}.") from error
    return [str(name) for name in head.iloc[0].fillna("")]


def _last_row(file: Path, sep: str) -> int | float:
    """Count the values of a text file's last row; infinite where quotes may hide line ends."""
    with open_binary(file) as lines:
        if file.suffix != ".gz":
            lines.seek(max(0, file.stat().st_size - MAX_ROW))
        (last,) = deque((line for line in lines if line.strip()), maxlen=1) or (b"",)
    plain = len(sep) == 1 and b'"' not in last and len(last) < MAX_ROW
    return last.count(sep.encode()) + 1 if plain else math.inf
