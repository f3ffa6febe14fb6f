"""What a run logged while it trained, per group: read from its ``metrics.csv``."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

#: Metrics per group that are drawn over steps; ``q`` are the weights of GroupDRO.
SHOWN = ("group_accuracy", "group_loss", "q")
#: Points of a curve at most.
POINTS = 60


class Curve(NamedTuple):
    """A metric of one table over steps.

    Attributes:
        table: ``train``, ``val`` or a test table.
        metric: One of `SHOWN`.
        steps: Optimiser steps, increasing.
        groups: Values at these steps by name of the group, NaN where there is none.
    """

    table: str
    metric: str
    steps: list[int]
    groups: dict[str, list[float]]


def read_curves(path: Path, points: int = POINTS) -> list[Curve]:
    """Read the curves of a run.

    The first value of a step counts: the evaluations after training write the chosen
    checkpoint's values at the last step once more. Metrics with a single step, those of the
    final test, are no curves and are left out.

    Args:
        path: A ``metrics.csv``.
        points: Longer curves are thinned evenly to so many points, ends included.

    Returns:
        Nothing if there is no such file.
    """
    if not path.is_file():
        return []
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        columns = {i: key for i, name in enumerate(header) if (key := _split(name))}
        for row in reader:
            if len(row) < len(header):  # its writer was killed
                continue
            for i, (table, metric, group) in columns.items():
                if row[i]:
                    at = found.setdefault((table, metric), {}).setdefault(int(row[0]), {})
                    at.setdefault(group, float(row[i]))
    out = []
    for (table, metric), by_step in found.items():
        steps = sorted(by_step)
        if len(steps) < 2:
            continue
        if len(steps) > points:
            last = len(steps) - 1
            steps = [steps[round(i * last / (points - 1))] for i in range(points)]
        names = dict.fromkeys(name for step in steps for name in by_step[step])
        groups = {name: [by_step[step].get(name, math.nan) for step in steps] for name in names}
        out.append(Curve(table, metric, steps, groups))
    return out


def _split(column: str) -> tuple[str, str, str] | None:
    """Divide ``val/group_accuracy/y=1,z=0`` into table, metric and group; None if not shown."""
    for metric in SHOWN:
        table, found, group = column.partition(f"/{metric}/")
        if found and group:
            return table, metric, group
    return None
