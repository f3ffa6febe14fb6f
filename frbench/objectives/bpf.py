"""Blind Pareto fairness."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, Positive, PositiveShare
from frbench.objectives.erm import ERM
from frbench.training.table_pass import table_outputs


def project(point: np.ndarray, low: float, mean: float) -> np.ndarray:
    """Find the nearest vector with entries in [low, 1] and the given mean.

    Args:
        point: Any vector [N].
        low: Smallest entry, at most ``mean``.
        mean: Mean of the entries, at most 1.

    Example:
        >>> project(np.array([0.1, 0.5, 3.0]), low=0.05, mean=0.5).round(3).tolist()
        [0.05, 0.45, 1.0]
    """
    # sum_i clip(x_i - tau, low, 1) falls from N, linear between the points where an entry
    # leaves 1 (slope -1 each) and those where it reaches low.
    n = len(point)
    breaks = np.concatenate([point - 1, point - low])
    order = np.argsort(breaks)
    slope = np.cumsum(np.repeat([-1.0, 1.0], n)[order])
    breaks = breaks[order]
    total = n + np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(breaks))])
    tau = np.interp(mean * n, total[::-1], breaks[::-1])
    result: np.ndarray = np.clip(point - tau, low, 1)
    return result


class BPF(ERM):
    """Blind Pareto fairness: a game with an adversary that weighs every training row.

    min_theta max_a sum_i a_i l_i, a_i in [epsilon, 1] with mean alpha: the worst group of share
    alpha, while epsilon keeps everybody else's loss in view. The learner trains an epoch with
    batch.weight * a_i / alpha; then a <- projection of a + eta l, with l the losses of the whole
    table in one more pass. Source: Martinez et al., Blind Pareto Fairness and Subgroup
    Robustness (ICML 2021). The first epoch is ERM, and so are alpha = 1 and eta = 0.

    Args:
        alpha: Share of the worst group, in (0, 1]; the paper's rho.
        epsilon: Least weight of a row, in [0, alpha].
        eta: Step size of the adversary, >= 0.
        max_change: Largest relative change of the weights (sum |a' - a| / sum a) in one step; eta
            is multiplied by .75 until it holds, as in the released code. None: no limit.

    Raises:
        UserError: For a value out of range.
    """

    properties = Properties(erm=({"alpha": 1.0}, {"eta": 0.0}), one_group={})

    def __init__(
        self,
        *args: Any,
        alpha: PositiveShare = 0.2,
        epsilon: NotNegative = 0.01,
        eta: NotNegative = 5.0,
        max_change: Positive | None = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if epsilon > alpha:
            raise UserError(f"BPF.epsilon must lie in [0, alpha = {alpha}], got {epsilon}.")
        self.alpha = alpha
        self.epsilon = epsilon
        self.eta = eta
        self.max_change = max_change
        self._adversary: np.ndarray | None = None  # a, float64 [N]

    def setup(self, stage: str) -> None:
        """Begin a new game; a checkpoint's weights are restored after this."""
        super().setup(stage)
        if stage == "fit":
            self._adversary = None

    def ascend(self, weights: np.ndarray, losses: np.ndarray) -> np.ndarray:
        """Move the adversary by one projected step.

        Args:
            weights: a [N].
            losses: Losses of the training rows [N].

        Returns:
            The new a [N].
        """
        eta = self.eta
        while True:
            moved = project(weights + eta * losses, self.epsilon, self.alpha)
            change = np.abs(moved - weights).sum() / weights.sum()
            if self.max_change is None or change <= self.max_change:
                return moved
            eta *= 0.75

    def on_epoch_weights(self, train: Any) -> np.ndarray:
        """Let the adversary answer the last epoch."""
        if train is None:
            raise UserError("BPF weighs the rows of the training table: fit a datamodule.")
        if self._adversary is None:
            self._adversary = np.full(len(train.training.table), self.alpha)
        else:
            losses = table_outputs(self, ["losses"])["losses"].double().cpu().numpy()
            if bad := int((~np.isfinite(losses)).sum()):
                raise UserError(
                    f"BPF: {bad} training rows have no finite loss, so the network has diverged; "
                    "lower model.lr."
                )
            self._adversary = self.ascend(self._adversary, losses)
        return self._adversary / self.alpha

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the adversary's weights: they depend on every epoch before."""
        super().on_save_checkpoint(checkpoint)
        weights = None if self._adversary is None else torch.from_numpy(self._adversary.copy())
        write_section(checkpoint, adversary=weights)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them, for training alone."""
        super().on_load_checkpoint(checkpoint)
        weights = read_section(checkpoint).get("adversary")
        if weights is not None and self._trainer is not None and self.trainer.state.fn == "fit":
            self._adversary = weights.numpy()
