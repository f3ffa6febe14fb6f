"""Maximum mean discrepancy between cells of the global batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from frbench.distributed import all_gather
from frbench.functional.environments import ones_like_rows

#: Keeps 0 / 0 of an empty cell, and the slope of the root at zero, finite.
TINY = 1e-12


def compared_outputs(logits: Tensor, tensor: Literal["logit", "probability"] = "logit") -> Tensor:
    """Return what a discrepancy compares of the outputs [B, D].

    Args:
        logits: Float [B, C].
        tensor: ``logit``, the log-odds of two classes, or of more centred logits on the same
            scale; ``probability``.
    """
    if tensor == "probability":
        p = logits.softmax(1)
        return p[:, 1:] if p.shape[1] == 2 else p
    if logits.shape[1] == 2:
        return logits[:, 1:] - logits[:, :1]
    return math.sqrt(2) * (logits - logits.mean(1, keepdim=True))


def pairs_of_strata(strata: int, values: int) -> Tensor:
    """Return which cells are compared, two values of one stratum, bool [S A, S A].

    Args:
        strata: S.
        values: A.
    """
    pairs = torch.zeros(strata * values, strata * values, dtype=torch.bool)
    for stratum in range(strata):
        for first, second in combinations(range(stratum * values, (stratum + 1) * values), 2):
            pairs[first, second] = True
    return pairs


def kernel_below_one(rows: Tensor, scales: Sequence[float], median: bool) -> Tensor:
    """Return the kernel exp(-|a - b|^2 / (2 sigma^2)) minus 1 of all pairs of rows [B, B].

    Args:
        rows: What is compared [B, D].
        scales: Values of sigma^2; of several, the mean of the kernels.
        median: Whether these are multiples of the median squared distance.
    """
    if rows.shape[1] == 1:
        distance = (rows - rows.T).square()
    else:
        rows = rows - rows.mean(0).detach()  # nearer the origin, less is cancelled
        norm = rows.square().sum(1)
        distance = (norm[:, None] + norm - 2 * rows @ rows.T).clamp(min=0)
    unit: Tensor | float = 1.0
    if median:
        i, j = torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device)
        unit = distance.detach()[i, j].median().clamp(min=TINY)
    parts = [torch.expm1(distance * (-0.5 / (s * unit))) for s in scales]
    return parts[0] if len(parts) == 1 else torch.stack(parts).mean(0)


def mmd(
    rows: Tensor,
    cell: Tensor,
    weight: Tensor,
    pairs: Tensor,
    scales: Sequence[float] = (1.0,),
    median: bool = False,
    biased: bool = True,
    squared: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return the mean discrepancy over the pairs of cells with two rows on either side.

    With normalised weights inside each cell, the biased MMD^2 of cells p and q is
    E_pp k + E_qq k - 2 E_pq k over all pairs of rows (a row and itself included, the
    V-statistic); the unbiased one leaves those out (the U-statistic). All means come from one
    kernel matrix of the global batch. Source: Gretton et al. (2012), equations 3 and 5.

    Args:
        rows: What is compared, of this process's rows [B, D].
        cell: Cell of each row, negative for none [B].
        weight: Weights of the rows [B].
        pairs: Which cells are compared, bool [G, G].
        scales: Values of sigma^2 of the kernel.
        median: Whether these are multiples of the median squared distance.
        biased: Whether a row is compared with itself.
        squared: Whether MMD^2 or its root is returned.

    Returns:
        The mean, 0 without any pair, and the number of pairs that took part.
    """
    cells = torch.arange(len(pairs), device=pairs.device)
    member = (all_gather(cell)[:, None] == cells).to(rows.dtype) * all_gather(weight)[:, None]
    # Share of each row in its cell [B, G]; weights that are constant in a cell cancel.
    share = member / member.sum(0).clamp(min=TINY)
    # The shares of a cell add up to 1, so that k - 1 in place of k changes no difference of
    # means; outputs that are near each other then leave no sums near 1 that cancel.
    mean = share.T @ kernel_below_one(all_gather(rows), scales, median) @ share
    within = mean.diagonal()
    if not biased:  # a row with itself has k - 1 = 0
        within = within / (1 - share.square().sum(0)).clamp(min=TINY)
    found = within[:, None] + within - 2 * mean
    enough = (member > 0).sum(0) >= 2
    active = pairs & enough[:, None] & enough
    count = active.sum()
    if not squared:
        found = found.clamp(min=TINY).sqrt()
    return torch.where(active, found, 0.0).sum() / count.clamp(min=1), count


def conditional_mmd(
    logits: Tensor,
    y: Tensor,
    z: Tensor,
    num_attributes: int,
    weight: Tensor | None = None,
    tensor: Literal["logit", "probability"] = "logit",
    sigma_squared: float | Sequence[float] = 1.0,
    **options: Any,
) -> Tensor:
    """Return the MMD between the outputs of two attribute values, given the label.

    The mean over labels and pairs of attribute values; a label and pair with fewer than two rows
    on either side is left out. Source: arXiv 2406.17433, Section 5; see
    :class:`frbench.penalties.ConditionalMMD`.

    Args:
        logits: Of this process's rows, float [B, C].
        y: Labels, long [B].
        z: Attributes, long in 0..A-1, -1 where unknown [B].
        num_attributes: A.
        weight: Weights of the rows [B].
        tensor: What is compared.
        sigma_squared: sigma^2 of the kernel exp(-|a - b|^2 / (2 sigma^2)), or several.
        options: ``median``, ``biased``, ``squared`` of :func:`mmd`.

    Example:
        >>> logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
        >>> y, z = torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 1, 1])
        >>> round(conditional_mmd(logits, y, z, 2).item(), 4)  # 2 - 2 exp(-2)
        1.7293
    """
    group = torch.where(z >= 0, y * num_attributes + z, -1)
    pairs = pairs_of_strata(logits.shape[1], num_attributes).to(logits.device)
    scales = [sigma_squared] if isinstance(sigma_squared, float | int) else sigma_squared
    rows, weight = compared_outputs(logits, tensor), ones_like_rows(y, weight)
    return mmd(rows, group, weight, pairs, scales, **options)[0]


def marginal_mmd(
    logits: Tensor,
    z: Tensor,
    num_attributes: int,
    weight: Tensor | None = None,
    tensor: Literal["logit", "probability"] = "logit",
    sigma_squared: float | Sequence[float] = 1.0,
    **options: Any,
) -> Tensor:
    """Return the MMD between the outputs of two attribute values, whatever the label.

    See :func:`conditional_mmd` and :class:`frbench.penalties.MarginalMMD`.

    Args:
        logits: Of this process's rows, float [B, C].
        z: Attributes, long in 0..A-1, -1 where unknown [B].
        num_attributes: A.
        weight: Weights of the rows [B].
        tensor: What is compared.
        sigma_squared: sigma^2 of the kernel, or several.
        options: ``median``, ``biased``, ``squared`` of :func:`mmd`.

    Example:
        >>> logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
        >>> marginal_mmd(logits, torch.tensor([0, 0, 1, 1]), 2, biased=False).item()
        0.0
    """
    pairs = pairs_of_strata(1, num_attributes).to(logits.device)
    scales = [sigma_squared] if isinstance(sigma_squared, float | int) else sigma_squared
    rows, weight = compared_outputs(logits, tensor), ones_like_rows(z, weight)
    return mmd(rows, z, weight, pairs, scales, **options)[0]
