"""The latest state, written whole, from which training continues exactly."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from frbench.callbacks.csv_logger import CSVLogger
from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.distributed import world_size
from frbench.support import stops
from frbench.support.atomic import replacing

#: Steps between two moments at which processes ask each other whether one was told to stop.
ASK_EVERY = 50
#: What a checkpoint says of the epoch in which it is written.
Epoch = Literal["open", "over", "left"]


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
        # Through a file of Python's, which says that the disk is full.
        with replacing(path) as part, part.open("wb") as file:
            torch.save(checkpoint, file)


def write_whole(trainer: Trainer) -> None:
    """Let the trainer write checkpoints whole, unless the user has chosen how they are written."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeFiles()


class RollingCheckpoint(Checkpoint):
    """Keep the latest state in ``last.ckpt``, from which training continues exactly.

    It is never written between a batch and the validation that follows it: Lightning would skip
    that validation on resume. At an epoch's end it is written after validation. Being a
    ``Checkpoint``, it runs after every other callback, so that it holds what they did and logged.

    A signal that asks the process to end (:mod:`frbench.support.stops`) is answered after the next
    write that is possible, at the end of a step or of an epoch.

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
        asked = self._is_asked(trainer, trainer.global_step % ASK_EVERY == 0)
        due = trainer.should_stop or asked or 0 < self.every_n_steps <= since
        interval = trainer.val_check_batch
        loop = trainer.fit_loop.epoch_loop
        # Without check_val_every_n_epoch, Lightning counts the batches of all epochs.
        at = loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
        validates = interval is not None and (at + 1) % interval == 0
        last = batch_idx + 1 >= trainer.num_training_batches
        self._rows = self._logged(trainer)
        if due and not validates and not last and trainer.global_step != trainer.max_steps:
            self._save(trainer)
            stops.answer(asked)

    @staticmethod
    def _is_asked(trainer: Trainer, together: bool) -> bool:
        """Whether to stop; several processes, of which one may know, agree where all ask."""
        if world_size() == 1:
            return stops.is_asked()
        return together and trainer.strategy.reduce_boolean_decision(stops.is_asked(), all=False)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals from Lightning, whose own answer to them ends with status 0."""
        stops.listen()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As :meth:`on_validation_start`."""
        stops.listen()

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
        stops.answer(self._is_asked(trainer, together=True))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Answer a signal from now on when it arrives."""
        stops.wait_for_safe_points(False)
        stops.answer()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """As :meth:`on_train_end`, of a run that failed."""
        stops.wait_for_safe_points(False)

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
        """Cut what was logged after the checkpoint, and let signals wait for the next write."""
        self._cut(trainer, self._kept)
        stops.listen()
        stops.wait_for_safe_points(True)

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
