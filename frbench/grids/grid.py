"""A grid file read into cells: data x method x settings x folds x seeds; imports no torch."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from frbench.contracts.errors import UserError
from frbench.contracts.text import short
from frbench.grids.seeds import metric_paths, numbers, read_seeds
from frbench.grids.space import MAX_CELLS, mapping, points, product
from frbench.support.yaml_files import read_yaml

KEYS = {
    "configs",
    "base",
    "data",
    "methods",
    "grid",
    "random",
    "folds",
    "seeds",
    "select",
    "metrics",
    "keep_predictions",
    "report",
}


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        index: Position in the grid.
        data: Name of the data set in the grid.
        method: Name of the method in the grid.
        settings: The point of the grid or the random draw, option -> value.
        seed: Seed of the run.
        fold: Fold of repeated cross-validation, or None.
        options: Every option of ``frbench fit``, option -> value.
        configs: YAML files given before the options.
        extra: Words of the command line after the options, for every cell.
        parent: The run whose checkpoint this one starts from, if it trains nothing: its options
            are then those of ``frbench postprocess``.
        keep_predictions: Whether the scores of all evaluated rows are kept; decides no number of
            the record, and is no part of the key.
        phases: Seeds of the search and of the final runs, and the rules that lead from the one to
            the others, if the grid has two phases; they decide no run.
    """

    index: int
    data: str
    method: str
    settings: dict[str, Any]
    seed: int
    fold: int | None
    options: dict[str, Any] = field(repr=False)
    configs: tuple[str, ...] = field(repr=False)
    extra: tuple[str, ...] = field(default=(), repr=False)
    parent: Cell | None = field(default=None, repr=False)
    keep_predictions: bool = field(default=True, repr=False)
    phases: dict[str, Any] | None = field(default=None, repr=False)

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the run, its config files' content included."""
        content = [_content(path) for path in self.configs]
        decides = [self.data, self.method, self.options, content, *self.extra]
        if self.parent is not None:
            decides.append(self.parent.key)
        text = json.dumps(decides, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def root(self) -> Cell:
        """The run that trains what this one starts from; itself if it trains."""
        return self if self.parent is None else self.parent.root

    def with_words(self, extra: tuple[str, ...]) -> Cell:
        """Return the cell with words of the command line, which are for runs that train."""
        if self.parent is None:
            return replace(self, extra=extra)
        return replace(self, parent=self.parent.with_words(extra))

    def arguments(self) -> list[str]:
        """Return the command-line form of the configs and options."""
        words = [f"--config={path}" for path in self.configs]
        return (
            words
            + [
                f"--{key}={value if isinstance(value, str) else json.dumps(value)}"
                for key, value in self.options.items()
            ]
            + list(self.extra)
        )


def _content(path: str) -> str:
    """Return the text of a file, which is read again when it has changed."""
    found = Path(path).stat()
    return _read(path, found.st_mtime_ns, found.st_size)


@cache
def _read(path: str, changed: int, size: int) -> str:
    return Path(path).read_text()


#: Options that a grid sets itself, or that a cell cannot have, with what to use instead.
RESERVED = {
    "seed_everything": "`seeds`",
    "data.seed": "`seeds`",
    "data.fold": "`folds`",
    "run_dir": "--out",
    "ckpt_path": "the same command again, which continues",
    "trainer.devices": "--jobs or --shard, since a cell runs on one device",
}


def check_option(key: str, where: str) -> None:
    """Refuse an option that the grid sets itself.

    Raises:
        UserError: Naming what to use instead.
    """
    key = key.replace("data.init_args.", "data.")
    if key in RESERVED:
        raise UserError(f"{where}: {key} is set by the grid; use {RESERVED[key]}.")


def read_grid(path: str | Path) -> list[Cell]:
    """Read a grid file.

    Keys: ``configs`` (YAML files, relative to the grid file), ``base`` (options of every run),
    ``data`` and ``methods`` (name -> options; a method may have its own ``grid`` and ``space``, a
    data set an ``otherwise`` that stands in where its files are missing; a method with ``after``
    names one above it and has options ``postprocess``, ``postprocess.<option>``, ``split``,
    ``share``, which are fitted behind each run of that method), ``grid`` (option -> list of
    values), ``random`` (draws; seed; defaults, whether the first draw sets nothing; space:
    option -> uniform | log_uniform | int_uniform | choice), ``folds``, ``seeds`` (a list, or
    ``search`` and ``final``: :mod:`frbench.grids.phases`), ``select`` (rules that choose
    steps, settings and what the final seeds run), ``metrics`` (import paths of the user's own
    metrics), ``keep_predictions`` (whether runs keep the scores of all evaluated rows; true by
    default), and ``report`` (any mapping; notes for tools outside of the package, which decide no
    run).

    Args:
        path: The YAML file.

    Returns:
        The cells in a fixed order; of two phases, those of the search.

    Raises:
        UserError: If the file is missing, is not YAML, or has keys or values of a wrong form.
    """
    path = Path(path)
    return list(cells_of(read_file(path, KEYS), path))


def read_file(path: Path, keys: Set[str]) -> dict[str, Any]:
    """Read a grid file, or one of a search, without making its cells.

    Args:
        path: The YAML file.
        keys: What it may hold.

    Raises:
        UserError: If the file is missing, is not YAML, or has other keys.
    """
    if not path.is_file():
        raise UserError(f"There is no grid file {path}.")
    grid = mapping(read_yaml(path), str(path))
    try:
        json.dumps(grid, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} holds a value that is no text, no truth value and no finite number: {error}."
        ) from error
    if unknown := sorted(grid.keys() - keys):
        raise UserError(f"{path}: unknown keys {unknown}; a grid has {sorted(keys)}.")
    for key in ("data", "methods"):
        if not grid.get(key):
            raise UserError(f"{path}: `{key}` must name at least one entry.")
    mapping(grid.get("report"), f"{path}: report")
    return grid


def cells_of(
    grid: dict[str, Any], path: Path, phase: Literal["search", "final"] = "search"
) -> Iterator[Cell]:
    """Yield the cells of a grid.

    Args:
        grid: What :func:`read_file` gives.
        path: The file, which ``configs`` are relative to.
        phase: Whose seeds the cells have, in a grid of two phases.

    Raises:
        UserError: If values have a wrong form.
    """
    names = grid.get("configs") or []
    if not isinstance(names, list):
        raise UserError(f"{path}: configs must be a list of files, got {short(names)}.")
    configs = tuple(str(path.parent / str(name)) for name in names)
    for config in configs:
        mapping(read_yaml(config, f"{path}: configs"), config)
    base = mapping(grid.get("base"), "base")
    if "metrics" in grid:
        base["metrics"] = metric_paths(grid["metrics"], path)
    keep = grid.get("keep_predictions", True)
    if not isinstance(keep, bool):
        raise UserError(f"{path}: keep_predictions must be true or false, got {short(keep)}.")
    shared, random = mapping(grid.get("grid"), "grid"), mapping(grid.get("random"), "random")
    folds: list[int] | list[None] = [None]
    if "folds" in grid:
        folds = numbers(grid["folds"], f"{path}: folds")
    plan = read_seeds(grid, path)
    base = plan.options | base
    seeds = plan.final if phase == "final" else plan.search
    _check_number(grid, shared, random, len(folds) * len(seeds), path)
    index = 0
    made: dict[tuple[str, str], list[Cell]] = {}
    for (data, data_options), (method, method_options) in itertools.product(
        mapping(grid["data"], "data").items(), mapping(grid["methods"], "methods").items()
    ):
        data, data_options = available(data, mapping(data_options, f"data.{data}"))
        method_options = dict(mapping(method_options, f"methods.{method}"))
        own = mapping(method_options.pop("grid", None), f"methods.{method}.grid")
        if "after" in method_options:
            found = _after(data, method, method_options, own, made)
            made[data, method] = [replace(c, index=index + i) for i, c in enumerate(found)]
            index += len(found)
            yield from made[data, method]
            continue
        space = mapping(method_options.pop("space", None), f"methods.{method}.space")
        for settings in points({**shared, **own}, random, space, f"methods.{method}"):
            for fold, seed in itertools.product(folds, seeds):
                # Folds partition the data in one way; seeds then vary the training alone.
                where = {"data.seed": seed} if fold is None else {"data.fold": fold}
                own_options = {**base, **data_options, **method_options, **settings}
                for key in own_options:
                    if fold is None or key != "data.seed":  # folds leave the seed of splits free
                        check_option(key, str(path))
                options = {
                    **base, **data_options, **method_options, **settings,
                    "seed_everything": seed, **where,
                }  # fmt: skip
                # Classes come first: an option of a class is read once the class is known.
                first = {k: options[k] for k in ("data", "model") if k in options}
                ordered = {**first, **options}
                cell = Cell(index, data, method, settings, seed, fold, ordered, configs,
                            keep_predictions=keep, phases=plan.record)  # fmt: skip
                made.setdefault((data, method), []).append(cell)
                yield cell
                index += 1


def _after(
    data: str,
    method: str,
    options: dict[str, Any],
    grid: dict[str, Any],
    made: dict[tuple[str, str], list[Cell]],
) -> list[Cell]:
    """Return the cells of a method that is fitted behind the runs of another."""
    where = f"methods.{method}"
    before = options.pop("after")
    if (data, before) not in made:
        above = ", ".join(name for known, name in made if known == data) or "none"
        raise UserError(f"{where}: after names {before!r}; the methods above it are: {above}.")
    if not isinstance(options.get("postprocess"), str):
        raise UserError(f"{where}: `after` needs `postprocess`, the method that is fitted.")
    for key in [*options, *grid]:
        if not (key in ("postprocess", "split", "share") or key.startswith("postprocess.")):
            raise UserError(
                f"{where}: {key} belongs to a run that trains; after {before} there are "
                "postprocess, postprocess.<option>, split and share."
            )
    return [
        replace(parent, method=method, settings={**parent.settings, **point}, configs=(),
                options={**options, **point}, parent=parent)
        for parent in made[data, before]
        for point in product(grid, f"{where}.grid")
    ]  # fmt: skip


def _check_number(
    grid: dict[str, Any], shared: dict[str, Any], random: dict[str, Any], each: int, path: Path
) -> None:
    """Refuse a grid of too many cells before any is made.

    Raises:
        UserError: Naming how many there would be.
    """
    draws = random.get("draws", 16) if random else 1
    points = 0
    for name, options in mapping(grid["methods"], "methods").items():
        own = mapping(mapping(options, f"methods.{name}").get("grid"), f"methods.{name}.grid")
        lists = [v for v in {**shared, **own}.values() if isinstance(v, list)]
        points += math.prod(map(len, lists))
    count = len(mapping(grid["data"], "data")) * points * each
    if isinstance(draws, int) and count * draws > MAX_CELLS:
        raise UserError(
            f"{path} has {min(count * draws, 10**300):.6g} cells, more than {MAX_CELLS}: give "
            "fewer values, or draw some by `random`."
        )


def available(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a data entry, or its ``otherwise`` where its ``needs`` is not found.

    Another data set is named by what it is: nobody shall take its results for those of the first.

    Example:
        >>> given = {"data": "Adult", "needs": "no such file", "otherwise": {"data": "Digits"}}
        >>> available("census", given)
        ('census (Digits instead)', {'data': 'Digits'})
    """
    options = dict(options)
    otherwise, needs = options.pop("otherwise", None), options.pop("needs", None)
    if (otherwise is None) != (needs is None):
        raise UserError("A data entry gives `needs` (a data file) and `otherwise` together.")
    if otherwise is None:
        return name, options
    from frbench.support.files import find

    if find(needs) is not None:
        return name, options
    other = mapping(otherwise, "otherwise")
    same = other.get("data") == options.get("data")
    return available(name if same else f"{name} ({other.get('data')} instead)", other)
