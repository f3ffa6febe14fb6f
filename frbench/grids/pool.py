"""Executors that run several cells of a queue at once, in workers that return their records."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError
from frbench.contracts.trust import trusted, trusting
from frbench.grids.executors import OnDone, logged, put, shares
from frbench.grids.grid import Cell
from frbench.grids.queue import WAIT, Queue
from frbench.report.records import Results
from frbench.support.stops import SIGNALS, Stop, answer, as_stop, end_with_parent, listening

Record = dict[str, Any]


def as_it_is(cell: Cell, future: Future[Record], tries: int) -> Record:
    """Return what came back, and try nothing again."""
    return future.result()


def collect(
    queue: Queue,
    on_done: OnDone,
    submit: Callable[[Cell], Future[Record]],
    room: Callable[[], int],
    keep_last: bool = False,
    judge: Callable[[Cell, Future[Record], int], Record | None] = as_it_is,
) -> None:
    """Keep a bounded number of cells at work, and record what comes back.

    Args:
        queue: The cells; those at work are claimed by this process.
        on_done: Called with each cell and its record.
        submit: Starts a cell.
        room: Gives the largest number of cells at work, which may change.
        keep_last: Keep the last checkpoint of a finished run, too.
        judge: Given the cell, what is done, and the number of tries, returns the record, or None
            to try again.
    """
    offers, more = queue.offers(), True
    at_work: dict[Future[Record], tuple[Cell, int, contextlib.ExitStack]] = {}
    with contextlib.ExitStack() as claims:
        while more or at_work:
            while more and len(at_work) < room():
                try:
                    cell = next(offers)
                except StopIteration:
                    more = False
                    break
                if cell is None:
                    break
                with contextlib.ExitStack() as claim:
                    if claim.enter_context(queue.claim(cell)):
                        at_work[submit(cell)] = cell, 1, claims.enter_context(claim.pop_all())
            if at_work:
                over, _ = wait(at_work, timeout=WAIT, return_when=FIRST_COMPLETED)
            else:
                over = set()
                time.sleep(WAIT if more else 0)
            answer()  # a signal that arrived where Python passes exceptions over
            for future in over:
                cell, tries, claim = at_work.pop(future)
                if (record := judge(cell, future, tries)) is None:
                    at_work[submit(cell)] = cell, tries + 1, claim
                    continue
                put(queue, cell, record, on_done, keep_last)
                claim.close()


def in_processes(queue: Queue, on_done: OnDone, jobs: int, keep_last: bool = False) -> None:
    """Run the open cells of a queue in several processes, which this one alone gives them.

    Args:
        queue: The cells.
        on_done: Called with each cell and its record.
        jobs: Number of processes.
        keep_last: Keep the last checkpoint of a finished run, too.

    Raises:
        UserError: If a process dies.
    """
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)  # breaks when this process is gone
    environments = context.SimpleQueue()
    for share in shares(jobs):
        environments.put(share)
    pool = ProcessPoolExecutor(jobs, context, _begin, (theirs, environments))

    def submit(cell: Cell) -> Future[Record]:
        return pool.submit(_run, cell, queue.folder(cell), queue.results.path,
                           queue.watchers(cell), trusted())  # fmt: skip

    try:
        collect(queue, on_done, submit, lambda: jobs, keep_last)
    except BrokenProcessPool as error:
        raise UserError("a process died; the same command continues.") from error
    except KeyboardInterrupt as error:
        pool.shutdown(wait=False, cancel_futures=True)
        _signal(as_stop(error).number)
        try:
            pool.shutdown()
        except KeyboardInterrupt:
            _signal(signal.SIGKILL)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()


def _signal(number: int) -> None:
    for worker in multiprocessing.active_children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid or 0, number)


#: In a process of the pool: its end of the pipe, and the signals that came between two cells.
_pipes: list[Connection] = []
_told: list[int] = []


def _begin(pipe: Connection, environments: SimpleQueue[dict[str, str]]) -> None:
    """Prepare a process of the pool; while a cell runs, signals end it at its next checkpoint."""
    for number in SIGNALS:
        signal.signal(number, lambda number, _: _told.append(number))
    os.environ |= environments.get()
    _pipes.append(pipe)
    end_with_parent(pipe.fileno())


def _run(
    cell: Cell,
    folder: Path,
    results: Path,
    watchers: Sequence[Callable[[], Any]],
    trust: frozenset[str],
) -> Record:
    if _told:
        raise Stop(_told[0])
    with trusting(trust), listening():
        return logged(cell, folder, Results(results), watchers)
