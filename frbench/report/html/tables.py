"""The page's tables, readable without its script."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from frbench.metrics.names import split_key
from frbench.report.html.markup import Markup, join, table, tag
from frbench.report.information import EQUAL, told_of, use_of
from frbench.report.interval import Estimate
from frbench.report.results import Run
from frbench.report.sheets import cell, label, ranked, reference, show
from frbench.report.significance import ALPHA, corrected, show_p
from frbench.report.summary import Report, Row


def words(name: str) -> str:
    """Write a metric or a table as people read it."""
    return name.replace("_", " ")


# ---- leaderboard -------------------------------------------------------------------------------
def leaderboard(report: Report, data: str, name: str, metrics: Sequence[str]) -> Markup | None:
    """Make the sortable table of one test table, best first by the first metric."""
    rows = [row for row in report.rows if row.data == data]
    metrics = [m for m in metrics if any(row.metrics[f"{name}/{m}"].n for row in rows)]
    if not metrics:
        return None
    keys = [f"{name}/{metric}" for metric in metrics]
    p_values = {key: corrected(rows, key) for key in keys}
    told = any(told_of(row.runs) for row in rows)
    header = [_sortable("method", "ascending", "text")]
    header += [_sortable("attribute read in", "ascending", "text")] * told
    header.append(_sortable("n", "descending"))
    for i, metric in enumerate(metrics):
        first = "ascending" if report.direction(metric) < 0 else "descending"
        header.append(_sortable(words(metric), first, now=first if i == 0 else "none"))
    lines = []
    for row in ranked(rows, keys[0], report.direction(keys[0])):
        n = max(row.metrics[key].n for key in keys)
        name_cell = tag("th", label(row), scope="row", data_value=label(row))
        use = ", ".join(use_of(row.runs, report.rule)) or "nothing"
        line: list[object] = [
            name_cell,
            *[tag("td", use, class_="text", data_value=use, data_name="attribute read in")] * told,
            tag("td", tag("span", n), data_value=n, data_name="n"),
        ]
        for key in keys:
            p = p_values[key].get(row.method, math.nan)
            line.append(_entry(row, key, n, p, report))
        lines.append(line)
    oracle = "ORACLE (settings chosen on test data): " if report.rule.oracle else ""
    return table(f"{oracle}{data}, {name.replace('/', ' ')}", header, lines)


def _sortable(text: str, first: str, kind: str = "number", now: str = "none") -> Markup:
    button = tag("button", text, type="button")
    return tag("th", button, scope="col", aria_sort=now, data_first=first, data_kind=kind)


def _entry(row: Row, key: str, n: int, p: float, report: Report) -> Markup:
    """Make the cell of a metric: mean ± sd, interval, difference with its corrected p-value."""
    found = row.metrics[key]
    name = words(split_key(key, report.own)[1])
    if not found.n:
        return tag("td", tag("span", "–"), data_name=name)
    shown = cell(found, n)
    return tag(
        "td",
        tag("span", shown.text, class_="best" if key in row.leads else None),
        tag("span", shown.interval, class_="interval") if shown.interval else None,
        _versus(row.differences.get(key), p, report.direction(key), row.against),
        data_value=f"{found.mean:.8g}",
        data_name=name,
    )


def _versus(found: Estimate | None, p: float, sign: int, baseline: str) -> Markup | None:
    if found is None or not found.n:
        return None
    text = show(found.mean, signed=True)
    pairs = f"{found.n} pair{'s' * (found.n > 1)}"
    if math.isnan(p):
        return tag("span", text, class_="versus", title=f"difference to {baseline}, {pairs}")
    mark = ""
    if p < ALPHA:
        mark = " ≠" if not sign else " ▲ better" if sign * found.mean > 0 else " ▼ worse"
    title = (
        f"difference to {baseline} over {pairs}: 95 % interval [{show(found.low, True)}, "
        f"{show(found.high, True)}], {show_p(p)} after Holm's correction"
    )
    kind = "versus clear" if mark else "versus"
    return tag("span", f"{text}, {show_p(p)}{mark}", class_=kind, title=title)


def reading(report: Report) -> Iterator[str]:
    """Say what the lines of a cell are."""
    yield (
        "In each cell: mean ± sd; below it the 95 % t-interval of the mean. Bold: the best mean, "
        "and those not clearly behind it, where another method is: the interval of the paired "
        "differences leaves out 0."
    )
    rivals = max(
        (sum(1 for row in report.rows if row.data == data and row.differences)
         for data in report.tables), default=0,
    )  # fmt: skip
    if rivals:
        one = "" if report.baseline == EQUAL else "the baseline "
        yield (
            f"Last line: difference to {one}{reference(report)}, paired by seed or fold, "
            f"and the p-value of the two-sided paired t-test, corrected by Holm's method for the "
            f"{rivals} method{'s' * (rivals > 1)} compared on a metric of a test table (not for "
            f"the number of metrics and tables). ▲ better, ▼ worse: p < {ALPHA:g}. "
            "Without a p-value: fewer than two pairs, or all pairs differ alike. Another "
            "baseline: --baseline."
        )


# ---- groups ------------------------------------------------------------------------------------
def groups(rows: Sequence[Row]) -> Markup | None:
    """Show counts of each table, and for each method the share of groups that training saw.

    Methods that trained on the same counts share a table, methods with the same shares a column.
    None if no record holds them.
    """
    alike: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if found := row.runs[0].record.get("groups"):
            alike.setdefault(repr((found["names"], found["counts"])), {})[row.method] = found
    out = []
    for records in alike.values():
        shares: dict[tuple[float, ...], list[str]] = {}
        notes: dict[str, list[str]] = {}
        for method, record in records.items():
            shares.setdefault(tuple(record["Q"]), []).append(method)
            for note in record.get("notes", []):
                notes.setdefault(note, []).append(method)
        first = next(iter(records.values()))
        counts: dict[str, list[int]] = first["counts"]
        lines = [
            [
                name,
                *(f"{column[i]:,}" for column in counts.values()),
                *(f"{share[i]:.4f}" for share in shares),
            ]
            for i, name in enumerate(first["names"])
        ]
        header = [
            "group",
            *counts,
            *(f"Q: {', '.join(names)}" if len(shares) > 1 else "Q" for names in shares.values()),
        ]
        whose = f" ({', '.join(records)})" if len(alike) > 1 else ""
        caption = f"Rows of each group, and its share Q of the training weight{whose}"
        out.append(table(caption, header, lines))
        if notes:
            remarks = (f"{', '.join(names)}: {note}" for note, names in notes.items())
            out.append(tag("ul", *(tag("li", remark) for remark in remarks)))
    return join(out) if out else None


# ---- warnings ----------------------------------------------------------------------------------
def warnings(report: Report) -> Markup | None:
    """List the warnings of the checks, quoting the runs of chosen settings (else another one)."""
    shown = {id(run) for row in report.rows for run in row.runs}
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in report.runs:
        for name in run.warnings:
            found.setdefault((run.data, run.method, name), []).append(run)
    if not found:
        return None
    lines = []
    for (data, method, name), runs in found.items():
        here = [run for run in runs if id(run) in shown]
        messages: dict[str, list[str]] = {}
        for run in here or runs[:1]:
            fold = "" if run.fold is None else f" fold {run.fold}"
            where = f"{run.seed}{fold}{'' if here else ', another setting'}"
            messages.setdefault(run.warnings[name], []).append(where)
        text = "\n".join(f"{m} [seed {', '.join(s)}]" for m, s in messages.items())
        check = tag("td", name, class_="text nowrap")
        lines.append([f"{data} {method}", check, len(here), len(runs), _wrapped(text)])
    header = ["data and method", _text("check"), "of runs shown", "of all runs", _text("message")]
    return table("Warnings of the sanity checks: in so many runs", header, lines)


def _wrapped(text: str) -> Markup:
    return tag("td", tag("div", text, class_="wrap"), class_="text")


def _text(name: str) -> Markup:
    return tag("th", name, scope="col", class_="text")


# ---- runs --------------------------------------------------------------------------------------
def settings(report: Report) -> Markup:
    """Show the chosen setting of each method, how it was trained, and what that took."""
    lines = []
    for row in report.rows:
        first = row.runs[0]
        penalties = ", ".join(f"{k} {v:g}" for k, v in first.training.get("penalties", {}).items())
        seeds = ", ".join(map(str, sorted({run.seed for run in row.runs})))
        steps = first.record.get("steps")
        rule = show(row.rule.mean) if row.rule.n else "–"
        lines.append([
            f"{row.data} {row.method}",
            _wrapped(first.setting),
            row.given,
            rule,
            tag("td", seeds, class_="text"),
            tag("td", first.training.get("balance", "–"), class_="text"),
            tag("td", penalties or "–", class_="text"),
            "–" if steps is None else f"{steps:,}",
            f"{sum(run.seconds for run in row.runs) / len(row.runs):.1f}",
            f"{max(run.memory for run in row.runs):.0f}",
        ])  # fmt: skip
    header = ["data and method", _text("chosen setting"), "settings given",
              words(report.rule.text), _text("seeds"), _text("balance"), _text("penalties"),
              "steps (first run)", "seconds a run", "peak MB"]  # fmt: skip
    return table("Chosen settings and cost", header, lines)


def origins(report: Report) -> Markup:
    """Show on what software and hardware the runs were made, and when."""
    kinds: dict[tuple[str, str, str], list[Run]] = {}
    for run in report.runs:
        record = run.record
        kind = (run.software or "unknown", str(record.get("commit") or "unknown"),
                str(record.get("hardware") or "unknown"))  # fmt: skip
        kinds.setdefault(kind, []).append(run)
    lines = []
    for (software, commit, hardware), runs in kinds.items():
        dates = sorted(str(run.record["finished"]) for run in runs if run.record.get("finished"))
        span = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "unknown"
        cells = (software, commit, hardware, span)
        lines.append([len(runs), *(tag("td", cell, class_="text") for cell in cells)])
    header = ["runs", *map(_text, ("packages", "commit of frbench", "hardware", "finished (UTC)"))]
    return table("Where the runs were made", header, lines)


def configurations(report: Report) -> tuple[Markup, list[str]]:
    """Show the grids and each method's configuration, closed; and name what is missing."""
    out, missing = [], []
    for file in dict.fromkeys(run.folder.parent.parent / "grid.yaml" for run in report.runs):
        if file.is_file():
            out.append(_listing(f"Grid {file.parent.name}", file.read_text(errors="replace")))
        else:
            missing.append(f"The grid: no {file}.")
    for row in report.rows:
        run = row.runs[0]
        file = run.folder / "config.yaml"
        if file.is_file():
            text = file.read_text(errors="replace")
            # Where the run lay on its machine is nobody's concern.
            if place := re.search(r"^run_dir: (.+)$", text, re.MULTILINE):
                text = text.replace(place[1], "<run>")
            out.append(_listing(f"Configuration of {run.name}", text))
        else:
            digest = run.record.get("config_hash", "unknown")
            missing.append(f"The configuration of {run.name}: no {file} (its hash is {digest}).")
    return join(out), missing


def _listing(title: str, text: str) -> Markup:
    return tag("details", tag("summary", title), tag("pre", text))
