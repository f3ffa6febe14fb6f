"""Evaluation of a module on named tables: counts, metrics, what is logged of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frbench.contracts.batch import Batch
from frbench.data.module import datamodule_of
from frbench.distributed import all_sum, rank
from frbench.metrics import Evaluation, GroupCounts, risk_invariance
from frbench.metrics.family import RISKS
from frbench.metrics.own import CountMetric
from frbench.training.decisions import Deciding
from frbench.training.kept import Kept

#: Rows that a group needs, by default, to take part in what chooses a checkpoint and in tables.
MIN_GROUP_ROWS = 10
#: Possible error of a binned AUROC that is worth a word.
RANK_ERROR = 0.005


class Evaluated(Deciding):
    """A module that counts its predictions on every table of validation and test.

    A subclass has ``num_classes`` and ``num_attributes``.
    """

    num_classes: int
    num_attributes: int
    #: Rows that a group needs to take part in minima, gaps and ratios.
    min_group_rows: int = MIN_GROUP_ROWS

    def __init__(self) -> None:
        super().__init__()
        #: Metrics of one's own, evaluated with all others; ``--metrics`` on the command line.
        self.metrics: Sequence[CountMetric] = ()
        #: Metrics of each table evaluated last, in full precision (Lightning keeps float32).
        self.evaluation = Evaluation()
        #: Count table [C, A + 1, C] (y; z, last unknown; prediction) of each table evaluated last.
        self.last_counts: dict[str, np.ndarray] = {}
        #: Where the outputs of evaluation are kept; None keeps none.
        self.kept: Kept | None = None
        self._said_rank_error = False

    def reset_evaluators(self) -> None:
        """Forget the tables; loaders without a datamodule get one each as they come."""
        self._evaluated: list[str] = []
        self._evaluators = nn.ModuleList()

    def build_evaluators(
        self, data: Any, names: list[str], exact: bool = False, noise_floor: bool = True
    ) -> None:
        """Make an evaluator for each table, in the order of the loaders.

        Args:
            data: The datamodule.
            names: Names of the tables.
            exact: Whether to hold all scores, for exact AUROC and average precision.
            noise_floor: Whether ``score_kl_noise_floor`` is among the metrics.
        """
        self._evaluated = names
        self._evaluators = nn.ModuleList(
            self.evaluator(data, exact, noise_floor).to(self.device) for _ in names
        )

    def evaluator(self, data: Any, exact: bool, noise_floor: bool = True) -> GroupCounts:
        """Make the metric of one table of a data set.

        Args:
            data: The data set, for the names of classes and attributes.
            exact: Whether to hold all scores, for exact AUROC and average precision.
            noise_floor: Whether ``score_kl_noise_floor`` is among the metrics.
        """
        return GroupCounts(
            self.num_classes,
            self.num_attributes,
            class_names=data.class_names,
            attribute_names=data.attribute_names,
            train_counts=data.observed_counts,
            metrics=self.metrics,
            exact=exact,
            min_group_rows=self.min_group_rows,
            expected=self.expected_decisions,
            noise_floor=noise_floor,
        )

    def _evaluate(self, batch: Batch, dataloader_idx: int) -> None:
        found = self.outcome(batch.x, batch.z, batch.index)
        while dataloader_idx >= len(self._evaluators):  # loaders without a datamodule
            stage = "test" if self.trainer.testing else "val"
            self._evaluated.append(f"{stage}/{len(self._evaluated)}" if self._evaluated else stage)
            metric = GroupCounts(
                self.num_classes,
                self.num_attributes,
                metrics=self.metrics,
                min_group_rows=self.min_group_rows,
                expected=self.expected_decisions,
            )
            self._evaluators.append(metric.to(self.device))
        if self.kept is not None:
            self.kept.add(self._evaluated[dataloader_idx], batch, found)
        counted = found.shares if self.expected_decisions else found.decision
        self.evaluators()[dataloader_idx].update(found.logits, batch.y, batch.z, counted)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count predictions; no collective runs here."""
        self._evaluate(batch, dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count predictions; no collective runs here."""
        self._evaluate(batch, dataloader_idx)

    def predict_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Tensor]:
        """Return row, label, attribute, class probabilities [B, C], and decisions of a map."""
        logits, _, decision = self.outcome(batch.x, batch.z, batch.index)
        found = {"index": batch.index, "y": batch.y, "z": batch.z}
        found["probabilities"] = logits.float().softmax(1)
        return found if decision is None else {**found, "decision": decision}

    def evaluators(self) -> list[GroupCounts]:
        """Return the metric of each table, in the order of the loaders."""
        return list(self._evaluators)

    def _log_evaluation(self) -> None:
        for name, evaluator in zip(self._evaluated, self.evaluators(), strict=True):
            metrics = evaluator.compute()
            self._say_rank_error(name, evaluator.rank_error)
            self.last_counts[name] = all_sum(evaluator.counts).cpu().numpy().copy()
            evaluator.reset()
            if not self.trainer.sanity_checking:
                self._log_table(name, metrics)
        self._log_family()

    def _say_rank_error(self, table: str, error: float) -> None:
        """Say once that the AUROC of binned scores may be off."""
        if error <= RANK_ERROR or self._said_rank_error or self.trainer.sanity_checking:
            return
        self._said_rank_error = True
        if rank() == 0:
            print(
                f"AUROC and average precision of {table} are those of binned scores: the AUROC "
                f"may be wrong by up to {error:.4f}. `frbench test` gives exact values."
            )

    def _log_family(self) -> None:
        """Log how far the risk moves over the shift family, if its tables were evaluated."""
        data = datamodule_of(self.trainer)
        names = data.family_names if data is not None else []
        if len(names) < 2 or self.trainer.sanity_checking or not {*names} <= {*self._evaluated}:
            return
        members = [{risk: self.evaluation[name][risk] for risk in RISKS} for name in names]
        self._log_table("test/family", risk_invariance(members))

    def _log_table(self, table: str, metrics: dict[str, float]) -> None:
        self.evaluation[table] = metrics
        self.emit({f"{table}/{metric}": value for metric, value in metrics.items()})

    def emit(self, metrics: dict[str, float], to_callbacks: bool = True) -> None:
        """Send metrics to every logger at the current step, and to the callbacks.

        ``LightningModule.log`` would stamp epoch-end metrics with another step than ours, and
        takes a fifth of the time of short epochs: it keeps sums and options for each value.

        Args:
            metrics: Values by their full names, ``<table>/<metric>``.
            to_callbacks: Whether callbacks (checkpoints, early stopping) see them too.
        """
        if to_callbacks:
            self.trainer.callback_metrics.update(
                {name: torch.tensor(value, dtype=torch.float32) for name, value in metrics.items()}
            )
        if rank() == 0:
            for logger in self.trainer.loggers:
                logger.log_metrics(
                    {"epoch": self.trainer.current_epoch, **metrics}, self.trainer.global_step
                )

    def on_validation_epoch_end(self) -> None:
        """Log every group metric of every validation table."""
        self._log_evaluation()

    def on_test_epoch_end(self) -> None:
        """Log every group metric of every test table."""
        self._log_evaluation()
