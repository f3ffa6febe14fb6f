"""Optimised pre-processing: the randomised edit of rows that is fair and changes least."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from scipy import sparse

from frbench.contracts.errors import UserError
from frbench.contracts.properties import StepProperties
from frbench.contracts.ranges import Interval, NotNegative, Share
from frbench.data.max_entropy.domain import Samples
from frbench.data.max_entropy.table import TableColumns
from frbench.data.step import Augmentation, Encode
from frbench.data.table import Table

#: Pairs of an occurring row and a possible row that are compared.
_MAX_PAIRS = 5_000_000


@dataclass(frozen=True)
class Program:
    """The linear program over p(e) = P(x', y' | x, y, z), one variable per allowed edit.

    Attributes:
        source: Occurring row (x, y, z) of each edit, ascending [E].
        target: Possible row (x', y') of each edit [E].
        distance: Distance of the two [E].
        share: P(x, y, z) of the occurring rows [K].
        wanted: P(x, y) of the possible rows [J].
        label: Class of each possible row [J].
        attribute: Attribute value of each occurring row [K].
    """

    source: np.ndarray
    target: np.ndarray
    distance: np.ndarray
    share: np.ndarray
    wanted: np.ndarray
    label: np.ndarray
    attribute: np.ndarray

    def leaves(self) -> sparse.csr_array:
        """Matrix that sums the edits of each occurring row [K, E]."""
        return self._matrix(self.source, np.ones(len(self.source)), len(self.share))

    def outcome(self) -> sparse.csr_array:
        """Matrix that gives P(x', y') [J, E]."""
        return self._matrix(self.target, self.share[self.source], len(self.wanted))

    def gaps(self) -> sparse.csr_array:
        """Matrix that gives P(y'|z) - P(y'|z') for every class and pair of values [G, E]."""
        in_z = np.bincount(self.attribute, weights=self.share)
        classes, values = int(self.label.max()) + 1, len(in_z)
        z = self.attribute[self.source]
        cell = self.label[self.target] * values + z
        rates = self._matrix(cell, (self.share[self.source] / in_z[z]), classes * values)
        used = np.flatnonzero(in_z > 0)
        pairs = [(a, b) for i, a in enumerate(used) for b in used[i + 1 :]]
        high, low = (
            [c * values + pair[side] for c in range(classes) for pair in pairs] for side in (0, 1)
        )
        return rates[high] - rates[low]

    def _matrix(self, row: np.ndarray, value: np.ndarray, height: int) -> sparse.csr_array:
        size = (height, len(self.source))
        return sparse.csr_array((value, (row, np.arange(size[1]))), shape=size)

    def solve(
        self, epsilon: float, thresholds: list[float], probabilities: list[float]
    ) -> tuple[np.ndarray, float]:
        """Return p [E] and half the L1 distance of P(x', y') and P(x, y).

        Raises:
            UserError: If cvxpy is missing, or no edit meets the constraints.
        """
        try:
            import cvxpy as cp
        except ImportError as error:
            raise UserError(
                "OptimizedPreprocessing needs cvxpy: pip install frbench[calmon]."
            ) from error
        p = cp.Variable(len(self.source), nonneg=True)
        leaves = self.leaves()
        constraints = [leaves @ p == 1]
        for threshold, probability in zip(thresholds, probabilities, strict=True):
            far = leaves.multiply(self.distance[None, :] > threshold).tocsr()
            far = far[np.diff(far.indptr) > 0]
            if far.shape[0] and probability < 1:
                constraints.append(far @ p <= probability)
        gaps = self.gaps()
        if gaps.shape[0]:
            constraints.append(cp.abs(gaps @ p) <= epsilon)
        change = cp.norm1(self.outcome() @ p - self.wanted) / 2
        program = cp.Problem(cp.Minimize(change), constraints)
        # Simplex and interior point for linear programs; older releases come without it.
        program.solve(solver="HIGHS" if "HIGHS" in cp.installed_solvers() else "CLARABEL")
        if p.value is None:
            raise UserError(
                f"OptimizedPreprocessing: no edit of the rows brings the rates of all attribute "
                f"values within epsilon {epsilon} of each other ({program.status}); raise epsilon "
                "or probabilities, or lower label_cost."
            )
        return np.maximum(p.value, 0), float(program.value)


class OptimizedPreprocessing(Augmentation):
    """Edits labels and inputs at random, as little as equal outcome rates allow.

    Minimises |P(x', y') - P(x, y)|_1 / 2 over P(x', y' | x, y, z) subject to
    |P(y'|z) - P(y'|z')| <= epsilon for all y', z, z' and P(distance > c_i | x, y, z) <= d_i.
    The distance adds 1 for every changed category, the number of steps in a numeric column (its
    values, or quantile bins), and the cost of a changed label. Calmon et al., NIPS 2017 (arXiv
    1704.03354), with the linear form of the objective; only the training table is edited (they
    also edit test inputs). A changed bin gets a value that a training row has in it.
    The program grows with the square of the domain: use it with few columns of few values.

    Args:
        epsilon: Largest difference of the rates, in [0, 1].
        thresholds: c_i, ascending.
        probabilities: d_i, in [0, 1]; an edit beyond a threshold with probability 0 is left out.
        label_cost: Distance of a label that goes up, and of one that goes down.
        bins: Ascending inner edges of numeric inputs.
        max_bins: Numeric inputs with more distinct values are cut at quantiles.

    Raises:
        UserError: If an option is out of range, cvxpy is missing, the domain is too large, or
            no edit meets the constraints.
    """

    properties = StepProperties(
        changes=("x", "y"),
        ordered=False,
        # An edit of any size is forbidden. epsilon 1 alone allows swaps that change no share.
        identity={"epsilon": 1.0, "thresholds": [0.5], "probabilities": [0.0]},
    )
    #: Half the L1 distance of the edited and the original distribution.
    change: float | None = None

    def __init__(
        self,
        epsilon: Share = 0.05,
        thresholds: list[float] | None = None,
        probabilities: list[Share] | None = None,
        label_cost: tuple[NotNegative, NotNegative] = (1.0, 1.0),
        bins: dict[str, list[float]] | None = None,
        max_bins: Annotated[int, Interval(2)] = 4,
    ) -> None:
        self.epsilon = epsilon
        self.thresholds = [0.99, 1.99, 2.99] if thresholds is None else thresholds
        self.probabilities = [0.1, 0.05, 0.0] if probabilities is None else probabilities
        self.label_cost = label_cost
        self.bins = bins
        self.max_bins = max_bins
        ascending = self.thresholds == sorted(self.thresholds)
        if len(self.thresholds) != len(self.probabilities) or not ascending:
            raise UserError(
                "OptimizedPreprocessing needs ascending thresholds and as many probabilities."
            )

    def report(self) -> str:
        """Return how much was edited."""
        if self.change is None:
            return ""
        return (
            f"OptimizedPreprocessing: {self._labels} labels and {self._inputs} rows' inputs "
            f"edited; half the L1 distance to the data {self.change:.4f}"
        )

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the table with every row edited at random."""
        who = type(self).__name__
        columns = TableColumns.of(table, self.names, self.bins or {}, self.max_bins, [], who=who)
        samples = Samples.compress(columns.domain, columns.codes, table.weight)
        program, points = self.program(columns, samples)
        p, self.change = program.solve(self.epsilon, self.thresholds, self.probabilities)
        # Draw one edit of each row: positions in the edits' cumulative sum, row after row.
        edges = np.concatenate([[0.0], np.cumsum(p)])
        first = np.searchsorted(program.source, np.arange(len(samples.rows)), side="left")
        last = np.append(first[1:], len(p))
        rows = np.flatnonzero(samples.inverse >= 0)  # rows of weight 0 are left as they are
        k = samples.inverse[rows]
        draws = edges[first[k]] + rng.random(len(k)) * (edges[last[k]] - edges[first[k]])
        chosen = np.clip(np.searchsorted(edges, draws, side="right") - 1, first[k], last[k] - 1)
        codes = columns.codes.copy()
        kept = [i for i in range(codes.shape[1]) if i != 1]
        codes[np.ix_(rows, np.array(kept))] = points[program.target[chosen]]
        self._labels = int((codes[:, 0] != table.y).sum())
        self._inputs = int((codes[:, 2:] != columns.codes[:, 2:]).any(axis=1).sum())
        x = columns.redraw(codes, rng)
        if isinstance(table.x, np.ndarray):
            return table.replace(x=x.to_numpy(table.x.dtype), y=codes[:, 0])
        return table.replace(x=x, y=codes[:, 0])

    def program(self, columns: TableColumns, samples: Samples) -> tuple[Program, np.ndarray]:
        """Set up the program, and the possible rows, label first, by code [J, F - 1].

        Raises:
            UserError: If the domain is too large.
        """
        from pandas.api import types

        kept = [i for i in range(len(columns.domain.columns)) if i != 1]
        widths = tuple(columns.domain.widths[kept].tolist())
        pairs = math.prod(widths) * len(samples.rows)
        if pairs > _MAX_PAIRS:
            widest = sorted(columns.domain.columns[2:], key=lambda c: -len(c.values))[:3]
            names = ", ".join(f"{c.name} ({len(c.values)})" for c in widest)
            raise UserError(
                f"OptimizedPreprocessing: {pairs:.2g} pairs of rows are more than "
                f"{_MAX_PAIRS:.0e}; drop or merge values of the columns with most: {names}; or "
                "use MaxEntropy, whose cost does not grow with the domain."
            )
        points = np.stack([a.ravel() for a in np.indices(widths)], axis=1)
        own = samples.rows[:, kept]
        distance = np.zeros((len(own), len(points)))
        for j, i in enumerate(kept):
            step = points[None, :, j] - own[:, None, j]
            if i == 0:
                up, down = self.label_cost
                distance += up * (step > 0) + down * (step < 0)
                continue
            series = columns.frame[columns.domain.columns[i].name]
            ordered = types.is_numeric_dtype(series) and not types.is_bool_dtype(series)
            distance += np.abs(step) if ordered else step != 0
        never = [c for c, d in zip(self.thresholds, self.probabilities, strict=True) if d == 0]
        source, target = np.nonzero(distance <= min(never, default=math.inf))
        share = samples.counts / samples.counts.sum()
        place = np.ravel_multi_index(tuple(own.T), widths)
        wanted = np.bincount(place, weights=share, minlength=len(points))
        program = Program(
            source,
            target,
            distance[source, target],
            share,
            wanted,
            points[:, 0],
            samples.rows[:, 1],
        )
        return program, points
