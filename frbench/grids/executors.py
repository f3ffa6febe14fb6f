"""Executors of a grid: what takes cells from its queue, runs them and records what came out.

An executor is a function of a :class:`~frbench.grids.queue.Queue`: it iterates over the queue,
runs each cell in the cell's folder and appends the record to ``queue.results``. :func:`in_process`
runs one cell after the other; :func:`start_workers` starts processes that each do so on the same
folder. Other executors (a cluster, many cells trained as one) take the place of these functions.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from frbench.grids.cell import run_cell
from frbench.grids.grid import Cell
from frbench.grids.memory import many_runs
from frbench.grids.queue import Queue
from frbench.report.records import Results
from frbench.support.cores import CORES, available_cores
from frbench.support.stops import undisturbed

#: Told of each cell and its record.
OnDone = Callable[[Cell, dict[str, Any]], None]


@many_runs()
def in_process(queue: Queue, on_done: OnDone, keep_last: bool = False) -> None:
    """Run the open cells of a queue one after the other, in this process.

    Args:
        queue: The cells.
        on_done: Called with each cell and its record.
        keep_last: Keep the last checkpoint of a finished run, too.
    """
    with contextlib.closing(
        queue.__iter__()
    ) as cells:  # an interrupt gives the claim back at once
        for cell in cells:
            folder = queue.folder(cell)
            record = logged(cell, folder, queue.results, queue.watchers(cell))
            put(queue, cell, record, on_done, keep_last)


def logged(
    cell: Cell, folder: Path, results: Results, watchers: Sequence[Callable[[], Any]]
) -> dict[str, Any]:
    """Run a cell as :func:`~frbench.grids.cell.run_cell` does; what is printed goes to its log."""
    with (
        (folder / "log.txt").open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        return run_cell(cell, folder, results, watchers)


def put(
    queue: Queue, cell: Cell, record: dict[str, Any], on_done: OnDone, keep_last: bool
) -> None:
    """Record what came out of a cell."""
    with undisturbed():
        queue.results.append(record)
        if record["status"] == "ok" and not keep_last:
            (queue.folder(cell) / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
        on_done(cell, record)


def start_workers(words: Sequence[str], jobs: int) -> list[subprocess.Popen[bytes]]:
    """Start processes that run the open cells of one queue side by side.

    Each gets its share of the cores (FRBENCH_CORES), unless OMP_NUM_THREADS is set, and worker k
    of several GPUs the GPU k mod their number.

    Args:
        words: Words of the command ``frbench`` that makes a process a worker.
        jobs: Number of processes.
    """
    return [
        subprocess.Popen(
            [sys.executable, "-m", "frbench", *words],
            env={**os.environ, **share},
            stdin=subprocess.PIPE,  # which breaks when this process is gone: a worker ends then
            stdout=subprocess.DEVNULL,
        )
        for share in shares(jobs)
    ]


def shares(jobs: int) -> list[dict[str, str]]:
    """Return what is added to the environment of each of several processes side by side."""
    share = {CORES: str(max(1, available_cores() // jobs))}
    cores = {} if "OMP_NUM_THREADS" in os.environ else share
    gpus = visible_gpus()
    return [
        cores | ({"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {})
        for worker in range(jobs)
    ]


def visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, without importing torch; possibly none."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1")]
    if (command := shutil.which("nvidia-smi")) is None:
        return []
    done = subprocess.run([command, "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]
