"""Postprocessors fitted behind predictions that runs have kept, without the network."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.metrics import group_name
from frbench.metrics.own import CountMetric, directions
from frbench.postprocessing import HeldOut, OutputMap, Postprocessor
from frbench.postprocessing.base import decided, draw
from frbench.postprocessing.split import split_for
from frbench.report.computed import all_metrics, read_kept
from frbench.report.predictions import FILE, KeptPredictions, Predictions, log_scores
from frbench.report.results import Run
from frbench.runs.attributes import attributes_behind
from frbench.runs.words import built_of


def postprocessed_runs(
    runs: Sequence[Run],
    words: Sequence[str],
    own: Sequence[CountMetric] = (),
    asked: Sequence[str] | None = None,
) -> tuple[list[Run], list[str]]:
    """Fit a postprocessor behind each run that has kept predictions.

    A half of the validation rows fits it, the other half selects, as behind a checkpoint.

    Args:
        runs: The runs.
        words: Its name and options: ``ThresholdOptimizer``, ``constraint=demographic_parity``.
        own: Metrics of one's own.
        asked: Metrics that the further runs need, see
            :func:`frbench.report.computed.table_metrics`; all by default.

    Returns:
        A further run for each, of the method ``<method>+<name>``; notes.

    Raises:
        UserError: If there is no such postprocessor, or it needs more than outputs.
    """
    name, *options = words
    unfitted = _map([f"--method={name}", *(f"--method.{option}" for option in options)])
    label = type(unfitted).__name__
    made: list[Run] = []
    skipped: dict[str, int] = {}
    for run in runs:
        if run.error is not None:
            continue
        kept = read_kept(run)
        if kept is None or "val" not in kept.tables:
            why = f"no kept predictions ({FILE})"
        elif any(table.decisions is not None for table in kept.tables.values()):
            why = "another postprocessor makes their decisions"
        else:
            after = fitted(kept, deepcopy(unfitted))
            metrics = all_metrics(after, run.min_group_rows, own, asked)
            made.append(_behind(run, metrics, unfitted, own))
            continue
        skipped[why] = skipped.get(why, 0) + 1
    notes = [f"{label} is behind none of {count} runs: {why}." for why, count in skipped.items()]
    return made, notes


def _map(words: Sequence[str]) -> OutputMap:
    method = built_of(Postprocessor, "method", words)
    if not isinstance(method, OutputMap) or method.uses_features:
        raise UserError(
            f"--postprocess: {type(method).__name__} needs the network, or its features, and "
            "there are kept outputs alone; fit it by `after` in the grid."
        )
    return method


def _behind(
    run: Run, metrics: dict[str, float], method: OutputMap, own: Sequence[CountMetric]
) -> Run:
    label = type(method).__name__
    told = "attributes" in run.record
    use = {"attributes": attributes_behind(run.record, method)} if told else {}
    return replace(
        run,
        cell=f"{run.cell}+{label}",
        method=f"{run.method}+{label}",
        metrics=metrics,
        directions={**run.directions, **directions(own)},
        warnings={},
        record={**run.record, **use},
        seconds=0.0,
    )


def fitted(kept: KeptPredictions, method: OutputMap) -> KeptPredictions:
    """Fit a map on validation outputs and apply it to all tables.

    Args:
        kept: Predictions of the network.
        method: The map; it is changed.

    Returns:
        Predictions of the map; validation is left with the rows that it was not fitted on.
    """
    classes, attributes = len(kept.class_names), len(kept.attribute_names)
    names = tuple(group_name(y, z) for y in kept.class_names for z in kept.attribute_names)
    method.bind(Sizes(classes, attributes, (1,)), 0)
    val = kept.tables["val"]
    scores = val.scores.astype(np.float64)
    rows = HeldOut(scores[:, :0], scores, val.y, val.z, classes, attributes, names=names)
    split = split_for(method, "val", None, 0)
    fitting = split.fitting(rows.group)
    method.fit(rows.take(fitting) if split.share < 1 else rows)
    if not method.uses_all and not fitting.all():
        val = _take(val, np.flatnonzero(~fitting))
    tables = {**kept.tables, "val": val}
    return replace(kept, tables={name: _applied(table, method) for name, table in tables.items()})


def _take(table: Predictions, rows: np.ndarray) -> Predictions:
    columns = {name: getattr(table, name)[rows] for name in ("scores", "y", "z", "index")}
    return replace(table, **columns)


def _applied(table: Predictions, method: OutputMap) -> Predictions:
    """Apply a fitted map; a draw depends on the place among the rows, as in evaluation."""
    logits = torch.as_tensor(table.scores.astype(np.float64))
    with torch.inference_mode():
        logits, shares = decided(method, logits, logits[:, :0], torch.as_tensor(table.z))
    scores = log_scores(logits.numpy())
    if shares is None:
        return replace(table, scores=scores)
    drawn = draw(shares, torch.arange(len(scores)), method.seed)
    return replace(table, scores=scores, decisions=drawn.numpy())
