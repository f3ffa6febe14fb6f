"""Which cells of a grid are open, and who works on them."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from frbench.grids.grid import Cell
from frbench.report.records import Results
from frbench.support.files import file_hashes


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


class Queue:
    """The cells of a grid that are neither finished nor another process's.

    An executor (:mod:`frbench.grids.executors`) iterates over it and gives each record to
    :attr:`results`; any number of executors may share a folder.

    Args:
        cells: The cells, in the order in which they are run.
        out: Folder of results.
        results: Their records.
    """

    def __init__(self, cells: Sequence[Cell], out: Path, results: Results) -> None:
        self.cells = cells
        self.out = out
        self.results = results

    def folder(self, cell: Cell) -> Path:
        """The folder of a cell's run."""
        return self.out / "runs" / cell.key

    def is_open(self, cell: Cell) -> bool:
        """Whether a cell is to be run: it has not succeeded, nor failed in this session."""
        if self.results.was_tried(cell.key):
            return False
        return not self.results.is_finished(cell.key) or self.has_changed(cell)

    def has_changed(self, cell: Cell) -> bool:
        """Whether the files of a cell's data are not those that its record names."""
        files = self.results.latest().get(cell.key, {}).get("data_files", {})
        return bool(files) and files != file_hashes(list(files))

    def __iter__(self) -> Generator[Cell, None, None]:
        """Yield the open cells; each is claimed until the next one is asked for."""
        for cell in self.cells:
            if self.is_open(cell):
                with claimed(self.folder(cell)) as mine:
                    # Asked again: another process may have finished it before the lock was free.
                    if mine and self.is_open(cell):
                        if self.has_changed(cell):  # what it learnt is of other data
                            shutil.rmtree(self.folder(cell) / "checkpoints", ignore_errors=True)
                        yield cell

    def finished(self) -> int:
        """Number of cells whose latest record says that they succeeded."""
        records = self.results.latest()
        return sum(records.get(c.key, {}).get("status") == "ok" for c in self.cells)
