"""Records of runs in ``results.jsonl``: the one reader and the one writer of the file."""

from __future__ import annotations

import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError


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
    text = line.decode("utf-8", errors="replace")
    if not text.strip():
        return None
    try:
        record = json.loads(text)
        if isinstance(record, dict):
            _ = record["cell"], record["status"]
            return record
    except json.JSONDecodeError as error:
        if text.startswith("{") and text.count("{") > text.count("}"):
            return None
        raise UserError(f"{where} is not JSON ({error.msg}): repair or delete the line.") from None
    except KeyError as error:
        raise UserError(f"{where} lacks {error}: is it a file of `frbench bench`?") from None
    raise UserError(f"{where} is not a record of a run: delete the line.")


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
        self._records: dict[str, dict[str, Any]] = {}
        self._recent: set[str] = set()

    def latest(self) -> dict[str, dict[str, Any]]:
        """Return the latest record of each cell.

        Raises:
            UserError: If a line is no record; the message names file and line.
        """
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._at:  # replaced, or cut
            self._forget()
        if size == self._at:
            return self._records
        with self.path.open("rb") as file:
            file.seek(self._at)
            *whole, rest = file.read().split(b"\n")
        for line in whole:
            self._line += 1
            self._take(parse_line(line, f"{self.path}:{self._line}"))
            self._at += len(line) + 1
        # A record whose writer was killed before the line's end; read again at the next call.
        if rest.endswith(b"}"):
            self._take(parse_line(rest, f"{self.path}:{self._line + 1}"))
        return self._records

    def _take(self, record: dict[str, Any] | None) -> None:
        if record is not None:
            self._records.pop(record["cell"], None)  # the latest also comes last
            self._records[record["cell"]] = record
            if self._at >= self.since:
                self._recent.add(record["cell"])

    def recent(self) -> dict[str, dict[str, Any]]:
        """Return the latest record of each cell that was written since the command started."""
        records = self.latest()
        return {cell: records[cell] for cell in self._recent}

    def is_finished(self, cell: str) -> bool:
        """Whether the latest record of a cell says that it succeeded."""
        record = self.latest().get(cell)
        return record is not None and record["status"] == "ok"

    def was_tried(self, cell: str) -> bool:
        """Whether a record of a cell was written since the command started."""
        self.latest()
        return cell in self._recent

    def append(self, record: dict[str, Any]) -> None:
        """Append one line, whole or not at all, whoever else is writing."""
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
