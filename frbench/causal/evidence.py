"""The independences that a causal graph implies, each tested on data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frbench.causal.graph import CausalTask
from frbench.causal.independence import Independence, IndependenceModel, largest_condition, minimal
from frbench.causal.statistics import Outcome, column, detectable, examine
from frbench.contracts.errors import UserError
from frbench.metrics.multiplicity import holm
from frbench.support.progress import track

#: A test that needs a larger effect (Cohen's w: medium) to be noticed has low power.
MEDIUM = 0.3
#: Below this (Cohen's w: small) a dependence is real but hardly matters.
SMALL = 0.1


@dataclass(frozen=True)
class Finding:
    """One implied independence and what the data says of it.

    Attributes:
        statement: The independence.
        outcome: Result of its test.
        adjusted: p-value after Holm's correction for the number of tests.
        refuted: Whether that is below the level.
        detectable: Smallest effect that the test would have noticed with probability .8.
        missing: Rows left out because one of the columns has no value there.
    """

    statement: Independence
    outcome: Outcome
    adjusted: float
    refuted: bool
    detectable: float
    missing: int

    @property
    def low_power(self) -> bool:
        """Whether a medium dependence could go unnoticed."""
        return not self.refuted and self.detectable > MEDIUM


@dataclass(frozen=True)
class Evidence:
    """What data says of a graph.

    Attributes:
        source: Where the data comes from.
        rows: Rows of the data.
        columns: Nodes that have a column.
        absent: Observed nodes that have none.
        alpha: Level, of all tests together.
        findings: A test for each implied independence, refuted ones first.
        largest: Largest number of conditioning nodes that was asked for; None for no limit.
    """

    source: str
    rows: int
    columns: tuple[str, ...]
    absent: tuple[str, ...]
    alpha: float
    findings: tuple[Finding, ...]
    largest: int | None = None

    @property
    def refuted(self) -> tuple[Finding, ...]:
        """The independences that the data refutes."""
        return tuple(found for found in self.findings if found.refuted)

    @property
    def summary(self) -> list[str]:
        """The conclusion in sentences."""
        count = len(self.findings)
        lines = [f"{self.rows} rows of {self.source}; columns: {', '.join(self.columns)}."]
        if self.absent:
            lines[0] += f" No column, hence not tested: {', '.join(self.absent)}."
        if not count:
            found = "The graph implies no independence among them: no data refutes it."
            if self.largest is not None:
                found = (
                    "The graph implies no independence among them given at most "
                    f"{self.largest} nodes; without --given more may be tested."
                )
            return [*lines, found]
        if self.refuted:
            shown = minimal(found.statement for found in self.refuted)
            lines.append(
                f"REFUTED: {len(self.refuted)} of {count} implied independences (Holm, level "
                f"{self.alpha:g}): {'; '.join(map(str, shown))}. An edge or a hidden common cause "
                "is missing there, and the recommendation rests on a graph that the data denies."
            )
            if all(found.outcome.effect < SMALL for found in self.refuted):
                lines.append(
                    f"All refuted ones are small dependences (effect below {SMALL}), found "
                    "because there are many rows."
                )
        else:
            lines.append(
                f"None of {count} implied independences is refuted (Holm, level {self.alpha:g}). "
                "That does not prove the graph: others imply the same, and hidden nodes are not "
                "tested."
            )
        if low := [found for found in self.findings if found.low_power]:
            lines.append(
                f"LOW POWER: {len(low)} of {count} tests would miss even a medium dependence "
                f"(effect {MEDIUM}) more often than once in five."
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Write the evidence as plain data."""
        return {
            "source": self.source,
            "rows": self.rows,
            "columns": list(self.columns),
            "absent": list(self.absent),
            "alpha": self.alpha,
            "summary": self.summary,
            "tests": [
                {
                    "statement": str(found.statement),
                    **found.outcome._asdict(),
                    "adjusted": found.adjusted,
                    "refuted": found.refuted,
                    "detectable": found.detectable if math.isfinite(found.detectable) else None,
                    "low_power": found.low_power,
                    "missing": found.missing,
                }
                for found in self.findings
            ],
        }


def confront(
    task: CausalTask,
    data: Mapping[str, np.ndarray],
    source: str = "the data",
    alpha: float = 0.05,
    largest: int | None = None,
    seed: int = 0,
) -> Evidence:
    """Test on data every independence that a graph implies among observed columns.

    Tested are the d-separations of the graph P factorises over; what no column shows (hidden
    nodes, X

    Args:
        task: The graph.
        data: A column for each node that has one; missing values are None or NaN [N].
        source: Name of the data.
        alpha: Level of all tests together, in (0, 1).
        largest: Largest number of conditioning nodes; None for all that are listed.
        seed: Seed of the random tables.

    Raises:
        UserError: If fewer than two nodes have a column, too many have one, one is constant,
            or no row is complete.

    Example:
        >>> from frbench.causal import example
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(0, 2, 500)
        >>> data = {"Y": y, "Z": y ^ (rng.random(500) < 0.1), "XZ": y ^ (rng.random(500) < 0.2)}
        >>> [(str(f.statement), f.refuted) for f in confront(example("a"), data).findings]
        [('Z ⊥ XZ | Y', False)]
    """
    if not 0 < alpha < 1:
        raise UserError(f"The level must lie in (0, 1), got {alpha}.")
    if largest is not None and largest < 0:
        raise UserError(f"--given must be at least 0, got {largest}.")
    nodes = tuple(node for node in task.observed if node in data)
    absent = tuple(node for node in task.observed if node not in data)
    if len(nodes) < 2:
        raise UserError(
            f"{source} has columns for {len(nodes)} of the nodes {', '.join(task.observed)}; two "
            "are needed. Name nodes as columns, or say --column NODE=COLUMN."
        )
    if largest_condition(len(nodes), len(task.nodes)) < 0:
        raise UserError(
            f"The graph has {len(task.nodes)} nodes, {len(nodes)} of them with columns in "
            f"{source}: too many to test their independences. Use a smaller graph."
        )
    values = {node: np.asarray(data[node]) for node in nodes}
    known = {node: _known(given) for node, given in values.items()}
    for node in nodes:
        shown = values[node][known[node]]
        if len(shown) and not np.ptp(column(shown).values):
            raise UserError(
                f"{source}: the column of {node} is {shown[0]} in every row, which tests nothing; "
                "give the node another column, or leave it without one."
            )
    statements = [
        s
        for s in IndependenceModel(task.graph).statements(nodes)
        if largest is None or len(s.given) <= largest
    ]
    rng = np.random.default_rng(seed)
    outcomes, missing = [], []
    for a, b, given in track(statements, "testing independences"):
        rows = np.all([known[node] for node in (a, b, *given)], axis=0)
        if not rows.any():
            raise UserError(f"{source}: no row has {', '.join((a, b, *given))} all known.")
        columns = [column(values[node][rows]) for node in (a, b, *given)]
        outcomes.append(examine(columns[0], columns[1], columns[2:], rng))
        missing.append(int((~rows).sum()))
    adjusted = holm([outcome.p for outcome in outcomes])
    each = alpha / max(len(statements), 1)
    findings = [
        Finding(s, out, float(p), bool(p < alpha), detectable(out.df, out.rows, each), gone)
        for s, out, p, gone in zip(statements, outcomes, adjusted, missing, strict=True)
    ]
    findings.sort(key=lambda found: (not found.refuted, found.outcome.p))
    rows = len(next(iter(values.values())))
    return Evidence(source, rows, nodes, absent, alpha, tuple(findings), largest)


def _known(values: np.ndarray) -> np.ndarray:
    """Tell where a column has a value; None and NaN are none."""
    if values.dtype == object:
        return np.array([value is not None and value == value for value in values], bool)
    return ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), bool)
