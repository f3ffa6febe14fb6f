"""Visits of the whole training table, between two epochs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from frbench.contracts.batch import Batch
from frbench.data.loader import EvalLoader, GroupLoader
from frbench.distributed import rank, world_size
from frbench.training.objective import Objective


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own at the end."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def table_batches(
    objective: Objective, size: int, rows: np.ndarray | None = None
) -> Iterator[Batch]:
    """Yield this process's share of the training rows, without random transforms.

    Args:
        objective: The method, within ``fit`` with a datamodule.
        size: Rows in a batch of this process.
        rows: Rows to visit, as positions in the table; None for all.
    """
    trainer: Any = objective.trainer
    loader: GroupLoader = trainer.train_dataloader
    dataset = copy.copy(loader.dataset)
    dataset.augment = None
    batches = EvalLoader(
        dataset, size, rank(), world_size(), loader.num_workers, loader.pin_memory, rows
    )
    for batch in batches:
        yield trainer.datamodule.transfer_batch_to_device(batch, objective.device, 0)
