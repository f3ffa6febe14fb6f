"""One head per attribute value."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.properties import Properties
from frbench.training.objective import Objective

Inference = Literal["sum_logits", "sum_probabilities", "max"]


class DomainIndependent(Objective):
    """Heads that share features, one per attribute value; a row trains the head of its z.

    The loss of row i is the cross-entropy of the logits l_(i, z_i, .); a row without attribute
    trains the combined prediction. At test time z is unknown, and the heads are combined over
    domains. Source: Wang et al., CVPR 2020 (arXiv 1911.11834), section 4.3.

    Args:
        inference: sum_logits, sum_z l_z (the paper's best); sum_probabilities, of the joint
            softmax over classes and domains; max, of the logits.

    Raises:
        UserError: For an unknown inference.

    Example:
        >>> from frbench.networks import MLP
        >>> model = DomainIndependent(3, 2, [5], network=MLP(hidden=[8]))
        >>> model.network.head.out_features, model(torch.zeros(4, 5)).shape
        (6, torch.Size([4, 3]))
    """

    couples_batch = False
    properties = Properties(attributes=None, one_group={})
    combines = ("infer",)  # a partner of another domain has another head

    def __init__(self, *args: Any, inference: Inference = "sum_logits", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inference = inference

    @property
    def head_sizes(self) -> Sizes:
        """C logits for each of the A domains."""
        return self.sizes._replace(num_classes=self.sizes.num_groups)

    def _by_domain(self, logits: Tensor) -> Tensor:
        return logits.view(-1, self.sizes.num_attributes, self.num_classes)

    def _combine(self, logits: Tensor) -> Tensor:
        """Logits of the classes [B, C] from those of all heads [B, A, C]."""
        if self.inference == "sum_probabilities":
            return logits.logsumexp(1)
        return logits.amax(1) if self.inference == "max" else logits.sum(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return combined logits [B, C]."""
        return self._combine(self._by_domain(self.network(x)[1].float()))

    def outputs(self, batch: Batch) -> Outputs:
        """Run the network; losses are those of each row's own head."""
        features, logits = self.network(batch.x)
        heads = self._by_domain(logits.float())
        combined = self._combine(heads)
        own = heads[torch.arange(len(heads), device=heads.device), batch.z.clamp(min=0)]
        chosen = torch.where((batch.z >= 0)[:, None], own, combined)
        losses = torch.nn.functional.cross_entropy(chosen, batch.y, reduction="none")
        return Outputs(features.float(), combined, losses)

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean weighted loss."""
        return (batch.weight * out.losses).mean()
