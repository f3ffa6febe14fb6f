"""The figures of a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frbench.report import estimate
from studies.field.answers import FAIRNESS, cost_points
from studies.field.runs import Field, value
from studies.output import save, subplots

COLOURS = {True: "#D55E00", False: "#0072B2"}
MARKERS = {True: "s", False: "o"}
LABELS = {True: "attribute in training or fitting", False: "no attribute in training"}


def draw(field: Field, out: Path) -> None:
    """Write a figure of each kind, one panel for each data set."""
    _leaderboard(field, out / "field-leaderboard.png")
    _scatter(field, out / "field-cost.png", "cost")
    _scatter(field, out / "field-shift.png", "shift")
    _scatter(field, out / "field-fairness.png", "fairness")


def _leaderboard(field: Field, path: Path) -> None:
    most = max(len(field.methods(name)) for name in field.data)
    figure, axes = subplots(1, len(field.data), width=4.4, height=max(3.0, 0.17 * most + 1))
    for axis, (name, data) in zip(axes[0], field.data.items(), strict=True):
        found = []
        for method in field.methods(name):
            runs = field.chosen(name, method, data.known)
            values = [value(run, data.score) for run in runs.values()]
            if np.isfinite(values).any():
                found.append((estimate(values).mean, method, values))
        found.sort()
        for place, (mean, method, values) in enumerate(found):
            colour = COLOURS[field.reads(method)]
            axis.plot(values, [place] * len(values), ".", color=colour, alpha=0.5, ms=4)
            axis.plot(mean, place, MARKERS[field.reads(method)], color=colour, ms=4)
            if method == "ERM":
                axis.axvline(mean, color="grey", lw=0.8, ls="--")
        axis.set_yticks(range(len(found)), [method for _, method, _ in found], fontsize=6)
        axis.set(title=data.title, xlabel=data.score, ylim=(-1, len(found)))
    _legend(axes[0][0])
    save(figure, path)


def _scatter(field: Field, path: Path, kind: str) -> None:
    figure, axes = subplots(1, len(field.data))
    for axis, (name, data) in zip(axes[0], field.data.items(), strict=True):
        points: list[tuple[str, float, float]] = []
        if kind == "cost":
            points = cost_points(field, name)
            axis.set(xlabel="time over ERM's", ylabel=f"gain in {data.score}", xscale="log")
            axis.axhline(0, color="grey", lw=0.8, ls="--")
        elif kind == "shift":
            own = [run for run in field.runs if run.data == name]
            points = [(r.method, value(r, data.inside), value(r, data.outside)) for r in own]
            axis.set(xlabel=data.inside, ylabel=data.outside)
        elif data.table:
            for method in field.methods(name):
                runs = field.chosen(name, method, data.known).values()
                pair = [
                    float(np.mean([value(run, f"{data.table}/{key}") for run in runs]))
                    for key in (FAIRNESS[0], "worst_group_accuracy")
                    if runs
                ]
                points += [(method, *pair)] if pair else []
            axis.set(xlabel="equalized odds difference", ylabel="worst group accuracy")
        axis.set_visible(bool(points))
        for reads in (False, True):
            own_points = [p[1:] for p in points if field.reads(p[0]) == reads]
            if own_points:
                axis.plot(*zip(*own_points, strict=True), MARKERS[reads], color=COLOURS[reads],
                          ms=3.5, alpha=0.6, label=LABELS[reads])  # fmt: skip
        axis.set_title(data.title)
    if axes[0][0].get_legend_handles_labels()[0]:
        axes[0][0].legend(fontsize=6, frameon=False)
    save(figure, path)


def _legend(axis: object) -> None:
    for reads, label in LABELS.items():
        axis.plot([], [], MARKERS[reads], color=COLOURS[reads], ms=4, label=label)  # type: ignore[attr-defined]
    axis.legend(fontsize=6, frameon=False, loc="lower right")  # type: ignore[attr-defined]
