"""The batches of all runs, each in its own order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from frbench.contracts.batch import Batch
from frbench.data.loader import EvalLoader, GroupLoader
from frbench.stacks.member import Member
from frbench.training.objective import Objective


class StackLoader:
    """The loaders of R runs as one, whose batches are those of the runs, stacked.

    Where the rows of all tables are in memory, a step takes those of all runs at once.

    Args:
        loaders: The runs' own.
    """

    def __init__(self, loaders: Sequence[GroupLoader]) -> None:
        self.loaders = loaders
        self._columns: Batch | None = None
        tables = [loader.dataset for loader in loaders]
        whole = all(isinstance(t.x, Tensor) and t.augment is None for t in tables)
        if whole and len({len(t.continuous) > 0 for t in tables}) == 1:
            x = [t.x for t in tables]
            self._starts = np.cumsum([0, *map(len, x)])[:-1, None]
            names = [name for name in Batch._fields if name not in ("x", "index")]
            columns = {n: torch.cat([getattr(t, n) for t in tables]) for n in names}
            index = torch.cat([torch.arange(len(part)) for part in x])
            self._columns = Batch(x=torch.cat(x), index=index, **columns)

    def __len__(self) -> int:
        return len(self.loaders[0])

    @property
    def sampler(self) -> StackLoader:
        """Where Lightning looks for :meth:`set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        for loader in self.loaders:
            loader.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        if self._columns is None:
            for batches in zip(*self.loaders, strict=True):
                yield Batch(*(torch.stack(column) for column in zip(*batches, strict=True)))
            return
        first = self.loaders[0]
        keys = [loader.begin() for loader in self.loaders]
        for step in zip(*keys, strict=True):
            rows = torch.from_numpy(np.stack([row for row, _ in step]) + self._starts)
            flat = rows.flatten()
            # A column that no table has is empty.
            found = [c.index_select(0, flat) if len(c) else c for c in self._columns]
            found[0] = first.dataset.prepare(found[0])
            shapes = [rows.shape if len(c) else (len(rows), 0) for c in found]
            batch = Batch(*(c.view(*s, *c.shape[1:]) for c, s in zip(found, shapes, strict=True)))
            for loader in self.loaders:
                loader.delivered += 1
            if any(loader.weighs for loader in self.loaders):
                parts = zip(self.loaders, zip(*batch, strict=True), strict=True)
                weights = [loader.weighed(Batch(*part)).weight for loader, part in parts]
                batch = batch._replace(weight=torch.stack(weights))
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the positions of all runs."""
        return {"loaders": [loader.state_dict() for loader in self.loaders]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from stored positions."""
        for loader, own in zip(self.loaders, state["loaders"], strict=True):
            loader.load_state_dict(own)


class StackEvalLoader:
    """Evaluation batches of one table of every run, side by side.

    Args:
        loaders: The runs' own.
    """

    def __init__(self, loaders: Sequence[EvalLoader]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return max(map(len, self.loaders))

    def __iter__(self) -> Iterator[list[Batch | None]]:
        yield from map(list, zip_longest(*self.loaders))


class StackData(LightningDataModule):
    """The data sets of the runs, side by side.

    Args:
        members: The runs.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members = members

    def train_dataloader(self) -> StackLoader:
        """Return the runs' training loaders as one."""
        return StackLoader([member.loader for member in self.members])

    def val_dataloader(self) -> list[StackEvalLoader]:
        """Return the loaders of each table of validation."""
        tables = zip(*(m.data.val_dataloader() for m in self.members), strict=True)
        return [StackEvalLoader(loaders) for loaders in tables]

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move the columns of one batch of all runs, or of one batch of each."""
        if device.type == "cpu" or batch is None:
            return batch
        if isinstance(batch, list):
            return [self.transfer_batch_to_device(b, device, dataloader_idx) for b in batch]
        return Batch(*(column.to(device, non_blocking=True) for column in batch))


class RunBatch:
    """The batch of one run, whose columns are cut out when they are asked for."""

    def __init__(self, batch: Batch, run: int) -> None:
        self._batch, self._run = batch, run

    def __getattr__(self, name: str) -> Tensor:
        column: Tensor = getattr(self._batch, name)
        return column[self._run]


def partners(objectives: Sequence[Objective], batch: Batch) -> tuple[Tensor, ...]:
    """Draw the partners of the rows of every run, as the run would by itself.

    Args:
        objectives: The runs'.
        batch: Batches of all runs [R, B, ...].

    Returns:
        Positions, labels of the partners, and shares [R, B]; nothing where there is no mixing.
    """
    if objectives[0].mixing is None:
        return ()
    y, z, drawn = batch.y.cpu().numpy(), batch.z.cpu().numpy(), []
    for run, objective in enumerate(objectives):
        assert objective.mixing is not None
        rng = objective.mixing_generator()
        place, share = objective.mixing.pairs(y[run], z[run], rng)
        drawn.append((place, y[run][place], share))
    columns = zip(*drawn, strict=True)
    return tuple(torch.from_numpy(np.stack(column)).to(batch.y.device) for column in columns)
