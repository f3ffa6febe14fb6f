"""The runs of a study: settings chosen by a rule, methods compared over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from frbench.metrics.bounds import bounds
from frbench.metrics.names import direction
from frbench.report import Estimate, Run, estimate, parse_rule
from frbench.report.choice import choose_runs

MEAN_OF = "mean of "


@dataclass(frozen=True)
class Data:
    """What a plan says of a data set.

    Attributes:
        title: What people call it.
        score: Test metric that methods are compared by.
        known: Rule that chooses settings where attributes of validation rows are known.
        unknown: Rule that chooses settings where they are not.
        inside: Accuracy on the distribution of the training rows.
        outside: Accuracy on the shifted distribution; ``mean of X/`` is the mean of all X/...
        table: Test table of the fairness metrics; empty if the labels are not binary.
        graph: Example of the causal analyzer.
    """

    title: str
    score: str
    known: str
    unknown: str
    inside: str
    outside: str
    table: str
    graph: str


def value(run: Run, key: str) -> float:
    """Return a metric of a run, or the mean of all that begin alike; NaN if there is none."""
    if not key.startswith(MEAN_OF):
        return run.metrics.get(key, math.nan)
    found = [v for k, v in run.metrics.items() if k.startswith(key.removeprefix(MEAN_OF))]
    return float(np.mean(found)) if found else math.nan


def correlation(x: Sequence[float], y: Sequence[float], ranks: bool = False) -> Estimate:
    """Correlate two columns, with Fisher's 95 % interval.

    The mean is the coefficient and sd is NaN. Pairs with an undefined value are left out. Runs of
    one method are alike, so an interval over runs is too narrow.

    Args:
        x: First column.
        y: Second column.
        ranks: Spearman's coefficient; else Pearson's.

    Example:
        >>> found = correlation([1, 2, 3, 4, 5], [1, 3, 2, 5, 4], ranks=True)
        >>> [round(v, 2) for v in (found.mean, found.low, found.high)], found.n
        ([0.8, -0.28, 0.99], 5)
    """
    pairs = np.array([x, y], float)
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    n = pairs.shape[1]
    if n < 4 or (np.ptp(pairs, axis=1) == 0).any():
        return Estimate(math.nan, math.nan, n, math.nan, math.nan)
    if ranks:
        pairs = np.array([rankdata(row) for row in pairs])
    r = float(np.corrcoef(pairs)[0, 1])
    z = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))
    ends = np.tanh([z - 1.96 / math.sqrt(n - 3), z + 1.96 / math.sqrt(n - 3)])
    return Estimate(r, math.nan, n, float(ends[0]), float(ends[1]))


class Field:
    """The runs of a study by data set, method and setting.

    Args:
        runs: The runs, failed ones included.
        plan: The plan: ``data``, ``seeds`` with ``search`` and ``final``, ``reads_attribute``.
    """

    def __init__(self, runs: Sequence[Run], plan: Mapping[str, Any]) -> None:
        self.plan = plan
        self.failed = [run for run in runs if run.error is not None]
        self.runs = [run for run in runs if run.error is None and run.data in plan["data"]]
        self.data = {
            name: Data(**entry)
            for name, entry in plan["data"].items()
            if any(run.data == name for run in self.runs)
        }
        self.settings: dict[tuple[str, str], dict[str, dict[int, Run]]] = {}
        for run in self.runs:
            found = self.settings.setdefault((run.data, run.method), {})
            found.setdefault(run.setting, {})[run.seed] = run
        self.search, self.final = plan["seeds"]["search"], plan["seeds"]["final"]

    def methods(self, data: str) -> list[str]:
        """Return the methods that ran on a data set."""
        return [method for name, method in self.settings if name == data]

    def reads(self, method: str) -> bool:
        """Whether training or fitting reads the attribute."""
        return method in self.plan["reads_attribute"]

    def chosen(
        self, data: str, method: str, rule: str, also: Sequence[int] = ()
    ) -> dict[int, Run]:
        """Return the final runs, by seed, of the setting with the best mean over the search.

        Of equal settings the one that the bench took is taken, see
        :func:`frbench.report.choice.choose_runs`; empty if none can be chosen.

        Args:
            data: Name of the data set.
            method: Name of the method.
            rule: The rule.
            also: Further seeds.
        """
        settings = self.settings.get((data, method), {})
        searched = [own[s] for own in settings.values() for s in self.search if s in own]
        found, _ = choose_runs(searched, parse_rule(rule))
        best = settings[found[0].setting] if found else {}
        return {seed: best[seed] for seed in [*also, *self.final] if seed in best}

    def default(self, data: str, method: str) -> dict[int, Run]:
        """Return the runs, by seed, with the default options."""
        return self.settings.get((data, method), {}).get("defaults", {})

    def score(self, data: str, method: str, rule: str, key: str = "") -> Estimate:
        """Estimate a metric of the chosen setting over the final seeds; the score by default."""
        found, key = self.chosen(data, method, rule), key or self.data[data].score
        return estimate([value(run, key) for run in found.values()], within=bounds(key))

    def sign(self, data: str) -> int:
        """Return 1 if a higher score is better, -1 if a lower one is."""
        return direction(self.data[data].score, {})


def gain(ours: Mapping[int, Run], theirs: Mapping[int, Run], key: str) -> Estimate:
    """Estimate the paired difference of two sets of runs over their common seeds."""
    return estimate([value(ours[s], key) - value(theirs[s], key) for s in ours if s in theirs])
