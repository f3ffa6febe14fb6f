"""What `frbench audit` decides, beside values and intervals: gaps, bounds, rows to collect."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.api import squares_of
from frbench.metrics.correction import corrected
from frbench.metrics.counts import tabulate
from frbench.metrics.estimates import Interval
from frbench.metrics.gaps import GapTest, Plan, gap_groups, gap_tests, plan
from frbench.metrics.rows import Rows
from frbench.metrics.unknown import unknown_bounds
from frbench.metrics.verdicts import FourFifths, four_fifths
from frbench.support.sheet import Sheet, Value


class Decisions(NamedTuple):
    """Attributes: the four-fifths rule, gaps, rows to collect, estimates, bounds, pairs."""

    four_fifths: list[FourFifths]
    gap_tests: list[GapTest]
    plans: list[Plan]
    corrected: dict[str, float]
    bounds: dict[str, Interval]
    groups: dict[str, str]

    def estimate(self, key: str) -> float | None:
        """Return the corrected estimate of a metric, None where there is none."""
        value = self.corrected.get(key, np.nan)
        return None if np.isnan(value) else value


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the decisions."""
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="GAP",
        help="test each pair of groups: does a rate differ by more than this, or by less?",
    )
    parser.add_argument(
        "--plan",
        type=float,
        metavar="GAP",
        help="rows of each group that finding such a gap needs (power 80 %%, all rates and pairs "
        "compared); with --tolerance also the rows that decide about it",
    )
    parser.add_argument(
        "--min_cell",
        type=int,
        default=0,
        metavar="N",
        help="leave out groups of which some label has fewer than N people, with all their rows",
    )


def check(args: argparse.Namespace) -> None:
    """Check the options.

    Raises:
        UserError: If one is out of range.
    """
    if args.tolerance is not None and not 0 <= args.tolerance < 1:
        raise UserError(f"--tolerance must lie in [0, 1), got {args.tolerance:g}")
    if args.plan is not None and not 0 < args.plan <= 1:
        raise UserError(f"--plan must lie in (0, 1], got {args.plan:g}")
    if args.min_cell < 0:
        raise UserError(f"--min_cell must not be negative, got {args.min_cell}")


def decide(rows: Rows, args: argparse.Namespace) -> Decisions:
    """Decide for one attribute."""
    counts = tabulate(rows.y, rows.y_pred, rows.z, *rows.sizes, rows.weight)
    squares, names, tolerance = squares_of(rows), rows.attribute_names, args.tolerance
    tests = [] if tolerance is None else gap_tests(counts, names, tolerance, squares=squares)
    plans = [] if args.plan is None else plan(
        counts, names, args.plan, squares=squares, tolerance=tolerance or 0.0,
        class_names=rows.class_names,
    )  # fmt: skip
    return Decisions(
        four_fifths(counts, names, squares=squares),
        tests,
        plans,
        corrected(counts, squares),
        unknown_bounds(counts),
        gap_groups(counts, rows.class_names, names),
    )


def as_json(found: Decisions, least: int) -> dict[str, Any]:
    """Return the decisions but the four-fifths rule for the JSON output."""
    return {
        "corrected": {k: None if np.isnan(v) else v for k, v in found.corrected.items()},
        "bounds": {k: {"low": low, "high": high} for k, (low, high) in found.bounds.items()},
        "groups_of": found.groups,
        "gap_tests": [{**test._asdict(), "above": test.above} for test in found.gap_tests],
        "plan": [
            {"metric": p.metric, "rows_of": p.rows_of, "rate": p.rate, "rows": _whole(p.rows),
             "rows_within": _whole(p.within),
             "short": {name: count(rows, least) for name, rows in p.short}}
            for p in found.plans
        ],
    }  # fmt: skip


def numbers(found: Decisions) -> Iterator[Sequence[Value]]:
    """Yield the decisions for the CSV output: key, value, ends of the interval, verdict."""
    for rule in found.four_fifths:
        key = "four_fifths" + "/" * bool(rule.groups) + " : ".join(rule.groups)
        yield key, rule.ratio, *rule.interval, rule.verdict
    for test in found.gap_tests:
        key = f"gap/{test.metric}/{' : '.join(test.groups)}"
        yield key, test.gap, *test.interval, test.verdict
    for p in found.plans:
        for key, rows in (("rows_needed", p.rows), ("rows_needed_within", p.within)):
            if (whole := _whole(rows)) is not None:
                yield f"{key}/{p.metric}", whole, None, None, ""


def _whole(rows: float) -> int | None:
    return int(np.ceil(rows)) if np.isfinite(rows) else None


def remarks(rows: Rows, attribute: str, hidden: Sequence[str], least: int) -> list[str]:
    """Say what the reader must know of the values."""
    out = []
    if unknown := int((rows.z < 0).sum()):
        out.append(f"{unknown} rows have no {attribute}: counted overall, in no group")
    if least:
        out.append(
            f"groups of fewer than {least} rows are not shown: if some label of a group, of all "
            "attributes crossed, has fewer, its rows are left out of every number"
        )
    out.append("corrected: estimates that chance does not push to the worse side")
    if rows.scores is not None:
        out.append(
            "expected_calibration_error and score_kl have no interval: their values are biased "
            "upwards by chance"
        )
    return out


def count(size: float, least: int) -> int | str:
    """Show a number of people, or that it is too small to be shown."""
    return f"<{least}" if size < least else round(size)


def short_name(name: str) -> str:
    """Show crossed values without the names of their attributes.

    Example:
        >>> short_name("sex=F&race=B"), short_name("a=b")
        ('F & B', 'a=b')
    """
    parts = re.findall(r'"[^"]*"|[^&]+', name)
    values = [part.strip('"').partition("=")[2] for part in parts]
    return " & ".join(values) if len(parts) > 1 and all(values) else name


def four_fifths_sheet(found: Decisions, attribute: str, positive: str, most: int | None) -> Sheet:
    """Lay out the four-fifths rule."""
    ranked = sorted(found.four_fifths[1:], key=lambda one: one.ratio)
    left = 0 if most is None else max(0, len(ranked) - most)
    favourable = f"the favourable outcome is taken to be {positive}; --positive changes it"
    return Sheet(
        f"{attribute}: four-fifths rule",
        ("lower : higher selection rate", "ratio", "interval", "verdict", "what would decide"),
        [
            (" : ".join(map(short_name, f.groups)) or "all", f.ratio, span(f.interval), f.verdict,
             f.note)
            for f in [*found.four_fifths[:1], *ranked[:most]]
        ],
        [favourable] + [f"{left} further pairs: --format json"] * (left > 0),
    )  # fmt: skip


def sheets(
    found: Decisions, attribute: str, args: argparse.Namespace, most: int | None
) -> Iterator[Sheet]:
    """Lay out the tables that were asked for, and the bounds where rows lack the attribute."""
    if found.bounds:
        yield Sheet(
            f"{attribute}: bounds, whatever the attribute of the rows without one",
            ("metric", "values"),
            [(key, f"[{low:.3f}, {high:.3f}]") for key, (low, high) in found.bounds.items()],
        )
    if found.gap_tests:
        yield _tests(found, attribute, args.tolerance, most)
    if found.plans:
        yield _plans(found, attribute, args)


def _tests(found: Decisions, attribute: str, tolerance: float, most: int | None) -> Sheet:
    """Lay out the tests of gaps, those that are decided first."""
    order = {"above": 0, "undecided": 1, "within": 2}
    ranked = sorted(found.gap_tests, key=lambda test: (order[test.verdict], test.p, -test.gap))
    left = 0 if most is None else max(0, len(ranked) - most)
    tally = [f"{sum(t.verdict == verdict for t in ranked)} {verdict}" for verdict in order]
    undecided = any(test.verdict == "undecided" for test in ranked)
    return Sheet(
        f"{attribute}: is the gap above {tolerance:g}?",
        ("rate, lower : higher", "gap", "interval", "p above", "p within", "verdict",
         *(["would be found"] if undecided else [])),
        [
            (
                f"{test.metric} {' : '.join(map(short_name, test.groups))}",
                test.gap,
                span(test.interval),
                _p(test.p),
                _p(test.p_within),
                test.verdict,
                *([f"from {test.detectable:.2f} on" if test.verdict == "undecided" else ""]
                  if undecided else []),
            )
            for test in ranked[:most]
        ],
        [
            f"{', '.join(tally)}; within: shown to be less than {tolerance:g}",
            f"p corrected for {len(ranked)} tests (Holm); the intervals hold all at once",
        ]
        + [f"{left} further tests: --format json"] * (left > 0),
    )  # fmt: skip


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _plans(found: Decisions, attribute: str, args: argparse.Namespace) -> Sheet:
    """Lay out the rows to collect."""
    gap, tolerance = args.plan, args.tolerance
    bound = f" (tolerance {tolerance:g})" if tolerance else ""
    columns = ["rate", "rows that count", "value", f"to find {gap:g}"]
    if tolerance:
        columns.append(f"to show equal groups within {tolerance:g}")
    return Sheet(
        f"{attribute}: rows of each group to find a gap of {gap:g}{bound}, power 80 %",
        (*columns, "groups with fewer"),
        [
            (p.metric, p.rows_of, p.rate, *(
                "no number is enough" if (rows := _whole(x)) is None else rows
                for x in (p.rows, p.within)[: len(columns) - 3]
            ), _short(p, args.min_cell))
            for p in found.plans
        ],
        ["the correction is that of --tolerance, for all rates and pairs; rows that count: those "
         "that the rate is over, of the false positive rate the rows of the other label"],
    )  # fmt: skip


def _short(found: Plan, least: int) -> str:
    listed = ", ".join(
        f"{short_name(name)} has {count(rows, least)}" for name, rows in found.short[:5]
    )
    left = len(found.short) - 5
    return (listed + (f" and {left} more" if left > 0 else "")) or "none"


def span(interval: Interval) -> str:
    """Show an interval; nothing where there is none."""
    return "" if np.isnan(interval[0]) else f"[{interval[0]:.3f}, {interval[1]:.3f}]"
