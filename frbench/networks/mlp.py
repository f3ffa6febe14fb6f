"""Multi-layer perceptron."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import nn

from frbench.batch import Sizes
from frbench.errors import UserError
from frbench.networks.base import Network


class MLP(Network):
    """Fully connected ReLU network; ``hidden: []`` is a linear model.

    Args:
        hidden: Widths of the hidden layers; the last one is D.
        dropout: Dropout rate after each hidden layer, in [0, 1).

    Raises:
        UserError: If a width is not positive.

    Example:
        >>> import torch
        >>> net = MLP(hidden=[16])
        >>> net.bind(Sizes(3, 2, (5,)))
        >>> [tuple(t.shape) for t in net(torch.zeros(4, 5))]
        [(4, 16), (4, 3)]
    """

    def __init__(self, hidden: list[int] | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = [64, 32] if hidden is None else hidden
        self.dropout = dropout
        if any(width < 1 for width in self.hidden):
            raise UserError(f"MLP.hidden must be positive widths, got {self.hidden}.")

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the hidden layers and the width of the last one."""
        widths = [math.prod(sizes.input_shape), *self.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers), widths[-1]
