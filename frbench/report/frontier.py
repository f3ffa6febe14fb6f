"""Trade-offs of two metrics: fronts of each method, the unprocessed curve, the constant class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics import count_metrics
from frbench.metrics.bounds import bounds
from frbench.metrics.names import direction
from frbench.report.interval import Estimate, estimate
from frbench.report.plot import pareto_front
from frbench.report.results import Run, own_directions
from frbench.report.sheets import cell
from frbench.report.summary import finished_runs, metrics_on_test, near, table_names, units
from frbench.support.sheet import Sheet, Value

#: Option of a postprocessor by which constraints are relaxed.
RELAXED = "postprocess.tolerance"


class Point(NamedTuple):
    """A setting of a method in the plane of two metrics, over its seeds or folds.

    Attributes:
        name: The setting.
        x: First metric.
        y: Second metric.
    """

    name: str
    x: Estimate
    y: Estimate

    @property
    def mean(self) -> tuple[float, float]:
        """Means of both metrics."""
        return self.x.mean, self.y.mean


@dataclass(frozen=True)
class Frontier:
    """The settings of all methods on one test table.

    Attributes:
        data: Name of the data set.
        table: Name of the table.
        metrics: The two metrics.
        signs: Their directions: 1 if higher is better, -1 if lower is.
        methods: All settings of each method.
        fronts: Positions of those that no other setting of the method dominates, from left to
            right.
        base: Name of the model whose constraint was relaxed after training: that of the best
            validation value of the first metric without constraint. Empty if there is none.
        unprocessed: Its points by tolerance, the largest (no constraint) first.
        constant: The metrics of a classifier that gives every row the most frequent class.
    """

    data: str
    table: str
    metrics: tuple[str, str]
    signs: tuple[int, int]
    methods: dict[str, list[Point]]
    fronts: dict[str, list[int]]
    base: str
    unprocessed: list[Point]
    constant: tuple[float, float] | None


def frontiers(runs: Sequence[Run], x: str, y: str, folds: int | None = None) -> list[Frontier]:
    """Find the fronts on every test table of every data set.

    Settings are not chosen by validation: every one is shown, as test data see it. Source of the
    comparison at equal relaxation: Cruz and Hardt, arXiv 2306.07261.

    Args:
        runs: Runs of grids.
        x: First metric, without split and table.
        y: Second metric.
        folds: Number of folds k, if runs are folds.

    Raises:
        UserError: If a metric has no direction, or no run has both.
    """
    finished = [run for run in finished_runs(runs) if run.searched]  # as many of each setting
    own = own_directions(runs)
    known = metrics_on_test(finished)
    for metric in (x, y):
        if metric not in known:
            raise UserError(f"--frontier: no run has {metric!r} on test; {near(metric, known)}")
        if not direction(metric, own):
            raise UserError(f"--frontier: {metric} has no better direction; choose another.")
    signs = direction(x, own), direction(y, own)
    found = []
    for data in dict.fromkeys(run.data for run in finished):
        here = [run for run in finished if run.data == data]
        for table in table_names(here, (x, y), own):
            keys = f"{table}/{x}", f"{table}/{y}"
            methods = {
                method: _points((run for run in here if run.method == method), keys, folds)
                for method in dict.fromkeys(run.method for run in here)
            }
            methods = {name: points for name, points in methods.items() if points}
            if methods:
                fronts = {
                    name: pareto_front([p.mean for p in points], signs)
                    for name, points in methods.items()
                }
                base, curve = _unprocessed(here, x, signs[0], keys, folds)
                constant = _constant(here, table, (x, y))
                found.append(
                    Frontier(data, table, (x, y), signs, methods, fronts, base, curve, constant)
                )
    if not found:
        raise UserError(f"No run has both {x} and {y} on one test table.")
    return found


def _estimate(runs: list[Run], key: str, folds: int | None) -> Estimate:
    """Estimate a metric from the runs of one setting."""
    values = units(runs, lambda run: run.metrics.get(key, np.nan))
    return estimate(values.values(), folds, bounds(key))


def _points(runs: Iterable[Run], keys: tuple[str, str], folds: int | None) -> list[Point]:
    """Average each setting over its seeds or folds."""
    settings: dict[str, list[Run]] = {}
    for run in runs:
        settings.setdefault(run.setting, []).append(run)
    points = []
    for name, own in settings.items():
        pair = [_estimate(own, key, folds) for key in keys]
        if pair[0].n and pair[1].n:
            points.append(Point(name, *pair))
    return points


def _unprocessed(
    runs: Sequence[Run], x: str, sign: int, keys: tuple[str, str], folds: int | None
) -> tuple[str, list[Point]]:
    """Find the model that is best without constraint, and its curve over the tolerances."""
    cells = {run.cell: run for run in runs}
    families: dict[str, list[Run]] = {}
    for run in runs:
        if RELAXED in run.settings:
            key = run.record.get("after") or run.cell.partition("-")[0]
            trained = cells.get(key)
            name = f"{trained.method} {trained.setting}" if trained else run.method
            families.setdefault(f"{name}, {run.method}", []).append(run)
    best, score = "", -np.inf
    for name, own in families.items():
        loosest = max(run.settings[RELAXED] for run in own)
        values = [run.metrics.get(f"val/{x}", np.nan) for run in own
                  if run.settings[RELAXED] == loosest]  # fmt: skip
        if sign * float(np.mean(values)) > score:
            best, score = name, sign * float(np.mean(values))
    if not best:
        return "", []
    chosen = sorted(families[best], key=lambda run: -run.settings[RELAXED])
    points = []
    for tolerance in dict.fromkeys(run.settings[RELAXED] for run in chosen):
        own = [run for run in chosen if run.settings[RELAXED] == tolerance]
        points += [p._replace(name=f"tolerance {tolerance:g}") for p in _points(own, keys, folds)]
    return best.partition(",")[0].removesuffix(" defaults"), points


def _constant(
    runs: Sequence[Run], table: str, metrics: tuple[str, str]
) -> tuple[float, float] | None:
    """Evaluate the most frequent class as everyone's, on the rows of known attribute."""
    values = []
    for run in {(run.seed, run.fold): run for run in runs}.values():
        groups: dict[str, Any] = run.record.get("groups") or {}
        cells = (groups.get("counts") or {}).get(table)
        if not cells:
            return None
        attributes = len({name.partition(",")[2] for name in groups["names"]})
        number = np.array(cells, float).reshape(-1, attributes)
        counts = np.zeros((len(number), attributes + 1, len(number)))
        counts[:, :-1, int(number.sum(1).argmax())] = number
        found = count_metrics(counts)
        if any(metric not in found for metric in metrics):
            return None
        values.append([float(found[metric]) for metric in metrics])
    return (float(np.mean([v[0] for v in values])), float(np.mean([v[1] for v in values])))


def sheets(found: Sequence[Frontier], exact: bool = False) -> list[Sheet]:
    """Lay out one table for each: settings by method, fronts marked, then what is beside them.

    Args:
        found: The fronts.
        exact: Whether to give means alone, in full precision.
    """

    def pair(point: Point) -> tuple[Value, Value]:
        return point.mean if exact else (cell(point.x), cell(point.y))

    out = []
    for one in found:
        rows: list[Sequence[Value]] = []
        for method, points in one.methods.items():
            order = sorted(range(len(points)), key=lambda i: -one.signs[0] * points[i].x.mean)
            rows += [
                [method, points[i].name, *pair(points[i]), "*" if i in one.fronts[method] else ""]
                for i in order
            ]
        rows += [[f"unprocessed {one.base}", p.name, *pair(p), ""] for p in one.unprocessed]
        if one.constant is not None:
            rows.append(["constant class", "", *one.constant, ""])
        title = f"{one.data}, {one.table}: {one.metrics[0]} against {one.metrics[1]}"
        out.append(Sheet(title, ["method", "setting", *one.metrics, "front"], rows, [*_NOTES]))
    return out


_NOTES = (
    "Every setting on test data, none chosen; * no other setting of its method is better in both.",
    "unprocessed: the model with the best validation value of the first metric, its constraint "
    "relaxed after training; compare other methods with it at equal tolerance.",
)
