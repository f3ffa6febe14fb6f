"""Adversarially reweighted learning."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt
from frbench.distributed import all_gather
from frbench.training.objective import Objective


class ARL(Objective):
    """A second network raises the weights of regions of (x, y) with large losses.

    min_theta max_phi (1/B) sum_i w_i lambda_i l_i, lambda_i = 1 + f_i / ((1/B) sum_j w_j f_j),
    f = sigmoid(adversary(x, y)), normalised over the global batch. Source: arXiv 2006.13114,
    section 3 and equation 3. Both players move in one optimiser: the adversary's gradient is
    reversed. lambda has mean 2, hence the gradient twice ERM's scale; before ``pretrain_steps``
    lambda is 1, which is ERM.

    Args:
        adversary_lr: The adversary's learning rate; None takes ``lr``.
        adversary_hidden: Widths of its hidden layers; none (a linear adversary) as in the paper.
        adversary_input: Whether it sees the inputs (the paper) or the features, cut off from the
            backbone; the label always.
        pretrain_steps: Steps before lambda leaves 1.

    Raises:
        UserError: For a negative rate or number of steps, a width that is not positive, or text
            inputs without features.
    """

    # lambda's second part is normalised by the weights, its first part is not.
    properties = Properties(weights=None, erm=({"pretrain_steps": 1_000_000},))

    steps: Tensor

    def __init__(
        self,
        *args: Any,
        adversary_lr: NotNegative | None = None,
        adversary_hidden: list[Count] | None = None,
        adversary_input: Literal["inputs", "features"] = "inputs",
        pretrain_steps: NotNegativeInt = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.vocab_size and adversary_input == "inputs":
            raise UserError("ARL.adversary_input: inputs are token ids here; set it to features.")
        self.adversary_lr = adversary_lr
        self.adversary_hidden = adversary_hidden
        self.adversary_input = adversary_input
        self.pretrain_steps = pretrain_steps
        features = cast(nn.Linear, self.network.head).in_features
        seen = math.prod(self.input_shape) if adversary_input == "inputs" else features
        widths = [seen + self.num_classes, *(adversary_hidden or [])]
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        self.adversary = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give the adversary a group, and so a rate, of its own."""
        adversary = list(self.adversary.parameters())
        own = {id(p) for p in adversary}
        first, *rest = super().parameter_groups()
        first["params"] = [p for p in first["params"] if id(p) not in own]
        rate = self.lr if self.adversary_lr is None else self.adversary_lr
        return [first, *rest, {"params": adversary, "lr": rate}]

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the weighted loss, which the adversary's parameters climb."""
        self.stage(steps=self.steps + 1)
        seen = batch.x.flatten(1) if self.adversary_input == "inputs" else out.features.detach()
        label = F.one_hot(batch.y, self.num_classes)
        score = self.adversary(torch.cat([seen.float(), label], 1))[:, 0]
        columns = all_gather(torch.stack([out.losses, batch.weight, score], 1))
        losses, weight, score = columns.unbind(1)
        # In logarithms: saturated scores would give 0 / 0.
        log_f = F.logsigmoid(score)
        extra = (log_f - (log_f + weight.log()).logsumexp(0)).exp() * len(weight)
        extra = extra * (self.steps >= self.pretrain_steps)
        factor = 1 + 2 * extra.detach() - extra  # the value of 1 + extra, its gradient reversed
        return (weight * factor * losses).mean()
