"""Batches whose shares of the attribute values follow the losses."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegativeInt, Share, check_class
from frbench.functional.fairness import Target
from frbench.objectives.erm import ERM
from frbench.training.table_pass import table_outputs


class FairBatch(ERM):
    """ERM on batches in which, given y, the value of z with the larger loss comes more often.

    Rows are drawn with share s_yz of value z given the label y, at first that of the data. At
    each epoch's start s moves by ``alpha`` from the value with the smallest mean loss to that
    with the largest, for one label: that of ``positive_class`` (equal_opportunity), or that with
    the larger difference. demographic_parity takes the losses against ``positive_class``, each
    cell's sum divided by the rows of z, and moves the other labels in the opposite direction.
    Source: arXiv 2012.01696, Algorithm 1 and its released code, there for two values.

    Args:
        target: equal_opportunity, equalized_odds or demographic_parity.
        alpha: Change of a share in an epoch; 0 is ERM.
        positive_class: Label that equal_opportunity and demographic_parity are about.

    Raises:
        UserError: For an unknown target, a share out of range, or no such class.

    Example:
        >>> from frbench.networks import MLP
        >>> model = FairBatch(2, 2, [1], network=MLP(hidden=[]), alpha=0.005)
        >>> losses = np.array([[0.3, 0.3], [0.4, 0.6]])  # of the cells (y, z)
        >>> model.moved(np.full((2, 2), 0.5), losses).round(4).tolist()
        [[0.5, 0.5], [0.495, 0.505]]
    """

    properties = Properties(attributes="exchangeable", erm=({"alpha": 0.0},), one_group={})
    combines = ("mixing",)  # the shares are of the attribute of the table
    epoch_weights_via: Literal["sample", "weight"] = "sample"

    def __init__(
        self,
        *args: Any,
        target: Target = "equal_opportunity",
        alpha: Share = 0.005,
        positive_class: NotNegativeInt = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_class(self, positive_class, self.num_classes)
        self.target = target
        self.alpha = alpha
        self.positive_class = positive_class
        self._shares: np.ndarray | None = None  # s [C, A]

    def setup(self, stage: str) -> None:
        """Begin with the data's shares; a checkpoint's are restored after this."""
        super().setup(stage)
        if stage == "fit":
            self._shares = None

    def moved(self, shares: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """Move the shares of one label.

        Args:
            shares: s, each row of sum one [C, A].
            losses: Losses of the cells, NaN for a cell without rows [C, A].

        Returns:
            The new shares [C, A].
        """
        highest, lowest = np.nan_to_num(losses, nan=-np.inf), np.nan_to_num(losses, nan=np.inf)
        gap = highest.max(1) - lowest.min(1)
        y = self.positive_class if self.target == "equal_opportunity" else int(gap.argmax())
        up, down = int(highest[y].argmax()), int(lowest[y].argmin())
        if self.target == "demographic_parity" and y != self.positive_class:
            up, down = down, up
        shares, step = shares.copy(), min(self.alpha, shares[y, down])
        shares[y, [up, down]] += [step, -step] if up != down and gap[y] > 0 else [0, 0]
        return shares

    def on_epoch_weights(self, train: Any) -> np.ndarray | None:
        """Return s_yz over the data's share of z given y, 1 for rows of unknown z."""
        if self.alpha == 0:
            return None
        if train is None:
            raise UserError("FairBatch draws the rows of the training table: fit a datamodule.")
        table = train.training.table
        known, counts = table.z >= 0, table.counts(self.num_classes, train.num_attributes)
        cell = table.y[known] * train.num_attributes + table.z[known]
        data = counts / counts.sum(1, keepdims=True).clip(min=1)
        if self._shares is None:
            self._shares = data
        else:
            logits = table_outputs(self, ["logits"])["logits"].double()
            against = torch.as_tensor(table.y, device=logits.device)
            if self.target == "demographic_parity":
                against = torch.full_like(against, self.positive_class)
            losses = F.cross_entropy(logits, against, reduction="none").cpu().numpy()
            sums = np.bincount(cell, losses[known], counts.size).reshape(counts.shape)
            rows = counts.sum(0) if self.target == "demographic_parity" else counts
            with np.errstate(invalid="ignore", divide="ignore"):
                self._shares = self.moved(self._shares, np.where(counts > 0, sums / rows, np.nan))
        weights = np.ones(len(table))
        weights[known] = (self._shares / np.where(counts > 0, data, 1)).ravel()[cell]
        return weights

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the shares: they depend on every epoch before."""
        super().on_save_checkpoint(checkpoint)
        shares = None if self._shares is None else torch.from_numpy(self._shares.copy())
        write_section(checkpoint, shares=shares)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them, for training alone."""
        super().on_load_checkpoint(checkpoint)
        shares = read_section(checkpoint).get("shares")
        if shares is not None and self._trainer is not None and self.trainer.state.fn == "fit":
            self._shares = shares.numpy()
