"""The page of `frbench audit`: all tables with what they say, and figures, as one HTML file."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np

from frbench import __version__
from frbench.commands.audit_decisions import short_name
from frbench.commands.audit_sheets import Audit, lay_out
from frbench.metrics.calibration import event
from frbench.report.canvas import plain, shortened
from frbench.report.error_plots import MOST, reliability_figure
from frbench.report.html.figures import drawn
from frbench.report.html.markup import Markup, join, tag
from frbench.report.html.page import document, listed, sheet_tables

#: Beginning of a table's title, after the attribute -> what the table says.
_EXPLAINED = {
    "accuracy": "How often decisions agree with labels: of all rows, and of the group for which "
    "they agree least. A corrected estimate takes out that the worst of several groups looks "
    "worse by chance.",
    "gaps between groups": "The largest difference of a rate between two groups, or the smallest "
    "ratio, and which groups it is of (lower : higher). A gap whose interval begins at 0 may be "
    "chance.",
    "table": "How the groups and classes are represented in the table, whatever was decided.",
    "scores": "How well the scores rank and predict the labels, whatever the threshold.",
    "your own": "Metrics defined by the auditor.",
    "rates by value": "Each rate of each group, with a 95 % interval. Selection rate: share that "
    "gets the positive class. True (false) positive rate: the same among rows whose label is "
    "positive (negative). Positive predictive value: share of positive labels among the selected.",
    "calibration by value": "Scores are too high for a group if their mean lies above the "
    "interval of the observed rate, and too low if below. The calibration error is the mean "
    "distance of both over ten bins.",
    "groups": "Accuracy of each group of one label (y) and one attribute value (z).",
    "four-fifths rule": "The lower selection rate divided by the higher. The verdict is pass or "
    "fail only if the whole interval lies on one side of 0.8.",
    "bounds": "Smallest and largest value over every way to assign the rows without attribute.",
    "is the gap": "A verdict for each rate and pair of groups. Above: the gap is larger than the "
    "tolerance. Within: it is smaller. Undecided: these rows cannot tell. Each of the two is "
    "wrong for one pair or more with a probability of at most 5 %.",
    "rows of each group": "How many rows of each group would decide, with a probability of 80 %.",
}


def audit_page(
    title: str,
    audits: Sequence[Audit],
    own: Sequence[str],
    args: argparse.Namespace,
    argv: Sequence[str],
    notes: Sequence[str],
) -> str:
    """Write the page.

    Args:
        title: What was audited.
        audits: The results of each attribute.
        own: Names of metrics of one's own.
        args: The options.
        argv: The command line.
        notes: What the reader must know.
    """
    about = [
        f"Written {datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by frbench {__version__}.",
        "Intervals hold the value of the population that the rows were drawn from, with a "
        "probability of 95 % each. They say nothing about rows that were not drawn at random, nor "
        "about labels that are wrong themselves.",
        *notes,
    ]
    places = [(audit.attribute, f"attribute-{i}") for i, audit in enumerate(audits)]
    links = (tag("a", short_name(name), href=f"#{place}") for name, place in places)
    body = [
        tag("h1", f"Audit of {title}"),
        tag("p", tag("code", shlex.join(["frbench", "audit", *argv])), class_="soft"),
        listed(about),
        tag("div", tag("nav", *links, aria_label="Parts of this page"), tag("div", id="toggles"),
            class_="bar-top"),
        *(tag("section", tag("h2", audit.attribute), *_parts(audit, own, args), id=place)
          for audit, (_, place) in zip(audits, places, strict=True)),
    ]  # fmt: skip
    return document(f"frbench audit: {args.file.name}", join(body))


def _parts(audit: Audit, own: Sequence[str], args: argparse.Namespace) -> Iterator[Markup]:
    """Make the tables of one attribute, and the figure of its scores."""
    for sheet in lay_out(audit, own, args, None):
        name = sheet.title.removeprefix(f"{audit.attribute}: ")
        said = max((start for start in _EXPLAINED if name.startswith(start)), key=len)
        yield tag("h3", name[0].upper() + name[1:])
        yield tag("p", _EXPLAINED[said])
        yield from sheet_tables([sheet])
        if said == "calibration by value":
            yield _figure(audit)


def _figure(audit: Audit) -> Markup:
    """Draw the reliability of each attribute value."""
    rows, names = audit.rows, audit.rows.attribute_names
    probability, true = event(rows)
    right = np.array([audit.metrics[f"accuracy/z={name}"] for name in names])
    present = [j for j in np.argsort(right, kind="stable").tolist() if not np.isnan(right[j])]
    shown = sorted(present[:MOST])
    left = len(present) - len(shown)
    groups = []
    for j, name in zip(shown, shortened([plain(short_name(names[j])) for j in shown], 32),
                       strict=True):  # fmt: skip
        own = rows.z == j
        weight = None if rows.weight is None else rows.weight[own]
        groups.append((j, name, probability[own], true[own], weight))
    positive = rows.class_names[1] if len(rows.class_names) == 2 else ""
    note = f"The {len(shown)} values of lowest accuracy; {left} left out." if left else ""
    figure = reliability_figure(groups, positive, note)
    return tag("div", drawn(figure, "Reliability by group", audit.attribute), class_="plots")
