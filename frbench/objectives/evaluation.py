"""Evaluation of a module on named tables: counts, metrics, what is logged of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from frbench.batch import Batch
from frbench.distributed import all_sum
from frbench.metrics import GroupCounts, risk_invariance
from frbench.metrics.family import RISKS
from frbench.objectives.training_log import TrainingLog


class Evaluated(LightningModule):
    """A module that counts its predictions on every table of validation and test.

    A subclass has ``num_classes``, ``num_attributes`` and a ``training_log``.
    """

    num_classes: int
    num_attributes: int
    training_log: TrainingLog

    def __init__(self) -> None:
        super().__init__()
        #: Metrics of each table evaluated last, in full precision (Lightning keeps float32).
        self.last_metrics: dict[str, float] = {}
        #: Count table [C, A + 1, C] (y; z, last unknown; prediction) of each table evaluated last.
        self.last_counts: dict[str, np.ndarray] = {}

    def reset_evaluators(self) -> None:
        """Forget the tables; loaders without a datamodule get one each as they come."""
        self._evaluated: list[str] = []
        self._evaluators = nn.ModuleList()

    def build_evaluators(self, data: Any, names: list[str]) -> None:
        """Make an evaluator for each table, in the order of the loaders.

        Args:
            data: The datamodule.
            names: Names of the tables.
        """
        self._evaluated = names
        self._evaluators = nn.ModuleList(
            GroupCounts(
                self.num_classes,
                self.num_attributes,
                class_names=data.class_names,
                attribute_names=data.attribute_names,
                train_counts=data.splits["train"].counts(self.num_classes, self.num_attributes),
            ).to(self.device)
            for _ in names
        )

    def _evaluate(self, batch: Batch, dataloader_idx: int) -> None:
        logits = self.forward(batch.x)
        while dataloader_idx >= len(self._evaluators):  # loaders without a datamodule
            stage = "test" if self.trainer.testing else "val"
            self._evaluated.append(f"{stage}/{len(self._evaluated)}" if self._evaluated else stage)
            metric = GroupCounts(self.num_classes, self.num_attributes)
            self._evaluators.append(metric.to(self.device))
        self._metrics()[dataloader_idx].update(logits, batch.y, batch.z)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count predictions; no collective runs here."""
        self._evaluate(batch, dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count predictions; no collective runs here."""
        self._evaluate(batch, dataloader_idx)

    def predict_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Return row, label, attribute and class probabilities [B, C]."""
        probabilities = self.forward(batch.x).float().softmax(1)
        return {"index": batch.index, "y": batch.y, "z": batch.z, "probabilities": probabilities}

    def _metrics(self) -> list[GroupCounts]:
        return list(self._evaluators)

    def _log_evaluation(self) -> None:
        for name, evaluator in zip(self._evaluated, self._metrics(), strict=True):
            metrics = evaluator.compute()
            self.last_counts[name] = all_sum(evaluator.counts).cpu().numpy().copy()
            evaluator.reset()
            if not self.trainer.sanity_checking:
                named = {f"{name}/{k}": v for k, v in metrics.items()}
                self.last_metrics |= named
                self.training_log.emit(named)
        self._log_family()

    def _log_family(self) -> None:
        """Log how far the risk moves over the shift family, if its tables were evaluated."""
        data = getattr(self.trainer, "datamodule", None)
        names = data.family_names if data is not None else []
        if len(names) < 2 or self.trainer.sanity_checking or not {*names} <= {*self._evaluated}:
            return
        members = [{risk: self.last_metrics[f"{name}/{risk}"] for risk in RISKS} for name in names]
        named = {f"test/family/{k}": v for k, v in risk_invariance(members).items()}
        self.last_metrics |= named
        self.training_log.emit(named)

    def on_validation_epoch_end(self) -> None:
        """Log every group metric of every validation table."""
        self._log_evaluation()

    def on_test_epoch_end(self) -> None:
        """Log every group metric of every test table."""
        self._log_evaluation()
