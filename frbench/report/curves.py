"""A metric over the members of a shift family, one line per method."""

from __future__ import annotations

import math
import re
from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.report.plot import COLORS, GREY, SHAPES, axis_name
from frbench.report.summary import Report
from frbench.support.atomic import replacing

_MEMBER = re.compile(r"test/[^/=]+=(-?\d+(?:\.\d+)?)")
_PANEL = (6.4, 3.8)  # inches, with the names of the methods


def strength(table: str) -> float | None:
    """Return the strength of a member of a shift family, None for any other table.

    Example:
        >>> strength("test/shift=-0.9"), strength("test/P0")
        (-0.9, None)
    """
    found = _MEMBER.fullmatch(table)
    return float(found[1]) if found else None


def curves(report: Report, metric: str, path: Path) -> None:
    """Draw one panel per data set: the metric of each method over the strengths of its family.

    Args:
        report: A report that holds the metric.
        metric: Metric of the vertical axis, without split and table.
        path: Image to write; its ending is the format.

    Raises:
        UserError: If no data set has two members of a family with the metric.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    families = {}
    for data, tables in report.tables.items():
        members = sorted((s, t) for t in tables if (s := strength(t)) is not None)
        rows = [row for row in report.rows if row.data == data]
        members = [(s, t) for s, t in members if any(r.metrics[f"{t}/{metric}"].n for r in rows)]
        if len(members) > 1:
            families[data] = members
    if not families:
        raise UserError(
            f"No data set has {metric} on test tables of a shift family (test/<name>=<strength>); "
            "the tasks of Mind the Graph have them with data.family."
        )
    columns = min(2, len(families))
    lines = math.ceil(len(families) / columns)
    size = (_PANEL[0] * columns, _PANEL[1] * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    try:
        for ax, (data, members) in zip(axes.flat, families.items(), strict=False):
            for i, row in enumerate(row for row in report.rows if row.data == data):
                values = [row.metrics[f"{table}/{metric}"] for _, table in members]
                ax.errorbar(
                    [s for s, _ in members],
                    [v.mean for v in values],
                    [v.high - v.mean for v in values],  # NaN for a single run: no bar
                    capsize=2,
                    elinewidth=0.7,
                    lw=1.4,
                    ms=5,
                    ls=("-", "--", ":")[i // len(COLORS) % 3],
                    color=COLORS[i % len(COLORS)],
                    marker=SHAPES[i % len(SHAPES)],
                    label=row.method,
                )
            ax.set_title(data, fontsize=11, loc="left")
            ax.set_xlabel("strength of the dependence in the test table")
            ax.set_ylabel(axis_name(metric, report.direction(metric)))
            ax.grid(color="#e6e6e6", lw=0.6)
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
            ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
        for ax in axes.flat[len(families) :]:
            ax.set_visible(False)
        figure.supxlabel("Bars: 95 % intervals of the mean over seeds.", fontsize=8, color=GREY)
        with replacing(path) as part:
            figure.savefig(part, dpi=150)
    finally:
        plt.close(figure)
