"""Which step is kept: the best by a named rule, and the latest to resume from."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from frbench.callbacks.csv_logger import CSVLogger
from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.contracts.errors import UserError
from frbench.data.module import datamodule_of
from frbench.metrics import evaluate, higher_is_better, metric_names, split_key
from frbench.metrics.names import NO_METRICS
from frbench.metrics.own import CountMetric, directions
from frbench.support.atomic import replacing

DEFAULT_RULE = "val/worst_group_accuracy"
NEVER = 10**9
#: What a checkpoint says of the epoch in which it is written.
Epoch = Literal["open", "over", "left"]


def optimised(
    option: str, monitor: str, mode: str, own: Mapping[str, int] = NO_METRICS
) -> Literal["min", "max"]:
    """Give ``max`` or ``min`` for a metric, unless the user said which.

    Args:
        option: What names the metric, for the message.
        monitor: The metric, with its table.
        mode: ``min``, ``max`` or ``auto``.
        own: Directions of the user's own metrics, by name.

    Raises:
        UserError: If the metric is unknown or has no direction; the message names the option.
    """
    if mode == "auto":
        metric = split_key(monitor, own)[1]
        if own.get(metric) == 0:
            raise UserError(
                f"{option}.monitor: {metric} does not say which direction is better; mark it with "
                f"@frbench.metrics.metric(higher_is_better=...), or set {option}.mode."
            )
        try:
            return "max" if higher_is_better(monitor, own) else "min"
        except UserError as error:
            raise UserError(f"{option}.monitor: {error}") from error
    return "max" if mode == "max" else "min"


def check_monitor(option: str, monitor: str, trainer: Trainer, decides: bool = True) -> None:
    """Refuse to select on what validation does not evaluate.

    Args:
        option: What names the metric, for the message.
        monitor: The metric, with its table.
        trainer: The trainer, which knows the data and the user's own metrics.
        decides: Whether anything depends on it; then it must have a value on these rows.

    Raises:
        UserError: If ``monitor`` is a test metric and the data does not allow selecting on it,
            or if there is no such table or metric, or no value of it; the message names the
            option.
    """
    data = datamodule_of(trainer)
    if data is None:
        return
    option += ".monitor"
    own = getattr(trainer.lightning_module, "metrics", ())
    names = [*metric_names(data.class_names, data.attribute_names), *directions(own)]
    table, metric = next(
        ((name, monitor[len(name) + 1 :]) for name in data.val_names
         if monitor.startswith(f"{name}/")), (None, ""),
    )  # fmt: skip
    if monitor.startswith("test") and not data.test_while_training:
        raise UserError(
            f"{option}: {monitor} would select on test data. If that is wanted (an oracle), say "
            "so with --data.test_while_training true; results are then marked."
        )
    if table is None:
        raise UserError(
            f"{option}: no table of this data set gives {monitor}; metrics start with "
            f"{' or '.join(name + '/' for name in data.val_names)}."
        )
    if metric not in names:
        near = difflib.get_close_matches(metric, names, n=3, cutoff=0) or names
        raise UserError(
            f"{option}: {table} has no metric {metric}; did you mean {' or '.join(near)}?"
        )
    if decides and np.isnan(_any_value(data, data.splits[table], own)[metric]):
        raise UserError(
            f"{option}: {metric} has no value on {table}, which lacks rows that it is about; "
            "choose another metric, or another split."
        )


def _any_value(data: Any, table: Any, own: Sequence[CountMetric]) -> dict[str, float]:
    """Evaluate a table in which each group that has rows is predicted as each class once.

    A metric that has no value here has none for any predictions.
    """
    y, z = np.unique([table.y, table.z], axis=1)
    guess = np.tile(np.arange(data.num_classes), len(y))
    found: dict[str, float] = evaluate(
        np.repeat(y, data.num_classes),
        guess,
        np.repeat(z, data.num_classes),
        scores=np.eye(data.num_classes)[guess],
        class_names=data.class_names,
        attribute_names=data.attribute_names,
        train_counts=data.train_counts,
        metrics=own,
    )
    return found


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint in its own folder and moves it into place.

    Lightning's writes into the system's folder of temporary files. From there to another file
    system a move is a copy: a process that is killed meanwhile leaves half of ``last.ckpt``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write ``path``, whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            torch.save(checkpoint, part)


def write_whole(trainer: Trainer) -> None:
    """Let the trainer write checkpoints whole, unless the user has chosen how they are written."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeFiles()


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
            mode=optimised("checkpoint", monitor, mode),
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
        """Store the rule in every checkpoint, and where its run was started."""
        write_section(
            checkpoint,
            selection=self.selection(trainer),
            started_in=_way_up(Path(str(self.dirpath)).parent),
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the metric before training starts."""
        self._read_from = Path(str(trainer.ckpt_path or ".")).parent
        if stage == "fit":
            check_monitor("checkpoint", str(self.monitor), trainer)
            write_whole(trainer)
        super().setup(trainer, pl_module, stage)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state with paths relative to the folder of checkpoints."""
        state = super().state_dict()
        return _moved(state, lambda path: Path(_below(path, state["dirpath"]))) | {"dirpath": "."}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value so far, also where the run's folder was moved meanwhile."""
        old, here = state_dict["dirpath"], Path(str(self.dirpath))
        folder = here if (here / "best.ckpt").is_file() else self._read_from
        if folder == here or old == ".":  # absolute in checkpoints before format 3
            moved = _moved(state_dict, lambda path: folder / _below(path, old))
            state_dict = moved | {"dirpath": str(folder)}
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]  # Lightning leaves it out


def _below(path: str, folder: str) -> str:
    """Write a path below a folder relative to it."""
    return path if folder == "." else os.path.relpath(path, folder)


def _moved(state: dict[str, Any], move: Callable[[str], Path]) -> dict[str, Any]:
    """Change every path of a ``ModelCheckpoint``'s state, empty ones left as they are."""
    paths = ("best_model_path", "last_model_path", "kth_best_model_path")
    return {
        **state,
        **{key: str(move(state[key])) if state[key] else "" for key in paths},
        "best_k_models": {str(move(path)): v for path, v in state["best_k_models"].items()},
    }


def _way_up(run_dir: Path) -> str | None:
    """Return the way from the run's folder up to the current one; None if it is not above."""
    way = os.path.relpath(Path.cwd(), run_dir)
    return way if set(Path(way).parts) <= {".."} else None


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
            mode=optimised("early_stopping", monitor, mode),
            check_on_train_epoch_end=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the metric before training starts."""
        if stage == "fit":
            check_monitor("early_stopping", self.monitor, trainer, self.patience != NEVER)
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a run as it is that had stopped when it was killed, or was continued."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore how long it has waited; the patience is that of the options."""
        super().load_state_dict({**state_dict, "patience": self.patience})


class RollingCheckpoint(Checkpoint):
    """Keep the latest state in ``last.ckpt``, from which training continues exactly.

    It is never written between a batch and the validation that follows it: Lightning would skip
    that validation on resume. At an epoch's end it is written after validation. Being a
    ``Checkpoint``, it runs after every other callback, so that it holds what they did and logged.

    Args:
        every_n_steps: Optimiser steps between two writes inside an epoch; 0 writes at the end of
            epochs alone.
        dirpath: Folder; the run's ``checkpoints`` on the command line.

    Attributes:
        seconds_before: Seconds that earlier sessions of a continued run took up to the write from
            which it goes on.
    """

    def __init__(self, every_n_steps: int = 1000, dirpath: str | None = None) -> None:
        self.every_n_steps = every_n_steps
        self.dirpath = dirpath
        self.seconds_before = 0.0
        self._start = time.monotonic()
        self._last_step = 0
        self._epoch: Epoch = "open"
        self._rows: list[int] = []  # of each CSV log, to be stored at the next write
        self._kept: list[int] = []  # the same of the checkpoint that is continued
        self._all: list[int] = []  # all that it had when that was written

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the clock."""
        if stage == "fit":
            self._start = time.monotonic()
            write_whole(trainer)

    def _save(self, trainer: Trainer, epoch: Epoch = "open") -> None:
        self._last_step = trainer.global_step
        self._epoch = epoch
        trainer.save_checkpoint(Path(self.dirpath or trainer.default_root_dir) / "last.ckpt")

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
        due = trainer.should_stop or 0 < self.every_n_steps <= since
        interval = trainer.val_check_batch
        loop = trainer.fit_loop.epoch_loop
        # Without check_val_every_n_epoch, Lightning counts the batches of all epochs.
        at = loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
        validates = interval is not None and (at + 1) % interval == 0
        last = batch_idx + 1 >= trainer.num_training_batches
        self._rows = self._logged(trainer)
        if due and not validates and not last and trainer.global_step != trainer.max_steps:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count what the validation has logged."""
        self._rows = self._logged(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write after the epoch's validation, also where training ends in mid-epoch."""
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if done >= trainer.num_training_batches:
            self._rows = self._logged(trainer)
            self._save(trainer, "over")
        elif trainer.global_step != self._last_step:
            # More steps or patience may continue it: what its end has logged is left out.
            self._save(trainer, "left")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store how many rows each CSV log has, to go on from and in all."""
        write_section(checkpoint, csv_rows=self._rows, csv_rows_in_all=self._logged(trainer))
        loop = checkpoint["loops"]["fit_loop"]
        if self._epoch == "over" and trainer.max_steps != -1:
            _end_epoch(loop)
        elif self._epoch == "left":
            for part in loop["epoch_progress"].values():
                part["processed"] = part["completed"]
        self._epoch = "open"

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note what was logged before the checkpoint."""
        if trainer.state.fn == "fit":
            run = read_section(checkpoint)
            self._kept = run.get("csv_rows", [])
            self._all = run.get("csv_rows_in_all", [])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut what was logged after the checkpoint; the resumed run logs it again."""
        self._cut(trainer, self._kept)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut what was logged after training, of a run that had nothing left to do."""
        self._cut(trainer, self._all)

    def _cut(self, trainer: Trainer, counts: list[int]) -> None:
        for logger, count in zip(self._csv_loggers(trainer), counts, strict=False):
            logger.truncate(count)
        self._kept = self._all = []

    @staticmethod
    def _csv_loggers(trainer: Trainer) -> list[CSVLogger]:
        return [logger for logger in trainer.loggers if isinstance(logger, CSVLogger)]

    def _logged(self, trainer: Trainer) -> list[int]:
        return [logger.rows for logger in self._csv_loggers(trainer)]

    def state_dict(self) -> dict[str, Any]:
        """Return the step of the last write, and the time until then."""
        seconds = self.seconds_before + time.monotonic() - self._start
        return {"last_step": self._last_step, "seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the step of the last write, and the time until then."""
        self._last_step = state_dict["last_step"]
        self.seconds_before = state_dict.get("seconds", 0.0)


def _end_epoch(loop: dict[str, Any]) -> None:
    """Mark an epoch as over in the state of Lightning's loops, written at the epoch's end.

    Where steps are limited, Lightning takes such a state for an epoch that is still to be ended,
    and ends it again. Marked like this, it begins the next one: the epoch is complete, and its
    last batch is what a write after a batch leaves, which clears the counters of the epoch.
    """
    for part in ("total", "current"):
        epoch, batch = (loop[f"{name}_progress"][part] for name in ("epoch", "epoch_loop.batch"))
        epoch["completed"] = epoch["processed"]
        batch["completed"] = batch["processed"] - 1
    loop["epoch_loop.batch_progress"]["is_last_batch"] = False
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1  # it is added on resuming
