"""Warnings for results that look like results but are not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from frbench.data.module import datamodule_of
from frbench.distributed import all_gather, rank, world_size
from frbench.training.evaluation import Evaluated
from frbench.training.log import is_due
from frbench.training.objective import Objective


def weighs_epochs(pl_module: LightningModule) -> bool:
    """Whether a method gives epochs weights of its own."""
    method = getattr(type(pl_module), "on_epoch_weights", None)
    return method is not None and method is not Objective.on_epoch_weights


class SanityWarning(UserWarning):
    """A run that should not be trusted as it is; the message begins with the check's name."""


class SanityCheck(Callback):
    """Warn, once per run and by name, about runs that carry no signal or too little data.

    An earlier public study published eight rows of constant or label-independent predictors;
    these checks would have named each of them.

    Args:
        min_group: Evaluation rows below which a group's accuracy is too noisy to compare.
        min_expected: Expected rows of a group in a batch below which group statistics fail.
        patience: Validations in a row with falling worst-group accuracy that are reported.

    Attributes:
        raised: Message of each check that fired, by name.
    """

    def __init__(self, min_group: int = 100, min_expected: float = 4.0, patience: int = 3) -> None:
        self.min_group = min_group
        self.min_expected = min_expected
        self.patience = patience
        self.raised: dict[str, str] = {}
        self._share: torch.Tensor | None = None
        self._history: list[float] = []

    def _warn(self, name: str, message: str) -> None:
        if name not in self.raised:
            self.raised[name] = message
            if rank() == 0:
                warnings.warn(f"[{name}] {message}", SanityWarning, stacklevel=3)

    # ---- before training --------------------------------------------------------------------
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check group sizes of batches and of the validation table."""
        data = datamodule_of(trainer)
        if data is None:
            return
        expected = data.sampled_shares * data.rows_per_batch
        small = (expected < self.min_expected) & (data.train_counts > 0)
        if small.any():
            i = int(np.argmin(np.where(small, expected, np.inf)))
            self._warn(
                "small_batch_groups",
                f"a batch of {data.rows_per_batch} holds {expected.ravel()[i]:.1f} rows of "
                f"{data.group_names[i]} on average, under {self.min_expected:g}; raise "
                "data.batch_size or use data.balance: joint with data.marginals: uniform.",
            )
        self._check_sizes(data, data.val_names)
        self._name_rare_groups(data, data.val_names, pl_module)
        self._check_method(trainer, pl_module)
        weighs = data.effective_via == "weight" or weighs_epochs(pl_module)
        self._share = torch.zeros((), device=pl_module.device) if weighs else None

    def _check_sizes(self, data: Any, names: list[str]) -> None:
        for name in names:
            counts = data.splits[name].counts(data.num_classes, data.num_attributes).ravel()
            if (counts < self.min_group).any():
                i = int(counts.argmin())
                sd = 50 / np.sqrt(max(counts[i], 1))
                self._warn(
                    f"small_evaluation_group/{name}",
                    f"{name} has {counts[i]} rows of {data.group_names[i]}: its accuracy has a "
                    f"standard error of up to {sd:.1f} points.",
                )

    def _name_rare_groups(self, data: Any, names: list[str], pl_module: LightningModule) -> None:
        """Name the groups that are too small to take part in minima and gaps."""
        least = pl_module.min_group_rows if isinstance(pl_module, Evaluated) else 0
        for name in names:
            counts = data.splits[name].counts(data.num_classes, data.num_attributes).ravel()
            rare = [g for g, n in zip(data.group_names, counts, strict=True) if 0 < n < least]
            if rare and (counts >= least).any():
                shown = ", ".join(rare[:5]) + (f" and {len(rare) - 5} more" * (len(rare) > 5))
                self._warn(
                    f"rare_groups/{name}",
                    f"groups of fewer than {least} rows of {name} take no part in worst_group_* "
                    f"and gaps and are pooled in rare_groups_accuracy: {shown}.",
                )

    # ---- during training --------------------------------------------------------------------
    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Keep the largest weight share; look at it at the logged steps (it needs the host)."""
        if self._share is not None and len(batch.weight) > 2:
            # Of the global batch, whose other rows weigh about as much: they are drawn alike.
            share = batch.weight.max() / (world_size() * batch.weight.sum()).clamp(min=1e-12)
            self._share = torch.maximum(self._share, share)
        if is_due(trainer, trainer.global_step):
            self._check_weights(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights once more: an epoch may be shorter than the logging interval."""
        self._check_weights(trainer, pl_module)

    def _check_weights(self, trainer: Trainer, pl_module: LightningModule) -> None:
        share = 0.0 if self._share is None else float(all_gather(self._share.view(1)).max())
        if share > 0.5:
            self._warn(
                "one_sample_weight",
                f"one sample holds {share:.0%} of a batch's weight; use via: sample "
                "or a coarser balance.",
            )
        self._check_method(trainer, pl_module)

    def _check_method(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, Objective):
            for name, message in pl_module.cautions(datamodule_of(trainer)).items():
                self._warn(name, message)

    # ---- after evaluation -------------------------------------------------------------------
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the validation tables."""
        if trainer.sanity_checking:
            return
        data = datamodule_of(trainer)
        if trainer.state.fn != "fit" and data is not None:
            self._check_sizes(data, data.val_names)
            self._name_rare_groups(data, data.val_names, pl_module)
        if trainer.state.fn != "fit":  # a network that has hardly been trained is often constant
            self._check_predictions(pl_module)
        value = trainer.callback_metrics.get("val/worst_group_accuracy")
        if value is not None and trainer.state.fn == "fit":
            self._history = [*self._history[-self.patience :], float(value)]
            falls = np.diff(self._history) < 0
            if len(falls) == self.patience and falls.all():
                self._warn(
                    "falling_worst_group",
                    f"validation worst-group accuracy fell {self.patience} times running, to "
                    f"{self._history[-1]:.3f}; the best checkpoint is kept, consider "
                    "early_stopping.patience.",
                )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the last validation."""
        self._check_predictions(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the test tables."""
        data = datamodule_of(trainer)
        if data is not None:
            self._check_sizes(data, data.test_names)
            self._name_rare_groups(data, data.test_names, pl_module)
        self._check_predictions(pl_module)

    def _check_predictions(self, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Evaluated):
            return
        for name, counts in pl_module.last_counts.items():
            table = counts.sum(1)  # over attributes: [y, prediction]
            total = table.sum()
            accuracy, majority = np.trace(table) / total, table.sum(1).max() / total
            predicted = np.flatnonzero(table.sum(0))
            if len(predicted) == 1:
                self._warn(
                    f"constant_predictor/{name}",
                    f"every row of {name} is predicted as class {predicted[0]}.",
                )
            elif accuracy <= majority:
                self._warn(
                    f"below_majority/{name}",
                    f"accuracy on {name} is {accuracy:.3f}, not above the majority class "
                    f"({majority:.3f}).",
                )
            if len(predicted) > 1 and self._independent(table[table.sum(1) > 0][:, predicted]):
                self._warn(
                    f"independent_predictions/{name}",
                    f"predictions on {name} are independent of the labels: every group's recall "
                    "is the global rate; are labels joined to the right inputs?",
                )

    @staticmethod
    def _independent(table: np.ndarray) -> bool:
        from scipy.stats import chi2_contingency

        return min(table.shape) > 1 and float(chi2_contingency(table).pvalue) > 0.01

    def state_dict(self) -> dict[str, Any]:
        """Return what has been reported and the latest validations."""
        return {"raised": dict(self.raised), "history": list(self._history)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what has been reported and the latest validations."""
        self.raised = dict(state_dict["raised"])
        self._history = list(state_dict["history"])
