"""Records of runs in ``results.jsonl``: the one reader and the one writer of the file."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from frbench.contracts.errors import UserError

#: The results file of a search, whose numbers chose the settings: no results of a method.
TRIALS = "trials.jsonl"
#: Keys that come first in a line that is written: all that a queue asks about a finished run.
FIRST = ("cell", "status", "data_files")
_FIRST = re.compile(rb'{"cell": "([^"\\]*)", "status": "ok", "data_files": ({[^{}]*}), ')


def parse_line(line: bytes, where: str) -> dict[str, Any] | None:
    """Read one line of a results file.

    Args:
        line: The line, without its end.
        where: File and number of the line, for messages.

    Returns:
        The record; None for an empty line, or one that its writer was killed in the middle of.
        Such a line can stand anywhere in a file, as the next writer starts a new line after it.

    Raises:
        UserError: If the line is no record of a run.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 ({error.reason}): delete the line.") from None
    if not text.strip():
        return None
    try:
        record = json.loads(text)
        if isinstance(record, dict) and all(
            isinstance(record[key], str) for key in ("cell", "status")
        ):
            return record
    except RecursionError:
        raise UserError(f"{where} is nested too deeply: delete the line.") from None
    except json.JSONDecodeError as error:
        if text.startswith("{") and text.count("{") > text.count("}"):
            return None
        raise UserError(f"{where} is not JSON ({error.msg}): repair or delete the line.") from None
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{where} is not a record of a run ({error}): delete the line.") from None
    except KeyError as error:
        raise UserError(f"{where} lacks {error}: is it a file of `frbench bench`?") from None
    raise UserError(f"{where} is not a record of a run: delete the line.")


class Head(NamedTuple):
    """What a queue asks about a run.

    Attributes:
        cell: Key of the run.
        status: ``ok`` or ``failed``.
        data_files: The sha256 of each file of its data.
        line: The record.
        where: File and number of the line.
    """

    cell: str
    status: str
    data_files: dict[str, str | None]
    line: bytes
    where: str

    def record(self) -> dict[str, Any] | None:
        """Read the whole record; None if it was cut short."""
        return parse_line(self.line, self.where)


def parse_head(line: bytes, where: str) -> Head | None:
    """Read of a line what a queue asks for.

    A line of a finished run that :meth:`Results.append` wrote is read up to its metrics only; a
    line that was cut short has lost a closing brace. Every other line is read in full.

    Args:
        line: The line, without its end.
        where: File and number of the line.

    Returns:
        None where :func:`parse_line` returns None.

    Raises:
        UserError: If the line is no record of a run.
    """
    ends = line.endswith(b"}") and line.count(b"{") == line.count(b"}")
    if ends and (found := _FIRST.match(line)):
        return Head(found[1].decode(), "ok", _files(found[2]), line, where)
    if (record := parse_line(line, where)) is None:
        return None
    files = record.get("data_files") or {}
    return Head(record["cell"], record["status"], files, line, where)


@cache
def _files(text: bytes) -> dict[str, str | None]:
    """Read the hashes of data files; most lines of a results file have the same."""
    found: dict[str, str | None] = json.loads(text)
    return found


class Results:
    """The latest record of each cell of a results file; each call reads what was appended.

    Args:
        path: The file; it may be missing.
        since: Bytes at its start that were there when the command started.

    Example:
        >>> import tempfile
        >>> results = Results(Path(tempfile.mkdtemp()) / "results.jsonl")
        >>> results.append({"cell": "a", "status": "ok", "loss": math.nan})
        >>> results.latest()
        {'a': {'cell': 'a', 'status': 'ok', 'loss': None}}
    """

    def __init__(self, path: Path, since: int = 0) -> None:
        self.path = path
        self.since = since
        self._forget()

    def _forget(self) -> None:
        self._at = 0  # bytes read so far
        self._line = 0  # lines read so far
        self._heads: dict[str, Head] = {}
        #: Cells with a record since the command started, as of the last call of `heads`.
        self.recent: set[str] = set()

    def heads(self) -> dict[str, Head]:
        """Return what a queue asks about the latest record of each cell.

        Raises:
            UserError: If a line is no record; the message names file and line.
        """
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._at:  # replaced, or cut
            self._forget()
        if size == self._at:
            return self._heads
        with self.path.open("rb") as file:
            file.seek(self._at)
            *whole, rest = file.read().split(b"\n")
        for line in whole:
            self._line += 1
            self._take(line, self._line)
            self._at += len(line) + 1
        # A record whose writer was killed before the line's end; read again at the next call.
        if rest.endswith(b"}"):
            self._take(rest, self._line + 1)
        return self._heads

    def _take(self, line: bytes, number: int) -> None:
        if (head := parse_head(line, f"{self.path}:{number}")) is not None:
            self._heads.pop(head.cell, None)  # the latest also comes last
            self._heads[head.cell] = head
            if self._at >= self.since:
                self.recent.add(head.cell)

    def latest(self) -> dict[str, dict[str, Any]]:
        """Return the latest record of each cell.

        Raises:
            UserError: If a line is no record; the message names file and line.
        """
        records = ((cell, head.record()) for cell, head in self.heads().items())
        return {cell: record for cell, record in records if record is not None}

    def append(self, record: dict[str, Any]) -> None:
        """Append one line, whole or not at all, whoever else is writing."""
        record = {key: record[key] for key in FIRST if key in record} | record
        try:
            line = json.dumps(record, allow_nan=False) + "\n"
        except ValueError:  # some value is NaN or infinite
            line = json.dumps(finite(record), allow_nan=False) + "\n"
        with self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # A writer that was killed in mid-line leaves no line end; ours must start a new line.
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())


def finite(value: Any) -> Any:
    """Write what is not a finite number as null, which JSON has."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
