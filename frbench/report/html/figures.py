"""The figures of the page, drawn by the functions that write files, and the worst errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from frbench.contracts.errors import UserError
from frbench.metrics.names import group_name
from frbench.report.canvas import svg
from frbench.report.error_plots import error_figures
from frbench.report.errors import ERRORS
from frbench.report.frontier import Frontier
from frbench.report.frontier_plot import frontier_figure
from frbench.report.group_plots import grouped, groups_figure, training_figure
from frbench.report.html.markup import Markup, join, table, tag
from frbench.report.html.tables import words
from frbench.report.logged import read_curves
from frbench.report.plot import plane
from frbench.report.predictions import FILE, read_predictions
from frbench.report.results import Run
from frbench.report.summary import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Metrics that groups have, drawn in this order.
GROUPED = ("group_accuracy", "true_positive_rate", "false_positive_rate", "selection_rate")
#: Metrics of a run's curves, with what their figures are called.
TRAINING = {"group_accuracy": "Accuracy of each group over training", "q": "Group weights q",
            "group_loss": "Training loss of each group"}  # fmt: skip
#: Test tables of a data set that have figures at most, and methods whose runs are looked into.
MOST_TABLES, MOST_METHODS = 6, 6
_BASE64 = re.compile(r"[A-Za-z0-9+/=]+")


def drawn(figure: Figure, title: str, where: str, note: str = "") -> Markup:
    """Put a figure into the page, with a caption."""
    picture = Markup(svg(figure, f"{title}: {where}"))
    return tag("figure", tag("figcaption", title, f" {note}" if note else None), picture)


def comparison(
    report: Report,
    data: str,
    name: str,
    metrics: Sequence[str],
    every: Sequence[str],
    x: str,
    y: str,
) -> Markup:
    """Draw the methods on a test table: planes of two metrics, and groups.

    Args:
        report: The report.
        data: The data set.
        name: The test table.
        metrics: Columns of the leaderboard: each against `y` is a plane.
        every: All metrics of the report.
        x: Horizontal axis of the first plane.
        y: Vertical axis.
    """
    where = f"{data}, {name}"
    y = y if y in every else metrics[0]
    planes = [metric for metric in dict.fromkeys([x, *metrics]) if metric in every]
    out = []
    for metric in planes:
        if metric != y and (figure := plane(report, data, name, metric, y)) is not None:
            out.append(drawn(figure, f"{words(y)} against {words(metric)}", where))
    rows = [row for row in report.rows if row.data == data]
    known = grouped(report, data, name, every)
    for metric in GROUPED:
        if metric in known:
            sign = report.direction(metric)
            figure, left = groups_figure(rows, name, metric, known[metric], sign)
            note = f"{left} groups, on which the methods are better, are left out." if left else ""
            out.append(drawn(figure, f"{words(metric)} by group", where, note))
    return tag("div", *out, class_="plots")


def inside(report: Report, data: str, errors: int) -> tuple[Markup, list[str]]:
    """Show errors and training of the first run of each method, closed but for the first.

    Args:
        report: The report.
        data: The data set.
        errors: Rows of the worst group to show.

    Returns:
        The part of the page, and what is missing, in words.
    """
    names = report.tables[data]
    rows = [row for row in report.rows if row.data == data]
    shown = sorted(rows, key=lambda row: -report.rule.sign * row.rule.mean)[:MOST_METHODS]
    out: list[Markup] = []
    missing: list[str] = []
    for row in shown:
        run = min(row.runs, key=lambda run: (run.fold or 0, run.seed))
        parts: list[Markup] = []
        try:
            parts += _errors(run, names, errors)
        except UserError as error:
            missing.append(f"The errors of {run.name}: {error}")
        curves = read_curves(run.folder / "metrics.csv")
        if not curves:
            missing.append(f"Training curves of {run.name}: no {run.folder / 'metrics.csv'}.")
        for metric, title in TRAINING.items():
            if (figure := training_figure(curves, metric)) is not None:
                parts.append(drawn(figure, title, run.name))
        if parts:
            title = tag("summary", f"{row.method}, {run.name.partition(row.method)[2].strip()}")
            body = tag("div", *parts, class_="plots")
            out.append(tag("details", title, body, open=not out))
    if len(rows) > len(shown):
        missing.append(f"{data}: the runs of {len(rows) - len(shown)} methods with the lowest "
                       "values of the rule.")  # fmt: skip
    return join(out), missing


def _errors(run: Run, names: Sequence[str], most: int) -> Iterator[Markup]:
    """Draw the errors of a run on the first test table, and show its worst."""
    kept = read_predictions(run.folder / FILE, names)
    name = next((name for name in names if name in kept.tables), None)
    if name is None:
        return
    for title, figure in error_figures(kept, name):
        yield drawn(figure, f"{title}, {words(name.replace('/', ' '))}", run.name)
    if most and (shown := gallery(run, name, kept.class_names, kept.attribute_names, most)):
        yield shown


def gallery(
    run: Run, name: str, classes: Sequence[str], values: Sequence[str], most: int
) -> Markup | None:
    """Show rows of the worst group that were decided wrongly, as they were kept.

    Args:
        run: The run.
        name: The test table.
        classes: Names of the classes.
        values: Names of the attribute's values.
        most: Rows at most.

    Raises:
        UserError: If the file is not of the form that a run writes.
    """
    path = run.folder / ERRORS
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8")).get(name)
        if not found:
            return None
        group = group_name(classes[found["y"]], values[found["z"]])
        shown = [
            (f"row {row['index']}", classes[row["decision"]], f"{row['probability']:.3f}", row)
            for row in found["rows"][:most]
        ]
        title = (
            f"Surest errors in {group}, the group of lowest accuracy ({found['accuracy']:.3f}) "
            f"on {name.replace('/', ' ')}: row, decision, its probability"
        )
        if all("image" in row for *_, row in shown):
            return tag("div", tag("p", title, class_="soft"), *map(_picture, shown),
                       class_="gallery")  # fmt: skip
        rows = [[*words, *map(_long, row["values"])] for *words, row in shown]
        header = ["", "decision", "probability", *found["columns"]]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}: {error}).") from None
    return tag("div", table(title, header, rows), class_="gallery")


def _picture(shown: tuple[str, str, str, dict[str, Any]]) -> Markup:
    name, decision, probability, row = shown
    if not _BASE64.fullmatch(row["image"]):
        raise ValueError("an image is no base64")
    source = f"data:image/png;base64,{row['image']}"
    return tag("span", tag("img", src=source, alt=name), tag("b", decision), f" {probability}",
               tag("small", name))  # fmt: skip


def _long(value: object) -> object:
    return (
        tag("td", tag("div", value, class_="wrap"), class_="text")
        if len(str(value)) > 40
        else value
    )


def frontier(fronts: Sequence[Frontier]) -> Markup:
    """Draw the trade-offs, a figure each."""
    return tag(
        "div",
        *(drawn(frontier_figure([one]), "Trade-offs of all settings", f"{one.data}, {one.table}")
          for one in fronts),
        class_="plots",
    )  # fmt: skip
