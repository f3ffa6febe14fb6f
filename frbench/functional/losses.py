"""From the losses of rows or groups to one number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from frbench.distributed import all_gather
from frbench.functional.environments import ones_like_rows


def focal(losses: Tensor, weight: Tensor | None = None, gamma: float = 1.0) -> Tensor:
    """Return the mean focal loss, (1/B) sum_i w_i (1 - p_i)^gamma l_i with p_i = exp(-l_i).

    Source: arXiv 1708.02002, equation 4; see :class:`frbench.objectives.Focal`.

    Args:
        losses: Cross-entropy of each row [B].
        weight: Weights of the rows [B].
        gamma: Exponent; 0 is the mean loss.

    Example:
        >>> round(focal(torch.tensor([0.0, 2.0]).log1p(), gamma=2.0).item(), 4)
        0.2441
    """
    weight = ones_like_rows(losses, weight)
    # The slope of x^gamma is infinite at 0 for gamma below one.
    wrong = -torch.expm1(-losses)
    factor = wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** gamma
    return (weight * factor * losses).mean()


# ---- worst cases over rows ------------------------------------------------------------------
def worst_case_mean(
    losses: Tensor, weight: Tensor | None, worst: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Return sum_i q_i l_i over the global batch, with q from the losses, held fixed.

    Args:
        losses: Loss of each row of this process [B / W].
        weight: Weights of these rows [B / W].
        worst: From losses and masses ``weight / B`` of the global batch to q [B].
    """
    columns = torch.stack([losses, ones_like_rows(losses, weight)], 1)
    losses, weight = all_gather(columns).unbind(1)
    with torch.no_grad():
        q = worst(losses.detach(), weight / len(weight))
    return q @ losses


def cvar_weights(losses: Tensor, mass: Tensor, alpha: float) -> Tensor:
    """Return the distribution of the worst alpha share, q_i <= p_i / alpha [B].

    Args:
        losses: Without gradient [B].
        mass: p [B].
        alpha: Share, in (0, 1].

    Example:
        >>> mass = torch.ones(3) / 3
        >>> cvar_weights(torch.tensor([1.0, 4.0, 2.0]), mass, 0.5).round(decimals=3)
        tensor([0.0000, 0.6670, 0.3330])
    """
    order = losses.argsort(descending=True)
    share = alpha * mass.sum()
    last = (mass[order].cumsum(0) < share).sum().clamp(max=len(losses) - 1)
    # gather: an index of no dimension would go to the host
    edge = losses[order].gather(0, last[None])
    above, tied = mass * (losses > edge), mass * (losses == edge)
    left = (share - above.sum()).clamp(min=0) / tied.sum().clamp(min=1e-12)
    return (above + left * tied) / alpha


def cvar(losses: Tensor, alpha: float, weight: Tensor | None = None) -> Tensor:
    """Return the mean loss of the worst alpha share of the rows.

    Source: Rockafellar and Uryasev (2000); see :class:`frbench.objectives.CVaR`.

    Args:
        losses: Loss of each row of this process [B / W].
        alpha: Share, in (0, 1].
        weight: Weights of the rows [B / W].

    Example:
        >>> cvar(torch.tensor([1.0, 4.0, 2.0, 3.0]), 0.5).item()
        3.5
    """
    return worst_case_mean(losses, weight, lambda values, mass: cvar_weights(values, mass, alpha))


def chi2_weights(losses: Tensor, mass: Tensor, radius: float) -> Tensor:
    """Return the worst distribution in a chi-square ball, sum_i p_i (q_i / p_i - 1)^2 <= r [B].

    The dual variable is exact: sums over the sorted losses tell which samples lie above it, and
    there it has a closed form. Nothing leaves the device. Source: arXiv 1806.08010.

    Args:
        losses: Without gradient [B].
        mass: p [B].
        radius: r >= 0.

    Example:
        >>> mass = torch.ones(3) / 3
        >>> chi2_weights(torch.tensor([1.0, 3.0, 2.0]), mass, 0.5).round(decimals=3)
        tensor([0.0450, 0.6220, 0.3330])
    """
    limit = 1 + radius
    if limit == 1:
        return mass
    # float64: the variance of nearly equal losses is a small difference.
    value, order = losses.double().sort(descending=True)
    p = mass.double()[order] / mass.sum()
    depth = value[0] - value  # ascending; eta = value[0] - t
    # Share, mean and variance of the depth of the k highest losses, for each k.
    share = p.cumsum(0).clamp(min=1e-300)
    mean = (p * depth).cumsum(0) / share
    variance = ((p * depth.square()).cumsum(0) / share - mean.square()).clamp(min=0)
    # sum q^2 / p if eta were the next lower loss; it falls with k, and must equal the limit.
    ahead = depth[1:] - mean[:-1]
    second = (1 + variance[:-1] / ahead.square()) / share[:-1]
    k = torch.where(ahead > 0, second, torch.inf).gt(limit).sum(0, keepdim=True)
    left = (share.gather(0, k) * limit - 1).clamp(min=1e-12)
    t = mean.gather(0, k) + (variance.gather(0, k) / left).sqrt()
    q = p * (t - depth).clamp(min=0)
    # Where the highest losses are equal and the ball holds all mass on them, t is their depth.
    highest = p * (torch.arange(len(p), device=p.device) <= k)
    q = torch.where(q.sum() > 0, q, highest)
    q = q.scatter(0, order, q / q.sum())
    return (q * mass.sum()).to(mass.dtype)


def chi2_dro(losses: Tensor, radius: float, weight: Tensor | None = None) -> Tensor:
    """Return the mean loss of the worst distribution in a chi-square ball around the rows.

    See :class:`frbench.objectives.Chi2DRO`.

    Args:
        losses: Loss of each row of this process [B / W].
        radius: r >= 0; (1 / alpha - 1)^2 covers every group of share alpha.
        weight: Weights of the rows [B / W].

    Example:
        >>> chi2_dro(torch.tensor([1.0, 3.0]), 0.0).item()
        2.0
    """
    return worst_case_mean(losses, weight, lambda values, mass: chi2_weights(values, mass, radius))


# ---- groups ---------------------------------------------------------------------------------
@torch.no_grad()
def group_dro_weights(
    log_q: Tensor,
    losses: Tensor,
    present: Tensor,
    eta: float = 0.01,
    *,
    adjustments: Tensor | float = 0.0,
    normalize: bool = False,
    present_only: bool = False,
    min_weight: float = 0.0,
    weighed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the weights q of groups after one step of exponentiated gradient, and log q.

    log q <- log q + eta A, normalised, with A_g = L_g + C_g. Source: arXiv 1911.08731, Algorithm
    1; see :class:`frbench.objectives.GroupDRO`. The state of the method is log q: keep it, and
    minimise ``q @ means``.

    Args:
        log_q: Before the step [G]; at first ``torch.full((G,), -math.log(G))``.
        losses: Mean loss of each group, as :func:`frbench.functional.environment_means` gives it;
            0 where the group is absent [G].
        present: Which groups have rows [G].
        eta: Step size.
        adjustments: C_g [G].
        normalize: Step by A / sum A.
        present_only: Renormalise over the present groups and leave the others' weights alone.
        min_weight: Mixes q with the uniform distribution, in [0, 1].
        weighed: With ``present_only``, the groups that get a weight; by default the present ones.

    Example:
        >>> log_q = torch.tensor([0.5, 0.5]).log()
        >>> q, log_q = group_dro_weights(log_q, torch.tensor([2.0, 1.0]), torch.tensor([True] * 2),
        ...                              eta=1.0)
        >>> q.round(decimals=4)  # sigmoid(1)
        tensor([0.7311, 0.2689])
    """
    weighed = present if weighed is None else weighed
    before, gain = log_q, losses + adjustments
    if normalize:
        total = gain.sum()
        gain = torch.where(total > 0, gain / total.clamp(min=1e-12), 0.0)
    if present_only:
        gain = torch.where(present, gain, 0.0)
    log_q = before + eta * gain
    if present_only:
        # Only the shares among the weighed groups move; their sum stays.
        sum_before = torch.where(weighed, before, -torch.inf).logsumexp(0)
        sum_after = torch.where(weighed, log_q, -torch.inf).logsumexp(0)
        log_q = torch.where(weighed, log_q - sum_after + sum_before, before)
    log_q = log_q.log_softmax(0)
    q = log_q.exp()
    if min_weight:
        q = (1 - min_weight) * q + min_weight / len(q)
        log_q = q.log()
    if present_only:
        q = torch.where(weighed, q, 0.0)
        q = q / q.sum().clamp(min=1e-12)
    return q, log_q
