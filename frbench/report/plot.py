"""Methods in the plane of two metrics, with intervals and the Pareto front of the means."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.report.interval import Estimate
from frbench.report.summary import Report
from frbench.support.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours without yellow, which is too light on white; with eight shapes, whose
# number has no common divisor with theirs, the first 56 methods differ.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = "osD^vPX*"
GREY = "#6b6b6b"
_PANEL = (4.4, 3.9)  # inches
_LABEL = 8.5  # font size of the names


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
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = []
    for data, tables in report.tables.items():
        for table in tables:
            rows = [row for row in report.rows if row.data == data]
            keys = f"{table}/{x}", f"{table}/{y}"
            points = [_Point(row.method, *(row.metrics[key] for key in keys)) for row in rows]
            if points := [point for point in points if point.x.n and point.y.n]:
                panels.append((f"{data}, {table.replace('/', ' ')}", points))
    if not panels:
        raise UserError(f"No method has both {x} and {y}: choose others with --x and --y.")

    methods = dict.fromkeys(point.name for _, points in panels for point in points)
    styles = {
        name: (COLORS[i % len(COLORS)], SHAPES[i % len(SHAPES)]) for i, name in enumerate(methods)
    }
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (_PANEL[0] * columns, _PANEL[1] * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    try:
        for ax, (title, points) in zip(axes.flat, panels, strict=False):
            _draw(ax, points, styles, (report.direction(x), report.direction(y)))
            ax.set_title(title, fontsize=11, loc="left")
            ax.set_xlabel(axis_name(x, report.direction(x)))
            ax.set_ylabel(axis_name(y, report.direction(y)))
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        oracle = "ORACLE: settings chosen on test data. " if report.rule.oracle else ""
        caption = (
            f"{oracle}Bars: 95 % intervals of the mean over seeds or folds.  "
            "Rings, dashed line: Pareto front of the means."
        )
        figure.supxlabel(textwrap.fill(caption, int(15 * size[0])), fontsize=8, color=GREY)
        figure.draw_without_rendering()  # labels are placed in the final layout
        for ax, (_, points) in zip(axes.flat, panels, strict=False):
            _label(ax, points, styles)
        with replacing(path) as part:
            figure.savefig(part, dpi=200)
    finally:
        plt.close(figure)


def axis_name(metric: str, sign: int) -> str:
    """Name a metric and say which of its directions is better."""
    better = {1: "higher is better", -1: "lower is better", 0: "no better direction"}
    return f"{metric.replace('_', ' ')}\n({better[sign]})"


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
    styles: dict[str, tuple[str, str]],
    signs: tuple[int, int],
) -> None:
    """Draw points, intervals and, if both metrics have a direction, the front."""
    for name, x, y in points:
        color, shape = styles[name]
        wide, high = (
            [[v.mean - v.low], [v.high - v.mean]] for v in (x, y)
        )  # NaN: one run, no bar
        ax.errorbar(x.mean, y.mean, high, wide, fmt="none", c=color, lw=1.2, alpha=0.45)
        ax.scatter(x.mean, y.mean, s=70, c=color, marker=shape, ec="white", lw=0.8, zorder=3)
    if all(signs):
        means = [(point.x.mean, point.y.mean) for point in points]
        xs, ys = zip(*(means[i] for i in pareto_front(means, signs)), strict=True)
        ax.plot(xs, ys, "--", color=GREY, lw=1, zorder=1)
        ax.scatter(xs, ys, s=190, fc="none", ec=GREY, lw=1.1, zorder=2)
    ax.margins(0.12)
    ax.grid(color="#e6e6e6", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _label(ax: Axes, points: Sequence[_Point], styles: dict[str, tuple[str, str]]) -> None:
    """Write each name next to its point, where it covers least of what is there already."""
    from matplotlib.colors import to_rgb
    from matplotlib.patheffects import withStroke

    pixels = ax.figure.dpi / 72  # per point of the offsets
    centres = ax.transData.transform([(point.x.mean, point.y.mean) for point in points])
    taken = [_box(centre, 20 * pixels, 20 * pixels) for centre in centres]
    bars = [bar for point in points for bar in _bars(ax, point, pixels)]
    frame = np.array(ax.get_window_extent().extents)
    for i, (point, centre) in enumerate(zip(points, centres, strict=True)):
        probe = ax.text(0, 0, point.name, fontsize=_LABEL)
        size = np.array(probe.get_window_extent().size) + 3 * pixels
        probe.remove()
        # The label's own point is in the way of the label but not of the line that leads to it.
        others = taken[:i] + taken[i + 1 :]
        costs = {}
        for distance, angle in itertools.product((9, 14, 24, 38, 56), range(0, 360, 30)):
            way = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            middle = centre + way * (size / 2 + distance * pixels)
            box = _box(middle, *size)
            leader = [_box(p, 4 * pixels, 4 * pixels) for p in np.linspace(centre, middle, 12)]
            covered = sum(_overlap(box, other) for other in taken)
            covered += sum(_overlap(part, other) for part in leader for other in others)
            outside = size.prod() - _overlap(box, frame)
            crossed = sum(_overlap(box, bar) for bar in bars)
            # Names stay readable on a bar, less so on a point, not at all outside the panel.
            cost = 3 * crossed + 5 * covered + 20 * outside + 8 * distance * pixels
            costs[cost] = middle, leader if distance > 14 else []
        middle, leader = costs[min(costs)]
        taken += [_box(middle, *size), *leader]
        color = styles[point.name][0]
        line = {"arrowstyle": "-", "color": color, "lw": 0.7, "shrinkA": 1}
        label = ax.annotate(
            point.name,
            (point.x.mean, point.y.mean),
            xytext=tuple((middle - centre) / pixels),
            textcoords="offset points",
            fontsize=_LABEL,
            color=[0.65 * part for part in to_rgb(color)],  # dark enough to be read
            ha="center",
            va="center",
            zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops=line if leader else None,
        )
        label.set_in_layout(False)


def _box(centre: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return left, bottom, right and top."""
    half = np.array([width, height]) / 2
    return np.concatenate([centre - half, centre + half])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the area that two boxes share."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(sides.clip(min=0).prod())


def _bars(ax: Axes, point: _Point, pixels: float) -> Iterator[np.ndarray]:
    """Yield the boxes of a point's intervals on the canvas."""
    if point.x.n > 1:
        ends = [(point.x.low, point.y.mean), (point.x.high, point.y.mean)]
        yield ax.transData.transform(ends).ravel() + pixels * np.array([0, -2, 0, 2])
    if point.y.n > 1:
        ends = [(point.x.mean, point.y.low), (point.x.mean, point.y.high)]
        yield ax.transData.transform(ends).ravel() + pixels * np.array([-2, 0, 2, 0])
