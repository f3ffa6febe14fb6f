"""Metrics and ensembles computed from the predictions that runs have kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from sys import intern

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.api import evaluate_rows
from frbench.metrics.names import COUNTS, NOISE_FLOOR, SCORES, group_of, split_key, split_of
from frbench.metrics.own import CountMetric, directions
from frbench.metrics.rows import to_rows
from frbench.report.predictions import FILE, KeptPredictions, Predictions, read_predictions
from frbench.report.results import Run

#: Seed of a run that is an ensemble over seeds.
ENSEMBLE = -1
#: Names of the metrics that counts, and that scores of one table give.
OF_COUNTS = {name.partition("/")[0] for name in COUNTS}
OF_SCORES = {name.partition("/")[0] for name in (*SCORES, *NOISE_FLOOR)}


def read_kept(run: Run, only: Sequence[str] | None = None) -> KeptPredictions | None:
    """Read what a run has kept; None if it has kept nothing of the checkpoint that it is at.

    Args:
        run: The run.
        only: Names of tables; all by default.
    """
    path = run.folder / FILE
    return read_predictions(path, only) if run.keeps and path.is_file() else None


def table_metrics(
    kept: KeptPredictions,
    name: str,
    min_group_rows: int,
    own: Sequence[CountMetric] = (),
    asked: Iterable[str] | None = None,
) -> dict[str, float]:
    """Compute the metrics of one table from kept predictions.

    Args:
        kept: The predictions.
        name: Name of the table.
        min_group_rows: Rows that a group needs to take part in minima, gaps and ratios.
        own: Metrics of one's own.
        asked: Names of metrics that must be among them: those of scores, which take most of the
            time, are left out unless one is asked for; by default all are computed.
    """
    names = {metric.partition("/")[0] for metric in asked or ()}
    noise_floor = asked is None or bool(NOISE_FLOOR.keys() & names)
    table = kept.tables[name]
    p = table.probabilities if asked is None or OF_SCORES & names else None
    columns = table.y, table.decision, table.z, p
    rows = to_rows(*columns, None, kept.class_names, kept.attribute_names)
    return evaluate_rows(rows, kept.train_counts, "ignore", own, min_group_rows, noise_floor)


def all_metrics(
    kept: KeptPredictions,
    min_group_rows: int,
    own: Sequence[CountMetric] = (),
    asked: Iterable[str] | None = None,
) -> dict[str, float]:
    """Compute metrics of every table, by ``<table>/<metric>``; see :func:`table_metrics`."""
    return {
        intern(f"{name}/{metric}"): value
        for name in kept.tables
        for metric, value in table_metrics(kept, name, min_group_rows, own, asked).items()
    }


def with_metrics(
    runs: Sequence[Run],
    metrics: Sequence[str],
    keys: Sequence[str] = (),
    own: Sequence[CountMetric] = (),
) -> tuple[list[Run], list[str]]:
    """Add metrics that the records of runs lack, from their kept predictions.

    Args:
        runs: The runs.
        metrics: Metrics of test tables, without table: ``auroc``.
        keys: Metrics with table, of a rule: ``val/auroc``.
        own: Metrics of one's own, whose names may be among ``metrics`` and ``keys``.

    Returns:
        The runs, and notes on what was computed and could not be.
    """
    names, signs = {function.__name__ for function in own}, directions(own)
    metrics = [metric for metric in metrics if _is_computed(metric, names)]
    pairs = [split_key(key, signs) for key in keys]
    pairs = [pair for pair in pairs if _is_computed(pair[1], names)]
    added: dict[str, int] = {}
    without: dict[str, int] = {}
    out = []
    for run in runs:
        lacking = [] if run.error is not None else _lacking(run, metrics, pairs)
        if not lacking:
            out.append(run)
            continue
        kept = read_kept(run, list(dict.fromkeys(table for table, _ in lacking)))
        for metric in dict.fromkeys(metric for _, metric in lacking):
            counter = without if kept is None else added
            counter[metric] = counter.get(metric, 0) + 1
        if kept is None:
            out.append(run)
            continue
        found: dict[str, float] = {}
        for name in kept.tables:
            asked = [metric for table, metric in lacking if table == name]
            values = table_metrics(kept, name, run.min_group_rows, own, asked)
            found |= {f"{name}/{metric}": values[metric] for metric in asked if metric in values}
        both = {**run.directions, **signs}
        out.append(replace(run, metrics={**run.metrics, **found}, directions=both))
    notes = [
        f"{metric}: computed from the kept predictions of {count} runs, whose records lack it."
        for metric, count in added.items()
    ]
    notes += [
        f"{metric}: {count} runs have neither it nor kept predictions of this checkpoint ({FILE})."
        for metric, count in without.items()
    ]
    return out, notes


def _is_computed(metric: str, own: set[str]) -> bool:
    """Whether a metric is one of a table; those of one group are in every record."""
    name = metric.partition("/")[0]
    return name in own or (name in OF_COUNTS | OF_SCORES and group_of(metric) is None)


def _lacking(
    run: Run, metrics: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return table and metric of what is asked for and missing in a record."""
    have = run.metrics
    wanted = list(pairs)
    if metrics:
        tables = [k.removesuffix("/accuracy") for k in have if k.endswith("/accuracy")]
        tests = [table for table in tables if split_of(table) == "test"]
        wanted += [(table, metric) for table in tests for metric in metrics]
    return [pair for pair in dict.fromkeys(wanted) if "/".join(pair) not in have]


def ensembles(own: Sequence[CountMetric], notes: list[str]) -> Callable[[list[Run]], list[Run]]:
    """Return a function from the runs of a setting to their ensembles over seeds.

    An ensemble has the mean of the class probabilities; there is one, or one for each fold.

    Args:
        own: Metrics of one's own.
        notes: Takes a line where there is no ensemble.
    """
    made: dict[tuple[str, ...], list[Run]] = {}

    def extend(runs: list[Run]) -> list[Run]:
        key = tuple(run.cell for run in runs)
        if key not in made:
            found = []
            for fold in dict.fromkeys(run.fold for run in runs):
                members = [run for run in runs if run.fold == fold]
                try:
                    found.append(_ensemble(members, own))
                except UserError as error:
                    notes.append(f"{runs[0].data} {runs[0].method}: no ensemble: {error}")
                    break
            else:
                made[key] = found
            made.setdefault(key, [])
        return made[key]

    return extend


def _ensemble(runs: Sequence[Run], own: Sequence[CountMetric]) -> Run:
    if len(runs) < 2:
        raise UserError("it has one seed.")
    kept = [found for run in runs if (found := read_kept(run)) is not None]
    if len(kept) < len(runs):
        raise UserError(f"{len(runs) - len(kept)} of {len(runs)} runs have kept no predictions.")
    tables = {
        name: mean([other.tables[name] for other in kept])
        for name in kept[0].tables
        if split_of(name) == "test"
    }
    first = runs[0]
    together = replace(kept[0], tables=tables)
    return replace(
        first,
        cell=f"{first.cell}-ensemble",
        method=f"{first.method} (ensemble of {len(runs)})",
        seed=ENSEMBLE,
        metrics=all_metrics(together, first.min_group_rows, own),
        warnings={},
        seconds=0.0,
        directions={**first.directions, **directions(own)},
    )


def mean(members: Sequence[Predictions]) -> Predictions:
    """Return the predictions of the mean of class probabilities, of the same rows.

    Raises:
        UserError: If the rows are not the same, or a postprocessor decides.

    Example:
        >>> one, two = (
        ...     Predictions(np.log([p]), np.array([1]), np.array([0]), np.array([0]))
        ...     for p in ([0.6, 0.4], [0.1, 0.9])
        ... )
        >>> mean([one, two]).probabilities.round(2).tolist()
        [[0.35, 0.65]]
    """
    first = members[0]
    if any(not same_rows(first, other) for other in members[1:]):
        raise UserError(
            "its seeds have different test rows, as the seed also splits the data; use a fixed "
            "test split, or folds."
        )
    if any(member.decisions is not None for member in members):
        raise UserError("a postprocessor makes its decisions.")
    p = np.mean([member.probabilities for member in members], 0)
    return replace(first, scores=np.log(p.clip(np.finfo(np.float64).tiny)))


def same_rows(one: Predictions, other: Predictions) -> bool:
    """Whether two predictions are of the same rows in the same order."""
    return one.rows == other.rows and np.array_equal(one.index, other.index)
