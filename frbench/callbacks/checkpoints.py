"""Which step is kept: the best by a named rule, and the latest to resume from."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint

from frbench.callbacks.csv_logger import CSVLogger
from frbench.errors import UserError
from frbench.metrics import evaluate, higher_is_better

DEFAULT_RULE = "val/worst_group_accuracy"
NEVER = 10**9


def direction(option: str, monitor: str, mode: str) -> Literal["min", "max"]:
    """Give ``max`` or ``min`` for a metric, unless the user said which.

    Raises:
        UserError: If the metric is unknown; the message names the option.
    """
    if mode == "auto":
        try:
            return "max" if higher_is_better(monitor) else "min"
        except UserError as error:
            raise UserError(f"{option}.monitor: {error}") from error
    return "max" if mode == "max" else "min"


def check_monitor(option: str, monitor: str, trainer: Trainer) -> None:
    """Refuse to select on what validation does not evaluate.

    Raises:
        UserError: If ``monitor`` is a test metric and the data does not allow selecting on it,
            or if there is no such table or metric; the message names the option.
    """
    data = getattr(trainer, "datamodule", None)
    if data is None:
        return
    option += ".monitor"
    if monitor.startswith("test") and not data.test_while_training:
        raise UserError(
            f"{option}: {monitor} would select on test data. If that is wanted (an oracle), say "
            "so with --data.test_while_training true; results are then marked."
        )
    tables = [name for name in data.val_names if monitor.startswith(f"{name}/")]
    if not tables:
        raise UserError(
            f"{option}: no table of this data set gives {monitor}; metrics start with "
            f"{' or '.join(name + '/' for name in data.val_names)}."
        )
    # Keys depend on the names alone, so that one row shows them all.
    keys = evaluate(
        [0],
        [0],
        [0],
        scores=[[1.0] + [0.0] * (data.num_classes - 1)],
        class_names=data.class_names,
        attribute_names=data.attribute_names,
        train_counts=data.train_counts,
    )
    metric = monitor.removeprefix(f"{tables[0]}/")
    if metric not in keys:
        near = difflib.get_close_matches(metric, keys, n=3, cutoff=0) or list(keys)
        raise UserError(
            f"{option}: {tables[0]} has no metric {metric}; did you mean {' or '.join(near)}?"
        )


class BestCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the best value of a metric, by the same rule for every method.

    Args:
        monitor: Metric that decides.
        mode: ``min``, ``max``, or ``auto`` for the metric's own direction.
        dirpath: Folder; the run's ``checkpoints`` by default.
    """

    def __init__(
        self,
        monitor: str = DEFAULT_RULE,
        mode: Literal["auto", "min", "max"] = "auto",
        dirpath: str | None = None,
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=direction("checkpoint", monitor, mode),
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def selection(self, trainer: Trainer) -> dict[str, Any]:
        """Say by what rule the checkpoint was chosen, and whether test data had a part in it."""
        stops = [c for c in trainer.early_stopping_callbacks if c.patience < NEVER]
        monitors = [str(self.monitor), *(c.monitor for c in stops)]
        oracle = any(monitor.startswith("test") for monitor in monitors)
        return {"monitor": self.monitor, "mode": self.mode, "oracle": oracle}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the rule in every checkpoint."""
        checkpoint["frbench_selection"] = self.selection(trainer)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the metric before training starts."""
        if stage == "fit":
            check_monitor("checkpoint", str(self.monitor), trainer)
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value so far, also where the run's folder was moved meanwhile."""
        old, new = str(state_dict["dirpath"]), str(self.dirpath)
        if old != new and (Path(new) / "best.ckpt").is_file():
            state_dict = {
                key: value.replace(old, new) if isinstance(value, str) else value
                for key, value in state_dict.items()
            }
            state_dict["best_k_models"] = {
                path.replace(old, new): v for path, v in state_dict["best_k_models"].items()
            }
        super().load_state_dict(state_dict)


class EarlyStop(EarlyStopping):
    """Stop when a metric has not improved for a number of validations; off by default.

    Args:
        patience: Validations without improvement before stopping; 0 never stops.
        monitor: Metric that decides.
        mode: ``min``, ``max``, or ``auto`` for the metric's own direction.
        min_delta: Least change that counts as an improvement.
    """

    def __init__(
        self,
        patience: int = 0,
        monitor: str = DEFAULT_RULE,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience or NEVER,
            check_finite=patience > 0,
            mode=direction("early_stopping", monitor, mode),
            check_on_train_epoch_end=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the metric before training starts."""
        if stage == "fit":
            check_monitor("early_stopping", self.monitor, trainer)
        super().setup(trainer, pl_module, stage)


class RollingCheckpoint(Checkpoint):
    """Keep the latest state in ``last.ckpt``, from which training continues exactly.

    It is never written between a batch and the validation that follows it: Lightning would skip
    that validation on resume. At an epoch's end it is written after validation. Being a
    ``Checkpoint``, it runs after every other callback, so that it holds what they did and logged.

    Args:
        every_n_steps: Optimiser steps between two writes inside an epoch; 0 writes at the end of
            epochs alone.
        dirpath: Folder; the run's ``checkpoints`` on the command line.
    """

    def __init__(self, every_n_steps: int = 1000, dirpath: str | None = None) -> None:
        self.every_n_steps = every_n_steps
        self.dirpath = dirpath
        self._last_step = 0
        self._overdue = False

    def _save(self, trainer: Trainer) -> None:
        self._last_step = trainer.global_step
        self._overdue = False
        folder = Path(self.dirpath or trainer.default_root_dir)
        # Trainer.save_checkpoint writes to a temporary file first and moves it into place.
        trainer.save_checkpoint(folder / "last.ckpt")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Write if due and no validation follows this batch."""
        since = trainer.global_step - self._last_step
        due = self._overdue or trainer.global_step == trainer.max_steps
        due = due or 0 < self.every_n_steps <= since
        interval = trainer.val_check_batch
        validates = interval is not None and (batch_idx + 1) % interval == 0
        last = batch_idx + 1 >= trainer.num_training_batches
        if due and not validates and not last:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after the epoch's validation, or at the next step if steps are counted."""
        if trainer.max_steps == -1:
            self._save(trainer)
        else:
            # Resuming here, Lightning would end the epoch a second time and skip a number.
            self._overdue = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the end of training, where the last write came before it."""
        if self._overdue and trainer.global_step != self._last_step:
            self._save(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store how many rows each CSV log has."""
        checkpoint["frbench_csv_rows"] = [logger.rows for logger in self._csv_loggers(trainer)]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Cut what was logged after the checkpoint; the resumed run logs it again."""
        if trainer.state.fn == "fit":
            rows = checkpoint.get("frbench_csv_rows", [])
            for logger, count in zip(self._csv_loggers(trainer), rows, strict=False):
                logger.truncate(count)

    @staticmethod
    def _csv_loggers(trainer: Trainer) -> list[CSVLogger]:
        return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last write."""
        return {"last_step": self._last_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the step of the last write."""
        self._last_step = state_dict["last_step"]
