"""The tables of `frbench audit` for people."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frbench.commands import audit_decisions as decisions
from frbench.contracts.text import overlapping
from frbench.metrics.calibration import Calibration
from frbench.metrics.estimates import Interval
from frbench.metrics.names import group_name, group_of
from frbench.metrics.rows import Rows
from frbench.support.sheet import Cell, Sheet, Value

#: Rows of the tables of pairs in the terminal; json, csv and the page hold all.
MOST = 20

_SECTIONS = {
    "Accuracy": ("accuracy", "balanced_", "worst_class_", "worst_group_", "worst_attribute_",
                 "weighted_", "accuracy_gap", "theil_"),
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


class Audit(NamedTuple):
    """The results for one attribute, or for several crossed.

    Attributes:
        attribute: Its name.
        rows: The rows, without those of groups that are too small to be shown.
        hidden: Values that are too small to be shown.
        metrics: Key -> value.
        intervals: Key -> interval.
        found: What was decided.
        calibration: Scores by attribute value.
    """

    attribute: str
    rows: Rows
    hidden: list[str]
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    found: decisions.Decisions
    calibration: dict[str, Calibration]


def heading(file: Path, audit: Audit) -> str:
    """Say what was audited."""
    return f"{file}: {len(audit.rows.y)} rows, {_positive(audit)}; intervals: 95 %"


def _positive(audit: Audit) -> str:
    classes = audit.rows.class_names
    return f"positive class {classes[1]}" if len(classes) == 2 else "worst class where needed"


def lay_out(
    audit: Audit, own: Sequence[str], args: argparse.Namespace, most: int | None = MOST
) -> Iterator[Sheet]:
    """Lay out one audit: metrics by section, rates by attribute value, groups, the rule.

    Args:
        audit: The results.
        own: Names of metrics of one's own.
        args: The options.
        most: Rows of the tables of pairs; None: all.
    """
    rows, names, least = audit.rows, audit.rows.attribute_names, args.min_cell
    lines = decisions.remarks(rows, audit.attribute, audit.hidden, least)
    for title, keys in _sections(audit.metrics, own).items():
        groups = any(audit.found.groups.get(key) for key in keys)
        if keys:
            yield Sheet(
                f"{audit.attribute}: {title[0].lower()}{title[1:]}",
                ("metric", "value", "interval", "corrected", *(["of"] if groups else [])),
                [
                    (key, *_cells(audit, key), audit.found.estimate(key),
                     *([audit.found.groups.get(key, "")] if groups else []))
                    for key in keys
                ],
                lines,
            )  # fmt: skip
        lines = []  # said once
    sizes = np.bincount(rows.z[rows.z >= 0], minlength=len(names))
    shown = [rate for rate in _RATES if args.y or rate == "selection_rate"]
    by_value: list[Sequence[Value]] = [
        (name, int(size), *(_cell(audit, f"{rate}/z={name}") for rate in shown))
        for name, size in zip(names, sizes, strict=True)
    ]
    by_value += [(name, f"<{least}", *("" for _ in shown)) for name in audit.hidden]
    yield Sheet(
        f"{audit.attribute}: rates by value",
        ("z", "rows", *(rate.replace("_", " ") for rate in shown)),
        by_value,
    )
    if audit.calibration:
        yield _calibration(audit, sizes)
    size_of = _sizes(rows)
    groups_of = {key: found[1] for key in audit.metrics
                 if (found := group_of(key)) and found[0] == "group_accuracy"}  # fmt: skip
    if groups_of:
        yield Sheet(
            f"{audit.attribute}: groups",
            ("group", "rows", "accuracy", "interval"),
            [
                (group, size_of[group], *_cells(audit, key))
                if group in size_of
                else (group, f"<{least}", "", "")
                for key, group in groups_of.items()
            ],
        )
    positive = rows.class_names[1] if len(rows.class_names) == 2 else "each class in turn"
    yield decisions.four_fifths_sheet(audit.found, audit.attribute, positive, most)
    yield from decisions.sheets(audit.found, audit.attribute, args, most)


def _sizes(rows: Rows) -> dict[str, int]:
    """Count the rows of each group, overlapping ones too."""
    names = rows.attribute_names
    known = rows.z >= 0
    cells = np.bincount(
        rows.y[known] * len(names) + rows.z[known], minlength=len(rows.class_names) * len(names)
    ).reshape(-1, len(names))
    inside = overlapping(names)
    out: dict[str, int] = {}
    for i, label in enumerate(rows.class_names):
        out |= {group_name(label, name): int(cells[i, j]) for j, name in enumerate(names)}
        for group in dict.fromkeys(g for row in inside for g in row):
            both = sum(int(cells[i, j]) for j, row in enumerate(inside) if group in row)
            out[group_name(label, group)] = both
    return out


def _calibration(audit: Audit, sizes: np.ndarray) -> Sheet:
    """Lay out the scores by attribute value."""
    two = len(audit.rows.class_names) == 2
    what = f"of {audit.rows.class_names[1]}" if two else "of the most likely class"
    size_of = dict(zip(audit.rows.attribute_names, sizes.tolist(), strict=True))
    lines: list[Sequence[Value]] = [
        (
            name,
            size_of[name],
            Cell(f"{one.score:.3f}", decisions.span(one.score_interval)),
            Cell(f"{one.observed:.3f}", decisions.span(one.observed_interval)),
            Cell(f"{one.brier:.3f}", decisions.span(one.brier_interval)),
            one.error,
            one.by_chance,
        )
        for name, one in audit.calibration.items()
    ]
    return Sheet(
        f"{audit.attribute}: calibration by value, {what}",
        ("z", "rows", "mean score", "observed rate", "Brier score", "calibration error",
         "by chance"),
        lines,
        ["the calibration error (ten bins) has no interval: chance makes it about as large as "
         "'by chance' where the scores are right"],
    )  # fmt: skip


def _sections(metrics: Iterable[str], own: Sequence[str]) -> dict[str, list[str]]:
    keys = [key for key in metrics if key not in own and "/z=" not in key]
    sections = {title: [k for k in keys if k.startswith(p)] for title, p in _SECTIONS.items()}
    return {**sections, "Your own": list(own)}


def _cells(audit: Audit, key: str) -> tuple[float, str]:
    value, found = audit.metrics[key], audit.intervals.get(key, (np.nan, np.nan))
    counted = key == "empty_groups" and not np.isnan(value)
    return int(value) if counted else value, decisions.span(found)


def _cell(audit: Audit, key: str) -> Cell:
    value, found = _cells(audit, key)
    return Cell("undefined" if np.isnan(value) else f"{value:.3f}", found)
