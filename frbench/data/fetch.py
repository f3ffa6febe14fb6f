"""Rows of a table fetched as one batch, in this process or in workers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from frbench.contracts.batch import Batch
from frbench.contracts.errors import UserError
from frbench.data.table import Table
from frbench.support.stops import leave_to_parent


@contextlib.contextmanager
def kept_generators() -> Iterator[None]:
    """Put the state of python's and numpy's global generators back at the end."""
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002


def seed_all(seed: int) -> None:
    """Seed python, numpy and torch; transforms may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)


class TensorTable(Dataset[Batch]):
    """A table as tensors; indexing with rows gives a whole :class:`Batch` at once.

    Args:
        table: Encoded table; ``table.x`` is an array, or an object whose indexing by an integer
            array gives one (it is then called in the loader's workers).
        weight: ``batch.weight`` of each row, float [N].
        num_attributes: A, for the group ids.
        prepare: Maps raw inputs of a batch to model inputs (uint8 images to floats, say).
        augment: Random transform of prepared inputs [n, ...]; called and seeded sample by
            sample, n = 1.
    """

    def __init__(
        self,
        table: Table,
        weight: np.ndarray,
        num_attributes: int,
        prepare: Callable[[Tensor], Tensor],
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.x = torch.as_tensor(table.x) if isinstance(table.x, np.ndarray) else table.x
        self.y = torch.as_tensor(table.y)
        self.z = torch.as_tensor(table.z)
        unknown = self.z < 0
        self.group = torch.where(unknown, -1, self.y * num_attributes + self.z)
        self.weight = torch.as_tensor(weight, dtype=torch.float32)
        self.clean = torch.as_tensor(table.clean)
        self.synthetic = torch.as_tensor(table.synthetic)
        self.continuous = torch.as_tensor(table.continuous, dtype=torch.float32)
        self.prepare = prepare
        self.augment = augment

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, key: tuple[np.ndarray, np.ndarray | None]) -> Batch:
        array, seeds = key
        rows = torch.as_tensor(array)
        # index_select takes a half to a tenth of the time of x[rows].
        whole = isinstance(self.x, Tensor)
        x = self.x.index_select(0, rows) if whole else torch.as_tensor(self.x[rows])
        if self.augment is None and whole:
            x = self.prepare(x)
        else:
            # Sample by sample: what is large stays in the processor's cache, and in a worker
            # default_collate writes it straight into the memory shared with the trainer.
            x = default_collate(list(self._samples(x, seeds)))
        columns = (self.y, self.z, self.group, self.weight, self.clean)
        y, z, group, weight, clean = (column.index_select(0, rows) for column in columns)
        last = (column.index_select(0, rows) for column in (self.synthetic, self.continuous))
        return Batch(x, y, z, group, weight, clean, rows, *last)

    def _samples(self, x: Tensor, seeds: np.ndarray | None) -> Iterator[Tensor]:
        """Prepare and transform the inputs of a batch, one by one."""
        if self.augment is None or seeds is None:
            yield from (self.prepare(x[i : i + 1])[0] for i in range(len(x)))
            return
        # Seeding by sample, not by worker or batch, keeps the draw when a resumed epoch deals its
        # batches to other workers, and on any number of devices.
        with torch.random.fork_rng(devices=[]), kept_generators():
            for i, seed in enumerate(seeds.tolist()):
                seed_all(seed)
                yield self.augment(self.prepare(x[i : i + 1]))[0]


def fetch(
    dataset: TensorTable,
    keys: Iterable[tuple[np.ndarray, np.ndarray | None]],
    num_workers: int,
    pin: bool,
) -> Iterator[Batch]:
    """Yield the batches of the keys, from worker processes if there are any."""
    if not num_workers:
        for key in keys:
            batch = dataset[key]
            yield Batch(*(column.pin_memory() for column in batch)) if pin else batch
        return
    # Workers live for one pass. A DataLoader that outlives it, in a reference cycle with its
    # sampler, is collected late or in another loader's forked workers, and then waits for
    # processes that are not its own.
    loader = DataLoader(
        dataset,
        sampler=list(keys),
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin,
        worker_init_fn=leave_to_parent,
        generator=torch.Generator().manual_seed(0),  # the global one must not move
    )
    try:
        yield from loader
    except UserError as error:  # a worker's comes with its traceback as the message
        raise UserError(str(error).strip().rpartition("UserError: ")[2]) from None
