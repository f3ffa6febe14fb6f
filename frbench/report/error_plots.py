"""Figures of the errors of one run on one table, by attribute value; same for page and loggers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frbench.metrics.calibration import reliability
from frbench.report.canvas import (
    COLORS,
    GREY,
    WIDTH,
    Margins,
    finish,
    keyed,
    look,
    panels,
    plain,
    shortened,
    tidy,
)
from frbench.report.errors import confusion, roc, thinned
from frbench.report.predictions import KeptPredictions, Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Attribute values of a figure at most: those of the lowest accuracy.
MOST = 6
#: Classes whose confusions are all written out.
_WRITTEN = 4


def error_figures(kept: KeptPredictions, table: str) -> Iterator[tuple[str, Figure]]:
    """Draw confusion matrices, reliability and, of two classes, ROC curves.

    Args:
        kept: What a run says of its tables.
        table: One of them.

    Yields:
        What a figure shows, in words, and the figure.
    """
    found = kept.tables[table]
    values, left = _values(found, len(kept.attribute_names))
    if not len(values):
        return
    note = f"The {len(values)} attribute values of lowest accuracy; {left} left out. " * bool(left)
    yield "Confusion matrices", _confusion(found, kept, values, note)
    yield "Reliability", _reliability(found, kept, values, note)
    if len(kept.class_names) == 2:
        yield "ROC curves", _roc(found, kept, values, note)


def _values(found: Predictions, count: int) -> tuple[np.ndarray, int]:
    """Return the attribute values to show, and how many that occur are left out."""
    counts = confusion(found.y, found.z, found.decision, (found.scores.shape[1], count))
    rows = counts.sum((1, 2))
    right = np.trace(counts, axis1=1, axis2=2) / np.maximum(rows, 1)
    some = np.flatnonzero(rows)
    worst = some[np.argsort(right[some], kind="stable")][:MOST]
    return np.sort(worst), len(some) - len(worst)


def _names(kept: KeptPredictions, values: np.ndarray) -> list[str]:
    return shortened([plain(f"z={kept.attribute_names[value]}") for value in values], 32)


def _confusion(found: Predictions, kept: KeptPredictions, values: np.ndarray, note: str) -> Figure:
    from matplotlib.patches import Rectangle

    classes = shortened([*map(plain, kept.class_names)], 9)
    c = len(classes)
    sizes = c, len(kept.attribute_names)
    counts = confusion(found.y, found.z, found.decision, sizes)
    margins = Margins(left=0.25 + 0.07 * max(map(len, classes)), bottom=0.35, top=0.42)
    columns = min(2, len(values))
    figure, axes = panels(len(values), (WIDTH / columns, 2.35), columns, margins, 0.3)
    for ax, value, name in zip(axes, values, _names(kept, values), strict=True):
        own = counts[value]
        rows = own.sum(1, keepdims=True)
        shares = own / np.maximum(rows, 1)
        for i, j in np.ndindex(c, c):
            if shares[i, j] >= 0.01:
                shade = COLORS[0], round(0.75 * shares[i, j], 2)
                ax.add_patch(Rectangle((j, i), 1, 1, fc=shade, ec="white", clip_on=False))
            if c <= _WRITTEN or shares[i, j] >= 0.1:
                text = f"{100 * shares[i, j]:.0f}" + f" %\n{own[i, j]:,}" * (c <= _WRITTEN)
                size = 8.5 if c <= _WRITTEN else 6
                ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=size)
        ax.set_title(f"{name}\nn = {int(rows.sum()):,}", fontsize=8.5)
        ax.set_xticks(np.arange(c) + 0.5, classes, fontsize=8, rotation=90 if c > 4 else 0)
        ax.set_yticks(np.arange(c) + 0.5, classes, fontsize=8)
        ax.tick_params(length=0)
        ax.set(xlim=(0, c), ylim=(c, 0))
        ax.spines[:].set_visible(False)
    finish(figure, f"Rows: label. Columns: decision, in % of the rows of a label. {note}")
    return figure


def _reliability(
    found: Predictions, kept: KeptPredictions, values: np.ndarray, note: str
) -> Figure:
    two = len(kept.class_names) == 2
    p = found.probabilities
    p = p[:, 1] if two else p.max(1)
    true = found.y == 1 if two else found.y == found.scores.argmax(1)
    positive = kept.class_names[1] if two else ""
    own = [(int(value), found.z == value) for value in values]
    groups = [(value, name, p[rows], true[rows], None)
              for (value, rows), name in zip(own, _names(kept, values), strict=True)]  # fmt: skip
    return reliability_figure(groups, positive, note)


def reliability_figure(
    groups: Sequence[tuple[int, str, np.ndarray, np.ndarray, np.ndarray | None]],
    positive: str,
    note: str = "",
) -> Figure:
    """Draw predicted probabilities against what happened, a line for each group.

    Args:
        groups: Number of the look, name as matplotlib shows it, probability, whether it came
            true, and sample weights or None, of each group.
        positive: Name of the class that the probability is of; empty for the most likely one.
        note: Further words below the figure.
    """
    names = [name for _, name, *_ in groups]
    figure, (ax,) = panels(1, (WIDTH, 3.2), 1, Margins(bottom=0.45), keyed(names))
    ax.plot([0, 1], [0, 1], "--", color=GREY, lw=1)
    for number, name, probability, true, weight in groups:
        color, shape = look(number)
        bins = reliability(probability, true, weight=weight)
        place = bins.predicted, bins.happened
        ends = [bins.happened - bins.low, bins.high - bins.happened]
        ax.errorbar(*place, ends, fmt="none", color=color, lw=0.8, alpha=0.6)
        ax.plot(*place, color=color, marker=shape, ms=4.5, lw=1.3, label=name)
    tidy(ax)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    said = plain(f"predicted probability of {positive}")
    ax.set_xlabel(said if positive else "largest probability")
    ax.set_ylabel(
        plain(f"share of rows of {positive}") if positive else "share predicted correctly"
    )
    finish(figure, f"Means of ten bins; bars: 95 % intervals (Wilson). {note}")
    return figure


def _roc(found: Predictions, kept: KeptPredictions, values: np.ndarray, note: str) -> Figure:
    names = _names(kept, values)
    figure, (ax,) = panels(
        1, (WIDTH, 3.2), 1, Margins(bottom=0.45), keyed([f"{n}, area 0.000" for n in names])
    )
    ax.plot([0, 1], [0, 1], "--", color=GREY, lw=1)
    # Differences of logarithms keep their precision at both ends.
    score = np.subtract(*found.scores.T[::-1].astype(float))
    for value, name in zip(values, names, strict=True):
        color, shape = look(int(value))
        own = found.z == value
        positive = found.y[own] == 1
        if positive.all() or not positive.any():
            continue
        x, y = roc(score[own], positive)
        label = f"{name}, area {np.trapezoid(y, x):.3f}"
        ax.plot(*thinned(x, y), color=color, lw=1.4, label=label)
        decided = found.decision[own] == 1
        ax.plot([decided[~positive].mean()], [decided[positive].mean()], shape, color=color, ms=8,
                mec="white", mew=0.8)  # fmt: skip
    tidy(ax)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    ax.set_xlabel("false positive rate")
    ax.set_ylabel("true positive rate")
    cut = "decisions after postprocessing" if found.decisions is not None else "threshold 0.5"
    finish(figure, f"Marks: {cut}. {note}")
    return figure
