"""``frbench audit``: every metric with its interval for the predictions of any model."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frbench.commands import audit_decisions as decisions
from frbench.commands import audit_table as table
from frbench.contracts.errors import UserError
from frbench.contracts.text import printable
from frbench.metrics.api import evaluate_rows, intervals_rows
from frbench.metrics.estimates import Interval
from frbench.metrics.names import group_of
from frbench.metrics.own import CountMetric, import_metrics
from frbench.metrics.rows import Rows
from frbench.support.parser import Parser, number
from frbench.support.progress import busy
from frbench.support.sheet import FORMS, Cell, Sheet, Value, document

if TYPE_CHECKING:
    import pandas as pd

_MAX_PAIRS = 20  # rows of the four-fifths table in the terminal; json and csv hold all pairs

_SECTIONS = {
    "Accuracy": ("accuracy", "balanced_", "worst_class_", "worst_group_", "worst_attribute_",
                 "weighted_", "rare_groups_", "accuracy_gap", "theil_"),
    "Gaps between groups": ("demographic_", "disparate_", "equal", "average_odds", "predictive_"),
    "Table": ("representation_", "statistical_", "empty_"),
    "Scores": ("auroc", "average_precision", "expected_", "brier_", "negative_", "score_",
               "worst_alpha_"),
}  # fmt: skip
_RATES = (
    "accuracy",
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "positive_predictive_value",
)


#: What a table without labels has: keys, and the rate of each value.
_UNLABELLED = ("demographic_", "disparate_", "representation_", "statistical_", "selection_rate")


class Audit(NamedTuple):
    """The results for one attribute, or for several crossed."""

    attribute: str
    rows: Rows
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    found: decisions.Decisions


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        UserError: If the file or a column is missing or cannot be used.
    """
    args = _parser().parse_args(argv)
    if args.resamples < 1:
        raise UserError(f"--resamples must be at least 1, got {args.resamples}")
    decisions.check(args)
    asked = [f"--{name}" for name in ("score", "metrics", "tolerance", "plan")
             if getattr(args, name)]  # fmt: skip
    if args.y is None and asked:
        raise UserError(f"{asked[0]} compares with the true labels: name their column by --y.")
    own = import_metrics(args.metrics)
    with busy(f"reading {args.file}"):
        frame = table.read(args)
    for note in frame.attrs["notes"]:
        print(f"note: {printable(note)}", file=sys.stderr)
    with busy("metrics and intervals"):
        views = [list(dict.fromkeys(args.z))] if args.overlapping else _views(args.z)
        audits = [_audit(frame, columns, args, own) for columns in views]
    if args.format == "json":
        print(json.dumps(_as_json(args.file, audits), indent=2, allow_nan=False))
    elif args.format == "csv":
        columns = ("attribute", "metric", "value", "low", "high", "verdict")
        print(Sheet("", columns, list(_numbers(audits))).render("csv"), end="")
    else:
        names = [function.__name__ for function in own]
        title = f"{args.file}: {len(frame)} rows, {_positive(audits[0])}; intervals: 95 %"
        sheets = [sheet for audit in audits for sheet in _sheets(audit, names, args)]
        print(document(sheets, args.format, title, sys.stdout.isatty()), end="")
    return 0


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
        type=number(high=10**6, whole=True),
        default=1000,
        help="for the worst alpha shares, metrics of your own",
    )
    decisions.add_options(parser)
    parser.add_argument("--format", choices=FORMS, default="table")
    return parser


def _views(columns: Sequence[str]) -> list[list[str]]:
    """Return each attribute alone and, if there are several, all crossed."""
    unique = list(dict.fromkeys(columns))
    return [[name] for name in unique] + ([unique] if len(unique) > 1 else [])


def _audit(
    frame: "pd.DataFrame",
    columns: list[str],
    args: argparse.Namespace,
    own: Sequence[CountMetric],
) -> Audit:
    """Evaluate one attribute, or several crossed."""
    rows = table.code(frame, columns, args)
    decided, least = decisions.decide(rows, args), {"min_group_rows": args.min_cell}
    metrics = evaluate_rows(rows, metrics=own, **least)
    spans = intervals_rows(rows, args.resamples, metrics=own, **least)
    for key in decided.hidden:
        metrics[key], spans[key] = np.nan, (np.nan, np.nan)
    if args.y is None:  # nothing of what compares with labels
        metrics = {key: value for key, value in metrics.items() if key.startswith(_UNLABELLED)}
        spans = {key: span for key, span in spans.items() if key in metrics}
        kept = {k: v for k, v in decided.corrected.items() if k.startswith(_UNLABELLED)}
        bounds = {k: v for k, v in decided.bounds.items() if k.startswith(_UNLABELLED)}
        decided = decided._replace(corrected=kept, bounds=bounds)
    return Audit("&".join(columns), rows, metrics, spans, decided)


def _bounds(interval: Interval | None) -> dict[str, float | None]:
    low, high = interval or (np.nan, np.nan)
    return {"low": _number(low), "high": _number(high)}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _as_json(file: Path, audits: Sequence[Audit]) -> dict[str, Any]:
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
            **decisions.as_json(audit.found),
        }
        for audit in audits
    }
    rows = audits[0].rows
    return {
        "file": str(file),
        "attributes": attributes,
        "n": len(rows.y),
        "classes": list(rows.class_names),
    }


def _numbers(audits: Iterable[Audit]) -> Iterator[Sequence[Value]]:
    for audit in audits:
        for key, value in audit.metrics.items():
            yield audit.attribute, key, value, *audit.intervals.get(key, (None, None)), ""
        for found in audit.found.four_fifths:
            key = "four_fifths" + "/" * bool(found.groups) + " : ".join(found.groups)
            yield audit.attribute, key, found.ratio, *found.interval, found.verdict


def _positive(audit: Audit) -> str:
    classes = audit.rows.class_names
    return f"positive class {classes[1]}" if len(classes) == 2 else "worst class where needed"


def _sheets(audit: Audit, own: Sequence[str], args: argparse.Namespace) -> Iterator[Sheet]:
    """Lay out one audit: metrics by section, rates by attribute value, groups, the rule."""
    rows, names = audit.rows, audit.rows.attribute_names
    least, lines = args.min_cell, decisions.remarks(audit.rows, audit.attribute, args)
    for title, keys in _sections(audit.metrics, own).items():
        if keys:
            yield Sheet(
                f"{audit.attribute}: {title[0].lower()}{title[1:]}",
                ("metric", "value", "interval", "corrected"),
                [(key, *_cells(audit, key), audit.found.estimate(key)) for key in keys],
                lines,
            )
        lines = []  # said once
    sizes = np.bincount(rows.z[rows.z >= 0], minlength=len(names))
    shown = [rate for rate in _RATES if args.y or rate == "selection_rate"]
    yield Sheet(
        f"{audit.attribute}: rates by value",
        ("z", "rows", *(rate.replace("_", " ") for rate in shown)),
        [
            (
                name,
                decisions.count(size, least),
                *(_cell(audit, f"{rate}/z={name}") for rate in shown),
            )
            for name, size in zip(names, sizes, strict=True)
        ],
    )
    groups = {key: found[1] for key in audit.metrics
              if (found := group_of(key)) and found[0] == "group_accuracy"}  # fmt: skip
    sizes = np.bincount((rows.y * len(names) + rows.z)[rows.z >= 0], minlength=len(groups))
    if groups:
        yield Sheet(
            f"{audit.attribute}: groups",
            ("group", "rows", "accuracy", "interval"),
            [
                (group, decisions.count(size, least), *_cells(audit, key))
                for (key, group), size in zip(groups.items(), sizes, strict=True)
            ],
        )
    ranked = sorted(audit.found.four_fifths[1:], key=lambda found: found.ratio)
    left = max(0, len(ranked) - _MAX_PAIRS)
    yield Sheet(
        f"{audit.attribute}: four-fifths rule",
        ("lower : higher selection rate", "ratio", "interval", "verdict", "what would decide"),
        [
            (" : ".join(f.groups) or "all", f.ratio, _span(f.interval), f.verdict, f.note)
            for f in [*audit.found.four_fifths[:1], *ranked[:_MAX_PAIRS]]
        ],
        [f"{left} further pairs: --format json"] if left else [],
    )
    yield from decisions.sheets(audit.found, audit.attribute, args)


def _sections(metrics: Iterable[str], own: Sequence[str]) -> dict[str, list[str]]:
    keys = [key for key in metrics if key not in own and "/z=" not in key]
    sections = {title: [k for k in keys if k.startswith(p)] for title, p in _SECTIONS.items()}
    return {**sections, "Your own": list(own)}


def _cells(audit: Audit, key: str) -> tuple[float, str]:
    return audit.metrics[key], _span(audit.intervals.get(key, (np.nan, np.nan)))


def _cell(audit: Audit, key: str) -> Cell:
    value, span = _cells(audit, key)
    return Cell("undefined" if np.isnan(value) else f"{value:.3f}", span)


def _span(interval: Interval) -> str:
    return "" if np.isnan(interval[0]) else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
