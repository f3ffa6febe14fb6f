"""``frbench audit``: every metric with its interval for the predictions of any model."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frbench import __version__
from frbench.commands import audit_decisions as decisions
from frbench.commands import audit_sheets as sheets
from frbench.commands import audit_table as table
from frbench.commands.audit_sheets import Audit
from frbench.contracts.errors import UserError
from frbench.contracts.text import printable
from frbench.metrics.api import evaluate_rows, intervals_rows
from frbench.metrics.calibration import calibration
from frbench.metrics.estimates import Interval
from frbench.metrics.names import metric_names
from frbench.metrics.own import CountMetric, import_metrics
from frbench.metrics.rows import Rows
from frbench.metrics.suppression import large_groups
from frbench.support.atomic import check_new, write_text
from frbench.support.parser import Parser, number
from frbench.support.progress import busy
from frbench.support.sheet import FORMS, Sheet, Value, document

#: What a table without labels has: keys, and the rate of each value.
_UNLABELLED = ("demographic_", "disparate_", "representation_", "statistical_", "selection_rate")


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: If the file or a column is missing or cannot be used.
    """
    args = _parser().parse_args(argv)
    if args.resamples < 1:
        raise UserError(f"--resamples must be at least 1, got {args.resamples}")
    decisions.check(args)
    if args.html:
        check_new(
            args.html, force=args.force, option="--html", endings=(".html", ".htm"), make=True
        )
    asked = [f"--{name}" for name in ("score", "metrics", "tolerance", "plan")
             if getattr(args, name)]  # fmt: skip
    if args.y is None and asked:
        raise UserError(f"{asked[0]} compares with the true labels: name their column by --y.")
    own = import_metrics(args.metrics)
    args.z = list(dict.fromkeys(args.z))
    with busy(f"reading {args.file}"):
        frame = table.read(args)
    notes = [*frame.attrs["notes"], *table.check_decisions(frame, args)]
    with busy("metrics and intervals"):
        views = [args.z] if args.overlapping else _views(args.z)
        coded = [table.code(frame, columns, args) for columns in views]
        if args.min_cell:
            coded = _large(coded, args)
        audits = [_audit(rows, columns, args, own)
                  for columns, rows in zip(views, coded, strict=True)]  # fmt: skip
    notes += _inverted(audits[0], args)
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    names = [function.__name__ for function in own]
    title = sheets.heading(args.file, audits[0])
    if args.format == "json":
        print(json.dumps(_as_json(args, audits), indent=2, allow_nan=False))
    elif args.format == "csv":
        columns = ("attribute", "metric", "value", "low", "high", "verdict")
        print(Sheet("", columns, list(_numbers(audits))).render("csv"), end="")
    else:
        laid = [sheet for audit in audits for sheet in sheets.lay_out(audit, names, args)]
        print(document(laid, args.format, title, sys.stdout.isatty()), end="")
    if args.html:
        from frbench.commands.audit_page import audit_page

        write_text(args.html, audit_page(title, audits, names, args, argv, notes))
        print(f"page: {args.html}", file=sys.stderr)
    return 0


def _large(coded: Sequence[Rows], args: argparse.Namespace) -> list[Rows]:
    """Leave the rows of small groups out of all views."""
    single = coded[: 1 if args.overlapping else len(args.z)]
    labels = coded[0].y if args.y else np.zeros_like(coded[0].y)
    kept = large_groups(labels, np.stack([rows.z for rows in single], 1), args.min_cell)
    return [
        rows._replace(
            y=rows.y[kept],
            y_pred=rows.y_pred[kept],
            z=rows.z[kept],
            scores=None if rows.scores is None else rows.scores[kept],
            weight=None if rows.weight is None else rows.weight[kept],
        )
        for rows in coded
    ]


def _inverted(audit: Audit, args: argparse.Namespace) -> list[str]:
    """Say that scores rank the labels the wrong way round."""
    found = audit.metrics.get("auroc", np.nan)
    if not found < 0.5 or len(audit.rows.class_names) != 2:
        return []
    negative, positive = audit.rows.class_names
    return [
        f"AUROC is {found:.3f}, below 0.5: --score must be the probability of the positive "
        f"class, here {positive}; if {args.score} is that of {negative}, name that class by "
        "--positive or use 1 - score"
    ]


EXAMPLES = """\
examples:
  frbench audit predictions.csv --y repaid --pred predicted --z sex
  frbench audit predictions.csv --y repaid --pred predicted --z sex race --score probability \\
      --positive yes --format json > audit.json
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench audit",
        description="Print every group metric with its interval for a table of predictions.",
        epilog=EXAMPLES,
    )
    table.add_options(parser)
    parser.add_argument(
        "--metrics", nargs="+", default=[], metavar="PATH",
        help="metrics of your own, my_file.my_metric: functions of counts [C, A + 1, C]",
    )  # fmt: skip
    parser.add_argument(
        "--resamples",
        metavar="N",
        type=number(high=10**6, whole=True),
        default=1000,
        help="for the worst alpha shares, metrics of your own",
    )
    decisions.add_options(parser)
    parser.add_argument("--format", choices=FORMS, default="table")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with all tables and figures, too"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing page")
    return parser


def _views(columns: Sequence[str]) -> list[list[str]]:
    """Return each attribute alone and, if there are several, all crossed."""
    unique = list(dict.fromkeys(columns))
    return [[name] for name in unique] + ([unique] if len(unique) > 1 else [])


def _audit(
    rows: Rows, columns: list[str], args: argparse.Namespace, own: Sequence[CountMetric]
) -> Audit:
    """Evaluate one attribute, or several crossed."""
    every = rows.attribute_names
    if args.min_cell:  # nothing of a group without rows is computed
        present = np.unique(rows.z[rows.z >= 0])
        codes = np.searchsorted(present, rows.z)
        rows = rows._replace(
            z=np.where(rows.z < 0, -1, codes), attribute_names=tuple(every[j] for j in present)
        )
        if len(present) < 2:
            raise UserError(
                f"--min_cell {args.min_cell} leaves one value of {'&'.join(columns)}: use a "
                "smaller number, or fewer columns in --z"
            )
    hidden = [name for name in every if name not in rows.attribute_names]
    decided = decisions.decide(rows, args)
    metrics = evaluate_rows(rows, metrics=own)
    spans = intervals_rows(rows, args.resamples, metrics=own)
    for key in hidden and metric_names(rows.class_names, hidden, rows.scores is not None):
        if key.endswith(tuple(f"z={name}" for name in hidden)):
            metrics[key] = np.nan
    if args.y is None:  # nothing of what compares with labels
        metrics = {key: value for key, value in metrics.items() if key.startswith(_UNLABELLED)}
        spans = {key: span for key, span in spans.items() if key in metrics}
        kept = {k: v for k, v in decided.corrected.items() if k.startswith(_UNLABELLED)}
        bounds = {k: v for k, v in decided.bounds.items() if k.startswith(_UNLABELLED)}
        groups = {k: v for k, v in decided.groups.items() if k.startswith(_UNLABELLED)}
        decided = decided._replace(corrected=kept, bounds=bounds, groups=groups)
    scores = {} if rows.scores is None else calibration(rows)
    return Audit("&".join(columns), rows, hidden, metrics, spans, decided, scores)


def _bounds(interval: Interval | None) -> dict[str, float | None]:
    low, high = interval or (np.nan, np.nan)
    return {"low": _number(low), "high": _number(high)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _as_json(args: argparse.Namespace, audits: Sequence[Audit]) -> dict[str, Any]:
    attributes = {
        audit.attribute: {
            "metrics": {
                key: {"value": _number(value), **_bounds(audit.intervals.get(key))}
                for key, value in audit.metrics.items()
            },
            "four_fifths": [
                {
                    "groups": list(found.groups) or None,
                    "ratio": found.ratio,
                    **_bounds(found.interval),
                    "verdict": found.verdict,
                    "note": found.note,
                }
                for found in audit.found.four_fifths
            ],
            **decisions.as_json(audit.found, args.min_cell),
            "calibration": {name: one._asdict() for name, one in audit.calibration.items()},
        }
        for audit in audits
    }
    rows = audits[0].rows
    return {
        "file": str(args.file),
        "written_by": f"frbench audit {__version__}",
        "attributes": attributes,
        "n": len(rows.y),
        "classes": list(rows.class_names),
    }


def _numbers(audits: Iterable[Audit]) -> Iterator[Sequence[Value]]:
    for audit in audits:
        for key, value in audit.metrics.items():
            yield audit.attribute, key, value, *audit.intervals.get(key, (None, None)), ""
        for name, one in audit.calibration.items():
            for key, value, ends in (
                ("mean_score", one.score, one.score_interval),
                ("observed_rate", one.observed, one.observed_interval),
                ("brier_score", one.brier, one.brier_interval),
                ("calibration_error", one.error, (None, None)),
            ):
                yield audit.attribute, f"{key}/z={name}", value, *ends, ""
        for line in decisions.numbers(audit.found):
            yield audit.attribute, *line
