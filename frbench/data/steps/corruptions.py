"""Corruptions of the training table: label noise and poisoning."""

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.properties import StepProperties
from frbench.contracts.ranges import NotNegativeInt, Share
from frbench.data.step import Corruption, Encode
from frbench.data.table import Table


def _victims(table: Table, y: int | None, z: int | None) -> np.ndarray:
    mask = ~table.clean
    if y is not None:
        mask &= table.y == y
    if z is not None:
        mask &= table.z == z
    return np.flatnonzero(mask)


class FlipLabels(Corruption):
    """Flip labels at random, y -> another class, uniformly.

    Args:
        rate: Share of the eligible rows whose label is flipped, in [0, 1].
        y: Only rows of this class; None for all.
        z: Only rows of this attribute value; None for all.

    Raises:
        UserError: If rate is outside [0, 1].

    Example:
        >>> t = Table(x=np.zeros(4), y=[0, 1, 0, 1], z=[0, 0, 1, 1])
        >>> FlipLabels(rate=1.0, z=1).apply(t, np.random.default_rng(0), np.asarray).y.tolist()
        [0, 1, 1, 0]
    """

    properties = StepProperties(ordered=False, identity={"rate": 0.0})

    def __init__(
        self,
        rate: Share = 0.1,
        y: NotNegativeInt | None = None,
        z: NotNegativeInt | None = None,
    ) -> None:
        self.rate = rate
        self.y = y
        self.z = z

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the table with the chosen labels flipped."""
        rows = _victims(table, self.y, self.z)
        if self.rate and not len(rows):
            raise UserError(
                f"FlipLabels: no training row has y = {self.y} and z = {self.z}; give numbers "
                "that occur, or none."
            )
        rows = rng.choice(rows, size=round(self.rate * len(rows)), replace=False)
        num_classes = int(table.y.max()) + 1
        if num_classes < 2:
            raise UserError("FlipLabels needs rows of two classes; the training table has one.")
        y = table.y.copy()
        y[rows] = (y[rows] + rng.integers(1, num_classes, size=len(rows))) % num_classes
        return table.replace(y=y)


class PoisonLargestMargin(Corruption):
    """Flip the labels that a clean classifier is surest of, inside one attribute value.

    The rows of attribute z with the largest signed margin y (w.x + b) of a logistic regression
    of (x, z) on the uncorrupted table lose their label. Recovered from FR-Train's released
    arrays (arXiv 2002.10234): all of its 200 flips follow this rule.

    Args:
        rate: Share of the whole table that is flipped, in [0, 1].
        z: Attribute value that is attacked; None for all.

    Raises:
        UserError: If rate is outside [0, 1], the labels are not binary, or fewer rows than asked
            for can be flipped.
    """

    properties = StepProperties(identity={"rate": 0.0})

    def __init__(self, rate: Share = 0.1, z: NotNegativeInt | None = 1) -> None:
        self.rate = rate
        self.z = z

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the table with the most confidently classified labels flipped."""
        from sklearn.linear_model import LogisticRegression

        x = np.asarray(encode(table.x))
        if set(np.unique(table.y)) != {0, 1}:
            raise UserError(
                "PoisonLargestMargin needs binary labels, rows of both; use FlipLabels for more "
                "classes."
            )
        rows = _victims(table, None, self.z)
        count = round(self.rate * len(table))
        if count > len(rows):
            raise UserError(
                f"PoisonLargestMargin: rate {self.rate} asks for {count} flips, but only "
                f"{len(rows)} rows have z = {self.z}; lower the rate."
            )
        # The attribute is an input of the ranker: with it, all 200 released flips are recovered.
        attribute = table.z[:, None] == np.unique(table.z)
        x = np.concatenate([x.reshape(len(x), -1), attribute], 1)
        ranker = LogisticRegression(max_iter=1000).fit(x, table.y)
        margin = (2 * table.y[rows] - 1) * ranker.decision_function(x[rows])
        rows = rows[np.argsort(-margin, kind="stable")[:count]]
        y = table.y.copy()
        y[rows] = 1 - y[rows]
        return table.replace(y=y)
