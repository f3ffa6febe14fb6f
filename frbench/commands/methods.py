"""``frbench methods``: a table of all methods, and which labels each of them reads."""

from __future__ import annotations

import sys

from frbench.contracts.errors import UserError
from frbench.runs.methods import AXES, COLUMNS, methods
from frbench.support.parser import Parser
from frbench.support.sheet import FORMS, Sheet

LINES = (
    "Labels that are read in training, when a setting is chosen or fitted on held-out rows, and "
    "beside x at test.",
    "monitor: what the monitored metric reads, y and z by default (val/worst_group_accuracy), y "
    "with val/accuracy.",
    "An attribute in `training` may be inferred (group inference), which needs y alone.",
)
EPILOG = """\
examples
  frbench methods                          every method
  frbench methods --axis penalty           one axis
  frbench methods --format csv             for a spreadsheet; also markdown, latex, json
"""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: For an unknown axis or format.
    """
    parser = Parser("frbench methods", description=__doc__, epilog=EPILOG)
    parser.add_argument("--axis", metavar="AXIS", help=", ".join(AXES))
    parser.add_argument("--format", choices=FORMS, default="table")
    args = parser.parse_args(argv)
    if args.axis not in (None, *AXES):
        raise UserError(f"unknown axis {args.axis!r}; axes: {', '.join(AXES)}.")
    color = args.format == "table" and sys.stdout.isatty()
    print(sheet(args.axis).render(args.format, color), end="")
    return 0


def sheet(axis: str | None = None) -> Sheet:
    """Return the table of an axis, or of all of them."""
    rows = [list(method) for method in methods() if axis in (None, method.axis)]
    return Sheet("Methods", COLUMNS, rows, LINES)
