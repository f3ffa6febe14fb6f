r"""Tables of results, rendered for the terminal, as Markdown, LaTeX, CSV or JSON.

All text is data: markup of rich, Markdown and LaTeX in it is escaped, never interpreted, and
control characters are written as escapes.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from frbench.contracts.text import printable

FORMS = ("table", "markdown", "latex", "csv", "json")
_WIDTH = 140  # of a terminal table that is written to a pipe or a file
_NUMBER = re.compile(r"([-+−<>]?\d|undefined$|–$|$)")
_LATEX = {
    **{char: f"\\{char}" for char in "_%&#${}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "−": "$-$", "–": "--",
}  # fmt: skip


class Cell(NamedTuple):
    """An entry with more than its value: an interval, or a style (of rich, as ``bold``)."""

    text: str
    interval: str = ""
    style: str = ""


Value = Cell | str | float | None


class Sheet(NamedTuple):
    r"""A table with a title and sentences above it; without columns, the sentences alone.

    Attributes:
        title: Heading; may be empty.
        columns: Names of the columns.
        rows: Entries. Numbers are exact in CSV and JSON, and have ``digits`` decimals elsewhere.
        lines: Sentences above the table; the caption in LaTeX.
        digits: Decimals of floats.

    Example:
        >>> sheet = Sheet("", ["group", "rows", "share"], [["a|b", 3, 0.25]])
        >>> print(sheet.render("markdown"), end="")
        | group | rows | share |
        |:---|---:|---:|
        | a\|b | 3 | 0.250 |
        >>> sheet.render("json")
        '[\n {\n  "group": "a|b",\n  "rows": 3,\n  "share": 0.25\n }\n]\n'
    """

    title: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Value]] = ()
    lines: Sequence[str | Cell] = ()
    digits: int = 3

    def render(self, form: str, color: bool = False) -> str:
        """Write the sheet in one of `FORMS`.

        Args:
            form: table, markdown, latex, csv or json; the last two hold the rows alone.
            color: Whether a table may hold terminal codes.
        """
        if form == "json":
            return json.dumps(self.records(), indent=1, allow_nan=False) + "\n"
        if form == "csv":
            out = io.StringIO()
            writer = csv.writer(out, lineterminator="\n")
            for row in (self.columns, *self.rows):
                writer.writerow(map(_guarded, (v.text if isinstance(v, Cell) else v for v in row)))
            return out.getvalue()
        if form == "markdown":
            return self._markdown()
        return self._latex() if form == "latex" else self._table(color)

    def records(self) -> list[dict[str, Any]]:
        """Return the rows as mappings from column to value; what is undefined is None."""
        return [dict(zip(self.columns, map(_exact, row), strict=True)) for row in self.rows]

    def parts(self, width: int) -> Iterator[Sheet]:
        """Divide the columns after the first into sheets of at most so many characters."""
        texts = [self.columns, *([cell.text for cell in row] for row in self.cells())]
        first, *widths = (max(map(len, column)) + 2 for column in zip(*texts, strict=True))
        left = list(range(1, len(self.columns)))
        while left:
            used, here = first, 0
            while here < len(left) and (not here or used + widths[left[here] - 1] <= width):
                used += widths[left[here] - 1]
                here += 1
            chosen, left = left[:here], left[here:]
            rows = [r for r in self.rows if any(r[i] is not None for i in chosen)]
            kept = [[row[i] for i in (0, *chosen)] for row in rows]
            yield self._replace(columns=[self.columns[i] for i in (0, *chosen)], rows=kept)

    def cells(self) -> list[list[Cell]]:
        """Return the entries as people read them."""
        return [[_cell(value, self.digits) for value in row] for row in self.rows]

    def _right(self, cells: list[list[Cell]]) -> list[bool]:
        """Tell which columns are aligned right: those of numbers, never the first."""
        columns = list(zip(*cells, strict=True)) or [()] * len(self.columns)
        return [
            bool(i) and all(_NUMBER.match(cell.text) for cell in column)
            for i, column in enumerate(columns)
        ]

    def _table(self, color: bool) -> str:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        out, cells = io.StringIO(), self.cells()
        width = None if color or "COLUMNS" in os.environ else _WIDTH
        console = Console(file=out, force_terminal=color, width=width, highlight=False)
        if self.title:
            console.print(Text(printable(self.title), "bold"))
        for text, _, style in (_cell(line, 0) for line in self.lines):
            console.print(Text(text, style))
        if self.columns:
            intervals = any(cell.interval for row in cells for cell in row)
            table = Table(  # narrow enough for four metrics with intervals on 80 columns
                box=box.SIMPLE_HEAD,
                show_edge=False,
                pad_edge=False,
                padding=(0, 1 if intervals else 2, 0, 0),
            )
            for name, right in zip(self.columns, self._right(cells), strict=True):
                table.add_column(
                    Text(printable(name)),
                    justify="right" if right else "left",
                    vertical="middle" if intervals else "top",
                    overflow="fold",
                )
            for row in cells:
                spans = (cell.interval.strip("[]").replace(", ", "…") for cell in row)
                texts = (f"{c.text}\n{s}".rstrip("\n") for c, s in zip(row, spans, strict=True))
                table.add_row(*map(Text, texts, (cell.style for cell in row)))
            console.print(table)
        return out.getvalue()

    def _markdown(self) -> str:
        def show(cell: Cell) -> str:
            text = _escape(cell.text)
            text = f"**{text}**" if cell.style == "bold" and text else text
            return f"{text} {cell.interval}".strip()

        blocks, cells = [f"## {_escape(self.title)}"] if self.title else [], self.cells()
        lines = [_escape(_cell(line, 0).text) for line in self.lines]
        if lines:
            blocks.append("\n".join(f"- {line}" for line in lines) if lines[1:] else lines[0])
        if self.columns:
            rows = [[*map(_escape, self.columns)], *([*map(show, row)] for row in cells)]
            table = [f"| {' | '.join(row)} |" for row in rows]
            sides = ("---:|" if right else ":---|" for right in self._right(cells))
            table.insert(1, f"|{''.join(sides)}")
            blocks.append("\n".join(table))
        return "\n\n".join(blocks) + "\n"

    def _latex(self) -> str:
        def escape(text: str) -> str:
            return "".join(_LATEX.get(char, char) for char in text)

        def show(cell: Cell) -> str:
            text = re.sub(r"^\[", "{[}", escape(cell.text))  # no option of the \\ before it
            text = f"\\textbf{{{text}}}" if cell.style == "bold" else text
            interval = f"{{\\scriptsize {escape(cell.interval)}}}" if cell.interval else ""
            return f"{text} {interval}".strip()

        lines, cells = [_cell(line, 0).text for line in self.lines], self.cells()
        if not self.columns:
            return "".join(f"% {line}\n" for line in filter(None, [printable(self.title), *lines]))
        caption = " ".join([f"{printable(self.title)}." if self.title else "", *lines]).strip()
        sides = "".join("r" if right else "l" for right in self._right(cells))
        return "\n".join(
            [
                "\\begin{table}",
                "\\centering",
                f"\\caption{{{escape(caption)}}}",
                f"\\begin{{tabular}}{{{sides}}}",
                "\\toprule",
                " & ".join(escape(printable(name)) for name in self.columns) + r" \\",
                "\\midrule",
                *(" & ".join(map(show, row)) + r" \\" for row in cells),
                "\\bottomrule",
                "\\end{tabular}",
                "\\end{table}",
                "",
            ]
        )


def document(sheets: Iterable[Sheet], form: str, title: str = "", color: bool = False) -> str:
    """Write several sheets one below the other.

    Args:
        sheets: The sheets.
        form: table, markdown or latex.
        title: Heading above all of them.
        color: Whether tables may hold terminal codes.
    """
    blocks = ["% needs \\usepackage{booktabs}\n"] if form == "latex" else []
    if title and form == "markdown":
        blocks.append(f"# {_escape(title)}\n")
    elif title:
        blocks.append(Sheet(title).render(form, color))
    return "\n".join([*blocks, *(sheet.render(form, color) for sheet in sheets)])


def show(sheets: Iterable[Sheet], title: str = "") -> None:
    """Print sheets for people, coloured on a terminal."""
    sys.stdout.write(document(sheets, "table", title, sys.stdout.isatty()))


def _cell(value: Value, digits: int) -> Cell:
    """Return an entry as clean text on one line."""
    if isinstance(value, Cell):
        return value._replace(text=printable(value.text))
    if isinstance(value, str | bool | None):
        return Cell("" if value is None else printable(str(value)))
    if isinstance(value, int):
        return Cell(f"{value:,}")
    return Cell("undefined" if math.isnan(value) else f"{value:.{digits}f}")


def _exact(value: Value) -> str | float | None:
    if isinstance(value, Cell):
        return value.text
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _guarded(value: Value) -> Value:
    """Keep a spreadsheet from reading text as a formula: such text starts with an apostrophe."""
    formula = isinstance(value, str) and value[:1] in set("=+-@\t\r") and not _number(value)
    return f"'{value}" if formula else value


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _escape(text: str) -> str:
    """Escape what Markdown would interpret: emphasis, code, links, HTML, columns, headings."""
    return re.sub(r"([\\|*_<`\[\]]|^[>#])", r"\\\1", printable(text))
