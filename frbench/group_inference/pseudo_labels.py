"""Pseudo-labels of the attribute from the rows whose attribute is known."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import PositiveShare
from frbench.distributed import all_gather, all_sum, rank, world_size
from frbench.group_inference.base import GroupInference, Rows, StageLength


class PseudoLabels(GroupInference):
    """SSA: the first network learns z from the rows that have it, and labels the others.

    The first stage trains the first A logits to predict z: the loss is the mean cross-entropy of
    z over the rows of known z of the global batch, plus that of the prediction itself over the
    rows of unknown z that are sure. Sure rows have a probability of at least ``tau``; of those of
    each group (y, predicted z) the surest are taken, as many as bring the group to the size of
    the smallest one. z' is z where it is known, else the prediction. Source: Nam et al., arXiv
    2204.02070. The paper labels the rows of each of three parts by a
    network that was trained on the other two; here one network labels all.

    Args:
        epochs: Epochs of the first network, or their share of the run.
        tau: Least probability of a prediction that is learnt from; 1 learns from known z alone.
        start: A checkpoint with the first network, instead of the first stage.
        soft: Whether GroupDRO sees P(z | x) of rows of unknown z instead of the prediction
            (PG-DRO, arXiv 2303.05809; metrics and logs have the prediction).

    Raises:
        UserError: If there are more attribute values than classes, hence logits, or no row with
            a known attribute.

    Example:
        >>> logits, y = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), np.array([0, 1, 1])
        >>> labels = PseudoLabels()
        >>> labels.bind(Sizes(2, 2, (1,)))
        >>> rows = Rows(logits, logits, y * 0.5, y, np.array([1, -1, -1]))
        >>> labels.infer(rows, np.random.default_rng(0))
        array([1, 1, 0])
    """

    sees_attribute = True

    def __init__(
        self,
        epochs: StageLength = 1,
        tau: PositiveShare = 0.95,
        start: str | None = None,
        soft: bool = False,
    ) -> None:
        super().__init__(epochs, start)
        self.tau = tau
        self.soft = soft

    def bind(self, sizes: Sizes) -> None:
        """Take the data's attribute values."""
        if sizes.num_attributes > sizes.num_classes:
            raise UserError(
                f"PseudoLabels predicts z by the {sizes.num_classes} logits of the network, and "
                f"there are {sizes.num_attributes} attribute values; use another inference."
            )
        self.num_attributes = sizes.num_attributes

    def check(self, z: np.ndarray) -> None:
        """Refuse a table without a known attribute."""
        if not (z >= 0).any():
            raise UserError("PseudoLabels needs training rows of known attribute; there are none.")

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the loss of known attributes and of sure predictions."""
        logits = out.logits[:, : self.num_attributes]
        with torch.no_grad():
            probability, predicted = logits.softmax(1).max(1)
            known = batch.z >= 0
            taken = self._taken(probability, predicted, batch)
        target = torch.where(known, batch.z, predicted)
        losses = F.cross_entropy(logits, target, reduction="none")
        total = losses.new_zeros(())
        for rows in (known, taken):
            mass = rows * batch.weight
            total = total + world_size() * (mass @ losses) / all_sum(mass.sum()).clamp(min=1e-12)
        return total

    def _taken(self, probability: Tensor, predicted: Tensor, batch: Batch) -> Tensor:
        """Which of this process's rows are sure, and of those surest of their group [B / W]."""
        known = all_gather(batch.z) >= 0
        z = torch.where(known, all_gather(batch.z), all_gather(predicted))
        group = all_gather(batch.y) * self.num_attributes + z
        everyone = all_gather(probability)
        sure = ~known & (everyone >= self.tau)
        same = group == group[:, None]
        labelled, size = (same & known).sum(1), (same & (known | sure)).sum(1)
        smallest = torch.where(known | sure, size, len(size)).min()
        surer = (same & sure & (everyone > everyone[:, None])).sum(1)
        taken = sure & (surer < smallest - labelled)
        return taken.chunk(world_size())[rank()]

    def infer(self, rows: Rows, rng: np.random.Generator) -> np.ndarray:
        """Return z where it is known, else the prediction."""
        predicted = rows.logits[:, : self.num_attributes].argmax(1)
        return np.where(rows.z >= 0, rows.z, predicted)

    def membership(self, z: np.ndarray, rows: Rows) -> np.ndarray:
        """Return the probabilities of the network, and z itself where it is known [N, A']."""
        logits = rows.logits[:, : self.num_attributes].astype(np.float64)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        certain = super().membership(z, rows)
        return np.where(rows.z[:, None] >= 0, certain, odds / odds.sum(1, keepdims=True))
