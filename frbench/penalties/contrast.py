"""Contrast of rows of one class across what a first network predicts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, Positive
from frbench.distributed import all_gather
from frbench.penalties.base import Penalty


class Contrast(Penalty):
    """Pull features of a class together across z, and apart from other classes of the same z.

    Anchors are rows with z_i = y_i. With s_ij the cosine of the features of rows i and j over the
    temperature, P_i the rows of the same y and another z, and N_i those of another y and the same
    z, the loss of an anchor is the mean over j in P_i of
    -s_ij + log sum_{k in P_i or N_i} exp s_ik; the term is the weighted mean over the anchors of
    the global batch that have rows of both kinds. Source: Zhang et al. (Correct-N-Contrast), arXiv
    2203.01517, with all rows of the batch instead of drawn ones. It is meant for
    ``infer: Predictions``, where z is the class that the first network predicts and anchors are
    the rows that it gets right. The paper minimises lambda times this term plus 1 - lambda times
    the cross-entropy: the ``weight`` here is lambda / (1 - lambda).

    Args:
        weight: Factor of the term in the loss.
        temperature: Divides the cosines.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Example:
        >>> penalty = Contrast(temperature=1.0)
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> y, z, one = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), torch.ones(3)
        >>> batch = Batch(features, y, z, 2 * y + z, one, one > 1, y, one > 1)
        >>> round(penalty(Outputs(features, features, one), batch).item(), 6)  # log(1 + 1 / e)
        0.313262
    """

    # z is compared with y; rows count as anchors by their weights, as partners equally.
    properties = Properties(weights="invariant", copies=None, attributes=None)

    def __init__(
        self, weight: NotNegative = 1.0, temperature: Positive = 0.1, **schedule: Any
    ) -> None:
        super().__init__(weight, **schedule)
        self.temperature = temperature

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean contrast of the anchors; 0 without any."""
        features = F.normalize(all_gather(out.features.flatten(1)), dim=1)
        y, z, weight = (all_gather(c) for c in (batch.y, batch.z, batch.weight))
        known = (z >= 0) & (z >= 0)[:, None]
        same_y, same_z = y == y[:, None], z == z[:, None]
        positive, negative = known & same_y & ~same_z, known & ~same_y & same_z
        anchor = (y == z) & positive.any(1) & negative.any(1)
        similarity = features @ features.T / self.temperature
        compared = similarity.masked_fill(~(positive | negative), -torch.inf)
        total = torch.where(anchor[:, None], compared, 0.0).logsumexp(1)
        mean = (similarity * positive).sum(1) / positive.sum(1).clamp(min=1)
        mass = weight * anchor
        return (mass * (total - mean)).sum() / mass.sum().clamp(min=1e-12)
