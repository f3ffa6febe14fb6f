"""Whether data can carry out what a graph recommends: rows of each cell in a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frbench.causal.advice import Recommendation
from frbench.causal.graph import CausalTask
from frbench.causal.statistics import column
from frbench.contracts.errors import UserError
from frbench.data.balance import cell_weights

#: Expected rows of a cell in a batch below which the default MMD estimate is mostly its own bias:
#: the estimator study of the failure modes found logits shrunk at 6 rows and not at 24.
SMALL = 10
_PENALTIES = {"conditional_mmd": True, "marginal_mmd_without_balancing": False}


@dataclass(frozen=True)
class Practice:
    """What the counts of label and attribute say of a recommended action.

    Attributes:
        action: The action; of a further factor, the one for the joint attribute.
        labels: Levels of the label.
        values: Levels of the (joint) attribute.
        counts: Rows of each cell [C, A].
        batch: Rows of a batch.
    """

    action: str
    labels: tuple[str, ...]
    values: tuple[str, ...]
    counts: np.ndarray
    batch: int

    @property
    def expected(self) -> np.ndarray:
        """Expected rows of each compared cell in a batch: (y, z), or z of a marginal penalty."""
        cells = self.counts if _PENALTIES.get(self.action, True) else self.counts.sum(0)[None]
        rows: np.ndarray = cells * self.batch / cells.sum()
        return rows

    @property
    def bias(self) -> float:
        """Mean over labels and pairs of values of 1/m + 1/n, the most it can be too high.

        The biased MMD^2 of cells of m and n rows exceeds the true one by
        (1 - E k)/m + (1 - E' k)/n (each row is compared with itself), where the kernel k lies
        between 0 and 1. Cells that have no row are not compared.
        """
        inverse = np.divide(1, self.expected, out=np.full(self.expected.shape, np.nan),
                            where=self.expected > 0)  # fmt: skip
        first, second = np.triu_indices(inverse.shape[1], 1)
        pairs = inverse[:, first] + inverse[:, second]
        return float(np.nanmean(pairs)) if np.isfinite(pairs).any() else float("nan")

    @property
    def small(self) -> bool:
        """Whether a penalty is recommended and some cell is too small for its estimate."""
        return self.action in _PENALTIES and bool((self.expected < SMALL).any())

    @property
    def effective(self) -> float | None:
        """Effective sample size of joint balancing by weights; None if a cell has no row."""
        p = self.counts / self.counts.sum()
        try:
            weights = cell_weights(p, "joint", "keep")
        except UserError:
            return None
        return float(self.counts.sum() / (p * weights**2).sum())

    @property
    def summary(self) -> list[str]:
        """The findings in sentences; empty if they do not bear on the action."""
        cell, rows = self._rarest()
        if self.action == "joint_balancing":
            return [self._balancing(cell, rows)]
        if self.action not in _PENALTIES:
            return []
        lines = [
            f"In a batch of {self.batch} the rarest cell, {cell}, holds {self.expected.min():.1f} "
            f"rows on average ({rows} of {self.counts.sum()} in all)."
        ]
        if self.small:
            few = int((self.expected < SMALL).sum())
            lines.append(
                f"SMALL STRATA: {few} of {self.expected.size} cells average fewer than {SMALL} "
                "rows. The default MMD estimate is then too large by up to 1/m + 1/n, here "
                f"{self.bias:.2f} in the mean over strata, even where outputs do not depend on "
                "the attribute: times the strength, that mostly shrinks logits. Give a batch rows "
                f"of every cell (data.rows_per_group {SMALL}), a larger batch, a lower strength, "
                "or the unbiased estimate (biased: false)."
            )
        return lines

    def _rarest(self) -> tuple[str, int]:
        if not _PENALTIES.get(self.action, True):
            totals = self.counts.sum(0)
            return self.values[int(totals.argmin())], int(totals.min())
        y, z = np.unravel_index(int(self.counts.argmin()), self.counts.shape)
        return f"{self.labels[y]}, {self.values[z]}", int(self.counts.min())

    def _balancing(self, cell: str, rows: int) -> str:
        if self.effective is None:
            return (
                f"NO OVERLAP: no row has {cell}, so joint balancing cannot weigh any up there; "
                "merge values of the attribute, or penalise instead."
            )
        return (
            f"Joint balancing by weights leaves an effective sample of {self.effective:.0f} of "
            f"{self.counts.sum()} rows; the rarest cell, {cell}, has {rows}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Write the findings as plain data."""
        return {
            "action": self.action,
            "batch": self.batch,
            "labels": list(self.labels),
            "values": list(self.values),
            "counts": self.counts.tolist(),
            "bias": self.bias if np.isfinite(self.bias) else None,
            "small_strata": self.small,
            "effective_sample_size": self.effective,
            "summary": self.summary,
        }


def practice(
    task: CausalTask,
    advice: Recommendation,
    data: Mapping[str, np.ndarray],
    batch: int = 128,
) -> Practice | None:
    """Count the cells of label and attribute that the recommended action works on.

    Args:
        task: The graph.
        advice: What is recommended for it.
        data: A column for each node that has one [N].
        batch: Rows of a batch.

    Returns:
        The counts; None if label or attribute has no column, or a continuous one.

    Raises:
        UserError: If the batch is not positive.

    Example:
        >>> from frbench.causal import analyze, example
        >>> y = np.repeat([0, 1], 100)
        >>> z = np.where(np.arange(200) % 10 == 0, 1 - y, y)
        >>> found = analyze(example("d"))
        >>> one = practice(found.task, found.recommendation, {"Y": y, "Z": z}, batch=40)
        >>> one.expected.tolist(), round(one.bias, 3), one.small
        ([[18.0, 2.0], [2.0, 18.0]], 0.556, True)
    """
    if batch < 1:
        raise UserError(f"--batch must be at least 1, got {batch}.")
    attribute = (*task.attribute, *advice.extra)
    if any(node not in data for node in (task.label, *attribute)):
        return None
    raw = [np.asarray(data[node]) for node in (task.label, *attribute)]
    known = np.all([[v is not None and v == v for v in values.tolist()] for values in raw], axis=0)
    raw = [values[known] for values in raw]
    if not known.any() or any(column(values).continuous for values in raw):
        return None
    names = [[f"{node}={v}" for v in values] for node, values in zip((task.label, *attribute), raw,
                                                                     strict=True)]  # fmt: skip
    labels, y = np.unique(names[0], return_inverse=True)
    values, z = np.unique([", ".join(pair) for pair in zip(*names[1:], strict=True)],
                          return_inverse=True)  # fmt: skip
    counts = np.bincount(y * len(values) + z, minlength=len(labels) * len(values))
    action = advice.then.action if advice.then else advice.action
    shape = (len(labels), len(values))
    return Practice(action, tuple(labels), tuple(values), counts.reshape(shape), batch)
