"""The numbers that the page's charts are drawn from, as small as they are needed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from frbench.metrics.names import DIRECTION, group_of
from frbench.report.interval import Estimate
from frbench.report.logged import read_curves
from frbench.report.results import Run
from frbench.report.summary import Report, Row

#: Bytes of training curves; what does not fit is left out, later seeds first, and named.
BUDGET = 400_000


def payload(
    report: Report, metrics: Sequence[str], x: str, y: str
) -> tuple[dict[str, Any], list[str]]:
    """Collect what the page's script draws.

    Args:
        report: A report that holds `metrics`.
        metrics: All metrics that can be chosen, without split and table.
        x: Metric of the scatter's horizontal axis at first.
        y: Metric of the vertical axis.

    Returns:
        Plain values, and what had to be left out, in words.
    """
    methods = list(dict.fromkeys(row.method for row in report.rows))
    order = [*DIRECTION, *report.own]
    scalars = sorted(
        (metric for metric in metrics if group_of(metric) is None),
        key=lambda metric: (order.index(metric.partition("/")[0]), metric),
    )
    grouped: dict[str, list[str]] = {}
    for metric in metrics:
        if found := group_of(metric):
            grouped.setdefault(found[0], []).append(found[1])
    runs, left_out = _curves(report, methods)
    data = [
        _data(report, name, methods, scalars, grouped) | {"curves": runs.get(name, [])}
        for name in report.tables
    ]
    versus = f"differences to {report.baseline}"
    content = {
        "methods": methods,
        "directions": {metric: report.direction(metric) for metric in scalars},
        "versus": versus if any(row.differences for row in report.rows) else None,
        "x": x,
        "y": y,
        "data": data,
    }
    return content, left_out


def dump(content: dict[str, Any]) -> str:
    """Write JSON that can stand inside a ``script`` element: nothing in it ends the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _data(
    report: Report,
    name: str,
    methods: Sequence[str],
    scalars: Sequence[str],
    grouped: dict[str, list[str]],
) -> dict[str, Any]:
    """Collect one data set: of each test table the metrics that some method has there."""
    rows = [row for row in report.rows if row.data == name]

    def known(table: str, metric: str) -> bool:
        return any(row.metrics[f"{table}/{metric}"].n for row in rows)

    tables = report.tables[name]
    plain = {table: [m for m in scalars if known(table, m)] for table in tables}
    groups = {
        table: {
            metric: found
            for metric, names in grouped.items()
            if (found := [group for group in names if known(table, f"{metric}/{group}")])
        }
        for table in tables
    }
    return {
        "name": name,
        "tables": tables,
        "metrics": plain,
        "grouped": groups,
        "rows": [_row(row, methods, plain, groups) for row in rows],
    }


def _row(
    row: Row,
    methods: Sequence[str],
    plain: dict[str, list[str]],
    grouped: dict[str, dict[str, list[str]]],
) -> dict[str, Any]:
    return {
        "method": methods.index(row.method),
        "values": {
            table: [_pair(row.metrics[f"{table}/{metric}"]) for metric in names]
            for table, names in plain.items()
        },
        "grouped": {
            table: {
                metric: [_pair(row.metrics[f"{table}/{metric}/{group}"]) for group in names]
                for metric, names in known.items()
            }
            for table, known in grouped.items()
        },
    }


def _pair(found: Estimate) -> list[float] | None:
    """Return the mean and the ends of its interval; the mean alone of a single run."""
    if not found.n:
        return None
    return [_short(v) for v in (found.mean, found.low, found.high) if math.isfinite(v)]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _curves(
    report: Report, methods: Sequence[str]
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Read the curves of the runs shown, first seeds first, until the budget is spent."""
    found: dict[str, list[dict[str, Any]]] = {}
    missing: list[Run] = []
    spent = skipped = 0
    longest = max((len(row.runs) for row in report.rows), default=0)
    for i in range(longest):
        for row in report.rows:
            if i >= len(row.runs):
                continue
            run = sorted(row.runs, key=lambda run: (run.fold or 0, run.seed))[i]
            lines = [
                {
                    "table": curve.table,
                    "metric": curve.metric,
                    "steps": curve.steps,
                    "groups": {
                        name: [_short(v) if math.isfinite(v) else None for v in values]
                        for name, values in curve.groups.items()
                    },
                }
                for curve in read_curves(run.folder / "metrics.csv")
            ]
            if not lines:
                missing.append(run)
                continue
            fold = "" if run.fold is None else f", fold {run.fold}"
            entry = {
                "method": methods.index(row.method),
                "name": f"seed {run.seed}{fold}",
                "lines": lines,
            }
            spent += len(dump(entry))
            if spent > BUDGET and i:
                skipped += 1
                continue
            found.setdefault(row.data, []).append(entry)
    notes = []
    if missing:
        shown = sum(len(row.runs) for row in report.rows)
        folder = missing[0].folder.parent
        notes.append(
            f"Training curves of {len(missing)} of {shown} runs: no metrics.csv of them in "
            f"{folder} (the first is {missing[0].name})."
        )
    if skipped:
        notes.append(
            f"Training curves of {skipped} runs of later seeds, to keep the page small: see the "
            "metrics.csv of each run."
        )
    return found, notes
