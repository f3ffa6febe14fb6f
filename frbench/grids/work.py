"""The loop over the cells of a grid that one process runs."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frbench.grids.cell import run_cell
from frbench.grids.grid import Cell
from frbench.report.results import append, read_results


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Hold a cell's lock; gives False where another process holds it. Death releases it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def work(cells: list[Cell], out: Path, since: int, on_done: Any, keep_last: bool = False) -> None:
    """Run the cells that are neither finished nor claimed by another process.

    Args:
        cells: The cells of this process.
        out: Folder of results.
        since: Lines of the results file when the command started; a cell that failed since then
            is not tried again.
        on_done: Called with each cell and its record, None if it was finished before.
        keep_last: Keep the last checkpoint of a finished run, too.
    """
    results = out / "results.jsonl"
    for cell in cells:
        folder = out / "runs" / cell.key
        with claimed(folder) as mine:
            if not mine:
                continue
            # Read under the lock: another process may have finished the cell meanwhile.
            ok = read_results(results).get(cell.key, {}).get("status") == "ok"
            if ok or cell.key in read_results(results, since):
                on_done(cell, None)
                continue
            with (
                (folder / "log.txt").open("a") as log,
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
            ):
                record = run_cell(cell, folder)
            append(results, record)
            if record["status"] == "ok" and not keep_last:
                (folder / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
            on_done(cell, record)
