"""Penalties on differences of mean scores, and the base of those that look at one class."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.ranges import NotNegative, NotNegativeInt, check_class
from frbench.functional.fairness import Target, score_gap
from frbench.penalties.base import Penalty


class ScorePenalty(Penalty):
    """A penalty on the score h_i = P(y = positive_class): of two classes, or one against the rest.

    Args:
        weight: Factor of the term in the loss.
        positive_class: Label that the score is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: If there is no such class.
    """

    sizes: Sizes
    signs: Tensor

    def __init__(
        self, weight: NotNegative = 1.0, positive_class: NotNegativeInt = 1, **schedule: Any
    ) -> None:
        super().__init__(weight, **schedule)
        self.positive_class = positive_class

    def bind(self, sizes: Sizes) -> None:
        """Keep the sizes."""
        check_class(self, self.positive_class, sizes.num_classes)
        self.sizes = sizes
        signs = torch.full((sizes.num_classes,), -1.0)
        signs[self.positive_class] = 1
        self.register_buffer("signs", signs, persistent=False)

    def log_odds(self, out: Outputs) -> Tensor:
        """Return log(h / (1 - h)) [B]."""
        c = self.positive_class
        if out.logits.shape[1] == 2:
            # One product has a cheaper gradient than a difference of two columns.
            return out.logits @ self.signs.to(out.logits)
        others = torch.cat([out.logits[:, :c], out.logits[:, c + 1 :]], 1)
        return out.logits[:, c] - others.logsumexp(1)


class Gap(ScorePenalty):
    """Difference of the mean score between attribute values.

    With m_z the weighted mean of h_i = P(y = positive_class) over the rows of z: max_z m_z -
    min_z m_z, for two values abs(m_0 - m_1). equal_opportunity takes the rows with
    ``y = positive_class``; equalized_odds is the sum over labels y of the difference given y.
    Source: the relaxed criteria of arXiv 2306.09468 (DiffDP, DiffEOpp, DiffEOdd).

    A cell without rows in the batch is left out; rows of unknown attribute take no part.

    Args:
        weight: Factor of the term in the loss.
        target: demographic_parity, equal_opportunity or equalized_odds.
        reduce: range, the largest minus the smallest; deviation, sum_z abs(m_z - m), m the mean
            over all of these rows.
        positive_class: Label that the score and equal_opportunity are about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown target or reduction, or no such class.

    Example:
        >>> penalty = Gap()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 4)
        0.25
    """

    def __init__(
        self,
        weight: NotNegative = 1.0,
        target: Target = "demographic_parity",
        reduce: Literal["range", "deviation"] = "range",
        positive_class: NotNegativeInt = 1,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, positive_class, **schedule)
        self.target = target
        self.reduce = reduce

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the difference, summed over the labels of the target."""
        return score_gap(
            self.log_odds(out).sigmoid(), batch.y, batch.z, self.sizes.num_classes,
            self.sizes.num_attributes, batch.weight, self.target, self.reduce, self.positive_class,
        )  # fmt: skip
