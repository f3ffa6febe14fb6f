"""Max-entropy debiasing as a step that edits the training table."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.properties import StepProperties
from frbench.contracts.ranges import Count, Interval, PositiveShare, ProperShare, Share
from frbench.data.max_entropy.domain import Samples
from frbench.data.max_entropy.prior import Given, Prior
from frbench.data.max_entropy.solution import Solution, solve
from frbench.data.max_entropy.table import TableColumns
from frbench.data.step import Augmentation, Encode
from frbench.data.table import Table


class MaxEntropy(Augmentation):
    """Draws the training table from the max-entropy distribution with fair rates.

    All of label y, attribute z and inputs x are drawn together, see :func:`solve`; with the
    defaults P(z) becomes uniform (RR 1) and P(y|z) nearly equal in all z (SR near 1), while the
    other marginals follow Algorithm 1's weights. Of several attribute columns, z is their
    combination, hence the rates are those of the intersections.
    Numbers with many values are cut into quantile bins and drawn inside their bin from the
    training rows: an extension beyond the paper (arXiv 1906.02164), which is discrete.

    Args:
        smoothing: C in [0, 1]: share of the uniform distribution in the prior.
        prior: Weights of the samples in the prior: data or reweighted (Algorithm 1).
        marginals: data, reweighted, balanced, or {column: mean or {value: share}} with columns
            ``label`` and ``attribute``, whose values are named as in the summary, and inputs.
        tau: Representation rate of the re-weighting, in (0, 1].
        band: Largest distance of P(z) from its goal, for every value of z.
        bins: Ascending inner edges of numeric inputs.
        max_bins: Numeric inputs with more distinct values are cut at quantiles.
        ordinal: Numeric inputs of which only the mean is kept.
        size: Rows to draw; as many as the training table by default.
        via: sample; or weight, which keeps the rows and weighs them (smoothing 0).

    Raises:
        UserError: If an option is out of range, or the table does not allow what is asked for.

    Example:
        >>> import pandas as pd
        >>> x = pd.DataFrame({"job": ["a", "b", "a", "a", "b", "b", "a", "b"] * 50})
        >>> y, z = np.array([1, 1, 1, 0, 0, 1, 0, 0] * 50), np.array([1, 1, 1, 1, 0, 0, 0, 1] * 50)
        >>> step = MaxEntropy(size=1000)
        >>> table = step.apply(Table(x, y, z), np.random.default_rng(0), np.asarray)
        >>> len(table), round(step.solution.representation_rate, 9)
        (1000, 1.0)
    """

    properties = StepProperties(
        rows="drawn",
        ordered=False,
        identity={"via": "weight", "smoothing": 0.0, "prior": "data", "marginals": "data"},
    )
    #: The distribution of the last table that the step was applied to.
    solution: Solution | None = None
    #: What marginals and messages call the columns of y and z.
    columns = ("label", "attribute")

    def __init__(
        self,
        smoothing: Share = 0.5,
        prior: Prior = "reweighted",
        marginals: Literal["data", "reweighted", "balanced"] | dict[str, Given] = "reweighted",
        tau: PositiveShare = 1.0,
        band: ProperShare = 0.0,
        bins: dict[str, list[float]] | None = None,
        max_bins: Annotated[int, Interval(2)] = 10,
        ordinal: list[str] | None = None,
        size: Count | None = None,
        via: Literal["sample", "weight"] = "sample",
    ) -> None:
        if via == "weight" and (smoothing or size is not None):
            raise UserError(
                "MaxEntropy: via: weight keeps the rows; it needs smoothing: 0 and no size. Use "
                "via: sample for rows that do not occur."
            )
        self.smoothing = smoothing
        self.prior: Prior = prior
        self.marginals = marginals
        self.tau = tau
        self.band = band
        self.bins = bins
        self.max_bins = max_bins
        self.ordinal = ordinal
        self.size = size
        self.via = via

    def report(self) -> str:
        """Return the rates before and after."""
        return self.solution.describe() if self.solution is not None else ""

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return rows drawn from the distribution, or the table with new weights."""
        columns = TableColumns.of(
            table, self.names, self.bins or {}, self.max_bins, self.ordinal or [], self.columns
        )
        samples = Samples.compress(columns.domain, columns.codes, table.weight)
        self.solution = solution = solve(
            samples,
            *self.columns,
            self.smoothing,
            self.prior,
            self.marginals,
            self.tau,
            self.band,
        )
        if self.via == "weight":
            weight = np.where(
                samples.inverse < 0,
                0.0,
                table.weight * (solution.point.rows / samples.counts)[samples.inverse],
            )
            return table.replace(weight=weight / weight.mean())
        size = len(table) if self.size is None else self.size
        codes, source = solution.sample(size, rng)
        x = columns.draw(samples, codes, source, rng)
        if isinstance(table.x, np.ndarray):
            return Table(x.to_numpy(table.x.dtype), codes[:, 0], codes[:, 1])
        return Table(x, codes[:, 0], codes[:, 1])
