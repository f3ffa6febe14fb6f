"""What `frbench audit` decides, beside values and intervals: gaps, bounds, rows to collect."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.api import squares_of
from frbench.metrics.correction import corrected
from frbench.metrics.counts import tabulate
from frbench.metrics.estimates import Interval
from frbench.metrics.rows import Rows
from frbench.metrics.suppression import suppressed
from frbench.metrics.unknown import unknown_bounds
from frbench.metrics.verdicts import FourFifths, GapTest, Plan, four_fifths, gap_tests, plan
from frbench.support.sheet import Sheet

#: Rows of a table in the terminal; json holds all.
_MAX_TESTS = 20


class Decisions(NamedTuple):
    """Attributes: the four-fifths rule, tests of gaps, rows to collect, estimates and bounds."""

    four_fifths: list[FourFifths]
    gap_tests: list[GapTest]
    plans: list[Plan]
    corrected: dict[str, float]
    bounds: dict[str, Interval]
    hidden: set[str]

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
        help="test each pair of groups: does a rate differ by more than this?",
    )
    parser.add_argument(
        "--plan",
        type=float,
        metavar="GAP",
        help="rows of each group that finding such a gap needs (power 80 %%, all pairs compared)",
    )
    parser.add_argument(
        "--min_cell",
        type=int,
        default=0,
        metavar="N",
        help="leave out what is over fewer than N people",
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
    columns = rows.y, rows.y_pred, rows.z, *rows.sizes
    counts, squares = tabulate(*columns, rows.weight), squares_of(rows)
    cells = tabulate(*columns)[:, :-1].sum(-1)
    names = rows.attribute_names
    hidden = suppressed(cells, args.min_cell, rows.class_names, names) if args.min_cell else set()
    shown, shown_squares = counts.copy(), None if squares is None else squares.copy()
    if args.min_cell:  # the rows of small values are nobody's
        small = np.append(cells.sum(0) < args.min_cell, False)
        for table in (shown, shown_squares):
            if table is not None:
                table[:, small] = 0
    return Decisions(
        four_fifths(shown, names, squares=shown_squares),
        []
        if args.tolerance is None
        else gap_tests(shown, names, args.tolerance, squares=shown_squares),
        [] if args.plan is None else plan(shown, names, args.plan, squares=shown_squares),
        corrected(shown, shown_squares),
        unknown_bounds(shown),
        hidden,
    )


def as_json(found: Decisions) -> dict[str, Any]:
    """Return the decisions but the four-fifths rule for the JSON output."""
    return {
        "corrected": {k: None if np.isnan(v) else v for k, v in found.corrected.items()},
        "bounds": {k: {"low": low, "high": high} for k, (low, high) in found.bounds.items()},
        "gap_tests": [test._asdict() for test in found.gap_tests],
        "plan": [
            {"metric": p.metric, "rate": p.rate, "rows": float(np.ceil(p.rows)),
             "short": dict(p.short)}
            for p in found.plans
        ],
    }  # fmt: skip


def remarks(rows: Rows, attribute: str, args: argparse.Namespace) -> list[str]:
    """Say what the reader must know of the values."""
    out = []
    if unknown := int((rows.z < 0).sum()):
        out.append(f"{unknown} rows have no {attribute}: counted overall, in no group")
    if args.min_cell:
        out.append(
            f"groups of fewer than {args.min_cell} rows are not shown and take no part in minima, "
            "gaps and ratios"
        )
    out.append("corrected: estimates that chance does not push to the worse side")
    if rows.scores is not None:
        out.append(
            "expected_calibration_error and score_kl have no interval: their values are biased "
            "upwards by chance"
        )
    return out


def count(size: int, least: int) -> int | str:
    """Show a number of people, or that it is too small to be shown."""
    return f"<{least}" if 0 < size < least else int(size)


def sheets(found: Decisions, attribute: str, args: argparse.Namespace) -> Iterator[Sheet]:
    """Lay out the tables that were asked for, and the bounds where rows lack the attribute."""
    if found.bounds:
        yield Sheet(
            f"{attribute}: bounds, whatever the attribute of the rows without one",
            ("metric", "values"),
            [(key, f"[{low:.3f}, {high:.3f}]") for key, (low, high) in found.bounds.items()],
        )
    if found.gap_tests:
        ranked = sorted(found.gap_tests, key=lambda test: test.p)
        left = len(ranked) - _MAX_TESTS
        yield Sheet(
            f"{attribute}: is the gap above {args.tolerance:g}?",
            ("rate, lower : higher", "gap", "p", "verdict", "would be found"),
            [
                (
                    f"{test.metric} {' : '.join(test.groups)}",
                    test.gap,
                    test.p,
                    "above" if test.above else "undecided",
                    "" if test.above else f"from {test.detectable:.2f} on",
                )
                for test in ranked[:_MAX_TESTS]
            ],
            [f"p corrected for {len(ranked)} tests (Holm)"]
            + [f"{left} further tests: --format json"] * (left > 0),
        )
    if found.plans:
        yield Sheet(
            f"{attribute}: rows of each group to find a gap of {args.plan:g}, power 80 %",
            ("rate", "value", "rows needed", "groups with fewer"),
            [(p.metric, p.rate, int(np.ceil(p.rows)), _short(p)) for p in found.plans],
        )


def _short(found: Plan) -> str:
    listed = ", ".join(f"{name} has {rows:.0f}" for name, rows in found.short[:5])
    left = len(found.short) - 5
    return (listed + (f" and {left} more" if left > 0 else "")) or "none"
