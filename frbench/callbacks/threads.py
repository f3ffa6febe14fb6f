"""The number of threads of a run: chosen before it, stored with it, kept by its continuation."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.data.module import datamodule_of
from frbench.distributed import rank
from frbench.support.cores import available_cores
from frbench.training.objective import Objective
from frbench.training.threads import Threads, module_threads, user_threads


class ThreadRule(Callback):
    """Set the number of threads of a run on CPUs (:mod:`frbench.training.threads`).

    The user's number wins, by ``--threads`` or OMP_NUM_THREADS, then that of the checkpoint which
    is continued, because the number decides in which order sums are taken, then the rule. An
    evaluation after training keeps the number.

    Args:
        threads: What the user asked for.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self.chosen: Threads | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose and set the number."""
        if not isinstance(pl_module, Objective) or trainer.strategy.root_device.type != "cpu":
            return
        if stage != "fit" and self.chosen is not None:
            return
        data = datamodule_of(trainer)
        given = user_threads(self.threads)
        if given is None and data is not None:
            cores = max(1, available_cores() // trainer.num_devices)
            rows = data.eval_batch_size
            if stage == "fit":
                rows = data.rows_per_batch // trainer.world_size
            given = module_threads(pl_module, rows, cores, training=stage == "fit")
        self._set(given)

    def _set(self, chosen: Threads | None) -> None:
        self.chosen = chosen
        if chosen is not None:
            torch.set_num_threads(chosen.number)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many there are."""
        if self.chosen is not None and rank() == 0:
            print(self.chosen, flush=True)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the number."""
        write_section(checkpoint, threads=torch.get_num_threads())

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the number of the run that is continued, unless the user gave one."""
        stored = read_section(checkpoint).get("threads")
        if stored is None or self.chosen is None or trainer.state.fn != "fit":
            return
        if user_threads(self.threads) is None:
            self._set(Threads(stored, "as in the checkpoint"))
