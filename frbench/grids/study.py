"""A study file: a grid file whose ``random`` is a ``search``; imports neither torch nor Optuna."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError
from frbench.contracts.text import short
from frbench.grids.grid import KEYS, Cell, cells_of, read_file
from frbench.grids.seeds import grid_directions, texts, validation_rule
from frbench.grids.space import MAX_CELLS, MAX_NUMBER, dimension, mapping
from frbench.report.rule import DEFAULT, Rule

SAMPLERS = ("tpe", "nsga2", "random", "grid")
#: Keys of ``search`` that are whole numbers, with their defaults and least values.
NUMBERS = {"trials": (50, 1), "seed": (0, 0), "heartbeat": (60, 1), "confirm": (5, 1)}
SEARCH_KEYS = {*NUMBERS, "sampler", "objectives", "constraints", "prune", "storage", "space"}
#: Options of the median rule, with their defaults.
PRUNE = {"startup": 5, "warmup": 0}


@dataclass(frozen=True)
class Constraint:
    """A bound on a rule that a setting must keep to be chosen, ``val/accuracy >= 0.8``.

    Attributes:
        text: The constraint as the user wrote it.
        rule: What is bounded.
        sign: -1 if the bound is the least value, 1 if it is the largest.
        bound: The bound.
    """

    text: str
    rule: Rule
    sign: int
    bound: float

    def excess(self, value: float) -> float:
        """How far a value is on the wrong side, at most 0 on the right one; 1 where undefined."""
        return 1.0 if math.isnan(value) else self.sign * (value - self.bound)


@dataclass(frozen=True)
class Plan:
    """How the settings of each method are searched; the keys of ``search``.

    Attributes:
        sampler: One of :data:`SAMPLERS`.
        trials: Number of settings of each method.
        objectives: What is optimised, each in its own direction.
        constraints: What a setting must keep to be chosen.
        prune: Options of the median rule, or None.
        seed: Seed of the sampler.
        storage: URL of Optuna's storage, or None for a journal file in the folder of results.
        heartbeat: Seconds between two signs of life of a trial in a database.
        confirm: Number of new seeds of the confirmation.
    """

    sampler: str
    trials: int
    objectives: tuple[Rule, ...]
    constraints: tuple[Constraint, ...]
    prune: dict[str, int] | None
    seed: int
    storage: str | None
    heartbeat: int
    confirm: int


@dataclass(frozen=True)
class Study:
    """The search for the settings of one method.

    Attributes:
        method: Name of the method in the file.
        space: Kind and bounds of each option, as :func:`~frbench.grids.space.dimension` gives.
        plan: How it is searched.
        grid: The file without ``search`` and ``methods``.
        options: Options of the method.
        path: The file.
        extra: Words of the command line, for every run.
    """

    method: str
    space: dict[str, tuple[str, list[Any]]]
    plan: Plan
    grid: dict[str, Any] = field(repr=False)
    options: dict[str, Any] = field(repr=False)
    path: Path
    extra: tuple[str, ...]

    def cells(self, settings: Mapping[str, Any]) -> list[Cell]:
        """Return the runs of a setting: those that a grid file with it alone would have."""
        own = {**self.options, "grid": {key: [value] for key, value in settings.items()}}
        cells = cells_of({**self.grid, "methods": {self.method: own}}, self.path)
        return [cell.with_words(self.extra) for cell in cells]

    @property
    def first(self) -> dict[str, Any]:
        """The setting of lowest bounds and first choices."""
        return {key: values[0] for key, (_, values) in self.space.items()}

    def samples(self) -> Iterator[Cell]:
        """Yield a run with each value of each choice, to check the options."""
        for key, (kind, values) in self.space.items():
            for value in values if kind == "choice" else values[:1]:
                yield self.cells({**self.first, key: value})[0]

    def points(self) -> list[dict[str, Any]]:
        """Return every combination of the values.

        Raises:
            UserError: If an option has infinitely many.
        """
        columns = []
        for key, (kind, values) in self.space.items():
            if kind not in ("choice", "int_uniform"):
                raise UserError(
                    f"search: sampler grid needs choice or int_uniform, but {key} has {kind}."
                )
            columns.append(values if kind == "choice" else range(values[0], values[1] + 1))
        return [dict(zip(self.space, point, strict=True)) for point in itertools.islice(
            itertools.product(*columns), self.plan.trials
        )]  # fmt: skip

    @property
    def name(self) -> str:
        """Name in the storage; settings of another configuration are another search."""
        plan = replace(self.plan, trials=0, storage=None, heartbeat=0, confirm=0)
        decides = [[cell.key for cell in self.cells(self.first)], self.space, repr(plan)]
        text = json.dumps(decides, sort_keys=True)
        return f"{self.path.stem} {self.method} {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def read_study(path: Path, extra: tuple[str, ...] = ()) -> list[Study]:
    """Read a study file: one search for each method.

    The keys are those of a grid file (:func:`~frbench.grids.grid.read_grid`) without ``grid``,
    ``random`` and ``select``, and ``search``; a method may have options of its own to search,
    ``space``.

    Args:
        path: The YAML file.
        extra: Words of the command line, for every run.

    Raises:
        UserError: If the file is missing, is not YAML, or has keys or values of a wrong form.
    """
    grid = read_file(path, KEYS - {"grid", "random", "select"} | {"search"})
    if isinstance(grid.get("seeds"), dict):
        raise UserError(f"{path}: the seeds of a search are a list; `confirm` has new ones.")
    search = mapping(grid.pop("search", None), f"{path}: search")
    methods = mapping(grid.pop("methods"), "methods")
    if len(mapping(grid["data"], "data")) > 1:
        raise UserError(f"{path}: a search is on one data set; write a file for each.")
    shared = mapping(search.pop("space", None), "search.space")
    plan = _plan(search, grid, path)
    studies = []
    for method, given in methods.items():
        options = dict(mapping(given, f"methods.{method}"))
        own = mapping(options.pop("space", None), f"methods.{method}.space")
        if wrong := [key for key in ("after", "grid") if key in options]:
            raise UserError(
                f"methods.{method}: `{wrong[0]}` has no place in a search; see `space`."
            )
        space = {key: dimension(f"space.{key}", spec) for key, spec in {**shared, **own}.items()}
        if not space:
            raise UserError(f"methods.{method}: neither it nor `search` has a `space` to search.")
        study = Study(method, space, plan, grid, options, path, extra)
        if plan.sampler == "grid":
            study = replace(study, plan=replace(plan, trials=len(study.points())))
        if plan.prune is not None and len(study.cells(study.first)) > 1:
            raise UserError("search: prune goes with one seed and no folds, one run for a trial.")
        studies.append(study)
    return studies


def _plan(search: dict[str, Any], grid: dict[str, Any], path: Path) -> Plan:
    if unknown := sorted(search.keys() - SEARCH_KEYS):
        raise UserError(f"search: unknown keys {unknown}; it has {sorted(SEARCH_KEYS)}.")
    sampler, storage = search.get("sampler", "tpe"), search.get("storage")
    numbers = {}
    for key, (default, least) in NUMBERS.items():
        if (key, sampler) == ("trials", "grid"):
            default = MAX_CELLS  # all points
        value = numbers[key] = search.get(key, default)
        if type(value) is not int or not least <= value <= (
            MAX_NUMBER if key == "seed" else MAX_CELLS
        ):
            raise UserError(
                f"search.{key} must be a whole number from {least}, got {short(value)}."
            )
    if sampler not in SAMPLERS:
        raise UserError(f"search.sampler must be one of {SAMPLERS}, got {short(sampler)}.")
    if storage is not None and (not isinstance(storage, str) or "://" not in storage):
        raise UserError(f"search.storage must be a URL, postgresql://..., got {short(storage)}.")
    own = grid_directions(grid, path)
    rules = _texts(search, "objectives", [DEFAULT])
    objectives = tuple(validation_rule(text, own, "search:") for text in rules)
    constraints = tuple(_constraint(text, own) for text in _texts(search, "constraints", []))
    prune = search.get("prune")
    if prune is not None:
        prune = PRUNE | mapping(prune, "search.prune")
        if prune.keys() != PRUNE.keys() or not all(
            type(v) is int and 0 <= v <= MAX_NUMBER for v in prune.values()
        ):
            raise UserError(f"search.prune has whole numbers {sorted(PRUNE)}, got {short(prune)}.")
        if len(objectives) > 1:
            raise UserError("search: prune goes with one objective.")
    return Plan(sampler=sampler, objectives=objectives, constraints=constraints, prune=prune,
                storage=storage and os.path.expandvars(storage), **numbers)  # fmt: skip


def _texts(search: dict[str, Any], key: str, default: list[str]) -> list[str]:
    value = texts(search.get(key, default), f"search.{key}", "rules, val/accuracy")
    if default and not value:
        raise UserError(f"search.{key} must name at least one metric, val/accuracy say.")
    return value


def _constraint(text: str, own: Mapping[str, int]) -> Constraint:
    for sign, word in ((-1, ">="), (1, "<=")):
        left, found, right = text.partition(word)
        if found:
            try:
                bound = float(right)
            except ValueError:
                break
            if math.isfinite(bound):
                return Constraint(text, validation_rule(left.strip(), own, "search:"), sign, bound)
    raise UserError(
        f"search.constraints: cannot read {text!r}; write 'val/worst_class_accuracy >= 0.3'."
    )
