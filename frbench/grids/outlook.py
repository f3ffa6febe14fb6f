"""What a grid will do, said before it starts: wrong options, the number of runs, time and disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from frbench.contracts.errors import UserError
from frbench.grids.grid import Cell
from frbench.grids.queue import Queue

#: Options in which cells differ that need not be read twice.
SEEDS = ("seed_everything", "data.seed", "data.fold")


def wrong_cells(cells: Sequence[Cell]) -> list[str]:
    """List what is wrong with the options of cells, each kind once, with the cell's name.

    Cells that differ in seed, fold and numbers alone are read once.
    """
    if not cells:
        return []
    from frbench.runs.check import problems

    distinct: dict[str, Cell] = {}
    for cell in cells:
        options = {k: _kind(v) for k, v in cell.options.items() if k not in SEEDS}
        distinct.setdefault(json.dumps([cell.data, cell.method, options], sort_keys=True), cell)
    trained = {k: cell for k, cell in distinct.items() if cell.parent is None}
    behind = {k: cell for k, cell in distinct.items() if cell.parent is not None}
    found = problems([["fit", *cell.arguments()] for cell in trained.values()])
    found += [_problem_behind(cell) for cell in behind.values()]
    distinct = trained | behind
    said: dict[str, Cell] = {}
    for cell, problem in zip(distinct.values(), found, strict=True):
        if problem is not None:
            said.setdefault(problem, cell)
    return [f"cell {c.index} ({c.data} {c.method}): {problem}" for problem, c in said.items()]


def data_files(cells: Sequence[Cell]) -> list[str]:
    """List the files that the data of cells are read from, as their options name them."""
    from frbench.runs.check import data_files

    distinct: dict[str, Cell] = {}
    for cell in (cell.root for cell in cells):
        options = {k: v for k, v in cell.options.items() if k.startswith("data")}
        kept = {k: _kind(v) for k, v in options.items() if k not in SEEDS}
        distinct.setdefault(json.dumps([cell.data, kept], sort_keys=True), cell)
    found = data_files([["fit", *cell.arguments()] for cell in distinct.values()])
    return list(dict.fromkeys(name for names in found for name in names))


def _problem_behind(cell: Cell) -> str | None:
    """Say what is wrong with the options of a cell that trains nothing."""
    from frbench.runs.postprocess import request_of

    try:
        request_of(cell.options)
    except UserError as error:
        return str(error)
    return None


def _kind(value: Any) -> Any:
    """Give all numbers of one type the same name: their ranges are not checked here."""
    return type(value).__name__ if type(value) in (int, float) else value


def estimate(queue: Queue, jobs: int) -> str:
    """Estimate the time and disk of the open cells from those that have finished.

    Args:
        queue: The cells.
        jobs: Number of processes.

    Returns:
        One line.
    """
    records, heads = queue.results.latest(), queue.results.heads()
    seconds: dict[tuple[str, str], list[float]] = {}
    sizes: list[float] = []
    still = [cell for cell in queue.cells if queue.is_open(cell)]
    for cell in queue.cells:
        if cell.key in records and heads[cell.key].status == "ok":
            seconds.setdefault((cell.data, cell.method), []).append(records[cell.key]["seconds"])
            files = queue.folder(cell).rglob("*")
            sizes.append(sum(file.stat().st_size for file in files if file.is_file()))
    if not still:
        return "nothing is left to run"
    if not seconds:
        return (
            f"time and disk are not known before a run has finished; --index {still[0].index} "
            "runs one"
        )
    overall = fmean(value for values in seconds.values() for value in values)
    left = sum(fmean(seconds.get((cell.data, cell.method), [overall])) for cell in still) / jobs
    hours, minutes = divmod(round(left / 60), 60)
    duration = f"{hours} h {minutes} min" if hours or minutes else f"{left:.0f} s"
    return (
        f"about {duration} on {jobs} process{'es' * (jobs > 1)} and "
        f"{fmean(sizes) * len(still) / 2**20:,.1f} MB of disk for {len(still)} runs, from the "
        f"{len(sizes)} that have finished"
    )
