"""An executor that trains cells of one kind as one (:mod:`frbench.stacks`)."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError
from frbench.grids.cell import clear, fit_words, recorded, tested
from frbench.grids.executors import OnDone, in_process
from frbench.grids.grid import Cell
from frbench.grids.memory import free_earlier_runs, many_runs
from frbench.grids.outlook import SEEDS
from frbench.grids.queue import Queue, claimed
from frbench.support.atomic import no_space, write_text
from frbench.support.stops import interruptible, undisturbed


@many_runs()
def in_stacks(queue: Queue, on_done: OnDone, keep_last: bool, size: int) -> None:
    """Run the open cells of a queue in stacks, and one after the other what fits into none.

    Cells of a stack have the same data set, method and options, but for seeds, folds and numbers
    that are no integers. A stack has a folder in ``stacks`` beside ``runs`` until all its cells
    have records; a stack that was interrupted goes on with the cells that it began with.

    Args:
        queue: The cells.
        on_done: Called with each cell and its record.
        keep_last: Keep the last checkpoint of a finished run, too.
        size: Most cells in a stack.
    """
    said: set[str] = set()
    alone: set[str] = set()  # keys of cells that fit into no stack
    trained = True
    while trained:  # again: other processes may have given cells back
        trained = False
        for cells in _groups(queue, size, alone):
            with _mine(queue, cells) as mine:
                stacks = _Stacks(queue, mine, on_done, keep_last)
                for cell, why in stacks.run() if mine else ():
                    alone.add(cell.key)
                    line = f"{cell.data} {cell.method} runs one by one: {why}"
                    if line not in said:
                        print(line, file=sys.stderr)
                    said.add(line)
                trained = trained or stacks.trained
    in_process(queue, on_done, keep_last)


def _groups(queue: Queue, size: int, alone: set[str]) -> Iterator[list[Cell]]:
    """Yield cells that may train together: those of interrupted stacks, then open ones."""
    by_key = {cell.key: cell for cell in queue.cells}
    begun: set[str] = set()
    for file in sorted((queue.out / "stacks").glob("*/cells.json")):
        keys = json.loads(file.read_text())
        if not {*keys} <= by_key.keys():  # of another grid, or shard
            continue
        cells = [by_key[key] for key in keys]
        with claimed(queue.folder(cells[0])) as free:
            goes_on = (file.parent / "last.ckpt").is_file() and any(map(queue.is_open, cells))
            if free and (not goes_on or any(map(queue.has_changed, cells))):
                shutil.rmtree(file.parent, ignore_errors=True)
                continue
        begun |= {*keys}
        yield cells
    kinds: dict[str, list[Cell]] = {}
    for cell in queue.cells:
        own = queue.folder(cell) / "checkpoints" / "last.ckpt"
        if cell.parent is None and cell.key not in begun | alone and not own.exists():
            kinds.setdefault(_kind(cell), []).append(cell)
    for alike in kinds.values():
        still = [cell for cell in alike if queue.is_open(cell)]
        for start in range(0, len(still), size):
            yield still[start : start + size]


def _kind(cell: Cell) -> str:
    """Return what is equal for cells that may train together."""
    options = {k: _unnumbered(v) for k, v in cell.options.items() if k not in SEEDS}
    return json.dumps([cell.data, cell.method, options, cell.configs, cell.extra], sort_keys=True)


def _unnumbered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unnumbered(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unnumbered(item) for item in value]
    return "a number" if isinstance(value, float) else value


@contextlib.contextmanager
def _mine(queue: Queue, cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Claim cells; none where another process has the first one, which it takes first, too."""
    with contextlib.ExitStack() as claims:
        mine: list[Cell] = []
        for cell in cells:
            if not claims.enter_context(claimed(queue.folder(cell))):
                if not mine:
                    break
                continue
            mine.append(cell)
        yield mine


class _Run:
    """A cell of a stack, built."""

    def __init__(self, cell: Cell, folder: Path, cli: Any, member: Any) -> None:
        self.cell = cell
        self.folder = folder
        self.cli = cli
        self.member = member


class _Stacks:
    """Trains the cells of one group: in one stack, or in several where they are not alike.

    Args:
        queue: The queue.
        cells: Its cells, claimed.
        on_done: Called with each cell and its record.
        keep_last: Keep the last checkpoint of a finished run, too.
    """

    def __init__(self, queue: Queue, cells: list[Cell], on_done: OnDone, keep_last: bool) -> None:
        self.queue = queue
        self.on_done = on_done
        self.keep_last = keep_last
        self.folder = self._folder(cells)
        self.resumes = (self.folder / "last.ckpt").is_file()
        self.cells = cells if self.resumes else [c for c in cells if queue.is_open(c)]
        self.trained = False
        self.logs = contextlib.ExitStack()
        self._log_of: dict[str, Any] = {}
        self._first: _Run | None = None

    def _folder(self, cells: Sequence[Cell]) -> Path:
        keys = json.dumps([cell.key for cell in cells])
        return self.queue.out / "stacks" / hashlib.sha256(keys.encode()).hexdigest()[:16]

    def run(self) -> list[tuple[Cell, str]]:
        """Train what can be stacked; return the other cells, each with the reason."""
        with self.logs, interruptible(lambda: ""):
            return self._run() if len(self.cells) > 1 or self.resumes else []

    def _run(self) -> list[tuple[Cell, str]]:
        from frbench.stacks.forming import form

        free_earlier_runs()
        start = time.monotonic()
        runs = [run for cell in self.cells if (run := self._build(cell)) is not None]
        with self._into(self.cells[0]):
            stacks, alone = form(
                [run.member for run in runs], [r.cli.trainer_options for r in runs]
            )
        of = {id(run.member): run for run in runs}
        left = [(of[id(member)].cell, why) for member, why in alone]
        for members in stacks:
            mine = [of[id(member)] for member in members]
            try:
                start = self._train(mine, start)
            except Exception as error:  # by itself, each run says what is wrong with it
                if isinstance(error, OSError) and no_space(error):
                    raise
                with self._into(mine[0].cell):
                    traceback.print_exc()
                shutil.rmtree(self._folder([run.cell for run in mine]), ignore_errors=True)
                why = f"their stack failed ({type(error).__name__}: {error})"[:300]
                left += [(run.cell, why) for run in mine]
        return left

    @contextlib.contextmanager
    def _into(self, cell: Cell) -> Iterator[None]:
        """Send what is printed into a cell's log."""
        if cell.key not in self._log_of:
            file = (self.queue.folder(cell) / "log.txt").open("a", buffering=1)
            self._log_of[cell.key] = self.logs.enter_context(file)
        log = self._log_of[cell.key]
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield

    def _build(self, cell: Cell) -> _Run | None:
        """Build a cell; one that fails is left to run by itself, which says why."""
        from frbench.runs.cli import train
        from frbench.stacks.member import Member

        folder = self.queue.folder(cell)
        with self._into(cell):
            if not self.resumes:
                clear(folder)
            try:
                cli = train(fit_words(cell, folder), kind=self._command(cell, folder))
            except (UserError, SystemExit):
                return None
            member = Member(cli.trainer, cli.model, cli.datamodule)
            member.recorded = not self.queue.is_open(cell)
            run = _Run(cell, folder, cli, member)
            self._first = self._first or run
            return run

    def _command(self, cell: Cell, folder: Path) -> Any:
        """Return the command line of a cell, which reads only what the first one has not read."""
        from frbench.runs.prepared import Alike, Prepared, changed

        if (first := self._first) is None:
            return Prepared
        before, after = ({**c.options, "run_dir": str(f)} for c, f in
                         ((first.cell, first.folder), (cell, folder)))  # fmt: skip
        config = changed(first.cli, before, after, " ".join(cell.extra))
        return Prepared if config is None else functools.partial(Alike, first.cli, config)

    def _train(self, runs: Sequence[_Run], start: float) -> float:
        """Train a stack and record its cells; return the time at the end."""
        from frbench.stacks.forming import fit

        cells = [run.cell for run in runs]
        folder, of = self._folder(cells), {id(run.member): run.cell for run in runs}
        if not (folder / "last.ckpt").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "cells.json", json.dumps([cell.key for cell in cells]))
        with self._into(cells[0]):
            before, wasted = fit(
                [run.member for run in runs],
                runs[0].cli.trainer_options,
                folder,
                lambda member: self._into(of[id(member)]),
                self.keep_last,
            )
        share = (before + time.monotonic() - start) / len(runs)
        for run in runs:
            if not run.member.recorded:
                self._record(run, share, {"runs": len(runs), "wasted_steps": wasted})
        shutil.rmtree(folder, ignore_errors=True)
        self.trained = True
        return time.monotonic()

    def _record(self, run: _Run, seconds: float, stack: dict[str, int]) -> None:
        member = run.member

        def test() -> dict[str, Any]:
            if member.error is not None:
                raise member.error
            for logger in member.own.loggers:
                logger.at = member.finished
            steps = member.finished[0]
            found = tested(run.cell, run.cli, member.trainer, run.folder, steps, seconds)
            return {**found, "stack": stack}

        with self._into(run.cell):
            record = recorded(run.cell, test)
        with undisturbed():
            self.queue.results.append(record)
            if record["status"] == "ok" and not self.keep_last:
                (run.folder / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
            self.on_done(run.cell, record)
