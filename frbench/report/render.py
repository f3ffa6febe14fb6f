"""A report as terminal tables, Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

from frbench.report.interval import Estimate
from frbench.report.sheets import Cell, Sheet, footer, sheets
from frbench.report.signatures import signatures
from frbench.report.significance import corrected
from frbench.report.summary import Report

_CAPTION = "Mean ± sd over n seeds or folds, 95 % t-interval of the mean."
_WIDTH = 140  # of tables that do not go to a terminal
_LATEX = {
    **{char: f"\\{char}" for char in "_%&#${}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "−": "$-$", "–": "--",
}  # fmt: skip


def render(report: Report, metrics: Sequence[str], form: str, color: bool = False) -> str:
    """Write a report as text.

    Args:
        report: What `frbench.report.summarise` returns.
        metrics: Columns of the tables, names without split and table.
        form: table, markdown, latex, csv or json.
        color: Whether a table may hold terminal codes.
    """
    if form == "json":
        return json.dumps(_as_json(report, metrics), indent=2, allow_nan=False) + "\n"
    if form == "csv":
        return _as_csv(report, metrics)
    tables, lines = sheets(report, metrics), footer(report)
    if form == "markdown":
        return _as_markdown(tables, lines)
    return _as_latex(tables, lines) if form == "latex" else _as_table(tables, lines, color)


def _as_table(tables: Sequence[Sheet], lines: Sequence[str], color: bool) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(
        file=io.StringIO(),
        force_terminal=color,
        width=None if color else _WIDTH,
        highlight=False,
    )
    for sheet in tables:
        table = Table(  # narrow enough for four metrics on 80 columns
            title=Text(sheet.title, "bold"),
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for i, name in enumerate(sheet.header):
            side: Literal["left", "right"] = "right" if i else "left"
            table.add_column(Text(name), justify=side, vertical="middle", overflow="fold")
        for cells in sheet.lines:
            spans = (cell.interval.strip("[]").replace(", ", "…") for cell in cells)
            texts = (
                f"{cell.value}\n{span}".strip() for cell, span in zip(cells, spans, strict=True)
            )
            styles = ("bold" if cell.bold else "" for cell in cells)
            table.add_row(*map(Text, texts, styles))
        console.print(table, "", sep="\n")
    for line in lines:
        console.print(Text(line))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _as_markdown(tables: Sequence[Sheet], lines: Sequence[str]) -> str:
    def escape(text: str) -> str:
        return re.sub(r"([\\|*_<>`])", r"\\\1", text)

    def show(cell: Cell) -> str:
        value = escape(cell.value)
        return " ".join(filter(None, (f"**{value}**" if cell.bold else value, cell.interval)))

    out = []
    for sheet in tables:
        out += [f"### {escape(sheet.title)}", ""]
        out.append(f"| {' | '.join(map(escape, sheet.header))} |")
        out.append("|:---|" + "---:|" * (len(sheet.header) - 1))
        out += [f"| {' | '.join(map(show, line))} |" for line in sheet.lines] + [""]
    return "\n".join(out + [f"- {escape(line)}" for line in lines]) + "\n"


def _as_latex(tables: Sequence[Sheet], lines: Sequence[str]) -> str:
    def escape(text: str) -> str:
        return "".join(_LATEX.get(char, char) for char in text)

    def show(cell: Cell) -> str:
        value = escape(cell.value)
        interval = f"{{\\scriptsize {escape(cell.interval)}}}" if cell.interval else ""
        return " ".join(filter(None, (f"\\textbf{{{value}}}" if cell.bold else value, interval)))

    out = ["% needs \\usepackage{booktabs}"]
    for sheet in tables:
        out += [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{escape(f'{sheet.title}. {_CAPTION}')}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(sheet.header) - 1)}}}",
            "\\toprule",
            " & ".join(map(escape, sheet.header)) + r" \\",
            "\\midrule",
            *(" & ".join(map(show, line)) + r" \\" for line in sheet.lines),
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
            "",
        ]
    return "\n".join(out + [f"% {' '.join(line.split())}" for line in lines]) + "\n"


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
    rows = [
        {
            "data": row.data,
            "method": row.method,
            "settings_given": row.given,
            "settings": row.runs[0].settings,
            "cells": [run.cell for run in row.runs],
            "seeds": sorted({run.seed for run in row.runs}),
            "oracle_checkpoint": row.oracle,
            "rule": _numbers(row.rule),
            "metrics": {
                key: _numbers(row.metrics[key])
                for table in report.tables[row.data]
                for key in (f"{table}/{metric}" for metric in metrics)
            },
            "differences": {
                key: {**_numbers(found), "p_holm": _null(p_values[row.data, key].get(row.method))}
                for key, found in row.differences.items()
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


def _as_csv(report: Report, metrics: Sequence[str]) -> str:
    """Write one line per method, test table and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(Estimate._fields)
    columns = ["data", "table", "method", "metric", *names, *(f"difference_{n}" for n in names)]
    writer.writerow([*columns, "settings_given", "settings", "select", "oracle"])
    for row in report.rows:
        oracle = report.rule.oracle or row.oracle
        for table in report.tables[row.data]:
            for metric in metrics:
                key = f"{table}/{metric}"
                found = _numbers(row.metrics[key]).values()
                against = row.differences.get(key)
                paired = _numbers(against).values() if against else [None] * len(names)
                chosen = (row.given, row.runs[0].setting, report.rule.text, oracle)
                writer.writerow([row.data, table, row.method, metric, *found, *paired, *chosen])
    return out.getvalue()
