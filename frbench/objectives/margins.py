"""Losses that are told how many training rows each class has."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, NotNegativeInt, Positive, ProperShare
from frbench.data.balance import balance_ratio
from frbench.data.module import GroupDataModule
from frbench.networks.cosine import CosineHead
from frbench.objectives.erm import ERM


def class_counts(data: GroupDataModule) -> Tensor:
    """Rows of each class in the table that training sees, before weights, float64 [C]."""
    counts = np.bincount(data.training.table.y, minlength=data.num_classes)
    return torch.from_numpy(counts).double()


class LogitAdjustment(ERM):
    """Cross-entropy of logits + tau log n_c in training, and of the plain logits afterwards.

    n_c are the training rows of class c. With tau = 1 the network is unbiased for uniform
    classes: the same as the balanced softmax. Source: arXiv 2007.07314, equation 10; arXiv
    2007.10740. Beside ``data.balance: class`` the classes would be balanced twice.

    Args:
        tau: Strength; 0 is ERM.

    Raises:
        UserError: If tau is negative.

    Example:
        >>> from frbench.networks import MLP
        >>> model = LogitAdjustment(2, 2, [1], network=MLP(hidden=[]))
        >>> _ = model.log_counts.copy_(torch.tensor([30.0, 10.0]).log())
        >>> round(model.sample_losses(torch.zeros(1, 2), torch.tensor([1])).item(), 4)  # log 4
        1.3863
    """

    properties = Properties(erm=({"tau": 0.0},), one_group={"tau": 0.0})

    log_counts: Tensor

    def __init__(self, *args: Any, tau: NotNegative = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tau = tau
        # Read from the data at the start of fitting, hence not part of the checkpoint.
        self.register_buffer("log_counts", torch.zeros(self.num_classes), persistent=False)

    def bind_data(self, data: GroupDataModule) -> None:
        """Read the class counts; a class without rows is as good as left out of the softmax."""
        self.log_counts.copy_(class_counts(data).clamp(min=1e-30).log())

    def sample_losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of the adjusted logits [B]."""
        return F.cross_entropy(logits + self.tau * self.log_counts, y, reduction="none")


class ULA(ERM):
    """Cross-entropy of logits + tau log p(y | z_i) in training: what z says of the label is given.

    p(y = c | z) is the share of class c among the training rows of attribute z, which is meant
    to be inferred: ``infer: Predictions`` takes what a biased network predicts. Rows of unknown
    attribute have their plain loss. Source: arXiv 2310.18555, there with a moving
    confusion matrix of a self-supervised network instead of the counts of a finished one.

    Args:
        tau: Strength; 0 is ERM.

    Raises:
        UserError: If tau is negative.

    Example:
        >>> from frbench.group_inference import Predictions
        >>> from frbench.networks import MLP
        >>> model = ULA(2, 2, [1], network=MLP(hidden=[]), infer=Predictions(epochs=1))
        >>> model.bind_groups(torch.tensor([9.0, 3.0, 1.0, 7.0]), [])
        >>> model.log_shares.exp()
        tensor([[0.9000, 0.1000],
                [0.3000, 0.7000]])
    """

    properties = Properties(attributes=None, erm=({"tau": 0.0},), one_group={})
    combines = ("infer",)  # a partner of another attribute has another adjustment

    log_shares: Tensor

    def __init__(self, *args: Any, tau: NotNegative = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tau = tau
        # Read from the data at the start of fitting, hence not part of the checkpoint.
        shape = self.sizes.num_attributes, self.num_classes
        self.register_buffer("log_shares", torch.zeros(shape), persistent=False)

    def bind_groups(self, train_counts: Tensor, group_names: list[str]) -> None:
        """Read p(y | z) of the training rows."""
        counts = train_counts.double().view(self.num_classes, -1).T
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
        self.log_shares.copy_(shares.clamp(min=1e-30).log())

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean weighted cross-entropy of the adjusted logits."""
        adjustment = torch.where((batch.z >= 0)[:, None], self.log_shares[batch.z], 0.0)
        losses = self.sample_losses(out.logits + self.tau * adjustment, batch.y)
        return (batch.weight * losses).mean()


class LDAM(ERM):
    """Margins that are larger for rare classes, and class-balanced weights late in training.

    The loss of a row is the cross-entropy of s (cos_c - m_y 1[c = y]), with cos_c the cosine of
    its features with the vector of class c, and m_c = max_margin (n_c / min n)^(-1/4). From epoch
    ``defer`` on rows weigh (1 - beta) / (1 - beta^n_y) (DRW). Source: arXiv 1906.07413, equation
    13 and Algorithm 1, and its released code. The head is a
    :class:`~frbench.networks.cosine.CosineHead`.

    Args:
        max_margin: Margin of the rarest class; 0 leaves the scaled cross-entropy.
        scale: s.
        defer: Epochs before the weights begin; the paper's 160 of 200.
        beta: Of the weights, in [0, 1).

    Raises:
        UserError: For a value out of range.

    Example:
        >>> from frbench.networks import MLP
        >>> model = LDAM(2, 2, [1], network=MLP(hidden=[4]), scale=1.0)
        >>> _ = model.margins.copy_(torch.tensor([0.25, 0.5]))
        >>> round(model.sample_losses(torch.tensor([[0.0, 0.5]]), torch.tensor([1])).item(), 4)
        0.6931
    """

    properties = Properties()

    margins: Tensor

    def __init__(
        self,
        *args: Any,
        max_margin: NotNegative = 0.5,
        scale: Positive = 30.0,
        defer: NotNegativeInt = 160,
        beta: ProperShare = 0.9999,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.max_margin = max_margin
        self.scale = scale
        self.defer = defer
        self.beta = beta
        self.network.head = CosineHead(self.network.num_features, self.num_classes, scale)
        # Read from the data at the start of fitting, hence not part of the checkpoint.
        self.register_buffer("margins", torch.zeros(self.num_classes), persistent=False)

    def bind_data(self, data: GroupDataModule) -> None:
        """Set the margins of the classes that have rows."""
        counts = class_counts(data)
        relative = torch.where(counts > 0, (counts / counts[counts > 0].min()) ** -0.25, 0.0)
        self.margins.copy_(self.max_margin * relative)

    def on_epoch_weights(self, train: Any) -> np.ndarray | None:
        """Return the class-balanced weights from epoch ``defer`` on."""
        if train is None or self.stage_epoch < self.defer:
            return None
        return balance_ratio(
            train.training.table, self.num_classes, 1, "class", beta=self.beta, skip_empty=True
        )

    def sample_losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy with the margin of each row's class [B]."""
        margin = F.one_hot(y, self.num_classes) * self.margins
        return F.cross_entropy(logits - self.scale * margin, y, reduction="none")
