"""Write docs/methods.md from the classes: ``python docs/_tools/methods.py``."""

from __future__ import annotations

from pathlib import Path

from frbench.commands.methods import LINES, sheet
from frbench.runs.methods import AXES

PAGE = Path(__file__).parents[1] / "methods.md"
START = """\
# All methods

Written by `python docs/_tools/methods.py` from the docstrings and properties of the classes;
`frbench methods` prints the same table. Any combination of the axes can be trained, unless it is
refused by name before training.
"""


def page() -> str:
    """Return the text of the page."""
    parts = [START, *(f"- {line}" for line in LINES)]
    for axis in AXES:
        table = sheet(axis)
        rows = [row[1:] for row in table.rows]
        text = table._replace(title="", columns=table.columns[1:], rows=rows, lines=())
        parts.append(f"\n## {axis.capitalize()}\n\n{text.render('markdown').rstrip()}")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
