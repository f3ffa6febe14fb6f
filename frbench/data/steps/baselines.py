"""Older ways to debias a training table, beside max entropy: reweighing, massaging, subsets."""

from __future__ import annotations

from typing import Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.properties import StepProperties
from frbench.contracts.ranges import Count, PositiveShare
from frbench.data.max_entropy.column import Column
from frbench.data.max_entropy.domain import Domain, Samples
from frbench.data.max_entropy.prior import reweigh
from frbench.data.step import Augmentation, Encode
from frbench.data.table import Table


class Reweigh(Augmentation):
    """Weighs the rows by w ~ c(y) / c(y, z), or draws them so; no new rows, no max entropy.

    P(Y|Z) becomes equal in all z (SR 1) and P(z) is tau times that of the most frequent value.
    Algorithm 1 of arXiv 1906.02164 alone, see :func:`~frbench.data.max_entropy.reweigh`; the
    weights of Kamiran and Calders, which keep P(z), are ``balance: reweighing``.

    Args:
        tau: Representation rate of the weights, in (0, 1].
        via: weight, which ``data.via`` of the data set turns into draws of each epoch (sample) or
            weights of the losses (weight); or sample, which draws the table once.
        size: Rows to draw; as many as the training table by default.

    Raises:
        UserError: If tau or size is out of range, or a (y, z) cell has no row.

    Example:
        The seven people of the blog on max entropy.

        >>> y, z = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([0, 1, 1, 0, 0, 1, 1])
        >>> table = Reweigh().apply(Table(np.zeros(7), y, z), np.random.default_rng(0), np.asarray)
        >>> (2 * table.weight).round(9).tolist()
        [3.0, 1.5, 1.5, 2.0, 2.0, 2.0, 2.0]
    """

    properties = StepProperties(changes=("weight",))

    def __init__(
        self,
        tau: PositiveShare = 1.0,
        via: Literal["weight", "sample"] = "weight",
        size: Count | None = None,
    ) -> None:
        if size is not None and via == "weight":
            raise UserError("Reweigh.size is the number of rows to draw; it needs via: sample.")
        self.tau = tau
        self.via = via
        self.size = size

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the table with new weights, or rows drawn in proportion to them."""
        if (table.z < 0).any():
            raise UserError(
                f"Reweigh: {(table.z < 0).sum()} training rows have no attribute; use "
                "data.missing_attribute: drop or group."
            )
        columns = [
            Column(name, given or tuple(range(int(codes.max()) + 1)))
            for name, given, codes in zip(
                ("label", "attribute"), self.names, (table.y, table.z), strict=True
            )
        ]
        cells = np.stack([table.y, table.z], axis=1)
        samples = Samples.compress(Domain(tuple(columns)), cells, table.weight)
        factor = reweigh(samples, "label", "attribute", self.tau) / samples.counts
        # Rows of weight 0 belong to no cell (-1): whatever their factor, it stays 0.
        weight = table.weight * factor[samples.inverse]
        if self.via == "weight":
            return table.replace(weight=weight / weight.mean())
        size = len(table) if self.size is None else self.size
        drawn = table.take(rng.choice(len(table), size, p=weight / weight.sum()))
        return drawn.replace(weight=np.ones(size))


class Massaging(Augmentation):
    """Changes the labels of the fewest, least certain rows until P(Y=1|z) is equal in all z.

    A ranker of P(y=1|x) is fitted to the table. In each group of n_z rows the positives are
    brought to n_z P(y=1), to the nearest row: the lowest-ranked positives become negative where
    there are too many, the highest-ranked negatives positive where there are too few. With two
    groups these are the M promotions and M demotions of Kamiran and Calders (Data preprocessing
    techniques for classification without discrimination, 2012), whose rule this extends to more.

    Args:
        ranker: naive_bayes (Gaussian, on the encoded inputs; theirs) or logistic.

    Raises:
        UserError: If the labels are not binary, or a row has no attribute.

    Example:
        >>> x = np.array([0.0, 4, 5, 6, 1, 2, 3, 7])[:, None]
        >>> table = Table(x, [0, 1, 1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1, 1, 1])
        >>> step = Massaging()
        >>> step.apply(table, np.random.default_rng(0), np.asarray).y.tolist()
        [0, 0, 1, 1, 0, 0, 1, 1]
        >>> step.changed
        2
    """

    #: Rows of the last table whose label was changed.
    changed: int | None = None

    def __init__(self, ranker: Literal["naive_bayes", "logistic"] = "naive_bayes") -> None:
        self.ranker = ranker

    def report(self) -> str:
        """Return how many labels were changed."""
        if self.changed is None:
            return ""
        return f"Massaging: {self.changed} of {self._rows} labels changed, {self._up} of them up"

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the table with changed labels."""
        if set(np.unique(table.y)) != {0, 1}:
            raise UserError("Massaging needs binary labels, rows of both; use MaxEntropy.")
        if (table.z < 0).any():
            raise UserError(
                f"Massaging: {(table.z < 0).sum()} training rows have no attribute; use "
                "data.missing_attribute: drop or group."
            )
        scores, y = self._scores(np.asarray(encode(table.x)), table), table.y.copy()
        for z in np.unique(table.z):
            rows = np.flatnonzero(table.z == z)
            excess = int(table.y[rows].sum()) - round(len(rows) * table.y.mean())
            old = int(excess > 0)
            candidates = rows[table.y[rows] == old]
            order = np.argsort(scores[candidates] * (1 if old else -1), kind="stable")
            y[candidates[order[: abs(excess)]]] = 1 - old
        self.changed, self._rows = int((y != table.y).sum()), len(y)
        self._up = int((y > table.y).sum())
        return table.replace(y=y)

    def _scores(self, x: np.ndarray, table: Table) -> np.ndarray:
        """Rank the rows by P(y=1|x)."""
        x = x.reshape(len(x), -1).astype(np.float64)
        if self.ranker == "logistic":
            from sklearn.linear_model import LogisticRegression

            model = LogisticRegression(max_iter=1000).fit(x, table.y, table.weight)
            scores: np.ndarray = model.decision_function(x)
            return scores
        from sklearn.naive_bayes import GaussianNB

        joint = GaussianNB().fit(x, table.y, table.weight).predict_joint_log_proba(x)
        scores = joint[:, 1] - joint[:, 0]
        return scores


class Subset(Augmentation):
    """Keeps some training rows, the same share of every (y, z) cell: for learning curves.

    Args:
        size: Rows to keep; all if there are fewer. Each cell keeps at least one.

    Raises:
        UserError: If size is below 1.

    Example:
        >>> table = Table(np.zeros(100), [0] * 80 + [1] * 20, [0, 1] * 50)
        >>> kept = Subset(10).apply(table, np.random.default_rng(0), np.asarray)
        >>> kept.counts(2, 2).tolist()
        [[4, 4], [1, 1]]
    """

    properties = StepProperties(rows="subset", changes=(), ordered=False, identity={"size": 10**9})

    def __init__(self, size: Count) -> None:
        self.size = size

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the kept rows, in their order."""
        order = rng.permutation(len(table))
        _, cell = np.unique(np.stack([table.y, table.z]), axis=1, return_inverse=True)
        cell = cell.ravel()[order]
        # The i-th of the n rows of a cell comes at (i + u) / n: a prefix has all cells' shares.
        by_cell = np.argsort(cell, kind="stable")
        counts = np.bincount(cell)
        place = np.empty(len(cell))
        place[by_cell] = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
        first = place == 0
        when = np.where(first, -1.0, (place + rng.random(len(counts))[cell]) / counts[cell])
        return table.take(np.sort(order[np.argsort(when, kind="stable")[: self.size]]))
