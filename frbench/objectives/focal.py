"""The focal loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative
from frbench.functional.losses import focal
from frbench.training.objective import Objective


class Focal(Objective):
    """Rows that are predicted well count less, (1/B) sum_i w_i (1 - p_i)^gamma l_i.

    p_i = exp(-l_i) is the probability of the row's label; the factor has a gradient, too.
    Source: arXiv 1708.02002, equation 4; the class weight alpha_t of its equation 5 is
    ``data.balance: class`` here.

    Args:
        gamma: Exponent; 0 is ERM, 2 the paper's choice.

    Raises:
        UserError: If gamma is negative.

    Example:
        >>> import torch
        >>> from frbench.networks import MLP
        >>> model = Focal(2, 2, [1], network=MLP(hidden=[]), gamma=2.0)
        >>> zeros = torch.zeros(2, dtype=torch.long)
        >>> batch = Batch.of(zeros[:, None], zeros, zeros, num_attributes=2)
        >>> losses = torch.tensor([0.0, 2.0]).log1p()  # probabilities 1 and 1/3
        >>> out = Outputs(torch.zeros(2, 1), torch.zeros(2, 2), losses)
        >>> round(model.risk(out, batch).item(), 4)
        0.2441
    """

    couples_batch = False
    properties = Properties(erm=({"gamma": 0.0},), one_group={"gamma": 0.0})

    def __init__(self, *args: Any, gamma: NotNegative = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean weighted focal loss."""
        return focal(out.losses, batch.weight, self.gamma)
