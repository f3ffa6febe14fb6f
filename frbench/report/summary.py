"""From runs to a leaderboard: choose a setting on validation data, then aggregate test data."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.bounds import bounds
from frbench.metrics.names import direction, split_key, split_of
from frbench.report.choice import shown_runs
from frbench.report.information import EQUAL, baselines
from frbench.report.interval import Estimate, estimate
from frbench.report.results import Run, own_directions
from frbench.report.rule import Rule

Spread = Literal["both", "sd", "se", "interval"]


@dataclass(frozen=True)
class Row:
    """A method on a data set.

    Attributes:
        data: Name of the data set.
        method: Name of the method.
        runs: The runs of its chosen setting.
        given: Number of settings that it was given.
        rule: Value of the selection rule.
        metrics: Test metrics of the chosen setting by key, ``test/accuracy``.
        differences: Paired differences to the baseline's chosen setting, by key.
        against: That baseline; empty if there is none.
        leads: Keys in which it is the best or not to be told from the best, where another method
            is clearly behind: the 95 % interval of the paired differences leaves out 0.
    """

    data: str
    method: str
    runs: list[Run]
    given: int
    rule: Estimate
    metrics: dict[str, Estimate]
    differences: dict[str, Estimate] = field(default_factory=dict)
    against: str = ""
    leads: set[str] = field(default_factory=set)

    @property
    def oracle(self) -> bool:
        """Whether test data chose a checkpoint."""
        return any(run.oracle for run in self.runs)

    @property
    def unmoved(self) -> int:
        """Number of runs in which the checkpoint rule had the same value at every validation."""
        return sum("monitor_never_moved" in run.warnings for run in self.runs)


@dataclass(frozen=True)
class Report:
    """What the renderers show.

    Attributes:
        rows: Methods by data set, in the order of the results.
        tables: Tables of each data set: ``test`` or ``test/<name>``; where `frbench gan metrics`
            added them also ``train``, and ``end/<table>`` of the last checkpoint.
        rule: The selection rule.
        baseline: Method that the others are compared with, ``equal-information`` where each has
            its own, or None.
        runs: All runs, failed ones included.
        notes: What the reader must know to trust or distrust the numbers.
        own: Directions of the user's own metrics, by name.
        spread: What stands beside a mean: standard deviation, standard error, the interval, or
            standard deviation and interval.
    """

    rows: list[Row]
    tables: dict[str, list[str]]
    rule: Rule
    baseline: str | None
    runs: list[Run]
    notes: list[str]
    own: dict[str, int]
    spread: Spread = "both"

    def direction(self, key: str) -> int:
        """Return 1 if higher is better, -1 if lower is better, 0 if neither or not known."""
        return direction(key, self.own)


def summarise(
    runs: Sequence[Run],
    rule: Rule,
    metrics: Sequence[str],
    baseline: str | None = None,
    folds: int | None = None,
    extend: Callable[[list[Run]], list[Run]] | None = None,
) -> Report:
    """Choose each method's setting on each data set, aggregate its test metrics and compare.

    Args:
        runs: Runs of one or several grids.
        rule: Chooses the setting, by its mean over runs.
        metrics: Names without split and table, ``accuracy``.
        baseline: Method to compare with, or ``equal-information``, see
            :func:`frbench.report.information.baselines`; by default ERM, if there is one.
        folds: Folds of one repetition of cross-validation; by default all folds seen.
        extend: Makes of the runs of a row those of a further row, ensembles say, that is neither
            compared nor selected from.

    Raises:
        UserError: If no run finished, or there is no such metric, rule or baseline.
    """
    finished = finished_runs(runs)
    methods = list(dict.fromkeys(run.method for run in finished))
    if baseline is not None and baseline not in (EQUAL, *methods):
        raise UserError(f"--baseline: no method {baseline!r}; {near(baseline, [EQUAL, *methods])}")
    if baseline is None and "ERM" in methods:
        baseline = "ERM"
    own_metrics = own_directions(finished)
    _check_metrics(finished, metrics, own_metrics)
    rows: list[Row] = []
    tables: dict[str, list[str]] = {}
    notes = [
        f"The rule {rule.text} rewards {key} in its worse direction." for key in rule.against()
    ]
    for data in dict.fromkeys(run.data for run in runs):
        own = [run for run in finished if run.data == data]
        if not own:
            notes.append(f"{data}: no run finished.")
            continue
        _check_rule(data, own, rule)
        tables[data] = table_names(own, metrics, own_metrics)
        keys = [f"{table}/{metric}" for table in tables[data] for metric in metrics]
        seen = {run.fold for run in own if run.fold is not None}
        k = (folds or len(seen)) if seen else None
        if k:
            notes.append(
                f"{data}: the rows are folds of the same data and not independent: plain "
                f"intervals would be too narrow. These have the variance of Nadeau and Bengio for "
                f"{k} folds per repetition (--folds), and remain approximate."
            )
        found = []
        for method in dict.fromkeys(run.method for run in runs if run.data == data):
            chosen, remarks = shown_runs([run for run in own if run.method == method], rule)
            notes += [f"{data} {method}: {remark}" for remark in remarks]
            if chosen:
                given = len({r.setting for r in runs if (r.data, r.method) == (data, method)})
                found.append(_row(chosen, given, rule, keys, k))
        against = _against(found, baseline, rule)
        found = [_compared(row, against.get(row.method), k) for row in found]
        rows += found
        for key in keys:
            _find_leaders(found, key, direction(key, own_metrics), k)
        notes += _remarks(data, found, baseline)
        if extend is not None:
            further = [(row, more) for row in found if (more := extend(row.runs))]
            rows += [replace(_row(m, r.given, rule, keys, k), rule=r.rule) for r, m in further]
    return Report(rows, tables, rule, baseline, list(runs), notes, own_metrics)


def show_tables(report: Report, names: Sequence[str] | None) -> Report:
    """Leave out all tables but the named ones, given with or without ``test/``; None: the tests.

    Raises:
        UserError: If no data set has such a table.
    """
    known = {table for tables in report.tables.values() for table in tables}
    if names is None:
        wanted = {table for table in known if split_of(table) == "test"}
    else:
        wanted = {name if split_of(name) in _TABLES else f"test/{name}" for name in names}
    for name in wanted - known:
        raise UserError(f"--tables: no test table {name!r}; {near(name, known)}")
    tables = {data: [t for t in own if t in wanted] for data, own in report.tables.items()}
    return replace(report, tables=tables)


def finished_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that have metrics.

    Raises:
        UserError: If there is none.
    """
    finished = [run for run in runs if run.error is None]
    if not finished:
        raise UserError(f"All {len(runs)} runs failed, the first with: {runs[0].error}")
    return finished


def near(name: str, known: Iterable[str]) -> str:
    """Name the remedy of a wrong name: the known names close to it, else all but groups'."""
    known = sorted(known)
    plain = [other for other in known if "=" not in other]
    close = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(plain)}."


#: First words of tables that a report may show; validation chooses and is not shown.
_TABLES = ("test", "train", "end")


def table_names(runs: Iterable[Run], metrics: Sequence[str], own: Mapping[str, int]) -> list[str]:
    """Find the tables that have at least one of the metrics."""
    pairs = dict.fromkeys(split_key(key, own) for key in _keys(runs))
    tables = [table for table, metric in pairs if metric in metrics]
    return [table for table in dict.fromkeys(tables) if split_of(table) in _TABLES]


def _keys(runs: Iterable[Run]) -> dict[str, None]:
    """Return the keys of all metrics once: thousands of runs have the same."""
    return dict.fromkeys(chain.from_iterable(run.metrics for run in runs))


def metrics_on_test(runs: Sequence[Run]) -> list[str]:
    """Return the metrics that some run has on some test table, without split and table."""
    own = own_directions(runs)
    keys = (key for key in _keys(runs) if split_of(key) == "test")
    return [metric for metric in dict.fromkeys(split_key(key, own)[1] for key in keys) if metric]


def _check_metrics(runs: Sequence[Run], metrics: Iterable[str], own: Mapping[str, int]) -> None:
    known = metrics_on_test(runs)
    for metric in metrics:
        direction(metric, own)  # raises, with names close to it, if there is no such metric
        if metric not in known:
            raise UserError(f"No run has the test metric {metric!r}; {near(metric, known)}")


def _check_rule(data: str, runs: Iterable[Run], rule: Rule) -> None:
    known = {key for run in runs for key in run.metrics}
    for _, key in rule.terms:
        if key not in known:
            close = near(key, {name for name in known if split_of(name) == split_of(key)})
            raise UserError(
                f"--select: no run on {data} has {key!r}; {close} (--data leaves data sets out)"
            )


def units(runs: Iterable[Run], value: Callable[[Run], float]) -> dict[int, float]:
    """Return one value per seed or, under cross-validation, per fold (its mean over seeds)."""
    units: dict[int, list[float]] = {}
    for run in runs:
        if np.isfinite(found := value(run)):
            units.setdefault(run.seed if run.fold is None else run.fold, []).append(found)
    return {unit: float(np.mean(values)) for unit, values in units.items()}


def _values(runs: Iterable[Run], key: str) -> dict[int, float]:
    return units(runs, lambda run: run.metrics.get(key, np.nan))


def _row(runs: list[Run], given: int, rule: Rule, keys: Iterable[str], k: int | None) -> Row:
    found = estimate(units(runs, lambda run: rule.value(run.metrics)).values(), k, rule.within)
    metrics = {key: estimate(_values(runs, key).values(), k, bounds(key)) for key in keys}
    return Row(runs[0].data, runs[0].method, runs, given, found, metrics)


def _against(rows: Sequence[Row], baseline: str | None, rule: Rule) -> dict[str, Row]:
    """Return the row that each method is compared with, by its name."""
    by_name = {row.method: row for row in rows}
    if baseline == EQUAL:
        chosen = {name: row.runs for name, row in by_name.items()}
        own = baselines(chosen, {name: row.rule.mean for name, row in by_name.items()}, rule)
        return {method: by_name[name] for method, name in own.items()}
    if baseline not in by_name:
        return {}
    return {method: by_name[baseline] for method in by_name if method != baseline}


def _compared(row: Row, other: Row | None, k: int | None) -> Row:
    """Add the paired differences to another row over common seeds or folds."""
    if other is None:
        return row
    found = {key: _difference(row, other, key, k) for key in row.metrics}
    return replace(row, differences=found, against=other.method)


def _difference(row: Row, other: Row, key: str, k: int | None) -> Estimate:
    ours, theirs = _values(row.runs, key), _values(other.runs, key)
    return estimate([ours[unit] - theirs[unit] for unit in ours if unit in theirs], k)


def _find_leaders(rows: Sequence[Row], key: str, sign: int, k: int | None) -> None:
    """Note in which rows the best value stands, or one that the runs do not tell from it."""
    known = [row for row in rows if row.metrics[key].n]
    if not sign or not known:
        return
    best = max(known, key=lambda row: sign * row.metrics[key].mean)
    found = {row.method: _difference(row, best, key, k) for row in known if row is not best}
    behind = {method for method, e in found.items() if e.low > 0 or e.high < 0}
    for row in known if behind else ():
        if row.method not in behind:
            row.leads.add(key)


def _remarks(data: str, rows: Sequence[Row], baseline: str | None) -> Iterable[str]:
    """Say where the rows of a data set are not on a par."""
    if baseline == EQUAL:
        if alone := [row.method for row in rows if not row.against]:
            yield (
                f"{data}: no other baseline of equal information, so no difference: "
                f"{', '.join(alone)} (records of an older frbench do not tell baselines)."
            )
    elif baseline and rows and baseline not in {row.method for row in rows}:
        yield f"{data}: no result of the baseline {baseline}, so no differences."
    most = max((len(row.runs) for row in rows), default=0)
    for row in rows:
        if len(row.runs) < most:
            yield f"{data} {row.method}: {len(row.runs)} runs where others have {most}."
        if row.oracle:
            yield f"{data} {row.method}: test data chose the checkpoint (oracle), an upper bound."
        if row.unmoved:
            yield (
                f"{data} {row.method}: in {row.unmoved} of {len(row.runs)} runs the value of the "
                "checkpoint rule never moved; balanced accuracy, then loss chose."
            )
        if any(run.attribute_as_input for run in row.runs):
            yield f"{data} {row.method}: the attribute was an input of the network."
    if len({row.given for row in rows}) > 1:
        counts = ", ".join(f"{row.method} {row.given}" for row in rows)
        yield (
            f"{data}: the methods had different numbers of settings ({counts}); the best of "
            "more is better by chance, too."
        )
    monitors: dict[str, list[str]] = {}
    for row in rows:
        for monitor in dict.fromkeys(run.monitor for run in row.runs):
            monitors.setdefault(monitor, []).append(row.method)
    if len(monitors) > 1:
        rules = "; ".join(f"{', '.join(names)} by {rule}" for rule, names in monitors.items())
        yield f"{data}: the methods' checkpoints were chosen by different rules: {rules}."
