"""The report as one HTML file: tables that stand alone, charts drawn by a script inside it.

The charts are drawn by the page's own script, not by matplotlib: one drawing serves every choice
of axes, table and group, both colour schemes and every width, where pictures would have to hold
each combination (a picture of ten kilobytes for each of some hundred).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from frbench import __version__
from frbench.report.frontier import Frontier, sheets
from frbench.report.frontier_plot import figure_bytes
from frbench.report.html import tables
from frbench.report.html.charts import dump, payload
from frbench.report.html.markup import Markup, join, table, tag
from frbench.report.sheets import cost, protocol
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
) -> str:
    """Write the page.

    Nothing is fetched: style, script and numbers lie inside, and a content security policy allows
    just these (by their hashes), so that a name in the results cannot bring in anything either.

    Args:
        report: A report that holds `every`.
        metrics: Columns of the leaderboards.
        every: All metrics that the charts may show, without split and table.
        x: Metric of the scatter's horizontal axis at first.
        y: Metric of the vertical axis.
        fronts: Trade-offs of two metrics to show, too.
        flips: Tables of the decisions that differ between seeds, to show, too.
    """
    content, lost = payload(report, every, x, y)
    methods = content["methods"]
    listings, unread = tables.configurations(report)
    names = list(report.tables)
    older = [row.runs[0].name for row in report.rows if not row.runs[0].record.get("groups")]
    missing = [*lost, *unread]
    if older:
        missing.append(
            f"The groups of {', '.join(older)}: its record, of an older frbench, has none."
        )
    title = f"{', '.join(names)}: {len(methods)} methods"
    body = [
        tag("h1", title),
        tag("p", cost(report), class_="soft"),
        tag("div", _navigation(names), tag("div", id="toggles"), class_="bar-top"),
        tag("noscript", tag("p", "The charts and sorting need JavaScript; the tables do not.")),
        *(_section(i, name, report, metrics, methods) for i, name in enumerate(names)),
        _frontier(fronts) if fronts else None,
        tag("section", tag("h2", "Seeds"), *_tables(flips), id="flips") if flips else None,
        _protocol(report),
        _warnings(report),
        tag("section", tag("h2", "Configurations and versions"), tables.settings(report),
            tables.origins(report), listings, id="configurations"),
        tag("section", tag("h2", "What this page lacks"), _list(missing)) if missing else None,
        tag("p", f"Written by frbench {__version__}.", class_="soft"),
    ]  # fmt: skip
    return "<!doctype html>\n" + _document(f"frbench: {title}", join(body), dump(content))


def _navigation(names: Sequence[str]) -> Markup:
    places = [(name, f"data-{i}") for i, name in enumerate(names)]
    places += [("Protocol", "protocol"), ("Warnings", "warnings"),
               ("Configurations", "configurations")]  # fmt: skip
    links = (tag("a", name, href=f"#{place}") for name, place in places)
    return tag("nav", *links, aria_label="Parts of this page")


def _section(
    index: int, name: str, report: Report, metrics: Sequence[str], methods: Sequence[str]
) -> Markup:
    """Make the part of one data set; the script fills in controls and charts."""
    rows = [row for row in report.rows if row.data == name]
    boards = (
        tag("div", board or tag("p", "None of the columns was measured here.", class_="none"),
            class_="board", data_table=own)
        for own in report.tables[name]
        for board in (tables.leaderboard(report, name, own, metrics, methods),)
    )  # fmt: skip
    groups = tables.groups(rows)
    return tag(
        "section",
        tag("h2", name),
        tag("div", class_="controls"),
        *boards,
        tag("div", class_="plots"),
        tag("div", tag("h3", "Training"), class_="training"),
        join((tag("h3", "Groups"), groups)) if groups else None,
        id=f"data-{index}",
        class_="dataset",
    )


def _frontier(fronts: Sequence[Frontier]) -> Markup:
    """Make the part of the trade-offs: a picture, and its numbers as tables."""
    picture = base64.b64encode(figure_bytes(fronts, "png")).decode()
    parts = [
        tag("h2", "Trade-offs"),
        tag("img", src=f"data:image/png;base64,{picture}", alt="Trade-offs of two metrics"),
    ]
    return tag("section", *parts, *_tables(sheets(fronts)), id="frontier")


def _tables(numbers: Sequence[Sheet]) -> Iterator[Markup]:
    """Make the tables of some sheets, and the list of what is said of them."""
    for sheet in numbers:
        rows = [[cell.text for cell in row] for row in sheet.cells()]
        yield table(sheet.title, sheet.columns, rows)
    yield _list(dict.fromkeys(str(line) for sheet in numbers for line in sheet.lines))


def _protocol(report: Report) -> Markup:
    lines = [*protocol(report), *tables.reading(report), *report.notes]
    return tag("section", tag("h2", "Protocol"), _list(lines), id="protocol")


def _warnings(report: Report) -> Markup:
    """Make the part with all that speaks against the numbers."""
    seen = [str(signature) for signature in signatures(report)]
    failed = [f"{run.name}: {run.error}" for run in report.runs if run.error is not None]
    parts = [tables.warnings(report) or tag("p", "No sanity check fired in any run.")]
    for title, lines in (("Signatures of failure", seen), ("Failed runs", failed)):
        if lines:
            parts += [tag("h3", title), _list(lines)]
    return tag("section", tag("h2", "Warnings"), *parts, id="warnings")


def _list(lines: Iterable[str]) -> Markup:
    return tag("ul", *(tag("li", line) for line in lines))


def _document(title: str, body: Markup, data: str) -> Markup:
    """Put the page together with its style and its script."""
    here = files("frbench.report.html")
    style = here.joinpath("page.css").read_text("utf-8")
    script = "".join(here.joinpath(name).read_text("utf-8") for name in ("plots.js", "page.js"))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    scripts = (
        tag("script", Markup(data), type="application/json", id="payload"),
        tag("script", Markup(script)),
    )
    return tag("html", head, tag("body", body, *scripts), lang="en")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
