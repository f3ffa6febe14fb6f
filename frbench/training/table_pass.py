"""Visits of the whole training table, between two epochs."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frbench.contracts.batch import Batch, Outputs
from frbench.data.loader import EvalLoader, GroupLoader
from frbench.distributed import all_sum, rank, world_size
from frbench.training.step import TrainingStep


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
    objective: TrainingStep, size: int, rows: np.ndarray | None = None
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


@torch.no_grad()
def table_outputs(
    objective: TrainingStep, names: Sequence[str] = Outputs._fields
) -> dict[str, Tensor]:
    """Compute the outputs of each training row, in evaluation mode and without random transforms.

    A collective: each process computes its share of the rows.

    Args:
        objective: The method, within ``fit`` with a datamodule.
        names: Which outputs.

    Returns:
        Outputs by name in table order, the same on every process, float32 [N, ...].
    """
    trainer: Any = objective.trainer
    loader: GroupLoader = trainer.train_dataloader
    found: dict[str, Tensor] = {}
    with evaluation_mode(objective):
        for batch in table_batches(objective, loader.batch_size):
            with trainer.precision_plugin.forward_context():
                out = objective.outputs(batch)
            for name in names:
                part = getattr(out, name)
                if name not in found:
                    found[name] = part.new_zeros(len(loader.dataset), *part.shape[1:])
                found[name][batch.index] = part
    return {name: all_sum(rows)[: loader.num_rows] for name, rows in found.items()}
