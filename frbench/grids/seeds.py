"""The seeds of a grid: of one phase, or of a search and of the final runs of its winners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from frbench.contracts.errors import UserError
from frbench.contracts.text import short
from frbench.grids.space import MAX_NUMBER
from frbench.metrics.names import NO_METRICS
from frbench.report.rule import DEFAULT, Rule, parse_rule


@dataclass(frozen=True)
class Seeds:
    """Which seeds the runs of a grid have.

    Attributes:
        search: Seeds on which every setting runs.
        final: Seeds on which the chosen settings run after that; none in a grid of one phase.
        select: The rules that choose steps and settings, those of the final seeds, too.
        monitors: Metrics that a run keeps a checkpoint by, of the rules that are named.
    """

    search: list[int]
    final: list[int]
    select: list[str]
    monitors: list[str] = field(default_factory=list)

    @property
    def record(self) -> dict[str, Any] | None:
        """What the record of each run says of it, None in a grid of one phase."""
        names = ("search", "final", "select")
        return {name: getattr(self, name) for name in names} if self.final else None

    @property
    def options(self) -> dict[str, Any]:
        """Options by which each run keeps a checkpoint for each rule."""
        if not self.monitors:
            return {}
        first, *also = self.monitors
        return {"checkpoint.monitor": first, **({"checkpoint.also": also} if also else {})}


def read_seeds(grid: dict[str, Any], path: Path) -> Seeds:
    """Read ``seeds`` and ``select`` of a grid.

    Args:
        grid: The grid.
        path: Its file, for messages.

    Raises:
        UserError: If they have a wrong form.

    Example:
        >>> read_seeds({"seeds": {"search": [0], "final": [1, 2]}}, Path("grid.yaml"))
        Seeds(search=[0], final=[1, 2], select=['val/worst_group_accuracy'], monitors=[])
        >>> read_seeds({"select": ["val/accuracy", "val/loss"]}, Path("grid.yaml")).options
        {'checkpoint.monitor': 'val/accuracy', 'checkpoint.also': ['val/loss']}
    """
    given, named = grid.get("seeds", [0]), grid.get("select", [])
    select = (
        [named]
        if isinstance(named, str)
        else texts(named, f"{path}: select", "rules, val/accuracy")
    )
    own = grid_directions(grid, path)
    rules = [validation_rule(text, own, f"{path}: select:") for text in select]
    monitors = list(dict.fromkeys(rule.monitor for rule in rules if rule.monitor))
    if not isinstance(given, dict):
        return Seeds(numbers(given, f"{path}: seeds"), [], select, monitors)
    if given.keys() != {"search", "final"}:
        raise UserError(
            f"{path}: seeds is a list, or has the two lists search and final; got {short(given)}."
        )
    search, final = (numbers(given[key], f"{path}: seeds.{key}") for key in ("search", "final"))
    return Seeds(search, final, select or [DEFAULT], monitors)


def grid_directions(grid: dict[str, Any], path: Path) -> Mapping[str, int]:
    """Return the directions of the user's own metrics that a grid file names."""
    if not grid.get("metrics"):
        return NO_METRICS
    from frbench.metrics.own import directions, import_metrics

    return directions(import_metrics(metric_paths(grid["metrics"], path)))


def metric_paths(value: Any, path: Path) -> list[str]:
    """Check the import paths of the user's own metrics in a grid file."""
    return texts(value, f"{path}: metrics", "import paths, my_file.my_metric")


def validation_rule(text: str, own: Mapping[str, int], where: str) -> Rule:
    """Read a rule that chooses settings.

    Raises:
        UserError: If it cannot be read or looks at test data.
    """
    rule = parse_rule(text, own, where)
    if rule.oracle:
        raise UserError(f"{where} {text!r} would choose settings on test data; use val/...")
    return rule


def numbers(value: Any, where: str) -> list[int]:
    """Check a list of distinct numbers 0, 1, ..."""
    good = isinstance(value, list) and all(type(v) is int and 0 <= v <= MAX_NUMBER for v in value)
    if not good or not value or len(set(value)) < len(value):
        raise UserError(
            f"{where} must be a list of distinct numbers from 0 to {MAX_NUMBER}, got "
            f"{short(value)}."
        )
    return cast(list[int], value)


def texts(value: Any, where: str, what: str) -> list[str]:
    """Check a list of texts; ``what`` says what they are, with an example."""
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise UserError(f"{where} must be a list of {what}, got {short(value)}.")
    return value
