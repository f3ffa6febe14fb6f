"""Which cells of a grid are open, and who works on them."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from frbench.grids.grid import Cell
from frbench.report.records import Results
from frbench.support.files import file_hashes

#: Seconds between two looks at whether the runs that others start from are done.
WAIT = 0.5


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Lock a cell by its log; gives False where another process has. Death releases it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("ab") as lock:
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

    Attributes:
        ahead: Number of cells that a cluster is given beyond those that it has room for.
    """

    ahead = 2

    def __init__(self, cells: Sequence[Cell], out: Path, results: Results) -> None:
        self.cells = cells
        self.out = out
        self.runs = out / "runs"
        self.results = results
        self._keys = {cell.key for cell in cells}
        self._hashes: dict[str, str | None] = {}  # of each data file, when it was first asked for

    def folder(self, cell: Cell) -> Path:
        """The folder of a cell's run."""
        return self.runs / cell.key

    def is_open(self, cell: Cell) -> bool:
        """Whether a cell is to be run: it has not succeeded, nor failed in this session."""
        head = self.results.heads().get(cell.key)
        if head is None:
            return True
        if cell.key in self.results.recent:
            return False
        return head.status != "ok" or self.has_changed(cell)

    def has_changed(self, cell: Cell) -> bool:
        """Whether the files of a cell's data are not those that its record names."""
        head = self.results.heads().get(cell.key)
        files = {} if head is None else head.data_files
        if new := [name for name in files if name not in self._hashes]:
            self._hashes |= file_hashes(new)
        return any(self._hashes[name] != before for name, before in files.items())

    def is_ready(self, cell: Cell) -> bool:
        """Whether a cell need not wait for the run that it starts from.

        Where that one has failed, or is none of the queue's, waiting would not help: the cell's
        own record says what is missing.
        """
        parent = cell.parent
        return parent is None or parent.key not in self._keys or not self.is_open(parent)

    def offers(self) -> Iterator[Cell | None]:
        """Yield the open cells, and None where all that are left wait for others to be done.

        A cell that starts from another's checkpoint comes once that one is done. Cells that
        somebody works on are among them: :meth:`claim` tells.
        """
        waiting = True
        while waiting:
            waiting = False
            for cell in self.cells:
                if not self.is_open(cell):
                    continue
                if self.is_ready(cell):
                    yield cell
                else:
                    waiting = True
            if waiting:
                yield None

    @contextlib.contextmanager
    def claim(self, cell: Cell) -> Iterator[bool]:
        """Lock a cell for whoever runs it; gives False if it is not to be run any more."""
        with claimed(self.folder(cell)) as mine:
            # Asked again: another process may have finished it before the lock was free.
            mine = mine and self.is_open(cell)
            if mine and self.has_changed(cell):  # what it learnt is of other data
                shutil.rmtree(self.folder(cell) / "checkpoints", ignore_errors=True)
            yield mine

    def examples(self) -> list[Cell]:
        """Return cells with the options of all that are still to be run."""
        return [cell for cell in self.cells if self.is_open(cell)]

    def watchers(self, cell: Cell) -> Sequence[Callable[[], Any]]:
        """Makers of the callbacks with which a cell is trained; they can be sent to a process."""
        return ()

    def __iter__(self) -> Generator[Cell, None, None]:
        """Yield the open cells, one after the other; each is claimed until the next is asked for.

        For executors that run one cell at a time.
        """
        for cell in self.offers():
            if cell is None:
                time.sleep(WAIT)
                continue
            with self.claim(cell) as mine:
                if mine:
                    yield cell

    def finished(self) -> int:
        """Number of cells whose latest record says that they succeeded."""
        heads = self.results.heads()
        return sum(c.key in heads and heads[c.key].status == "ok" for c in self.cells)

    def failed(self) -> list[tuple[Cell, str]]:
        """The cells that failed in this session, each with the reason."""
        heads = self.results.heads()
        recent = [c for c in self.cells if c.key in self.results.recent]
        records = [(c, heads[c.key].record()) for c in recent if heads[c.key].status == "failed"]
        return [(c, str((record or {}).get("error", ""))) for c, record in records]
