"""``frbench graph``: what the causal graph of a task says about balancing and regularising."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from frbench.causal.advice import ACTIONS
from frbench.causal.analysis import analyze
from frbench.causal.evidence import confront
from frbench.causal.examples import EXAMPLES, REAL, example, source
from frbench.causal.feasibility import practice
from frbench.causal.graph import CausalTask
from frbench.causal.render import render
from frbench.contracts.errors import UserError
from frbench.support.parser import Parser
from frbench.support.progress import busy
from frbench.support.sheet import Sheet, show

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: If the task or the image's path cannot be used.
    """
    args, options = _parser().parse_known_args(argv)
    if stray := [word for word in options if args.data is None or not word.startswith("--data.")]:
        # A value behind `--data.name` stands alone.
        behind = {b for a, b in pairwise(options) if a.startswith("--data.") and "=" not in a}
        if args.data is None or not set(stray) <= behind:
            raise UserError(f"unknown option {stray[0]!r}; see frbench graph --help.")
    if args.task is None:
        if args.plot or args.data or args.format != "table":
            raise UserError("Name the task to analyse: frbench graph TASK.yaml, or an example.")
        _list_examples()
        return 0
    task = _read(args.task)
    evidence, counts = None, None
    found = analyze(task)
    if args.data:
        from frbench.causal.columns import columns
        from frbench.data.reading import is_table

        if is_table(args.data) and options:
            raise UserError(f"--data {args.data} is a table and takes no {options[0]}.")
        with busy(f"reading {args.data}"):
            values, where = columns(task, _data(args.data, options), args.column)
        evidence = confront(task, values, where, args.level, args.given)
        counts = practice(task, found.recommendation, values, args.batch)
    if args.format == "yaml":
        print(source(args.task) or task.to_yaml(), end="")
    else:
        if args.format == "json":
            document = found.to_dict() | ({"data": evidence.to_dict()} if evidence else {})
            document |= {"practice": counts.to_dict()} if counts else {}
            print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            color = sys.stdout.isatty()
            print(render(found, args.format, evidence, counts, color), end="")
    if args.plot:
        from frbench.causal.plot import plot

        plot(task, args.plot)
        print(f"wrote {args.plot}", file=sys.stderr)
    return 0


def _data(name: str, options: list[str]) -> str | GroupDataModule:
    """Return the path of a table, or build the data set of a name or a YAML file."""
    from frbench.data.reading import is_table

    if is_table(name):
        return name
    from frbench.runs.build import build_named

    return build_named(name, options)


EXAMPLES_OF_USE = """\
examples:
  frbench graph                                list the examples
  frbench graph d --plot d.png                 verdicts on one, and a drawing
  frbench graph d --format yaml > task.yaml    a task file to start from
  frbench graph adult --data Adult             test every independence that it implies
  frbench graph task.yaml --data loans.csv --column sex=gender
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench graph",
        description="Read a task's causal graph and print which mitigation is justified, and why.",
        epilog=EXAMPLES_OF_USE,
    )
    parser.add_argument(
        "task",
        nargs="?",
        metavar="TASK",
        help=f"YAML file, or an example: {', '.join([*EXAMPLES, *REAL])}; none: list the examples",
    )
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="test the implied independences on a table (.csv, .jsonl, .parquet), a data set "
        "(Adult, with --data.OPTION VALUE), or a YAML file with one",
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NODE=COLUMN",
        help="column of a node whose name is another; may be repeated",
    )
    parser.add_argument("--level", type=float, default=0.05, help="of all tests together (0.05)")
    parser.add_argument("--given", type=int, metavar="K", help="condition on at most K nodes")
    parser.add_argument("--batch", type=int, default=128, metavar="B",
                        help="rows of a training batch, to see whether its cells are too small "
                        "for a penalty (128)")  # fmt: skip
    parser.add_argument("--format", choices=("table", "json", "markdown", "yaml"), default="table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the graph (.png, .svg)")
    return parser


def _read(name: str) -> CausalTask:
    if name in (*EXAMPLES, *REAL):
        return example(name)
    if Path(name).suffix in (".yaml", ".yml") or Path(name).is_file():
        return CausalTask.from_yaml(name)
    raise UserError(
        f"No task {name!r}: give a YAML file or one of the examples "
        f"{', '.join([*EXAMPLES, *REAL])}."
    )


def _list_examples() -> None:
    rows = []
    for name in (*EXAMPLES, *REAL):
        task = example(name)
        edges = " ".join(">".join(edge) for edge in task.edges)
        rows.append((name, task.note, edges, ACTIONS[analyze(task).recommendation.action]))
    show([Sheet("", ("example", "task", "edges", "recommendation"), rows)])
