"""The report as one HTML file: tables and figures, which need no script.

The figures are those of the commands and loggers, drawn by matplotlib as SVG whose colours are the
page's; a script of fifty lines sorts tables and chooses what is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from frbench import __version__
from frbench.report.frontier import Frontier, sheets
from frbench.report.html import figures, tables
from frbench.report.html.markup import Markup, join, tag
from frbench.report.html.page import document, listed, sheet_tables
from frbench.report.sheets import cost, protocol, reference
from frbench.report.signatures import signatures
from frbench.report.summary import Report
from frbench.support.sheet import Sheet

__all__ = ["html_page"]


def html_page(
    report: Report,
    metrics: Sequence[str],
    every: Sequence[str],
    x: str,
    y: str,
    fronts: Sequence[Frontier] = (),
    flips: Sequence[Sheet] = (),
    errors: int = 6,
) -> str:
    """Write the page.

    Nothing is fetched: style, script and figures lie inside, and a content security policy allows
    just these (by their hashes), so that a name in the results cannot bring in anything either.

    Args:
        report: A report that holds `every`.
        metrics: Columns of the leaderboards.
        every: All metrics of the report, without split and table.
        x: Metric of the horizontal axis of the first plane.
        y: Metric of the vertical axis.
        fronts: Trade-offs of two metrics to show, too.
        flips: Tables of the decisions that differ between seeds, to show, too.
        errors: Rows of the worst group to show of each method; 0: none of the data's rows.
    """
    methods = list(dict.fromkeys(row.method for row in report.rows))
    listings, unread = tables.configurations(report)
    names = list(report.tables)
    older = [row.runs[0].name for row in report.rows if not row.runs[0].record.get("groups")]
    missing = list(unread)
    if older:
        missing.append(
            f"The groups of {', '.join(older)}: its record, of an older frbench, has none."
        )
    sections = []
    for i, name in enumerate(names):
        section, lost = _section(i, name, report, metrics, every, x, y, errors)
        sections.append(section)
        missing += lost
    title = f"{', '.join(names)}: {len(methods)} methods"
    body = [
        tag("h1", title),
        tag("p", cost(report), class_="soft"),
        tag("div", _navigation(names), tag("div", id="toggles"), class_="bar-top"),
        *sections,
        _frontier(fronts) if fronts else None,
        tag("section", tag("h2", "Seeds"), *sheet_tables(flips), id="flips") if flips else None,
        _protocol(report),
        _warnings(report),
        tag("section", tag("h2", "Configurations and versions"), tables.settings(report),
            tables.origins(report), listings, id="configurations"),
        tag("section", tag("h2", "What this page lacks"), listed(missing), id="lacks")
        if missing else None,
        tag("p", f"Written by frbench {__version__}.", class_="soft"),
    ]  # fmt: skip
    return document(f"frbench: {title}", join(body), _versus(report))


def _navigation(names: Sequence[str]) -> Markup:
    places = [(name, f"data-{i}") for i, name in enumerate(names)]
    places += [("Protocol", "protocol"), ("Warnings", "warnings"),
               ("Configurations", "configurations")]  # fmt: skip
    links = (tag("a", name, href=f"#{place}") for name, place in places)
    return tag("nav", *links, aria_label="Parts of this page")


def _versus(report: Report) -> str:
    """Say what the last line of a cell is; empty where none has it."""
    return f"differences to {reference(report)}" if any(r.differences for r in report.rows) else ""


def _section(
    index: int,
    name: str,
    report: Report,
    metrics: Sequence[str],
    every: Sequence[str],
    x: str,
    y: str,
    errors: int,
) -> tuple[Markup, list[str]]:
    """Make the part of one data set; return what it lacks, too."""
    rows = [row for row in report.rows if row.data == name]
    own = report.tables[name]
    boards = (
        tag("div", tag("h3", test.replace("/", " ")) if len(own) > 1 else None,
            tables.leaderboard(report, name, test, metrics)
            or tag("p", "None of the columns was measured here.", class_="none"),
            figures.comparison(report, name, test, metrics, every, x, y)
            if i < figures.MOST_TABLES else None,
            class_="board", data_table=test)
        for i, test in enumerate(own)
    )  # fmt: skip
    inside, missing = figures.inside(report, name, errors)
    if more := own[figures.MOST_TABLES :]:
        missing.append(f"{name}: figures of {', '.join(more)} (--tables chooses).")
    groups = tables.groups(rows)
    section = tag(
        "section",
        tag("h2", name),
        tag("div", class_="controls"),
        *boards,
        join((tag("h3", "Errors and training, first run of each method"), inside))
        if inside else None,
        join((tag("h3", "Groups"), groups)) if groups else None,
        id=f"data-{index}",
        class_="dataset",
    )  # fmt: skip
    return section, missing


def _frontier(fronts: Sequence[Frontier]) -> Markup:
    """Make the part of the trade-offs: figures, and their numbers as tables."""
    parts = [tag("h2", "Trade-offs"), figures.frontier(fronts)]
    return tag("section", *parts, *sheet_tables(sheets(fronts)), id="frontier")


def _protocol(report: Report) -> Markup:
    lines = [*protocol(report), *tables.reading(report), *report.notes]
    return tag("section", tag("h2", "Protocol"), listed(lines), id="protocol")


def _warnings(report: Report) -> Markup:
    """Make the part with all that speaks against the numbers."""
    seen = [str(signature) for signature in signatures(report)]
    failed = [f"{run.name}: {run.error}" for run in report.runs if run.error is not None]
    parts = [tables.warnings(report) or tag("p", "No sanity check fired in any run.")]
    for title, lines in (("Signatures of failure", seen), ("Failed runs", failed)):
        if lines:
            parts += [tag("h3", title), listed(lines)]
    return tag("section", tag("h2", "Warnings"), *parts, id="warnings")
