"""Methods in the plane of two metrics, with intervals and the Pareto front of the means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.report.canvas import (
    GREY,
    WIDTH,
    Margins,
    axis_name,
    finish,
    keyed,
    look,
    panels,
    plain,
    save,
    tidy,
)
from frbench.report.interval import Estimate
from frbench.report.summary import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (WIDTH, 3.7)  # inches


class _Point(NamedTuple):
    name: str
    x: Estimate
    y: Estimate


def plot(report: Report, x: str, y: str, path: Path) -> None:
    """Draw one panel per data set and test table.

    Args:
        report: A report that holds both metrics.
        x: Metric of the horizontal axis, without split and table.
        y: Metric of the vertical axis.
        path: Image to write; its ending is the format.

    Raises:
        UserError: If no method has both metrics.
    """
    found = [
        (f"{data}, {table.replace('/', ' ')}", points)
        for data, tables in report.tables.items()
        for table in tables
        if (points := _points([r for r in report.rows if r.data == data], table, x, y))
    ]
    if not found:
        raise UserError(f"No method has both {x} and {y}: choose others with --x and --y.")
    save(_figure(report, found, x, y), path, 200)


def plane(report: Report, data: str, table: str, x: str, y: str) -> Figure | None:
    """Draw one test table of one data set; None if no method has both metrics there."""
    rows = [row for row in report.rows if row.data == data]
    points = _points(rows, table, x, y)
    return _figure(report, [("", points)], x, y) if points else None


def _points(rows: Sequence[Row], table: str, x: str, y: str) -> list[_Point]:
    keys = f"{table}/{x}", f"{table}/{y}"
    points = [_Point(row.method, *(row.metrics[key] for key in keys)) for row in rows]
    return [point for point in points if point.x.n and point.y.n]


def _figure(report: Report, found: Sequence[tuple[str, list[_Point]]], x: str, y: str) -> Figure:
    names = [*dict.fromkeys(row.method for row in report.rows)]
    columns = min(len(found), 2 if len(found) == 4 else 3)
    below = keyed(names, WIDTH * columns)
    figure, axes = panels(len(found), _PANEL, columns, Margins(top=0.3), below)
    signs = report.direction(x), report.direction(y)
    for ax, (title, points) in zip(axes, found, strict=True):
        _draw(ax, points, names, signs)
        tidy(ax, plain(title))
        ax.set_xlabel(axis_name(x, signs[0]))
        ax.set_ylabel(axis_name(y, signs[1]))
    oracle = "ORACLE: settings chosen on test data. " if report.rule.oracle else ""
    note = "Bars: 95 % intervals of the means. Rings, dashed: their Pareto front."
    finish(figure, f"{oracle}{note}")
    return figure


def pareto_front(points: Sequence[tuple[float, float]], signs: tuple[int, int]) -> list[int]:
    """Return the indices of the points that no other point dominates, from left to right.

    Args:
        points: Pairs of values.
        signs: 1 if higher is better, -1 if lower, for each value.

    Example:
        >>> pareto_front([(0.1, 0.7), (0.3, 0.9), (0.4, 0.8)], (-1, 1))
        [0, 1]
    """
    values = np.asarray(points) * signs
    dominated = [
        any((other >= value).all() and (other > value).any() for other in values)
        for value in values
    ]
    return sorted(np.flatnonzero(~np.array(dominated)).tolist(), key=lambda i: points[i][0])


def _draw(
    ax: Axes,
    points: Sequence[_Point],
    names: Sequence[str],
    signs: tuple[int, int],
) -> None:
    """Draw points, intervals and, if both metrics have a direction, the front."""
    for name, x, y in points:
        color, shape = look(names.index(name))
        wide, high = (
            [[v.mean - v.low], [v.high - v.mean]] for v in (x, y)
        )  # NaN: one run, no bar
        ax.errorbar(x.mean, y.mean, high, wide, fmt="none", c=color, lw=1.2, alpha=0.6)
        ax.scatter(x.mean, y.mean, s=70, c=color, marker=shape, ec="white", lw=0.8, zorder=3,
                   label=plain(name))  # fmt: skip
    if all(signs):
        means = [(point.x.mean, point.y.mean) for point in points]
        xs, ys = zip(*(means[i] for i in pareto_front(means, signs)), strict=True)
        ax.plot(xs, ys, "--", color=GREY, lw=1, zorder=1)
        ax.scatter(xs, ys, s=190, fc="none", ec=GREY, lw=1.1, zorder=2)
    ax.margins(0.08)
