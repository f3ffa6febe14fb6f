"""Grids of two phases: every setting runs on some seeds, the chosen ones run on others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from frbench.grids.grid import KEYS, Cell, cells_of, read_file
from frbench.grids.seeds import grid_directions, read_seeds, validation_rule
from frbench.report.choice import at_checkpoints, choose_runs
from frbench.report.records import Results
from frbench.report.results import run_of


class Phases:
    """The cells of a grid file; those of its final phase are known once the search is done.

    Args:
        path: The grid file.
        words: Words of the command line, for every run that trains.

    Attributes:
        search: The cells of the search, or of a grid of one phase.
        final_seeds: Seeds of the final phase; none in a grid of one phase.

    Raises:
        UserError: If the grid is wrong.
    """

    def __init__(self, path: str | Path, words: tuple[str, ...] = ()) -> None:
        self._path = Path(path)
        self._words = words
        self._grid = read_file(self._path, KEYS)
        seeds = read_seeds(self._grid, self._path)
        own = grid_directions(self._grid, self._path)
        self._rules = [validation_rule(text, own, "select:") for text in seeds.select]
        self.final_seeds = seeds.final
        cells = cells_of(self._grid, self._path)
        self.search = [cell.with_words(words) for cell in cells]

    def cells(self, results: Results) -> list[Cell]:
        """Return the cells that the records call for: the search, then the final runs.

        The final runs are those of the settings that a rule of the grid chooses for a method on
        a data set, and the runs that these start from. They are called for when each run of the
        search has succeeded or failed. A final run whose seed is one of the search is a run of
        the search.

        Args:
            results: Records of the grid.
        """
        heads = results.heads()
        if not self.final_seeds or any(cell.key not in heads for cell in self.search):
            return self.search
        chosen = {_name(cell) for _, cells, _ in self.choices(results) for cell in cells}
        known = {cell.key for cell in self.search}
        final: dict[str, Cell] = {}
        for cell in cells_of(self._grid, self._path, "final"):
            if _name(cell) in chosen:
                line = _ancestors(cell.with_words(self._words))
                final |= {each.key: each for each in line if each.key not in known}
        first = len(self.search)
        return self.search + [replace(c, index=first + i) for i, c in enumerate(final.values())]

    def choices(self, results: Results) -> Iterator[tuple[str, Sequence[Cell], list[str]]]:
        """Yield what each rule chooses for each method on each data set.

        Args:
            results: Records of the grid.

        Yields:
            The rule, the cells of the chosen setting, none where there is none, and remarks.
        """
        cells = {cell.key: cell for cell in self.search}
        latest = results.latest()
        runs = [run_of(latest[key], results.path.parent) for key in cells if key in latest]
        runs = [run for run in runs if run.error is None]
        for data, method in dict.fromkeys((cell.data, cell.method) for cell in self.search):
            here = [run for run in runs if (run.data, run.method) == (data, method)]
            for rule in self._rules:
                found, remarks = choose_runs(at_checkpoints(here, rule), rule)
                named = [f"{data} {method}, {rule.text}: {remark}" for remark in remarks]
                yield rule.text, [cells[run.cell] for run in found], named


def _name(cell: Cell) -> str:
    """Name a setting of a method on a data set."""
    return json.dumps([cell.data, cell.method, cell.settings], sort_keys=True)


def _ancestors(cell: Cell) -> list[Cell]:
    """Return a cell behind all that it starts from."""
    return [*(_ancestors(cell.parent) if cell.parent else ()), cell]
