"""How far decisions depend on the seed: the share of rows that two seeds decide differently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from frbench.metrics.names import group_name
from frbench.report.computed import read_kept, same_rows
from frbench.report.predictions import KeptPredictions
from frbench.report.results import Run
from frbench.report.summary import Report
from frbench.support.sheet import Sheet, Value


class Flips(NamedTuple):
    r"""Shares of rows whose decision differs between two seeds, mean over pairs of seeds.

    :math:`\frac{2}{K(K-1)} \sum_{k<l} \frac{1}{n_g} \sum_{i \in g} 1[\hat y_i^k \ne \hat y_i^l]`

    Attributes:
        pairs: Pairs of runs with the same rows.
        overall: Share of all rows; NaN without pairs.
        groups: Share of the rows of each group, by its name; NaN for an empty one.
    """

    pairs: int
    overall: float
    groups: dict[str, float]


def flips(kept: Sequence[KeptPredictions], table: str) -> Flips:
    """Compare the decisions of runs of one method and setting with one another.

    Args:
        kept: Predictions of each run; those of the same rows are compared, as folds and splits
            by the seed have different ones.
        table: Name of the table.
    """
    alike: list[list[KeptPredictions]] = []
    for one in kept:
        if table in one.tables:
            mates = (m for m in alike if same_rows(m[0].tables[table], one.tables[table]))
            found = next(mates, None)
            if found is None:
                alike.append([one])
            else:
                found.append(one)
    pairs = [len(members) * (len(members) - 1) // 2 for members in alike]
    shares = np.array([_shares(members, table) for members in alike if len(members) > 1])
    weight = np.array([n for n in pairs if n])[:, None] * ~np.isnan(shares)
    with np.errstate(invalid="ignore"):
        means = (weight * np.nan_to_num(shares)).sum(0) / weight.sum(0)
    if not len(shares):
        return Flips(0, np.nan, {})
    names = [group_name(y, z) for y in kept[0].class_names for z in kept[0].attribute_names]
    return Flips(sum(pairs), float(means[0]), dict(zip(names, means[1:].tolist(), strict=True)))


def _shares(members: Sequence[KeptPredictions], table: str) -> list[float]:
    """Return the share of rows that two members decide differently, of all and of each group."""
    first, k = members[0], len(members)
    rows, sizes = first.tables[table], (len(first.class_names), len(first.attribute_names))
    decisions = np.stack([member.tables[table].decision for member in members])
    # Where n of k members decide for a class, n (n - 1) ordered pairs of them agree.
    votes = [(decisions == code).sum(0) for code in range(sizes[0])]
    differ = 1 - sum(n * (n - 1) for n in votes) / (k * (k - 1))
    parts = [differ, *(differ[(rows.y == y) & (rows.z == z)] for y, z in np.ndindex(sizes))]
    return [float(part.mean()) if len(part) else np.nan for part in parts]


def flip_sheets(report: Report) -> Iterator[Sheet]:
    """Lay out the shares of every method shown, a sheet for each test table."""
    for data, tables in report.tables.items():
        rows = [row for row in report.rows if row.data == data and row.runs[0].seed >= 0]
        found = {row.method: _read(row.runs, tables) for row in rows}
        for table in tables:
            shares = {method: flips(kept, table) for method, kept in found.items()}
            groups = list(dict.fromkeys(g for one in shares.values() for g in one.groups))
            lines: list[list[Value]] = [
                [
                    method,
                    one.pairs,
                    one.overall,
                    *(one.groups.get(group, np.nan) for group in groups),
                ]
                for method, one in shares.items()
            ]
            yield Sheet(
                f"{data}, {table.replace('/', ' ')}: decisions that differ between two seeds",
                ["method", "pairs", "all rows", *groups],
                lines,
                [
                    "Share of rows that two runs of the chosen setting decide differently, mean "
                    "over pairs of seeds with the same test rows. No pairs: one seed, seeds that "
                    "also split the data, or no kept predictions."
                ],
            )


def _read(runs: Sequence[Run], tables: Sequence[str]) -> list[KeptPredictions]:
    return [kept for run in runs if (kept := read_kept(run, tables)) is not None]
