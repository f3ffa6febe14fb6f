"""Differences of statistics between attribute values, smooth in the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from frbench.contracts.errors import UserError
from frbench.distributed import all_sum, all_total
from frbench.functional.environments import environment_means, membership, ones_like_rows

Target = Literal["demographic_parity", "equal_opportunity", "equalized_odds"]
Statistic = Literal[
    "positive_rate", "true_positive_rate", "false_positive_rate", "positive_predictive_value",
    "false_omission_rate", "accuracy", "false_negative_false_positive_ratio", "f_score",
]  # fmt: skip
#: A statistic is sum_i (a0_i + a_i h_i) / sum_i (b0_i + b_i h_i): (a0, a, b0, b) of a row whose
#: label is not the positive class, and of one whose label is.
COEFFICIENTS: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    "positive_rate": ((0, 1, 1, 0), (0, 1, 1, 0)),
    "true_positive_rate": ((0, 0, 0, 0), (0, 1, 1, 0)),
    "false_positive_rate": ((0, 1, 1, 0), (0, 0, 0, 0)),
    "positive_predictive_value": ((0, 0, 0, 1), (0, 1, 0, 1)),
    "false_omission_rate": ((0, 0, 1, -1), (1, -1, 1, -1)),
    "accuracy": ((1, -1, 1, 0), (0, 1, 1, 0)),
    "false_negative_false_positive_ratio": ((0, 0, 0, 1), (1, -1, 0, 0)),
    "f_score": ((0, 0, 0, 1), (0, 2, 1, 1)),
}
#: A denominator below it means that a statistic has no value.
SMALLEST = 1e-8


def log_odds(logits: Tensor, positive_class: int = 1) -> Tensor:
    """Return log(h / (1 - h)) of the score h = P(y = positive_class) [B].

    Args:
        logits: Float [B, C].
        positive_class: Label that the score is about.
    """
    c = positive_class
    if logits.shape[1] == 2:
        return logits[:, c] - logits[:, 1 - c]
    others = torch.cat([logits[:, :c], logits[:, c + 1 :]], 1)
    return logits[:, c] - others.logsumexp(1)


def gap(
    logits: Tensor,
    y: Tensor,
    z: Tensor,
    num_attributes: int,
    weight: Tensor | None = None,
    target: Target = "demographic_parity",
    reduce: Literal["range", "deviation"] = "range",
    positive_class: int = 1,
) -> Tensor:
    """Return the difference of the mean score between attribute values, max_z m_z - min_z m_z.

    Source: the relaxed criteria of arXiv 2306.09468; see :class:`frbench.penalties.Gap`.

    Args:
        logits: Of this process's rows, float [B, C].
        y: Labels, long [B].
        z: Attributes, long in 0..A-1, -1 where unknown [B].
        num_attributes: A.
        weight: Weights of the rows [B].
        target: demographic_parity, equal_opportunity (rows with ``y = positive_class``) or
            equalized_odds (summed over labels).
        reduce: range, the largest minus the smallest; deviation, sum_z abs(m_z - m).
        positive_class: Label that the score and equal_opportunity are about.

    Example:
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> round(gap(logits, y, z, 2).item(), 4)
        0.25
    """
    score = log_odds(logits, positive_class).sigmoid()
    return score_gap(
        score, y, z, logits.shape[1], num_attributes, ones_like_rows(y, weight), target, reduce,
        positive_class,
    )  # fmt: skip


def score_gap(
    score: Tensor,
    y: Tensor,
    z: Tensor,
    num_classes: int,
    num_attributes: int,
    weight: Tensor,
    target: Target,
    reduce: Literal["range", "deviation"],
    positive_class: int,
) -> Tensor:
    """Return :func:`gap` of scores.

    Args:
        score: h of each row of this process [B].
        y: Labels [B].
        z: Attributes [B].
        num_classes: C.
        num_attributes: A.
        weight: Weights of the rows [B].
        target: As in :func:`gap`.
        reduce: As in :func:`gap`.
        positive_class: As in :func:`gap`.
    """
    marginal, values = target == "demographic_parity", num_attributes
    strata = 1 if marginal else num_classes
    cell = z if marginal else torch.where(z >= 0, y * values + z, -1)
    means, present = environment_means(score, cell, weight, strata * values)
    means, present = means.view(strata, values), present.view(strata, values)
    if reduce == "range":
        highest = torch.where(present, means, 0.0).amax(1)  # scores are between 0 and 1
        gaps = (highest - torch.where(present, means, 1.0).amin(1)).clamp(min=0)
    else:
        stratum = torch.where(z >= 0, 0 if marginal else y, -1)
        overall, _ = environment_means(score, stratum, weight, strata)
        gaps = torch.where(present, (means - overall[:, None]).abs(), 0.0).sum(1)
    return gaps[positive_class] if target == "equal_opportunity" else gaps.sum()


def coefficients_of(statistics: Sequence[str]) -> Tensor:
    """Return the coefficients of statistics, for rows of other labels and of the positive one.

    Args:
        statistics: K names.

    Returns:
        Float [2, K, 4].

    Raises:
        UserError: For an unknown name.
    """
    if unknown := sorted(set(statistics) - set(COEFFICIENTS)):
        raise UserError(f"Unknown statistics {unknown}; there are {', '.join(COEFFICIENTS)}.")
    # Not a transposed tensor: DDP cannot broadcast one with strides of another order.
    sides = [[COEFFICIENTS[name][side] for name in statistics] for side in (0, 1)]
    return torch.tensor(sides).float()


def moves_below(statistics: Sequence[str]) -> bool:
    """Whether the denominator of a statistic depends on the scores; most do not."""
    return any(side[3] for name in statistics for side in COEFFICIENTS[name])


def statistic_sums(
    score: Tensor,
    positive: Tensor,
    z: Tensor,
    num_attributes: int,
    weight: Tensor,
    coefficients: Tensor,
    below_moves: bool,
) -> tuple[Tensor, Tensor]:
    """Return numerators and denominators; the last row is that of all rows [A + 1, K] each.

    They are linear in the scores: only one product is part of the graph.

    Args:
        score: h of each row of this process [B].
        positive: Whether its label is the positive class [B].
        z: Attributes, -1 where unknown [B].
        num_attributes: A.
        weight: Weights of the rows [B].
        coefficients: Of the statistics [2, K, 4].
        below_moves: Whether a denominator depends on the scores.
    """
    with torch.no_grad():
        rows = coefficients[positive.long()]  # [B, K, 4]
        member = membership(z, weight, num_attributes)
        member = torch.cat([member, member.sum(1, keepdim=True)], 1)
        constants = all_sum(member.T @ rows[..., ::2].flatten(1))
        constants = constants.view(member.shape[1], -1, 2)
        moving = 2 if below_moves else 1
        slopes = member[:, :, None, None] * rows[:, None, :, 1 : 2 * moving : 2]
    sums = all_total(score @ slopes.flatten(1)).view(slopes.shape[1:]) + constants[..., :moving]
    return sums[..., 0], sums[..., 1] if moving == 2 else constants[..., 1]


def violations(above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Return v_z = abs(stat_z / stat - 1) of each attribute value and statistic.

    Args:
        above: Numerators, those of all rows last [A + 1, K].
        below: Denominators [A + 1, K].

    Returns:
        v, 0 where a statistic has no value, and where it has one [A, K].
    """
    statistic = above / below.clamp(min=SMALLEST)
    value = (statistic[:-1] / statistic[-1].clamp(min=SMALLEST) - 1).abs()
    # Where the statistic of all rows is 0, so is that of each z.
    present = (below[:-1] > SMALLEST) & (statistic[-1] > SMALLEST)
    return torch.where(present, value, 0.0), present


def reduced(
    value: Tensor, present: Tensor, reduce: Literal["norm", "log_sum_exp"] = "norm", p: float = 1.0
) -> Tensor:
    """Return the sum over the statistics of the violations of all attribute values.

    Args:
        value: v_z [A, K].
        present: Where a statistic has a value [A, K].
        reduce: norm, (sum_z v_z^p)^(1/p); log_sum_exp, log mean_z exp v_z.
        p: Of the norm.
    """
    if reduce == "norm" and p == 1:
        return value.sum()
    if reduce == "norm":
        norms: Tensor = torch.linalg.vector_norm(value, p, dim=0)
        return norms.sum()
    count = present.sum(0)
    mean = torch.where(present, value, -1e30).logsumexp(0) - count.clamp(min=1).log()
    return torch.where(count > 0, mean, 0.0).sum()


def violation(
    logits: Tensor,
    y: Tensor,
    z: Tensor,
    num_attributes: int,
    weight: Tensor | None = None,
    statistics: Sequence[str] = ("positive_rate",),
    reduce: Literal["norm", "log_sum_exp"] = "norm",
    p: float = 1.0,
    positive_class: int = 1,
) -> Tensor:
    """Return the relative violation of equal statistics, sum_z abs(stat_z / stat - 1).

    Source: arXiv 2310.17256; see :class:`frbench.penalties.Violation`.

    Args:
        logits: Of this process's rows, float [B, C].
        y: Labels, long [B].
        z: Attributes, long in 0..A-1, -1 where unknown [B].
        num_attributes: A.
        weight: Weights of the rows [B].
        statistics: Names of the statistics.
        reduce: norm or log_sum_exp, see :func:`reduced`.
        p: Of the norm.
        positive_class: Label that the score is about.

    Raises:
        UserError: For an unknown statistic.

    Example:
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> rates = ["true_positive_rate", "false_positive_rate"]
        >>> round(violation(logits, y, z, 2, statistics=rates).item(), 4)
        1.0667
    """
    score, weight = log_odds(logits, positive_class).sigmoid(), ones_like_rows(y, weight)
    coefficients = coefficients_of(statistics).to(score.device)
    sums = statistic_sums(
        score,
        y == positive_class,
        z,
        num_attributes,
        weight,
        coefficients,
        moves_below(statistics),
    )
    return reduced(*violations(*sums), reduce, p)
