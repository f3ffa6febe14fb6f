"""The results of a grid: what was predicted and what is published, beside what was measured.

A grid says what belongs to its results under ``report``, which decides no run::

    report:
      title: Task a, purely spurious, on digits
      metrics: {P0: test/P0/accuracy, own: "test/{train_on}/accuracy"}
      predictions:
        Q beats ERM on P0: Q[P0] - ERM[P0] >= .15
      published:
        source: Table 2 of arXiv 2406.17433, MNIST and a CNN
        ERM: {own: [.937, .002], P0: [.717, .027]}
      reason: Why measured and published numbers differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from claims import Claim, Outcome, Term, decide, parse_claim

from frbench.contracts.errors import UserError
from frbench.metrics.bounds import bounds
from frbench.report.choice import choose_runs
from frbench.report.interval import Estimate, estimate
from frbench.report.results import Run
from frbench.report.rule import Rule, parse_rule
from frbench.report.summary import finished_runs, near, units

RANGE = "range of "
KEYS = (
    "title", "select", "rows", "metrics", "predictions", "published", "reason", "commands", "keep",
)  # fmt: skip


class Published(NamedTuple):
    """A published number of a method; sd is NaN where none is given."""

    data: str
    method: str
    metric: str
    mean: float
    sd: float


@dataclass(frozen=True)
class Page:
    """What a grid says of its page.

    Attributes:
        title: Heading.
        rule: Chooses the setting of a method that has several.
        rows: Name of a row, ``{model.alpha}`` standing for that setting: each setting is then a
            row of its own. Empty: a row per method.
        metrics: Columns, name -> key of a metric, or what else `value` knows.
        claims: The predictions.
        source: Where the published numbers come from.
        published: The published numbers.
        reason: What a person says of differences and misses.
        commands: The commands; empty for that of the grid alone.
        keep: Patterns of further metrics that the kept records hold.
    """

    title: str
    rule: Rule
    rows: str
    metrics: dict[str, str]
    claims: tuple[Claim, ...]
    source: str
    published: tuple[Published, ...]
    reason: str
    commands: tuple[str, ...]
    keep: tuple[str, ...]


def read_page(grid: Path) -> Page:
    """Read the ``report`` entry of a grid file.

    Raises:
        UserError: If there is no such file, or the entry cannot be used.
    """
    try:
        content: Any = yaml.safe_load(grid.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"There is no grid file {grid}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{grid} is not valid YAML: {' '.join(str(error).split())}") from error
    return parse_page(content.get("report") if isinstance(content, dict) else None, str(grid))


def parse_page(entry: Any, where: str) -> Page:
    """Read the ``report`` entry of a grid.

    Args:
        entry: The entry, or None.
        where: Name of the grid's file, for messages.

    Raises:
        UserError: If it has unknown keys or values of a wrong form.
    """
    entry = _mapping(entry or {}, f"{where}: report")
    if unknown := sorted(set(entry) - set(KEYS)):
        raise UserError(f"{where}: report has no {unknown[0]!r}; {near(unknown[0], KEYS)}")
    metrics = _mapping(entry.get("metrics") or {}, f"{where}: report.metrics")
    predictions = _mapping(entry.get("predictions") or {}, f"{where}: report.predictions")
    claims = [
        parse_claim(text, rule, metrics)
        for text, rules in predictions.items()
        for rule in (rules if isinstance(rules, list) else [rules])
    ]
    published = _mapping(entry.get("published") or {}, f"{where}: report.published")
    source = str(published.pop("source", ""))
    if published and not source:
        raise UserError(f"{where}: report.published must name its `source`.")
    return Page(
        title=str(entry.get("title", "")),
        rule=parse_rule(str(entry.get("select", "val/worst_group_accuracy"))),
        rows=str(entry.get("rows", "")),
        metrics=metrics,
        claims=tuple(claims),
        source=source,
        published=tuple(_published(published, metrics, where)),
        reason=str(entry.get("reason", "")),
        commands=tuple(map(str, entry.get("commands") or ())),
        keep=tuple(map(str, entry.get("keep") or ())),
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where} must map names to values, got {value!r}.")
    return {str(key): item for key, item in value.items()}


def _published(
    entry: Mapping[str, Any], metrics: Mapping[str, str], where: str
) -> Iterator[Published]:
    for name, numbers in entry.items():
        data, _, method = name.rpartition(":")
        for metric, number in _mapping(numbers, f"{where}: report.published.{name}").items():
            if metric not in metrics:
                raise UserError(
                    f"{where}: report.published.{name}: {metric!r} is no name of report.metrics; "
                    f"{near(metric, metrics)}"
                )
            pair = number if isinstance(number, list) else [number, "nan"]
            try:
                mean, sd = map(float, pair)
            except (TypeError, ValueError):
                raise UserError(
                    f"{where}: report.published.{name}.{metric}: give a mean or [mean, sd], got "
                    f"{number!r}."
                ) from None
            yield Published(data, method, metric, mean, sd)


class Measured:
    """The runs of a grid by row: of each method its chosen setting, or each setting.

    Args:
        page: What the grid says of its page.
        runs: Its runs.

    Attributes:
        rows: (data set, name of the row) -> its runs.
        notes: What was not chosen from, and why.
    """

    def __init__(self, page: Page, runs: Sequence[Run]) -> None:
        self.page = page
        self.rows: dict[tuple[str, str], list[Run]] = {}
        self.notes: list[str] = []
        for run in finished_runs(runs):
            self.rows.setdefault((run.data, self._name(run)), []).append(run)
        if not page.rows:
            for (data, method), own in self.rows.items():
                self.rows[data, method], remarks = choose_runs(own, page.rule)
                self.notes += [f"{data} {method}: {remark}" for remark in remarks]
        seen = {run.fold for run in runs if run.fold is not None}
        self.folds = len(seen) or None

    def _name(self, run: Run) -> str:
        def setting(found: re.Match[str]) -> str:
            return str(run.method if found[1] == "method" else run.settings.get(found[1], "-"))

        return re.sub(r"{([^}]+)}", setting, self.page.rows) if self.page.rows else run.method

    @property
    def data(self) -> list[str]:
        """The data sets."""
        return list(dict.fromkeys(data for data, _ in self.rows))

    def by_unit(self, term: Term) -> dict[int, float]:
        """Return the metric of a term by seed or fold; empty if it was not run."""
        data = term.data or (self.data[0] if len(self.data) == 1 else "")
        return units(self.rows.get((data, term.method), ()), lambda run: value(run, term.key))

    def estimate(self, data: str, method: str, metric: str) -> Estimate:
        """Estimate a column of a row."""
        found = self.by_unit(Term(1.0, data, method, self.page.metrics[metric]))
        return estimate(found.values(), self.folds, bounds(self.page.metrics[metric]))

    def outcomes(self) -> list[Outcome]:
        """Decide the predictions."""
        return [decide(claim, self.by_unit, self.folds) for claim in self.page.claims]


def own_key(run: Run, name: str) -> str:
    """Fill in ``{train_on}``: the metric on the distribution that the run was trained on."""
    return name.replace("{train_on}", run.training.get("train_on") or "P")


def value(run: Run, name: str) -> float:
    """Return a metric by its key, or a figure made of the run; NaN if it has none.

    ``effective_sample_size`` is the record's; ``range of test/[Ps]*/accuracy`` the largest minus
    the smallest of the metrics whose keys match the pattern.
    """
    if name == "effective_sample_size":
        return float(run.record.get("effective_sample_size", "nan"))
    if name.startswith(RANGE):
        pattern = name.removeprefix(RANGE)
        found = [value for key, value in run.metrics.items() if fnmatchcase(key, pattern)]
        return max(found) - min(found) if len(found) > 1 else math.nan
    return run.metrics.get(own_key(run, name), math.nan)


def number(value: float, digits: int = 3) -> str:
    """Write a number without a leading zero; large ones without decimals.

    Example:
        >>> number(0.5), number(-0.25), number(10.5), number(1234.5), number(float("nan"))
        ('.500', '-.250', '10.500', '1234', '–')
    """
    if value != value:
        return "–"
    return re.sub(r"(?<!\d)0\.", ".", f"{value:.{0 if abs(value) >= 100 else digits}f}")


def spread(found: Estimate) -> str:
    """Write mean and standard deviation.

    Example:
        >>> spread(estimate([0.5, 0.7])), spread(estimate([0.5]))
        ('.600 ± .141', '.500')
    """
    return number(found.mean) + (f" ± {number(found.sd)}" if found.n > 1 else "")


def kept_keys(page: Page, run: Run) -> set[str]:
    """Return the metrics of a run that its page needs."""
    asked = [*page.metrics.values(), *(term.key for claim in page.claims for term in claim.terms)]
    names = {own_key(run, name) for name in asked} | {key for _, key in page.rule.terms}
    patterns = [*page.keep, *(name.removeprefix(RANGE) for name in asked if RANGE in name)]
    return {
        key
        for key in run.metrics
        if key in names or any(fnmatchcase(key, pattern) for pattern in patterns)
    }
