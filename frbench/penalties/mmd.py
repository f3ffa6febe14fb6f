"""Maximum mean discrepancy between the outputs of two attribute values."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, Positive
from frbench.functional.mmd import compared_outputs, mmd, pairs_of_strata
from frbench.penalties.base import Penalty


class _MMD(Penalty):
    """Mean over strata of the MMD between two cells; subclasses say what cells and strata are.

    See :func:`frbench.functional.mmd.mmd` for the formula.
    """

    # A cell needs two rows, whatever their weights.
    properties = Properties(weights="invariant", copies=None, attributes="exchangeable")

    pairs: Tensor
    strata: Tensor

    def __init__(
        self,
        weight: NotNegative = 1.0,
        tensor: Literal["logit", "probability", "features"] = "logit",
        sigma_squared: Positive | list[Positive] = 1.0,
        median: bool = False,
        biased: bool = True,
        squared: bool = True,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, **schedule)
        self.tensor = tensor
        self.sigma_squared = sigma_squared
        self.median = median
        self.biased = biased
        self.squared = squared
        self._scales = sigma_squared if isinstance(sigma_squared, list) else [sigma_squared]
        if not self._scales:
            raise UserError(f"{type(self).__name__}.sigma_squared: give at least one number.")
        self.register_buffer("strata", torch.zeros(2, dtype=torch.long))

    @abstractmethod
    def cell(self, batch: Batch) -> Tensor:
        """Return the cell of each row, negative for none [B]."""

    @abstractmethod
    def num_cells(self, sizes: Sizes) -> tuple[int, int]:
        """Return the number of label strata and of cells in each."""

    def bind(self, sizes: Sizes) -> None:
        """List the cells and the pairs that are compared: two attribute values of one label."""
        self.register_buffer("pairs", pairs_of_strata(*self.num_cells(sizes)), persistent=False)

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean MMD over the strata with two rows on either side; 0 without any."""
        value, count = mmd(
            self.compared(out), self.cell(batch), batch.weight, self.pairs, self._scales,
            self.median, self.biased, self.squared,
        )  # fmt: skip
        self.stage(strata=self.strata + torch.stack([count, self.pairs.sum()]))
        return value

    def compared(self, out: Outputs) -> Tensor:
        """Return the rows that are compared [B, D]."""
        if self.tensor == "features":
            return out.features.flatten(1)
        return compared_outputs(out.logits, self.tensor)

    def state_to_log(self) -> dict[str, Tensor]:
        """Return the share of strata that had to be skipped so far."""
        return {"skipped_strata": 1 - self.strata[0] / self.strata[1].clamp(min=1)}


class ConditionalMMD(_MMD):
    """Penalise a dependence of the output on z given y, f(X) ⊥ Z | Y.

    The mean over labels y and pairs of attribute values z < z' of the (squared) maximum mean
    discrepancy between the outputs of the cells (y, z) and (y, z'), from the global batch;
    see ``docs/mind_the_graph.md`` for the formula. Source: arXiv 2406.17433, Section 5, and
    2106.00545; MMD^2: Gretton et al. (2012), equations 3 and 5. The sources leave kernel and
    estimator open: the default, biased MMD^2 with sigma^2 = 1 on the logit, has its effect
    over the strengths 0 to 10 that arXiv 2406.17433 scans.

    A label and pair with fewer than two rows on either side is skipped; the log names the share
    (``skipped_strata``), and ``data.rows_per_group`` prevents it. Rows of unknown z take no part.
    Weights that depend on (y, z) alone, as those of balancing do, cancel.

    Args:
        weight: Factor of the term in the loss.
        tensor: What is compared: ``logit`` (log-odds of two classes; of more, centred logits on
            the same scale), ``probability``, or ``features`` of the backbone.
        sigma_squared: sigma^2 of the kernel exp(-|a - b|^2 / (2 sigma^2)); of several, the mean
            of the kernels is used.
        median: Multiply them by the median squared distance of the batch.
        biased: Whether a row is compared with itself (the V-statistic, never negative).
        squared: Whether MMD^2 or its root is penalised.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown tensor, or a sigma^2 that is not positive.

    Example:
        >>> penalty = ConditionalMMD(weight=5.0)
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
        >>> y, z, one = torch.zeros(4).long(), torch.tensor([0, 0, 1, 1]), torch.ones(4)
        >>> batch = Batch(logits, y, z, z, one, one > 1, y, z > 1)
        >>> round(penalty(Outputs(logits, logits, one), batch).item(), 4)  # 2 - 2 exp(-2)
        1.7293
    """

    def cell(self, batch: Batch) -> Tensor:
        """Return y * A + z."""
        return batch.group

    def num_cells(self, sizes: Sizes) -> tuple[int, int]:
        """Return (C, A)."""
        return sizes.num_classes, sizes.num_attributes


class MarginalMMD(_MMD):
    """Penalise a dependence of the output on z, f(X) ⊥ Z.

    As :class:`ConditionalMMD`, between the attribute values of the whole batch, whatever the
    label. Rows count by ``batch.weight``, so that balancing by weights and by drawing rows are
    the same penalty. Source: arXiv 2406.17433, Section 5.2 (causal tasks: on P, before
    balancing), and 2105.06422 (weights).

    Args:
        weight: Factor of the term in the loss.
        tensor: What is compared: ``logit`` (log-odds of two classes; of more, centred logits on
            the same scale), ``probability``, or ``features`` of the backbone.
        sigma_squared: sigma^2 of the kernel exp(-|a - b|^2 / (2 sigma^2)); of several, the mean
            of the kernels is used.
        median: Multiply them by the median squared distance of the batch.
        biased: Whether a row is compared with itself (the V-statistic, never negative).
        squared: Whether MMD^2 or its root is penalised.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown tensor, or a sigma^2 that is not positive.

    Example:
        >>> penalty = MarginalMMD(biased=False)
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
        >>> y, z, one = torch.zeros(4).long(), torch.tensor([0, 0, 1, 1]), torch.ones(4)
        >>> batch = Batch(logits, y, z, z, one, one > 1, y, z > 1)
        >>> penalty(Outputs(logits, logits, one), batch).item()
        0.0
    """

    def cell(self, batch: Batch) -> Tensor:
        """Return z."""
        return batch.z

    def num_cells(self, sizes: Sizes) -> tuple[int, int]:
        """Return (1, A)."""
        return 1, sizes.num_attributes
