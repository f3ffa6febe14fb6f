"""An additive layer that brings a penalty to a trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegativeInt, Positive, checked
from frbench.contracts.state import Staged
from frbench.postprocessing.base import Head, HeldOut, LastLayer
from frbench.postprocessing.heads import trained_layer


@checked
@dataclass(frozen=True, eq=False)
class FRAPPE(LastLayer):
    """In-processing penalties for a frozen model (Tifrea et al., arXiv 2312.02592).

    An additive linear layer T on the features is trained, the model itself stays:
    min_T mean KL(softmax(base logits) || softmax(base logits + T f)) + sum_k weight_k penalty_k.
    The sum of the base's last layer and T is the new last layer. Any penalty of frbench fits.

    Args:
        penalties: Terms that are added, each with its weight: classes of frbench.penalties.
        epochs: Passes over the rows.
        batch_size: Rows of a step, over which penalties are computed.
        lr: Learning rate of Adam.
        seed: Seed of the order.

    Raises:
        UserError: If there is no penalty, or one that runs the network, the trained layer is not
            linear, or there are fewer rows than a batch.

    Example:
        >>> from frbench.penalties import MarginalMMD
        >>> FRAPPE([MarginalMMD(weight=2.0)]).fits_on
        'train'
    """

    fits_on: ClassVar[Literal["val", "train"]] = "train"

    penalties: list[Staged]
    epochs: Count = 20
    batch_size: Count = 512
    lr: Positive = 1e-3
    seed: NotNegativeInt = 0

    def __post_init__(self) -> None:
        if not self.penalties:
            raise UserError("FRAPPE.penalties: give at least one penalty.")
        for penalty in self.penalties:
            if getattr(penalty, "sees_network", False):
                raise UserError(
                    f"FRAPPE.penalties: {type(penalty).__name__} runs the network, and only "
                    "features and logits are kept of it; use another penalty."
                )

    def fit(self, rows: HeldOut) -> Head:
        """Train the additive layer."""
        weight, bias = trained_layer("FRAPPE", rows)
        sizes = Sizes(rows.num_classes, rows.num_attributes, rows.features.shape[1:])
        penalties: list[Any] = list(self.penalties)  # frbench.penalties.Penalty
        for penalty in penalties:
            penalty.num_features = rows.features.shape[1]
            penalty.bind(sizes)
        start = np.concatenate([weight, bias[:, None]], 1)
        added = torch.zeros(start.shape, requires_grad=True)
        base = torch.as_tensor(rows.logits).float()
        features = torch.as_tensor(rows.features).float()
        inputs = torch.cat([features, torch.ones(len(features), 1)], 1)
        y, z = torch.as_tensor(rows.y), torch.as_tensor(rows.z)
        group = torch.as_tensor(rows.group)
        groups = [g for penalty in penalties for g in penalty.parameter_groups()]
        optimizer = torch.optim.Adam([{"params": [added]}, *groups], lr=self.lr)
        size = min(self.batch_size, len(y))
        rng = np.random.default_rng([self.seed, 27])
        values = [0.0, 0.0]
        for _ in range(self.epochs):
            order = rng.permutation(len(y))
            for first in range(0, len(y) - size + 1, size):
                at = torch.as_tensor(order[first : first + size])
                logits = base[at] + inputs[at] @ added.T
                losses = F.cross_entropy(logits, y[at], reduction="none")
                ones = torch.ones(size)
                flags = torch.zeros(size, dtype=torch.bool)
                batch = Batch(features[at], y[at], z[at], group[at], ones, flags, at, flags)
                out = Outputs(features[at], logits, losses)
                distance = F.kl_div(
                    logits.log_softmax(1), base[at].log_softmax(1), log_target=True,
                    reduction="batchmean",
                )  # fmt: skip
                term = sum((p.weight * p(out, batch) for p in penalties), torch.zeros(()))
                optimizer.zero_grad()
                (distance + term).backward()
                optimizer.step()
                for penalty in penalties:
                    penalty.commit()
                values = [float(distance.detach()), float(term.detach())]
        total = start + added.detach().double().numpy()
        report = {"last_divergence": values[0], "last_penalty": values[1]}
        return Head(total[:, :-1], total[:, -1], report)
