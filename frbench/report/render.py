"""A report as terminal tables, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from frbench.report.information import told_of, use_of
from frbench.report.interval import Estimate
from frbench.report.sheets import footer, said_of, sheets
from frbench.report.signatures import signatures
from frbench.report.significance import corrected
from frbench.report.summary import Report
from frbench.support.sheet import Sheet, Value, document


def render(
    report: Report, metrics: Sequence[str], form: str, color: bool = False, grouped: bool = False
) -> str:
    """Write a report as text.

    Args:
        report: What `frbench.report.summarise` returns.
        metrics: Columns of the tables, names without split and table.
        form: table, markdown, latex, csv or json.
        color: Whether a table may hold terminal codes.
        grouped: Whether there is a leaderboard for each way of reading the attribute.
    """
    if form == "json":
        return json.dumps(_as_json(report, metrics), indent=2, allow_nan=False) + "\n"
    if form == "csv":
        return _long(report, metrics).render("csv")
    words = said_of(report.spread).format(seeds="seeds or folds")
    caption = [words[0].upper() + words[1:] + "."] * (form == "latex")
    tables = [sheet._replace(lines=caption) for sheet in sheets(report, metrics, grouped)]
    return document([*tables, Sheet(lines=footer(report))], form, color=color)


def _null(value: float | None) -> float | None:
    """Write an undefined number as JSON can."""
    return None if value is None or math.isnan(value) else value


def _numbers(found: Estimate) -> dict[str, Any]:
    return {key: _null(value) for key, value in found._asdict().items()}


def _as_json(report: Report, metrics: Sequence[str]) -> dict[str, Any]:
    p_values: dict[tuple[str, str], dict[str, float]] = {}
    for data in report.tables:
        own = [row for row in report.rows if row.data == data]
        p_values |= {(data, key): corrected(own, key) for row in own for key in row.differences}
    shown = {
        data: [f"{table}/{metric}" for table in tables for metric in metrics]
        for data, tables in report.tables.items()
    }
    rows = [
        {
            "data": row.data,
            "method": row.method,
            "settings_given": row.given,
            "settings": row.runs[0].settings,
            "cells": [run.cell for run in row.runs],
            "seeds": sorted({run.seed for run in row.runs}),
            "oracle_checkpoint": row.oracle,
            "attribute_read_in": (
                list(use_of(row.runs, report.rule)) if told_of(row.runs) else None
            ),
            "rule": _numbers(row.rule),
            "compared_with": row.against or None,
            "metrics": {key: _numbers(row.metrics[key]) for key in shown[row.data]},
            "differences": {
                key: {**_numbers(found), "p_holm": _null(p_values[row.data, key].get(row.method))}
                for key, found in row.differences.items()
                if key in shown[row.data]
            },
        }
        for row in report.rows
    ]
    return {
        "select": report.rule.text,
        "oracle": report.rule.oracle,
        "baseline": report.baseline,
        "rows": rows,
        "signatures": [seen._asdict() for seen in signatures(report)],
        "failed": [run.name for run in report.runs if run.error is not None],
        "notes": footer(report),
    }


def _long(report: Report, metrics: Sequence[str]) -> Sheet:
    """Lay out one line per method, test table and metric, with every number."""
    names = list(Estimate._fields)
    columns = ["data", "table", "method", "metric", *names, *(f"difference_{n}" for n in names)]
    return Sheet(
        columns=[*columns, "settings_given", "settings", "select", "oracle", "compared_with"],
        rows=list(_lines(report, metrics)),
    )


def _lines(report: Report, metrics: Sequence[str]) -> Iterator[list[Value]]:
    for row in report.rows:
        oracle = report.rule.oracle or row.oracle
        for table in report.tables[row.data]:
            for metric in metrics:
                key = f"{table}/{metric}"
                found = _numbers(row.metrics[key]).values()
                against = row.differences.get(key)
                paired = _numbers(against).values() if against else [None] * len(Estimate._fields)
                chosen = (row.given, row.runs[0].setting, report.rule.text, oracle, row.against)
                yield [row.data, table, row.method, metric, *found, *paired, *chosen]
