"""The seeds of a grid: of one phase, or of a search and of the final runs of its winners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
        select: The rules that choose a setting of each method for the final seeds.
    """

    search: list[int]
    final: list[int]
    select: list[str]

    @property
    def record(self) -> dict[str, Any] | None:
        """What the record of each run says of it, None in a grid of one phase."""
        return asdict(self) if self.final else None


def read_seeds(grid: dict[str, Any], path: Path) -> Seeds:
    """Read ``seeds`` and ``select`` of a grid.

    Args:
        grid: The grid.
        path: Its file, for messages.

    Raises:
        UserError: If they have a wrong form, or ``select`` is given with one phase.

    Example:
        >>> read_seeds({"seeds": {"search": [0], "final": [1, 2]}}, Path("grid.yaml"))
        Seeds(search=[0], final=[1, 2], select=['val/worst_group_accuracy'])
    """
    given, select = grid.get("seeds", [0]), grid.get("select")
    if not isinstance(given, dict):
        if select is not None:
            raise UserError(
                f"{path}: select chooses what the final seeds run: write seeds as "
                "{search: [0], final: [1, 2, 3]}, or leave select out."
            )
        return Seeds(numbers(given, f"{path}: seeds"), [], [])
    if given.keys() != {"search", "final"}:
        raise UserError(
            f"{path}: seeds is a list, or has the two lists search and final; got {short(given)}."
        )
    rules = [DEFAULT] if select is None else [select] if isinstance(select, str) else select
    for rule in texts(rules, f"{path}: select", "rules, val/accuracy"):
        validation_rule(rule, grid_directions(grid), f"{path}: select:")
    search, final = (numbers(given[key], f"{path}: seeds.{key}") for key in ("search", "final"))
    return Seeds(search, final, rules)


def grid_directions(grid: dict[str, Any]) -> Mapping[str, int]:
    """Return the directions of the user's own metrics that a grid names."""
    if not grid.get("metrics"):
        return NO_METRICS
    from frbench.metrics.own import directions, import_metrics

    return directions(import_metrics(grid["metrics"]))


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
