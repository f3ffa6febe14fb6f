"""The figure of trade-offs of two metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frbench.report.frontier import Frontier
from frbench.report.plot import COLORS, GREY, SHAPES, axis_name
from frbench.support.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = (6.2, 4.2)  # inches, with the names of the methods
_CAPTION = (
    "Points: settings on test data, means over seeds with 95 % intervals. Lines: Pareto front of "
    "each method. Broad: the best unconstrained model, its constraint relaxed after training."
)


def figure_bytes(found: Sequence[Frontier], form: str) -> bytes:
    """Draw one panel per data set and test table and return the picture.

    Args:
        found: What :func:`frbench.report.frontier.frontiers` gives.
        form: Format: png, pdf or svg.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(2, len(found))
    lines = math.ceil(len(found) / columns)
    size = (_PANEL[0] * columns, _PANEL[1] * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    names = list(dict.fromkeys(name for one in found for name in one.methods))
    try:
        for ax, one in zip(axes.flat, found, strict=False):
            _draw(ax, one, names)
        for ax in axes.flat[len(found) :]:
            ax.set_visible(False)
        figure.supxlabel(_CAPTION, fontsize=8, color=GREY, wrap=True)
        stream = BytesIO()
        # Without the date that some formats hold, the same results give the same file.
        stamp: Any = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[form]
        figure.savefig(stream, dpi=150, format=form, metadata=stamp)
    finally:
        plt.close(figure)
    return stream.getvalue()


def draw(found: Sequence[Frontier], path: Path) -> None:
    """Write the figure; the ending of the name is its format.

    Args:
        found: What :func:`frbench.report.frontier.frontiers` gives.
        path: File to write.
    """
    content = figure_bytes(found, path.suffix.removeprefix("."))
    with replacing(path) as part:
        part.write_bytes(content)


def _draw(ax: Axes, one: Frontier, names: Sequence[str]) -> None:
    """Draw points and fronts of one table, with what stands beside them."""
    if one.unprocessed:  # broad, so that a method on it can be seen
        curve = [point.mean for point in one.unprocessed]
        label = f"unprocessed {one.base}"
        ax.plot(*zip(*curve, strict=True), color="#c9c9c9", lw=6, zorder=1, label=label,
                solid_capstyle="round", solid_joinstyle="round")  # fmt: skip
        for point, side in ((one.unprocessed[0], "bottom"), (one.unprocessed[-1], "top")):
            ax.annotate(point.name, point.mean, xytext=(8, 0), textcoords="offset points",
                        fontsize=7, color=GREY, va=side)  # fmt: skip
    for name, points in one.methods.items():
        place = names.index(name)
        color, shape = COLORS[place % len(COLORS)], SHAPES[place % len(SHAPES)]
        for point in points:  # ends are NaN for a single run: no bar
            wide, high = ([[v.mean - v.low], [v.high - v.mean]] for v in (point.x, point.y))
            ax.errorbar(*point.mean, high, wide, fmt="none", c=color, lw=0.8, alpha=0.45, zorder=2)
        xs, ys = zip(*(point.mean for point in points), strict=True)
        ax.scatter(xs, ys, s=34, c=color, marker=shape, ec="white", lw=0.6, zorder=4, label=name)
        front = [points[i].mean for i in one.fronts[name]]
        ax.plot(*zip(*front, strict=True), color=color, lw=1.2, zorder=3)
    ax.margins(0.08)
    if one.constant is not None:
        _mark(ax, one.constant)
    ax.set_title(f"{one.data}, {one.table.replace('/', ' ')}", fontsize=11, loc="left")
    ax.set_xlabel(axis_name(one.metrics[0], one.signs[0]))
    ax.set_ylabel(axis_name(one.metrics[1], one.signs[1]))
    ax.grid(color="#e6e6e6", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _mark(ax: Axes, constant: tuple[float, float]) -> None:
    """Mark the constant class; where it is far from all methods, at the edge next to it."""
    limits = ax.get_xlim(), ax.get_ylim()
    reach = [(low - (high - low) / 2, high + (high - low) / 2) for low, high in limits]
    if all(low <= v <= high for v, (low, high) in zip(constant, reach, strict=True)):
        place, where = constant, ""
    else:
        held = [min(max(v, low), high) for v, (low, high) in zip(constant, limits, strict=True)]
        place, where = (held[0], held[1]), ",\noutside, at the nearest edge"
        ax.set_xlim(limits[0])
        ax.set_ylim(limits[1])
    label = f"constant class ({constant[0]:.3g}, {constant[1]:.3g}){where}"
    ax.scatter(*place, s=70, marker="X", c=GREY, zorder=5, clip_on=False, label=label)
