"""Figures of groups: a metric of each group for every method, and groups over training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from frbench.report.canvas import (
    COLORS,
    GRID,
    WIDTH,
    Margins,
    finish,
    keyed,
    look,
    panels,
    plain,
    shortened,
    tidy,
)
from frbench.report.logged import Curve
from frbench.report.summary import Report, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Groups of a figure at most: those where the methods are worst.
MOST = 24
_ROW = 0.095  # inches of a method's value
_DASHES = ("-", "--", ":", "-.")


def groups_figure(
    rows: Sequence[Row], table: str, metric: str, names: Sequence[str], sign: int
) -> tuple[Figure, int]:
    """Draw a metric of each group: a mark per method with its interval, the methods in order.

    Args:
        rows: The methods of one data set.
        table: Test table.
        metric: Metric that groups have, ``group_accuracy``.
        names: Groups.
        sign: Direction of the metric.

    Returns:
        The figure, and how many groups are left out: those with the best means.
    """

    def mean(name: str) -> float:
        found = [e.mean for row in rows if (e := row.metrics[f"{table}/{metric}/{name}"]).n]
        return (sign or 1) * sum(found) / len(found) if found else math.inf

    worst = sorted(names, key=mean)[:MOST]
    shown = [name for name in names if name in worst]
    parts = [shortened(plain(name).split(",z="), 22) for name in shown]
    longest = max(len(part) for part in itertools.chain(*parts))
    margins = Margins(left=0.25 + 0.072 * longest, bottom=0.45, top=0.05)
    height = max(_ROW * (len(rows) + 1), 0.16 * max(map(len, parts)) + 0.04) * len(shown)
    size = (WIDTH, height + margins.bottom + margins.top)
    figure, (ax,) = panels(1, size, 1, margins, keyed([row.method for row in rows]))
    for i, row in enumerate(rows):
        color, shape = look(i)
        found = [
            (place + (i + 1) / (len(rows) + 1), e)
            for place, name in enumerate(shown)
            if (e := row.metrics[f"{table}/{metric}/{name}"]).n
        ]
        means, low, high = ([getattr(e, k) for _, e in found] for k in ("mean", "low", "high"))
        lines = [[m - a for m, a in zip(means, low, strict=True)],
                 [b - m for m, b in zip(means, high, strict=True)]]  # fmt: skip
        ax.errorbar(means, [y for y, _ in found], xerr=lines, fmt=shape, color=color, ms=4.5,
                    elinewidth=1, mec="none", label=plain(row.method))  # fmt: skip
    tidy(ax)
    for place in range(0, len(shown), 2):
        ax.axhspan(place, place + 1, color=GRID, alpha=0.45, lw=0)
    ax.set_ylim(len(shown), 0)
    ax.set_yticks(
        [i + 0.5 for i in range(len(shown))], ["\nz=".join(part) for part in parts], fontsize=8.5
    )
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.set_xlabel(plain(metric.replace("_", " ")))
    finish(figure, "Bars: 95 % intervals of the mean over seeds.")
    return figure, len(names) - len(shown)


def training_figure(curves: Sequence[Curve], metric: str) -> Figure | None:
    """Draw a metric of each group over the steps of a run: training faint, evaluation dark.

    Args:
        curves: Those of the run.
        metric: One of `frbench.report.logged.SHOWN`.

    Returns:
        None if the run logged no such metric.
    """
    own = [curve for curve in curves if curve.metric == metric]
    if not own:
        return None
    groups = list(dict.fromkeys(name for curve in own for name in curve.groups))
    dark = next((curve.table for curve in own if curve.table != "train"), "train")
    figure, (ax,) = panels(1, (WIDTH, 2.8), 1, Margins(bottom=0.45), keyed(groups))
    for curve in own:
        if curve.table not in ("train", dark):
            continue
        faint = curve.table != dark
        for name, values in curve.groups.items():
            i = groups.index(name)
            color, shape = look(i)
            ax.plot(curve.steps, values, _DASHES[i // len(COLORS) % len(_DASHES)], color=color,
                    lw=1 if faint else 1.5, alpha=0.4 if faint else 1, ms=4.5,
                    marker=None if faint else shape, markevery=-(-len(values) // 8),
                    label=None if faint else plain(name))  # fmt: skip
    tidy(ax)
    if metric == "group_accuracy":
        ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("optimiser step")
    names = {"group_accuracy": "accuracy", "q": "group weight q", "group_loss": "mean loss"}
    ax.set_ylabel(f"{names.get(metric, metric)} ({plain(dark.replace('/', ' '))})")
    finish(figure, "Faint: training." if dark != "train" else "")
    return figure


def grouped(report: Report, data: str, table: str, metrics: Sequence[str]) -> dict[str, list[str]]:
    """Return the groups of each metric that groups have and some method has on a table."""
    from frbench.metrics.names import group_of

    rows = [row for row in report.rows if row.data == data]
    found: dict[str, list[str]] = {}
    for metric in metrics:
        own = group_of(metric)
        if own and any(row.metrics[f"{table}/{metric}"].n for row in rows):
            found.setdefault(own[0], []).append(own[1])
    return found
