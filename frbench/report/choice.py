"""Which runs of a method a report shows: those of the setting that validation data choose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from frbench.metrics.names import direction
from frbench.report.results import Run, numbers
from frbench.report.rule import DEFAULT, Rule


def shown_runs(runs: Sequence[Run], rule: Rule) -> tuple[list[Run], list[str]]:
    """Return the runs whose test metrics are shown, and remarks.

    In a grid of two phases the runs of the search choose the setting, and those of the final
    seeds are shown.
    """
    phases = next((run.phases for run in reversed(runs) if run.phases), None)
    if phases is None:
        return choose_runs(runs, rule)
    best, remarks = choose_runs([run for run in runs if run.seed in phases["search"]], rule)
    if not best:
        return best, remarks
    seeds = phases["final"]
    final = [run for run in runs if run.setting == best[0].setting and run.seed in seeds]
    if missing := sorted({*seeds} - {run.seed for run in final}):
        some = ", ".join(map(str, missing))
        remarks.append(
            f"the setting chosen by {rule.text}, {best[0].setting}, has no result on the final "
            f"seeds {some}: frbench bench continues, if the grid's `select` names the rule."
        )
    return final, remarks


def at_checkpoints(runs: Sequence[Run], rule: Rule) -> list[Run]:
    """Return the runs with the metrics of the checkpoint that a rule chooses inside each of them.

    Runs that have kept no checkpoint by the rule stay as they are, with that of their own metric.
    """
    return [_at_checkpoint(run, rule.monitor) for run in runs]


def _at_checkpoint(run: Run, monitor: str | None) -> Run:
    if monitor not in run.selected:
        return run
    metrics = run.selected[monitor].get("metrics")
    changed = run if metrics is None else replace(run, metrics=numbers(metrics))
    way = "max" if direction(monitor, run.directions) > 0 else "min"
    return replace(changed, monitor=f"{monitor} ({way})", oracle=monitor.startswith("test"))


def choose_runs(runs: Sequence[Run], rule: Rule) -> tuple[list[Run], list[str]]:
    """Return the runs of the best setting and remarks on the settings that could not win.

    Only settings with as many runs as the fullest compete: a mean over fewer seeds is luckier.
    Of equal settings the one with the better balanced accuracy on validation wins, then that with
    the lower loss, then the first in alphabetical order.
    """
    if not runs:
        return [], ["no run finished; the method is left out."]
    settings: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.setting):
        settings.setdefault(run.setting, []).append(run)
    most = max(map(len, settings.values()))
    remarks: list[str] = []
    best: list[Run] = []
    best_score = (-np.inf, -np.inf, -np.inf)
    for setting, own in settings.items():
        score = rule.sign * float(np.mean([rule.value(run.metrics) for run in own]))
        if len(own) < most:
            remarks.append(f"setting {setting} has {len(own)} of {most} runs: not selected from.")
        elif len(settings) == 1:
            best = own
        elif not np.isfinite(score):
            remarks.append(f"{rule.text} is undefined for setting {setting}: not selected from.")
        elif (score, *_ties(own)) > best_score:
            best, best_score = own, (score, *_ties(own))
    if not best:
        remarks.append("no setting could be selected; the method is left out.")
    return best, remarks


def _ties(runs: Sequence[Run]) -> tuple[float, float]:
    """Return what decides between settings of one value of the rule."""
    keys = ("val/balanced_accuracy", "val/negative_log_likelihood")
    accuracy, loss = (
        float(np.mean([run.metrics.get(key, np.nan) for run in runs])) for key in keys
    )
    return (
        accuracy if np.isfinite(accuracy) else -np.inf,
        -loss if np.isfinite(loss) else -np.inf,
    )


def default_rule(runs: Sequence[Run]) -> str:
    """Return the rule of a report that names none: the first of its grid, if it names some."""
    for run in reversed(runs):
        if run.phases or run.selected:
            return str((run.phases.get("select") or [*run.selected])[0])
    return DEFAULT
