"""A metric over the members of a shift family, one line per method."""

from __future__ import annotations

import re
from pathlib import Path

from frbench.contracts.errors import UserError
from frbench.report.canvas import (
    COLORS,
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
from frbench.report.summary import Report

_MEMBER = re.compile(r"test/[^/=]+=(-?\d+(?:\.\d+)?)")
_PANEL = (WIDTH, 3.8)  # inches


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
    methods = [*dict.fromkeys(row.method for row in report.rows)]
    width = WIDTH * min(2, len(families))
    below = keyed(methods, width)
    figure, axes = panels(len(families), _PANEL, 2, Margins(top=0.3), below)
    for ax, (data, members) in zip(axes, families.items(), strict=True):
        for row in (row for row in report.rows if row.data == data):
            i = methods.index(row.method)
            values = [row.metrics[f"{table}/{metric}"] for _, table in members]
            color, shape = look(i)
            ax.errorbar(
                [s for s, _ in members],
                [v.mean for v in values],
                [v.high - v.mean for v in values],  # NaN for a single run: no bar
                capsize=2,
                elinewidth=0.7,
                lw=1.4,
                ms=5,
                ls=("-", "--", ":")[i // len(COLORS) % 3],
                color=color,
                marker=shape,
                label=plain(row.method),
            )
        tidy(ax, plain(data))
        ax.set_xlabel("strength of the dependence in the test table")
        ax.set_ylabel(axis_name(metric, report.direction(metric)))
    finish(figure, "Bars: 95 % intervals of the mean over seeds.")
    save(figure, path)
