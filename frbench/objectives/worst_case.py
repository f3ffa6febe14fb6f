"""Worst cases over samples: no group labels, only how small a group may be."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, PositiveShare
from frbench.functional.losses import chi2_weights, cvar_weights, worst_case_mean
from frbench.training.objective import Objective


class WorstCase(Objective):
    """The mean loss under the worst reweighting of the global batch; says which is the worst.

    The gradient is that of sum_i q_i l_i with q held fixed (Danskin's theorem).
    """

    @abstractmethod
    def worst_weights(self, losses: Tensor, mass: Tensor) -> Tensor:
        """Return the adversary's distribution over the samples of the global batch.

        Args:
            losses: Losses of the global batch, without gradient [B].
            mass: The samples' own masses ``weight / B`` [B].

        Returns:
            q >= 0 with the sum of ``mass``; ``mass`` itself is ERM [B].
        """

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return sum_i q_i l_i over the global batch."""
        return worst_case_mean(out.losses, batch.weight, self.worst_weights)


class CVaR(WorstCase):
    """Mean loss of the worst alpha share of the batch, its conditional value at risk.

    max_q sum_i q_i l_i with 0 <= q_i <= p_i / alpha and sum q = sum p, where p_i = w_i / B; with
    equal weights the mean of the alpha B largest losses, the last one counted by its fraction.
    Source: Rockafellar and Uryasev (2000); as DRO over all groups of share alpha: arXiv
    1810.08750. alpha = 1 is ERM. Equal losses at the edge share what is left of alpha in
    proportion to their weights.

    Args:
        alpha: Share of the worst samples, in (0, 1].

    Raises:
        UserError: If alpha is outside (0, 1].

    Example:
        >>> import torch
        >>> cvar = CVaR(2, 2, [3], alpha=0.5)
        >>> cvar.worst_weights(torch.tensor([1.0, 4.0, 2.0]), torch.ones(3) / 3).round(decimals=3)
        tensor([0.0000, 0.6670, 0.3330])
    """

    properties = Properties(erm=({"alpha": 1.0},), one_group={"alpha": 1.0})

    def __init__(self, *args: Any, alpha: PositiveShare = 0.2, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alpha = alpha

    def worst_weights(self, losses: Tensor, mass: Tensor) -> Tensor:
        """Fill the share alpha from the largest loss down."""
        return cvar_weights(losses, mass, self.alpha)


class Chi2DRO(WorstCase):
    """Mean loss of the worst distribution in a chi-square ball around the batch.

    max_q sum_i q_i l_i with sum_i p_i (q_i / p_i - 1)^2 <= r, p_i = w_i / sum w. Its dual is
    min_eta sqrt(1 + r) sqrt(sum_i p_i (l_i - eta)_+^2) + eta with q_i ~ p_i (l_i - eta)_+.
    Source: arXiv 1806.08010, whose r = (1 / alpha - 1)^2 covers every group of share alpha;
    r = 1 / alpha - 1 does so already. r = 0 (alpha = 1) is ERM.

    The dual variable is exact: sums over the sorted losses tell which samples lie above it, and
    there it has a closed form. Nothing leaves the device.

    Args:
        alpha: Lower bound on the smallest group's share, in (0, 1]; gives the paper's r.
        radius: r >= 0 itself; None derives it from alpha.

    Raises:
        UserError: If alpha is outside (0, 1] or the radius is negative or infinite.

    Example:
        >>> import torch
        >>> chi2 = Chi2DRO(2, 2, [3], radius=0.5)
        >>> chi2.worst_weights(torch.tensor([1.0, 3.0, 2.0]), torch.ones(3) / 3).round(decimals=3)
        tensor([0.0450, 0.6220, 0.3330])
    """

    stackable = False
    why_alone = "its threshold makes large differences of rounding errors within 100 steps"
    properties = Properties(erm=({"alpha": 1.0}, {"radius": 0.0}), one_group={"radius": 0.0})

    def __init__(
        self,
        *args: Any,
        alpha: PositiveShare = 0.2,
        radius: NotNegative | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.alpha = alpha
        self.radius = radius

    def worst_weights(self, losses: Tensor, mass: Tensor) -> Tensor:
        """Solve for eta and weigh the losses above it by their height."""
        radius = (1 / self.alpha - 1) ** 2 if self.radius is None else self.radius
        return chi2_weights(losses, mass, radius)
