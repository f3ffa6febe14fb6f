"""Multi-layer perceptron."""

from __future__ import annotations

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Share
from frbench.networks.base import Network


class OneLogit(nn.Linear):
    """A linear head with one output l, which gives the logits (0, l) [B, 2]."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return F.pad(super().forward(features), (1, 0))


class MLP(Network):
    """Fully connected ReLU network; ``hidden: []`` is a linear model.

    Args:
        hidden: Widths of the hidden layers; the last one is D.
        dropout: Dropout rate after each hidden layer, in [0, 1).
        one_logit: Give two classes the logits 0 and l, from a head with one output.

    Raises:
        UserError: If a width is not positive, or there are not two classes for one logit.

    Example:
        >>> import torch
        >>> net = MLP(hidden=[16])
        >>> net.bind(Sizes(3, 2, (5,)))
        >>> [tuple(t.shape) for t in net(torch.zeros(4, 5))]
        [(4, 16), (4, 3)]
    """

    def __init__(
        self, hidden: list[Count] | None = None, dropout: Share = 0.0, one_logit: bool = False
    ) -> None:
        super().__init__()
        self.hidden = [64, 32] if hidden is None else hidden
        self.dropout = dropout
        self.one_logit = one_logit

    def bind(self, sizes: Sizes) -> None:
        """Create the layers, with a head of one logit if asked for."""
        if self.one_logit and sizes.num_classes != 2:
            raise UserError(f"MLP.one_logit needs two classes, got {sizes.num_classes}.")
        super().bind(sizes)
        if self.one_logit:
            self.head = OneLogit(self.num_features)

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the hidden layers and the width of the last one."""
        widths = [math.prod(sizes.input_shape), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers), widths[-1]
