"""``frbench report``: choose settings on validation data, aggregate test over seeds, show it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from frbench.contracts.errors import UserError
from frbench.metrics.names import split_key
from frbench.metrics.own import directions, import_metrics
from frbench.report.choice import at_checkpoints, default_rule
from frbench.report.computed import ensembles, with_metrics
from frbench.report.flips import flip_sheets
from frbench.report.frontier import frontiers
from frbench.report.frontier import sheets as frontier_sheets
from frbench.report.merging import check_alike, check_complete
from frbench.report.records import Results
from frbench.report.render import render
from frbench.report.results import Run, own_directions, read, read_each, together
from frbench.report.rule import DEFAULT, parse_rule
from frbench.report.summary import (
    Spread,
    finished_runs,
    metrics_on_test,
    near,
    show_tables,
    summarise,
)
from frbench.support.atomic import check_new, write_text
from frbench.support.parser import Parser
from frbench.support.sheet import document

METRICS = (
    "accuracy",
    "worst_group_accuracy",
    "demographic_parity_difference",
    "equalized_odds_difference",
)


FORMATS = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".json": "json"}


PLOTS = (".png", ".pdf", ".svg")


def main(argv: list[str]) -> int:
    """Run ``frbench report``.

    Args:
        argv: Results and options.

    Returns:
        0.

    Raises:
        UserError: If results, metrics, rule or file names cannot be used.
    """
    args = _parser().parse_args(argv)
    _check_files(args)
    if args.complete:
        return _complete(args.results)
    runs, notes = _read(args.results, args.data)
    paths = [metric for metric in args.metrics or () if "." in metric.partition("/")[0]]
    own = import_metrics(paths)
    args.metrics = [m.rpartition(".")[2] if m in paths else m for m in args.metrics or ()]
    rule = parse_rule(
        args.select or default_rule(runs), {**own_directions(runs), **directions(own)}
    )
    runs = at_checkpoints(runs, rule)
    known = {run.data for run in runs}
    for name in args.data or ():
        if name not in known:
            raise UserError(f"--data: no data set {name!r}; {near(name, known)}")
    runs = [run for run in runs if run.data in (args.data or known)]
    drawn = [
        *((args.x, args.y) if args.plot and not args.frontier else ()),
        *((args.y,) if args.curves else ()),
    ]
    asked = [*args.metrics, *drawn, *(args.frontier or ())]
    runs, computed = with_metrics(runs, asked, [key for _, key in rule.terms], own)
    notes += computed
    if args.postprocess:
        from frbench.runs.kept import postprocessed_runs

        needed = [*asked, *(split_key(key, directions(own))[1] for _, key in rule.terms)]
        further, remarks = postprocessed_runs(
            runs, args.postprocess, own, None if args.html else needed
        )
        runs, notes = [*runs, *further], [*notes, *remarks]
    found = metrics_on_test(finished_runs(runs))
    metrics = args.metrics or [metric for metric in METRICS if metric in found]
    if not metrics:
        raise UserError(f"No run has {', '.join(METRICS)} on test data: choose with --metrics.")
    extend = ensembles(own, notes) if args.ensemble else None
    shown = dict.fromkeys([*metrics, *drawn])
    report = summarise(runs, rule, list(shown), args.baseline, args.folds, extend)
    report.notes.extend(notes)
    if args.curves:
        from frbench.report.curves import curves

        curves(report, args.y, args.curves)
        print(f"curves: {args.curves}", file=sys.stderr)
    report = replace(show_tables(report, args.tables), spread=args.spread)

    form = args.format or FORMATS.get(args.out.suffix if args.out else "", "table")
    color = args.out is None and sys.stdout.isatty()
    fronts = (
        [*frontiers(runs, args.frontier[0], args.frontier[1], args.folds)] if args.frontier else []
    )
    fronts = [one for one in fronts if one.table in report.tables.get(one.data, ())]
    differing = [*flip_sheets(report)] if args.flips else []
    if args.frontier:
        _put(
            document(frontier_sheets(fronts, form in ("csv", "json")), form, color=color), args.out
        )
    elif args.ranks:
        from frbench.report.ranks import rank_sheets

        _put(document(list(rank_sheets(report, metrics)), form, color=color), args.out)
    elif args.flips:
        _put(document(differing, form, color=color), args.out)
    else:
        _put(render(report, metrics, form, color, args.group_by is not None), args.out)
    if args.html:
        from frbench.report.html import html_page

        whole = summarise(runs, rule, found, args.baseline, args.folds, extend)
        whole.notes.extend(notes)
        whole = show_tables(whole, args.tables) if args.tables else whole
        page = html_page(whole, metrics, found, args.x, args.y, fronts, differing, args.errors)
        write_text(args.html, page)
        print(f"page: {args.html}", file=sys.stderr)
    if args.plot:
        if args.frontier:
            from frbench.report.frontier_plot import draw

            draw(fronts, args.plot)
        else:
            from frbench.report.plot import plot

            plot(report, args.x, args.y, args.plot)
        print(f"plot: {args.plot}", file=sys.stderr)
    if args.wandb:
        from frbench.runs.wandb import log_report

        log_report([f for f in (args.out, args.html, args.plot, args.curves) if f], args.wandb)
    return 0


def _read(results: Sequence[Path], data: Sequence[str] | None) -> tuple[list[Run], list[str]]:
    """Read the runs of some results that may be merged, and notes."""
    groups, notes = read_each(results)
    if len(groups) > 1:
        chosen = data or {run.data for runs in groups.values() for run in runs}
        check_alike({
            name: [run for run in runs if run.data in chosen] for name, runs in groups.items()
        })  # fmt: skip
    return together(groups, notes)


def _put(text: str, out: Path | None) -> None:
    """Write to a file, or to the terminal."""
    if out is None:
        sys.stdout.write(text)
        return
    write_text(out, text)
    print(f"report: {out}", file=sys.stderr)


def _complete(results: Sequence[Path]) -> int:
    """Say whether results hold the runs of the grids beside them, and no other."""
    from frbench.grids.phases import Phases

    for path in results:
        folder = path if path.is_dir() else path.parent
        grid = folder / "grid.yaml"
        if not grid.is_file():
            raise UserError(f"There is no {grid}: --complete needs the grid beside its results.")
        cells = Phases(grid).cells(Results(folder / "results.jsonl"))
        wanted = {cell.key: f"{cell.data} {cell.method} seed {cell.seed}" for cell in cells}
        check_complete(wanted, read([folder / "results.jsonl"])[0], str(folder), str(grid))
        print(f"complete: {len(cells)} runs of {grid}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        "frbench report",
        usage="frbench report RESULTS [RESULTS ...] [options]",
        description="Choose each method's setting on validation data, then report its test "
        "metrics over seeds.",
        epilog="""\
examples:
  frbench report results/demo --html page.html --plot plot.png
  frbench report results/adult --select "val/accuracy - val/demographic_parity_difference"
  frbench report results/adult --frontier accuracy demographic_parity_difference""",
    )
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS", help="results.jsonl or its folder")
    add("--complete", action="store_true",
        help="only check that the results hold every run of the grid beside them")  # fmt: skip
    add("--select", metavar="RULE",
        help="val/METRIC, or a sum or difference of such, which is maximised; prefix max: or min: "
        "to say otherwise; test data only by oracle:test/.. (default: the first rule of the "
        f"grid's `select`, else {DEFAULT})")  # fmt: skip
    add("--data", nargs="+", metavar="D", help="data sets to show (default: all)")
    add("--metrics", nargs="+", metavar="M",
        help="test metrics to show; of your own: my_file.my_metric")  # fmt: skip
    add("--baseline", metavar="METHOD",
        help="paired differences to it, or to a baseline of equal-information each "
        "(default: ERM)")  # fmt: skip
    add("--tables", nargs="+", metavar="T",
        help="test tables to show, P0 say (default: all); train, end/train, end/test where "
        "`frbench gan metrics` added them")  # fmt: skip
    add(
        "--frontier",
        nargs=2,
        metavar=("X", "Y"),
        help="every setting in the plane of two metrics",
    )
    add("--ranks", action="store_true", help="mean ranks and win rates over the data sets")
    add("--flips", action="store_true",
        help="share of decisions that differ between two seeds, by group")  # fmt: skip
    add("--ensemble", action="store_true",
        help="a further row for each method: mean probabilities over its seeds")  # fmt: skip
    add("--postprocess", nargs="+", metavar=("NAME", "OPTION=VALUE"),
        help="further rows: a postprocessor fitted on kept validation scores")  # fmt: skip
    add("--spread", choices=get_args(Spread), default="both",
        help="what stands beside a mean (default: sd and interval)")  # fmt: skip
    add("--group_by", choices=("attributes",),
        help="a leaderboard for each way of reading the attribute")  # fmt: skip
    add("--folds", type=int, metavar="K",
        help="folds per repetition of cross-validation (default: all)")  # fmt: skip
    add("--format", choices=("table", "markdown", "latex", "csv", "json"),
        help="default: by the ending of --out, else table")  # fmt: skip
    add("--out", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    add(
        "--html",
        type=Path,
        metavar="FILE",
        help="one page with leaderboards, figures, errors, warnings",
    )
    add("--errors", type=int, default=6, metavar="N",
        help="worst errors of a run that the page shows (default: 6)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE", help=f"scatter of two metrics ({' '.join(PLOTS)})")
    add("--curves", type=Path, metavar="FILE",
        help="the metric --y over the shift family, one line per method")  # fmt: skip
    add("--wandb", metavar="PROJECT", help="send the files written to W&B, too")
    add("--x", default="worst_group_accuracy", metavar="M", help="default: %(default)s")
    add("--y", default="accuracy", metavar="M", help="default: %(default)s")
    add("--force", action="store_true", help="replace existing files")
    return parser


def _check_files(args: argparse.Namespace) -> None:
    """Refuse, before any work, what could not be written after it."""
    if args.wandb and not any((args.out, args.html, args.plot, args.curves)):
        raise UserError("--wandb sends the files that are written: give --html, --plot or --out.")
    known = (("--plot", args.plot, PLOTS), ("--curves", args.curves, PLOTS),
             ("--html", args.html, (".html", ".htm")))  # fmt: skip
    for option, file, endings in known:
        if file and file.suffix not in endings:
            raise UserError(f"{option} {file}: the name must end in {', '.join(endings)}.")
    views = [name for name in ("ranks", "frontier", "flips") if getattr(args, name)]
    if len(views) > 1:
        raise UserError(f"--{views[0]} and --{views[1]} are two views: give one of them.")
    if args.errors < 0:
        raise UserError(f"--errors must be at least 0, got {args.errors}.")
    if args.folds is not None and args.folds < 2:
        raise UserError(f"--folds must be at least 2, got {args.folds}.")
    reads = [file for path in args.results for file in (path, path / "results.jsonl")]
    for file in filter(None, (args.out, args.html, args.plot, args.curves)):
        check_new(file, force=args.force, option="name", reads=reads, make=True)
