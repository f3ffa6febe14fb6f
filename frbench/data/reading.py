"""Reading a user's table; imports no torch."""

from __future__ import annotations

import json
import math
import re
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import short
from frbench.data.cells import Cells
from frbench.data.sources import is_source, read_source
from frbench.support.files import FILES, locate, open_binary

if TYPE_CHECKING:
    import pandas as pd

#: Bytes of a text file's last row, at most, in which the values are counted.
MAX_ROW = 2**20
_JSON, _PARQUET = (".json", ".jsonl", ".ndjson"), (".parquet", ".pq")


def is_table(name: str) -> bool:
    """Whether a name is that of a table's file (``.csv``, ``.tsv``, ``.jsonl``, ``.parquet``).

    Example:
        >>> is_table("a.CSV.gz"), is_table("a.yaml")
        (True, False)
    """
    return name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".tab", *_JSON, *_PARQUET))


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
    path: str, cells: Cells | None = None, folders: Sequence[Path] = (Path(),)
) -> pd.DataFrame:
    """Read a CSV, TSV, JSON lines (all also .gz) or Parquet file, or one of ``frbench data``.

    A path such as ``datasets:NAME`` is read by another package, see
    :func:`frbench.data.sources.read_source`.

    Spaces around names and cells are left out. Numbers that start with zeros, as codes do, stay
    text. ``attrs["notes"]`` says what was done, and which words were read as missing.

    Args:
        path: The file.
        cells: How its cells are written.
        folders: Folders from which the path is tried.

    Raises:
        UserError: If the file is missing, cannot be read, has no rows, or names two columns alike.
    """
    cells = cells or Cells()
    if is_source(path):
        return cells.tidied(_replaced(read_source(path, folders).frame, cells))
    file = find_table(path, folders)
    frame = _read_whole(file, path, cells)
    if doubles := [name for name, count in Counter(frame.columns).items() if count > 1]:
        raise UserError(f"{path}: two columns are named {doubles[0]!r}; rename one.")
    if not len(frame):
        raise UserError(_empty(path))
    return cells.tidied(frame)


def _read_whole(file: Path, path: str, cells: Cells) -> pd.DataFrame:
    import pandas as pd

    plain = file.name.lower().removesuffix(".gz")
    try:
        if plain.endswith(_PARQUET):
            frame = pd.read_parquet(file).rename(columns=_name).reset_index(drop=True)
            return _replaced(frame, cells)
        if plain.endswith(_JSON):
            return _replaced(pd.DataFrame(_records(file, path)).rename(columns=_name), cells)
        return _read_text(file, path, cells)
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install frbench[parquet]") from error
    except UnicodeError as error:
        raise UserError(_wrong_encoding(file, path, cells, error)) from error
    except (ValueError, OSError, EOFError, zlib.error, RecursionError,
            pd.errors.ParserWarning) as error:  # fmt: skip
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} cannot be read: {reason}; fetch or save it again.") from error


def _name(name: Any) -> str:
    return str(name).strip()


def _records(file: Path, path: str) -> list[dict[str, Any]]:
    rows = []
    with open_binary(file) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = json.loads(line.decode("utf-8-sig"))
                if not isinstance(row, dict):
                    raise UserError(
                        f"{path}:{number} is no JSON object but {short(row, 60)}: each line maps "
                        "columns to values."
                    )
                rows.append(row)
    return rows


def _replaced(frame: pd.DataFrame, cells: Cells) -> pd.DataFrame:
    """Set missing what a file of typed cells writes as one of the words for missing."""
    words = [*(cells.missing_words or ()), *(cells.missing_values or ())]
    result: pd.DataFrame = frame.replace(dict.fromkeys(words, np.nan)) if words else frame
    return result


def _read_text(file: Path, path: str, cells: Cells) -> pd.DataFrame:
    import pandas as pd

    options = cells.options(file)
    # pandas renames the second of two equal columns: the names must be read as data.
    names = _head(file, cells)
    with warnings.catch_warnings():  # of rows longer than the header
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(file, **options)
    if cells.by_bytes and (width := _last_row(file, options["sep"])) < len(names):
        raise UserError(
            f"{path}: its last row has {width} of {len(names)} values, so the file is truncated; "
            "fetch it again, or remove that row."
        )
    # A column without a name is the row number that DataFrame.to_csv writes.
    named = [i for i, name in enumerate(names) if name]
    places = {names[i]: i for i in named}
    frame = pd.DataFrame(frame.iloc[:, named])
    frame.columns = pd.Index([names[i] for i in named])
    notes = []
    if options["sep"] != (cells.sep or ","):
        notes.append(f"{path}: cells are separated by {options['sep']!r}")
    if len(places) == len(named):
        notes += _reread(file, frame, places, cells, options)
    frame.attrs["notes"] = notes
    return frame


def _reread(
    file: Path, frame: pd.DataFrame, places: dict[str, int], cells: Cells, options: dict[str, Any]
) -> list[str]:
    """Look at the text of some columns: codes that start with zeros, words for missing."""
    import pandas as pd

    zeros = not cells.by_bytes
    with open_binary(file) as whole:
        first = re.compile(rb"(?:^|[\s\"" + re.escape(options["sep"].encode()) + rb"])0\d")
        zeros = zeros or any(map(first.search, whole))  # most files have none
    named = [str(name) for name in frame.columns]
    whole_numbers = [
        name for name in named
        if zeros and frame[name].dtype.kind in "iuf" and name not in cells.numeric
    ]  # fmt: skip
    lacking = [name for name in named if frame[name].isna().any()]
    if not (chosen := list(dict.fromkeys([*whole_numbers, *lacking]))):
        return []
    raw = pd.read_csv(
        file, sep=options["sep"], encoding=cells.encoding, index_col=False, dtype=str,
        keep_default_na=False, skipinitialspace=True, usecols=[places[name] for name in chosen],
    )  # fmt: skip
    # usecols keeps the order of the file.
    raw.columns = pd.Index(sorted(chosen, key=places.__getitem__))
    notes = []
    for name in whole_numbers:
        known = raw[name][frame[name].notna()].str.strip()
        if known.str.fullmatch(r"0\d+").any() and known.str.fullmatch(r"\d+").all():
            frame[name] = known.reindex(raw.index)
            one = known[known.str.startswith("0")].iloc[0]
            notes.append(
                f"{name}: numbers that start with zeros, {one} say, are codes and read as text; "
                f"{cells.option}numeric reads them as numbers"
            )
    for name in lacking:
        words = raw[name][frame[name].isna()].str.strip().value_counts()
        if shown := [f"{short(w)} ({n})" for w, n in words.items() if w]:
            notes.append(
                f"{name}: read as missing: {', '.join(shown[:9])}; {cells.option}missing_words "
                "says which words are"
            )
    return notes


def table_parts(
    source: Any,
    size: int,
    cells: Cells | None = None,
    folders: Sequence[Path] = (Path(),),
    numeric: Sequence[str] = (),
) -> Iterator[pd.DataFrame]:
    """Read a table part by part; of a text file, columns that are not numeric stay text.

    Args:
        source: Path of a table, or a DataFrame.
        size: Rows of a part.
        cells: How its cells are written.
        folders: Folders from which the path is tried.
        numeric: Columns that are read as numbers where they hold nothing else.

    Raises:
        UserError: As :func:`read_table`.
    """
    import pandas as pd

    cells = cells or Cells()
    if not isinstance(source, pd.DataFrame):
        path = str(source)
        file = find_table(path, folders)
        if file.name.lower().removesuffix(".gz").endswith((*_JSON, *_PARQUET)):
            source = read_table(path, cells, folders)
    if isinstance(source, pd.DataFrame):
        for start in range(0, len(source), size):
            yield cells.tidied(source.iloc[start : start + size])
        return
    try:
        names = _head(file, cells)
        # By place, as names may be alike; as text, or pandas trips over a file without rows.
        kinds = {str(i): str for i, name in enumerate(names) if name not in numeric}
        kept = [i for i, name in enumerate(names) if name]
        rows = 0
        with pd.read_csv(
            file,
            **cells.options(file),
            chunksize=size,
            header=0,
            names=list(map(str, range(len(names)))),
            dtype=kinds,
            usecols=list(map(str, kept)),
        ) as parts:
            for part in parts:
                rows += len(part)
                part.columns = pd.Index([names[i] for i in kept])
                if rows:
                    yield cells.tidied(part)
        if not rows:
            raise UserError(_empty(path))
    except UnicodeError as error:
        raise UserError(_wrong_encoding(file, path, cells, error)) from error
    except (ValueError, OSError, EOFError, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path} cannot be read: {reason}; fetch or save it again.") from error


def _head(file: Path, cells: Cells) -> list[str]:
    """Return the column names of a text file, empty where there is none."""
    import pandas as pd

    # Without NaN for words: a column may be called NA or None.
    head = pd.read_csv(
        file, sep=cells.separator(file), header=None, nrows=1, dtype=str, keep_default_na=False,
        encoding=cells.encoding,
    )  # fmt: skip
    return [_name(name) for name in head.iloc[0]]


def _empty(path: str) -> str:
    return f"{path} has a header and no rows; fill it, or give another file."


def _wrong_encoding(file: Path, path: str, cells: Cells, error: UnicodeError) -> str:
    with open_binary(file) as content:
        wide = content.read(2) in (b"\xff\xfe", b"\xfe\xff")
    likely = "utf-16" if wide else "cp1252 (of Windows) or latin-1"
    reason = " ".join(str(error).split())[:200]
    return (
        f"{path} is not encoded in {cells.encoding.upper()} ({reason}); save it so, or say "
        f"{cells.option}encoding {likely}."
    )


def _last_row(file: Path, sep: str) -> int | float:
    """Count the values of a text file's last row; infinite where quotes may hide line ends."""
    with open_binary(file) as lines:
        if file.suffix != ".gz":
            lines.seek(max(0, file.stat().st_size - MAX_ROW))
        (last,) = deque((line for line in lines if line.strip()), maxlen=1) or (b"",)
    plain = len(sep) == 1 and b'"' not in last and len(last) < MAX_ROW
    return last.count(sep.encode()) + 1 if plain else math.inf
