"""An adversary whose gradient is projected out of the classifier's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt, Positive, check_class
from frbench.functional.fairness import Target
from frbench.objectives.fr_train.players import discriminator_optimizers
from frbench.penalties.adversary import Discriminator, global_mean, margin
from frbench.training.manual import ManualObjective


def projected(own: Sequence[Tensor], theirs: Sequence[Tensor], alpha: float) -> list[Tensor]:
    """Return g - (g . u) u - alpha h, with u = h / norm(h), over all parameters as one vector.

    Where h is zero, it is g. Source: arXiv 1801.07593, equation 1.

    Args:
        own: Gradient g of the classifier's loss.
        theirs: Gradient h of the adversary's loss, by the same parameters.
        alpha: Factor of h.

    Example:
        >>> g, h = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])
        >>> projected([g[:1], g[1:]], [h[:1], h[1:]], alpha=1.0)
        [tensor([-1.]), tensor([2.])]
    """
    square = torch.stack([h.square().sum() for h in theirs]).sum()
    product = torch.stack([(g * h).sum() for g, h in zip(own, theirs, strict=True)]).sum()
    factor = product / square.clamp(min=torch.finfo(square.dtype).tiny) + alpha
    return [g - factor * h for g, h in zip(own, theirs, strict=True)]


class AdversarialDebiasing(ManualObjective):
    """ERM against an adversary that predicts z from the logits, by projected gradients.

    With g the gradient of the classifier's loss and h that of the adversary's mean cross-entropy,
    both by the classifier's parameters, the classifier moves along g - (g . u) u - alpha h,
    u = h / norm(h): no part of its step helps the adversary. The adversary takes its own step in
    each batch, with an optimiser of its own. Source: arXiv 1801.07593, equation 1: the projection
    is one over all parameters (other code projects each tensor by itself). The paper lets alpha
    grow with the square root of the step and the rate fall with it; here alpha is constant, and
    ``scheduler`` is the rate's.

    Penalties are added to the classifier's loss. :class:`~frbench.penalties.Adversary` is the
    form with one optimiser and without projection.

    Args:
        alpha: Factor of the adversary's gradient.
        target: demographic_parity; equal_opportunity: the adversary sees the rows with
            ``y = positive_class`` alone; equalized_odds: it sees y.
        positive_class: Label that equal_opportunity is about.
        adversary_hidden: Widths of the adversary's hidden layers; by default it is linear.
        adversary_optimizer: Class of ``torch.optim`` for the adversary.
        adversary_lr: Its learning rate.

    Raises:
        UserError: For a value out of range, an unknown target or optimiser, or no such class.

    Example:
        >>> from frbench.networks import MLP
        >>> model = AdversarialDebiasing(2, 2, [5], network=MLP(hidden=[8]), alpha=0.5)
        >>> sum(p.numel() for p in model.adversary.parameters())  # of the log-odds: a x + b
        2
    """

    # Of the risk: the attribute is the adversary's target, whose logits belong to single values.
    properties = Properties(attributes=None)

    def __init__(
        self,
        *args: Any,
        alpha: NotNegative = 1.0,
        target: Target = "demographic_parity",
        positive_class: NotNegativeInt = 1,
        adversary_hidden: list[Count] | None = None,
        adversary_optimizer: str = "Adam",
        adversary_lr: Positive = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_class(self, positive_class, self.num_classes)
        self.alpha = alpha
        self.target = target
        self.positive_class = positive_class
        self.adversary_hidden = adversary_hidden or []
        self.adversary_optimizer = adversary_optimizer
        self.adversary_lr = adversary_lr
        odds = 1 if self.num_classes == 2 else self.num_classes
        self.adversary = Discriminator(
            odds, self.sizes, target, positive_class, self.adversary_hidden
        )
        self.other_optimizers()  # wrong names must fail before any data is read

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the classifier's optimiser: all but the adversary."""
        theirs = {id(p) for p in self.adversary.parameters()}
        own, *groups = super().parameter_groups()
        return [{"params": [p for p in own["params"] if id(p) not in theirs]}, *groups]

    def other_optimizers(self) -> list[Optimizer]:
        """Build the adversary's optimiser."""
        rate = (self.adversary_optimizer, "adversary_optimizer", self.adversary_lr)
        players = nn.ModuleDict({"adversary": self.adversary})
        return discriminator_optimizers(players, {"adversary": rate})

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean weighted loss."""
        return (batch.weight * out.losses).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        """Move the classifier and the adversary, both by the gradients of this batch."""
        self.discard_all()
        rows = self.outputs(batch), batch
        with self.full_precision():
            terms = self.terms(rows, rows)
            attributes = self.adversary.attributes(batch)
            each = self.adversary.losses(margin(rows[0].logits), batch.y, attributes)
            adversary = global_mean(each, attributes.mask * batch.weight)
            own = self.gradients([terms["loss"]], [0], keep=True)
            both = self.gradients([adversary], [0, 1])
            theirs, last = both[: len(own)], both[len(own) :]
            self.move(projected(own, theirs, self.alpha), [0], counts=True)
            self.move(last, [1], counts=False)
        self.training_log.update(*rows, terms | {"adversary": adversary})
