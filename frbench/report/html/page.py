"""What all pages share: the document with its style and script, and tables made of sheets."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from frbench.report.html.markup import Markup, table, tag
from frbench.support.sheet import Sheet


def sheet_tables(numbers: Sequence[Sheet]) -> Iterator[Markup]:
    """Make the tables of some sheets, and the list of what is said of them."""
    for sheet in numbers:
        rows = [
            [first.text, *(tag("td", c.text, tag("span", c.interval) if c.interval else None)
                           for c in rest)]
            for first, *rest in sheet.cells()
        ]  # fmt: skip
        yield table(sheet.title, sheet.columns, rows)
    if lines := dict.fromkeys(str(line) for sheet in numbers for line in sheet.lines):
        yield listed(lines)


def listed(lines: Iterable[str]) -> Markup:
    """Make a list of sentences."""
    return tag("ul", *(tag("li", line) for line in lines))


def document(title: str, body: Markup, versus: str = "") -> str:
    """Put a page together with its style and its script.

    Nothing is fetched: style and script lie inside, and a content security policy allows just
    these (by their hashes).

    Args:
        title: Of the window.
        body: What the page shows.
        versus: What the last line of a cell is, see `html_page`.
    """
    here = files("frbench.report.html")
    style = here.joinpath("page.css").read_text("utf-8")
    script = here.joinpath("page.js").read_text("utf-8")
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
    content = tag("body", body, tag("script", Markup(script)), data_versus=versus or None)
    return f"<!doctype html>\n{tag('html', head, content, lang='en')}"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
