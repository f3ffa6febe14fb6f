"""Answer a plan: ``python -m studies.field PLAN.yaml RESULTS ... --out FOLDER``."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path
from typing import Any

from frbench.contracts.errors import UserError
from frbench.report import read
from frbench.support.atomic import check_writable, write_text
from frbench.support.parser import Parser
from frbench.support.yaml_files import read_yaml
from studies.field.answers import answers
from studies.field.figures import draw
from studies.field.runs import Field

KEYS = {
    "data", "seeds", "reads_attribute", "carries_out", "relaxed", "also_relaxed", "claims",
    "predictions", "estimate",
}  # fmt: skip


def read_plan(path: Path) -> dict[str, Any]:
    """Read a plan.

    Raises:
        UserError: If it is no mapping with exactly the keys of a plan.
    """
    plan = read_yaml(path)
    if not isinstance(plan, dict) or set(plan) != KEYS:
        raise UserError(f"{path} must have exactly the keys {sorted(KEYS)}.")
    return plan


def main(argv: list[str] | None = None) -> int:
    """Write ``tables.md``, a CSV file of each table, and figures; return the exit status."""
    parser = Parser("python -m studies.field", description=__doc__)
    parser.add_argument("plan", type=Path, help="YAML file with the plan")
    parser.add_argument("results", type=Path, nargs="+", help="folders of finished grids")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and figures")
    arguments = parser.parse_args(argv)
    try:
        plan = read_plan(arguments.plan)
        runs, notes = read(arguments.results)
        field = Field(runs, plan)
        if not field.data:
            raise UserError(f"No run is of a data set of {arguments.plan}.")
        check_writable(arguments.out, "--out")
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = list(answers(field))
        text = "\n\n".join(answer.render() for answer in found)
        write_text(arguments.out / "tables.md", text + "\n")
        for answer in found:
            file = io.StringIO()
            csv.writer(file, lineterminator="\n").writerows([answer.header, *answer.rows])
            title = re.sub(r" \(.*?\)|: \d.*|, \d+ %", "", answer.title)
            name = re.sub(r"\W+", "-", title).lower()
            write_text(arguments.out / f"field-{name}.csv", file.getvalue())
        print(f"wrote {arguments.out / 'tables.md'} and {len(found)} CSV files")
        draw(field, arguments.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for note in notes:
        print(note, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
