"""Points of a grid and draws of a random search: option -> value."""

from __future__ import annotations

import itertools
import sys
import zlib
from typing import Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.text import short

RANDOM_KEYS = {"draws", "seed", "space", "defaults"}
#: Cells of a grid; seeds and folds (numpy's seeds end there); numbers that a float holds exactly.
MAX_CELLS, MAX_NUMBER, MAX_WHOLE = 100_000, 2**32 - 1, 2**53
DRAWS = ("uniform", "log_uniform", "int_uniform", "choice")


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Check that a part of the file maps names to values; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where} must map names to values, got {short(value)}.")
    return {str(key): item for key, item in value.items()}


def product(grid: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Return every combination of the values of some options."""
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}: give {key} a list of values, got {short(values)}.")
    return [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]


def dimension(where: str, spec: Any) -> tuple[str, list[Any]]:
    """Check how one option is drawn.

    Args:
        where: What names it in the file, for messages.
        spec: One of :data:`DRAWS` -> its bounds, or the values of a choice.

    Returns:
        The kind, and the bounds as numbers, or the values.

    Raises:
        UserError: If there is no such kind, or its bounds do not fit.

    Example:
        >>> dimension("space.model.lr", {"log_uniform": [0.001, 1]})
        ('log_uniform', [0.001, 1.0])
    """
    if not isinstance(spec, dict) or len(spec) != 1 or next(iter(spec)) not in DRAWS:
        raise UserError(f"{where}: give one of {DRAWS}, got {short(spec)}.")
    kind, bounds = next(iter(spec.items()))
    if not isinstance(bounds, list) or not bounds:
        raise UserError(f"{where}: {kind} needs a list, got {short(bounds)}.")
    if kind == "choice":
        return kind, bounds
    try:
        low, high = (float(b) for b in bounds)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: {kind} needs [low, high], got {short(bounds)}.") from error
    if kind == "int_uniform" and not (low.is_integer() and high.is_integer()):
        raise UserError(f"{where}: int_uniform needs whole numbers, got {short(bounds)}.")
    limit = MAX_WHOLE if kind == "int_uniform" else sys.float_info.max / 2
    if not -limit <= low < high <= limit or (kind == "log_uniform" and low <= 0):
        raise UserError(
            f"{where}: {kind} needs low < high (log: low > 0), both finite and of at "
            f"most {limit:.3g}, got {short(bounds)}."
        )
    return kind, [int(low), int(high)] if kind == "int_uniform" else [low, high]


def _draw(key: str, spec: Any, draws: int, seed: int) -> list[Any]:
    """Draw the values of one option; the same key and seed give the same values everywhere."""
    kind, bounds = dimension(f"random.space.{key}", spec)
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    if kind == "choice":
        return [bounds[i] for i in rng.integers(len(bounds), size=draws)]
    low, high = bounds
    if kind == "int_uniform":
        return [int(v) for v in rng.integers(low, high + 1, size=draws)]
    if kind == "log_uniform":
        return [float(v) for v in np.exp(rng.uniform(np.log(low), np.log(high), draws))]
    return [float(v) for v in rng.uniform(low, high, draws)]


def points(
    grid: dict[str, Any], random: dict[str, Any], own: dict[str, Any], where: str
) -> list[dict[str, Any]]:
    """Return every combination of a grid, each with every draw of a random search.

    Args:
        grid: Option -> list of values.
        random: Draws, seed and space of all methods; ``defaults``, whether the first draw sets
            nothing.
        own: Space of this method, which is added to that of all and has precedence.
        where: What names the method, for messages.

    Raises:
        UserError: If values have a wrong form.
    """
    fixed = product(grid, f"{where}: grid")
    if own and not random:
        raise UserError(f"{where}.space: say by `random` how many settings are drawn.")
    if not random:
        return fixed
    if unknown := sorted(set(random) - RANDOM_KEYS):
        raise UserError(f"random: unknown keys {unknown}; it has {sorted(RANDOM_KEYS)}.")
    draws, seed = random.get("draws", 16), random.get("seed", 0)
    whole = type(draws) is int and type(seed) is int
    if not (whole and 1 <= draws <= MAX_CELLS and 0 <= seed <= MAX_NUMBER):
        raise UserError(
            f"random: draws must be a number from 1 to {MAX_CELLS} and seed one from 0 to "
            f"{MAX_NUMBER}, got {short(draws)} and {short(seed)}."
        )
    defaults = random.get("defaults", False)
    if not isinstance(defaults, bool):
        raise UserError(f"random: defaults must be true or false, got {short(defaults)}.")
    space = {**mapping(random.get("space"), "random.space"), **own}
    if not space:
        raise UserError(
            f"random: `space` must name the options that are drawn; so may {where}.space."
        )
    columns = {key: _draw(key, spec, draws, seed) for key, spec in space.items()}
    drawn = [{key: columns[key][i] for key in columns} for i in range(draws)]
    if defaults:
        drawn[0] = {}
    return [{**point, **extra} for point in fixed for extra in drawn]
