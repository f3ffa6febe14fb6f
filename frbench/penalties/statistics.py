"""Penalties over statistics of a classifier that are ratios of sums, linear in the scores."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Interval, NotNegative, NotNegativeInt
from frbench.distributed import all_gather
from frbench.functional.environments import membership
from frbench.functional.fairness import (
    SMALLEST,
    Statistic,
    coefficients_of,
    moves_below,
    reduced,
    statistic_sums,
    violations,
)
from frbench.penalties.scores import ScorePenalty


class StatisticPenalty(ScorePenalty):
    """A penalty on statistics of each attribute value against those of all rows.

    Args:
        weight: Factor of the term in the loss.
        statistics: Names of the statistics; by default the positive rate.
        positive_class: Label that the score is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown statistic or none, or no such class.
    """

    coefficients: Tensor  # [2, K, 4]

    def __init__(
        self,
        weight: NotNegative = 1.0,
        statistics: list[Statistic] | None = None,
        positive_class: NotNegativeInt = 1,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, positive_class, **schedule)
        self.statistics = ["positive_rate"] if statistics is None else statistics
        if not self.statistics:
            raise UserError(f"{type(self).__name__}.statistics: give at least one statistic.")
        self.register_buffer("coefficients", coefficients_of(self.statistics), persistent=False)
        self.moves_below = moves_below(self.statistics)


class Violation(StatisticPenalty):
    """Relative violation of equal statistics, sum_z v_z with v_z = abs(stat_z / stat - 1).

    stat_z is the statistic of the rows of z in the global batch and stat that of all rows, both
    of the scores h_i = P(y = positive_class): positive_rate, true_positive_rate,
    false_positive_rate, positive_predictive_value, false_omission_rate, accuracy,
    false_negative_false_positive_ratio, f_score. Several statistics are summed: equalized odds is
    ``[true_positive_rate, false_positive_rate]``. Source: arXiv 2310.17256
    and its released code.

    A z on which a statistic has no value is left out of it; rows of unknown attribute take no
    part. Where stat is 0, so is stat_z, and v_z.

    Args:
        weight: Factor of the term in the loss.
        statistics: Names of the statistics; by default the positive rate.
        reduce: norm, (sum_z v_z^p)^(1/p); log_sum_exp, log mean_z exp v_z.
        p: Of the norm, at least 1.
        positive_class: Label that the score is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown statistic or none, p below 1, or no such class.

    Example:
        >>> from frbench.contracts.batch import Sizes
        >>> penalty = Violation(statistics=["true_positive_rate", "false_positive_rate"])
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 4)  # 0.4 + 0.6667
        1.0667
    """

    def __init__(
        self,
        weight: NotNegative = 1.0,
        statistics: list[Statistic] | None = None,
        reduce: Literal["norm", "log_sum_exp"] = "norm",
        p: Annotated[float, Interval(1)] = 1.0,
        positive_class: NotNegativeInt = 1,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, statistics, positive_class, **schedule)
        self.reduce = reduce
        self.p = p

    def violations(self, out: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return v [A, K], 0 where a statistic has no value, and where it has one [A, K]."""
        return violations(*self.sums(self.log_odds(out).sigmoid(), batch))

    def sums(self, score: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return numerators and denominators; the last row is that of all rows [A + 1, K] each.

        They are linear in the scores: only one product is part of the graph.
        """
        positive, values = batch.y == self.positive_class, self.sizes.num_attributes
        return statistic_sums(
            score, positive, batch.z, values, batch.weight, self.coefficients, self.moves_below
        )

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the sum over the statistics of the reduced violation."""
        return reduced(*self.violations(out, batch), self.reduce, self.p)


class Constraints(NamedTuple):
    """Linear constraints on the scores h, one for each z and statistic: G' W h + r = 0.

    Attributes:
        slopes: G, zero for rows of other attribute values [B, A K].
        weighted: W G [B, A K].
        constants: r [A K].
        num_statistics: K; with one the constraints have no rows in common.
    """

    slopes: Tensor
    weighted: Tensor
    constants: Tensor
    num_statistics: int

    def step(self, score: Tensor, slope: Tensor) -> Tensor:
        """Return the Newton step of the multipliers at these scores [A K].

        Args:
            score: Scores h [B].
            slope: Their derivatives by a multiplier whose slope is one [B].
        """
        residual = score @ self.weighted + self.constants
        scaled = self.weighted * slope[:, None]
        # Without rows of z, or with redundant statistics, there is no curvature.
        if self.num_statistics == 1:
            alone: Tensor = residual / ((scaled * self.slopes).sum(0) * (1 + 1e-7) + 1e-12)
            return alone
        curvature = scaled.T @ self.slopes
        damping = 1e-7 * curvature.diagonal().amax() + 1e-12
        eye = torch.eye(len(curvature), dtype=score.dtype, device=score.device)
        step: Tensor = torch.linalg.solve(curvature + damping * eye, residual)
        return step


class _Projection(StatisticPenalty):
    """Distance of the scores to the nearest ones whose statistics are equal.

    With c the statistics of all rows in the batch, a constraint is linear in the scores, for each
    z and statistic k: sum over the rows of z of w_i (g_ik h_i + r_ik) = 0, g = a - c b and
    r = a0 - c b0.
    """

    @abstractmethod
    def distance(self, odds: Tensor, constraints: Constraints) -> Tensor:
        """Return the distance of each row to the nearest scores, which are constant [B].

        Args:
            odds: Log-odds of the scores [B].
            constraints: What these satisfy.
        """

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean distance over the rows whose attribute is known."""
        positive = batch.y == self.positive_class
        columns = torch.stack([self.log_odds(out), positive, batch.z, batch.weight], 1)
        odds, positive, z, weight = all_gather(columns).unbind(1)
        with torch.no_grad():
            member = membership(z, weight, self.sizes.num_attributes)
            known = member.sum(1)
            rows = self.coefficients[positive.long()]  # [B, K, 4]
            a0, a, b0, b = rows.unbind(2)
            parts = rows[..., ::2] + rows[..., 1::2] * odds.sigmoid()[:, None, None]
            above, below = (known @ parts.flatten(1)).view(-1, 2).unbind(1)
            valid = below > SMALLEST
            target = torch.where(valid, above / below.clamp(min=SMALLEST), 0.0)
            g, r = (a - target * b) * valid, (a0 - target * b0) * valid
            weighted = (member[:, :, None] * g[:, None]).flatten(1)
            slopes = ((member > 0)[:, :, None] * g[:, None]).flatten(1)
            constants = (member.T @ r).flatten()
        constraints = Constraints(slopes, weighted, constants, g.shape[1])
        mean: Tensor = known @ self.distance(odds, constraints)
        return mean / known.sum().clamp(min=1e-12)


class KLProjection(_Projection):
    """Mean KL(h* || h) to the nearest scores h* whose statistics are equal over attribute values.

    h* minimises sum_i w_i KL(h*_i || h_i) among the scores whose statistics are, on each z, those
    of all rows in the batch: h*_i = sigmoid(logit h_i - sum_k lambda_zk g_ik). The multipliers
    lambda come from Newton's method, without a gradient; h* is constant. Source: arXiv
    2310.17256, there by a general convex solver.

    A constraint without rows is left out; rows of unknown attribute take no part.

    Args:
        weight: Factor of the term in the loss.
        statistics: Names of the statistics, as for :class:`Violation`.
        steps: Newton steps; three or four reach six digits, more are needed where almost all
            scores are 0 or 1.
        positive_class: Label that the score is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown statistic or none, no step, or no such class.

    Example:
        >>> from frbench.contracts.batch import Sizes
        >>> penalty = KLProjection()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 4)
        0.0426
    """

    def __init__(
        self,
        weight: NotNegative = 1.0,
        statistics: list[Statistic] | None = None,
        steps: Count = 4,
        positive_class: NotNegativeInt = 1,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, statistics, positive_class, **schedule)
        self.steps = steps

    @torch.no_grad()
    def nearest(self, odds: Tensor, constraints: Constraints) -> Tensor:
        """Return h* of each row [B].

        Args:
            odds: Log-odds of the scores [B].
            constraints: What h* satisfies.
        """
        fitted, multiplier = odds.sigmoid(), torch.zeros_like(constraints.constants)
        for _ in range(self.steps):
            step = constraints.step(fitted, fitted - fitted.square())
            multiplier = multiplier + step.clamp(-10, 10)
            fitted = (odds - constraints.slopes @ multiplier).sigmoid()
        return fitted

    def distance(self, odds: Tensor, constraints: Constraints) -> Tensor:
        """Return KL(h* || h) of each row [B]."""
        fitted = self.nearest(odds, constraints)
        entropy: Tensor = torch.special.entr(fitted) + torch.special.entr(1 - fitted)
        return F.binary_cross_entropy_with_logits(odds, fitted, reduction="none") - entropy


class EuclidProjection(_Projection):
    """Mean squared distance to the nearest scores h* whose statistics are equal.

    As :class:`KLProjection` with sum_i w_i (h*_i - h_i)^2, which has the closed form h* = h -
    g' (g g')^-1 (g h + r); that h* lies in [0, 1] is not asked for. Source: arXiv 2310.17256.

    Args:
        weight: Factor of the term in the loss.
        statistics: Names of the statistics, as for :class:`Violation`.
        positive_class: Label that the score is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown statistic or none, or no such class.

    Example:
        >>> from frbench.contracts.batch import Sizes
        >>> penalty = EuclidProjection()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])  # each moves by 0.125
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 6)
        0.015625
    """

    def distance(self, odds: Tensor, constraints: Constraints) -> Tensor:
        """Return (h* - h)^2 of each row [B]."""
        score = odds.sigmoid()
        with torch.no_grad():
            multiplier = constraints.step(score, torch.ones_like(score))
            fitted = score - constraints.slopes @ multiplier
        return (fitted - score).square()
