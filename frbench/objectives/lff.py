"""Learning from failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.ranges import PositiveShare, ProperShare
from frbench.training.objective import Objective

#: How the biased network exaggerates what it knows.
BiasedLoss = Literal["weighted", "generalised"]


def exaggerated(losses: Tensor, q: float, loss: BiasedLoss) -> Tensor:
    """Return losses of a network that follows the rows that are easy for it [B].

    With p = exp(-l) the probability of a row's label: ``generalised`` is the generalised
    cross-entropy (1 - p^q) / q, whose gradient is p^q times that of l (arXiv
    1805.07836); ``weighted`` is q p^q l with the factor held fixed, q times that gradient.

    Args:
        losses: Cross-entropies l [B].
        q: Exponent in (0, 1].
        loss: Which of the two.

    Example:
        >>> losses = torch.tensor([0.126928, 0.974077, 0.313262, 0.126928])
        >>> [round(exaggerated(losses, 0.7, kind).mean().item(), 5)
        ...  for kind in ("weighted", "generalised")]
        [0.17087, 0.30759]
    """
    if loss == "weighted":
        return q * torch.exp(-q * losses.detach()) * losses
    return -torch.expm1(-q * losses) / q


class LfF(Objective):
    """A biased network follows easy rows, and rows that are hard for it count in the other one.

    The biased network minimises :func:`exaggerated`. The other one minimises
    (1/B) sum_i w_i v_i l_i with v_i = b_i / (b_i + d_i), where b_i and d_i are moving averages of
    row i's losses in the biased and the other network, each divided by its maximum over the rows
    of the class that a batch has had. A row's first loss is taken as it is. Source: Nam et al.,
    arXiv 2007.02561, and its released code, which ``weighted`` and the moving averages are from.
    Predictions come from the second network. No attribute is used.

    With two classes and two attribute values the opposite of a spurious rule is a rule, too, and
    fits the conflicting rows: where the biased network is sure of the other rows, their weights
    vanish, and the second network may end with the reversed correlation.

    Args:
        q: Exponent of the biased network's loss, in (0, 1]; towards 0 it is ERM.
        decay: Share of the moving averages that a new loss leaves, in [0, 1).
        biased_loss: ``weighted`` (the released code) or ``generalised`` (the equation).

    Raises:
        UserError: If a value is out of range.

    Example:
        >>> from frbench.networks import MLP
        >>> model = LfF(2, 2, [3], network=MLP(hidden=[4]))
        >>> model.relative(torch.tensor([0.5, 2.0]), torch.tensor([1.0, 0.5])).round(decimals=3)
        tensor([0.3330, 0.8000])
    """

    combines = ("infer",)  # the biased network's losses are those of hard labels
    # Rows that no batch has had are below every loss.
    row_state: Mapping[str, float] = {"biased_loss_of": -1.0, "loss_of": -1.0, "label_of": 0}
    biased_loss_of: Tensor
    loss_of: Tensor
    label_of: Tensor

    def __init__(
        self,
        *args: Any,
        q: PositiveShare = 0.7,
        decay: ProperShare = 0.7,
        biased_loss: BiasedLoss = "weighted",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.q = q
        self.decay = decay
        self.biased_loss = biased_loss
        self.biased = self.network.twin()

    def relative(self, biased: Tensor, other: Tensor) -> Tensor:
        """Return b / (b + d), the share of the biased network's loss [B]."""
        share: Tensor = biased / (biased + other + 1e-8)
        return share

    @torch.no_grad()
    def _relative_losses(self, batch: Batch, **losses: Tensor) -> list[Tensor]:
        """Move the averages of the batch's rows, and divide them by their class maxima [B]."""
        index, moved = batch.index, {}
        for name, new in losses.items():
            old = getattr(self, name)[index]
            moved[name] = torch.where(old < 0, new, old.lerp(new, 1 - self.decay))
        self.stage_rows(index, label_of=batch.y, **moved)
        relative = []
        with self.rows_as_proposed():
            for name, own in moved.items():
                none = own.new_zeros(self.num_classes)
                largest = none.scatter_reduce(0, self.label_of, getattr(self, name), "amax")
                relative.append(own / largest[batch.y].clamp(min=1e-30))
        return relative

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the sum of both networks' losses; they share no parameter."""
        biased = self.companion_outputs(self.biased, batch).losses
        weight = self.relative(
            *self._relative_losses(batch, biased_loss_of=biased, loss_of=out.losses)
        )
        easy = exaggerated(biased, self.q, self.biased_loss)
        return (batch.weight * (weight * out.losses + easy)).mean()
