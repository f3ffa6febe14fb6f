"""The figure of trade-offs of two metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from frbench.report.canvas import (
    BROAD,
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
from frbench.report.frontier import Frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (WIDTH, 3.9)  # inches
_CAPTION = (
    "Points: settings, means with 95 % intervals over seeds.\n"
    "Lines: Pareto front of each method.\n"
    "Broad: the best unconstrained model, its constraint relaxed."
)


def frontier_figure(found: Sequence[Frontier], columns: int = 2) -> Figure:
    """Draw one panel per data set and test table.

    Args:
        found: What :func:`frbench.report.frontier.frontiers` gives.
        columns: Panels side by side at most.
    """
    columns = min(columns, len(found))
    names = list(dict.fromkeys(name for one in found for name in one.methods))
    below = keyed([*names, "unprocessed", "constant", "outside, at"], WIDTH * columns, 3)
    figure, axes = panels(len(found), _PANEL, columns, Margins(top=0.3), below)
    for ax, one in zip(axes, found, strict=True):
        _draw(ax, one, names)
    finish(figure, _CAPTION)
    return figure


def draw(found: Sequence[Frontier], path: Path) -> None:
    """Write the figure; the ending of the name is its format.

    Args:
        found: What :func:`frbench.report.frontier.frontiers` gives.
        path: File to write.
    """
    save(frontier_figure(found), path)


def _draw(ax: Axes, one: Frontier, names: Sequence[str]) -> None:
    """Draw points and fronts of one table, with what stands beside them."""
    if one.unprocessed:  # broad, so that a method on it can be seen
        curve = [point.mean for point in one.unprocessed]
        label = plain(f"unprocessed {one.base}")
        ax.plot(*zip(*curve, strict=True), color=BROAD, lw=6, zorder=1, label=label,
                solid_capstyle="round", solid_joinstyle="round")  # fmt: skip
    for name, points in one.methods.items():
        color, shape = look(names.index(name))
        for point in points:  # ends are NaN for a single run: no bar
            wide, high = ([[v.mean - v.low], [v.high - v.mean]] for v in (point.x, point.y))
            ax.errorbar(*point.mean, high, wide, fmt="none", c=color, lw=0.8, alpha=0.6, zorder=2)
        xs, ys = zip(*(point.mean for point in points), strict=True)
        ax.scatter(xs, ys, s=34, c=color, marker=shape, ec="white", lw=0.6, zorder=4,
                   label=plain(name))  # fmt: skip
        front = [points[i].mean for i in one.fronts[name]]
        ax.plot(*zip(*front, strict=True), color=color, lw=1.2, zorder=3)
    ax.margins(0.08)
    if one.constant is not None:
        _mark(ax, one.constant)
    for i, side in (0, "bottom"), (-1, "top"):  # towards the middle, away from legend and frame
        for point in [one.unprocessed[i]] if one.unprocessed else []:
            right = ax.transAxes.inverted().transform(ax.transData.transform(point.mean))[0] > 0.5
            ax.annotate(plain(point.name), point.mean, xytext=(-8 if right else 8, 0), va=side,
                        textcoords="offset points", ha="right" if right else "left",
                        fontsize=7, color=GREY, zorder=6,
                        bbox={"fc": "white", "alpha": 0.7, "lw": 0, "pad": 0.3})  # fmt: skip
    tidy(ax, plain(f"{one.data}, {one.table.replace('/', ' ')}"))
    ax.set_xlabel(axis_name(one.metrics[0], one.signs[0]))
    ax.set_ylabel(axis_name(one.metrics[1], one.signs[1]))


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
