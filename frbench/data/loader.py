"""From tables to batches: one indexing per batch, one rank-aware order, exact resume."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat
from typing import Any, Literal

import numpy as np
import torch

from frbench.contracts.batch import Batch
from frbench.data.fetch import TensorTable, fetch
from frbench.data.strata import stratified_order


def global_batch(num_rows: int, batch_size: int, world_size: int) -> int:
    """Rows of a global batch; of fewer rows than that, one of the largest multiple of W."""
    return min(batch_size, num_rows // world_size * world_size)


class GroupLoader:
    """The training loader: global batches, sliced by rank, resumable at any batch.

    The order of an epoch depends on (seed, epoch) alone. Every rank computes the same order and
    takes its slice of each global batch; the last partial batch is dropped. The state is
    (epoch, batches delivered, weights of the epoch), the same on every rank.

    Args:
        dataset: Training rows 0..N-1, then clean rows N..N+M-1.
        batch_size: Global batch B, divisible by world_size.
        seed: Seed of the order.
        sampling: Sampling weights of the training rows [N]; None draws without replacement.
        rows_per_group: Every global batch has at least so many rows of each group, weighed so
            that weighted means keep their expectation; 0 leaves it to chance.
        num_clean: M, number of clean rows at the end of the dataset.
        clean_per_batch: Clean rows appended to each global batch, divisible by world_size.
        passes: Passes over the training rows that make an epoch.
        rank: This process.
        world_size: Number of processes W.
        num_workers: Processes that index and decode.
        pin_memory: Whether batches are put in page-locked memory.
    """

    def __init__(
        self,
        dataset: TensorTable,
        batch_size: int,
        seed: int = 0,
        sampling: np.ndarray | None = None,
        rows_per_group: int = 0,
        num_clean: int = 0,
        clean_per_batch: int = 0,
        passes: int = 1,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset = dataset
        self.num_rows = len(dataset) - num_clean
        self.batch_size = global_batch(self.num_rows, batch_size, world_size)
        self.seed = seed
        self.sampling = sampling
        self.rows_per_group = rows_per_group
        self.num_clean = num_clean
        self.clean_per_batch = clean_per_batch
        self.passes = passes
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        #: Epoch of the run from which this loader's are counted: a stage sees a run's order.
        self.first_epoch = 0
        self.delivered = 0
        self._resumed = False
        self._told: int | None = None
        self._epoch_weights: np.ndarray | None = None
        self._epoch_via: Literal["sample", "weight"] = "weight"
        #: Global order of the present epoch's training rows, once it has begun.
        self._epoch_order: np.ndarray | None = None
        #: Factor of each row's weight that makes up for stratified batches.
        self._group_factor: np.ndarray | None = None
        self.num_workers = num_workers
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return self.num_rows // self.batch_size * self.passes if self.batch_size else 0

    @property
    def is_fixed(self) -> bool:
        """Whether each batch holds all rows, whose order means nothing."""
        weighs = self.sampling is not None or self._epoch_weights is not None
        whole = self.batch_size == self.num_rows and self.clean_per_batch == self.num_clean
        return whole and not weighs and not self.rows_per_group and self.dataset.augment is None

    @property
    def sampler(self) -> GroupLoader:
        """Where Lightning looks for :meth:`set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch of the run comes next; without it, the next one does."""
        self._told = epoch - self.first_epoch

    def set_epoch_weights(
        self, weights: np.ndarray | None, via: Literal["sample", "weight"]
    ) -> None:
        """Multiply each training row's weight for the coming epoch (``on_epoch_weights``).

        Args:
            weights: Non-negative factors [N], or None for ones.
            via: Into the sampler or into ``batch.weight``.

        Raises:
            ValueError: If the factors have another length, or are negative or not finite.
        """
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float64)
            good = weights.shape == (self.num_rows,) and np.isfinite(weights).all()
            if not good or (weights < 0).any() or not weights.any():
                raise ValueError(
                    f"on_epoch_weights must give {self.num_rows} finite weights, none negative, "
                    f"not all zero; got shape {weights.shape}."
                )
        self._epoch_weights = weights
        self._epoch_via = via

    def _order(self) -> np.ndarray:
        """Global order of the epoch's training rows [len * B]."""
        rng = np.random.default_rng([self.seed, self.epoch])
        sampling = self.sampling
        if self._epoch_weights is not None and self._epoch_via == "sample":
            own = np.ones(self.num_rows) if self.sampling is None else self.sampling
            sampling = own * self._epoch_weights
        total = len(self) * self.batch_size
        if self.rows_per_group:
            group = self.dataset.group[: self.num_rows].numpy()
            order, self._group_factor = stratified_order(
                group, sampling, self.batch_size, len(self), self.rows_per_group, rng
            )
            return order
        if self.is_fixed:
            return np.tile(np.arange(self.num_rows), self.passes)
        if sampling is None:
            share = total // self.passes  # each pass drops its last partial batch
            passes = (rng.permutation(self.num_rows)[:share] for _ in range(self.passes))
            return np.concatenate(list(passes))
        return rng.choice(self.num_rows, size=total, p=sampling / sampling.sum())

    def _clean_order(self) -> np.ndarray:
        if self.is_fixed:
            return np.tile(np.arange(self.num_clean) + self.num_rows, self.passes)
        rng = np.random.default_rng([self.seed, self.epoch, 1])
        total = len(self) * self.clean_per_batch
        passes = -(-total // self.num_clean) if self.num_clean else 0
        rows = [rng.permutation(self.num_clean) + self.num_rows for _ in range(passes)]
        return np.concatenate(rows)[:total] if rows else np.empty(0, dtype=np.int64)

    def _slice(self, order: np.ndarray, batch: int, size: int) -> np.ndarray:
        share = size // self.world_size
        start = batch * size + self.rank * share
        return order[start : start + share]

    def keys(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (rows, seeds of their random transforms) for the rest of the epoch.

        A seed follows from (seed, epoch, place in the global order): a row that the sampler draws
        twice is transformed in two ways, and the number of devices has no part in it.
        """
        self._epoch_order = self._order()
        streams = [(self._epoch_order, self.batch_size)]
        if self.clean_per_batch:
            streams.append((self._clean_order(), self.clean_per_batch))
        rng = np.random.default_rng([self.seed, self.epoch, 2])
        both = [(order, rng.integers(2**32, size=len(order)), n) for order, n in streams]
        for batch in range(self.delivered, len(self)):
            rows = [self._slice(order, batch, n) for order, _, n in both]
            seeds = [self._slice(drawn, batch, n) for _, drawn, n in both]
            yield np.concatenate(rows), np.concatenate(seeds)

    def global_rows(self, batch: int) -> np.ndarray:
        """Return the training rows of a batch of this epoch, those of all processes [B].

        Args:
            batch: Which one of the epoch, from 0.
        """
        assert self._epoch_order is not None  # a batch was asked for
        return self._epoch_order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def begin(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Move to the epoch that is due, and return the :meth:`keys` of its batches."""
        going_on = self._resumed and self.delivered < len(self)
        epoch = self.epoch + (self.delivered > 0 and not going_on)
        if self._told is not None:
            epoch = self._told
        if not going_on or epoch != self.epoch:
            self.epoch, self.delivered = epoch, 0
        self._resumed, self._told = False, None
        return self.keys()

    def __iter__(self) -> Iterator[Batch]:
        # A generator: Lightning calls iter() long before the epoch starts and before it says
        # which epoch that is. Nothing here runs until the first batch is asked for.
        batches = fetch(self.dataset, self.begin(), self.num_workers, self.pin_memory)
        if self.is_fixed:  # fetched once
            left = len(self) - self.delivered
            batches = (batch for first in islice(batches, 1) for batch in repeat(first, left))
        for batch in batches:
            self.delivered += 1
            yield self.weighed(batch)

    @property
    def weighs(self) -> bool:
        """Whether :meth:`weighed` changes weights in this epoch."""
        own = self._epoch_weights is not None and self._epoch_via == "weight"
        return own or self._group_factor is not None

    def weighed(self, batch: Batch) -> Batch:
        """Multiply the weights of a batch by those of the epoch and of stratified batches."""
        if self._epoch_weights is not None and self._epoch_via == "weight":
            batch = self._weighed(batch, self._epoch_weights)
        if self._group_factor is not None:
            batch = self._weighed(batch, self._group_factor)
        return batch

    def _weighed(self, batch: Batch, factor: np.ndarray) -> Batch:
        """Multiply the weights of a batch's training rows by their factors [N]."""
        weights = torch.as_tensor(factor, dtype=torch.float32)
        training = batch.index < self.num_rows
        index = batch.index.clamp(max=self.num_rows - 1)
        return batch._replace(weight=batch.weight * torch.where(training, weights[index], 1.0))

    def state_dict(self) -> dict[str, Any]:
        """Return the position; Lightning stores it in the checkpoint."""
        weights = self._epoch_weights
        return {
            "epoch": self.epoch,
            "first_epoch": self.first_epoch,
            "delivered": self.delivered,
            "epoch_weights": None if weights is None else torch.as_tensor(weights),
            "epoch_via": self._epoch_via,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a stored position."""
        self.epoch = state["epoch"]
        self.first_epoch = state.get("first_epoch", 0)
        self.delivered = state["delivered"]
        weights = state["epoch_weights"]
        self._epoch_weights = None if weights is None else weights.numpy()
        self._epoch_via = state["epoch_via"]
        self._resumed = True


class EvalLoader:
    """Evaluation batches in table order; rank r takes rows r, r + W, ...: no padding, no repeats.

    Args:
        dataset: The split.
        batch_size: Rows per batch on this rank.
        rank: This process.
        world_size: Number of processes W.
        num_workers: Processes that index and decode.
        pin_memory: Whether batches are put in page-locked memory.
        rows: The rows to visit; all by default.
    """

    def __init__(
        self,
        dataset: TensorTable,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        rows: np.ndarray | None = None,
    ) -> None:
        rows = (np.arange(len(dataset)) if rows is None else rows)[rank::world_size]
        self.keys = [
            (rows[start : start + batch_size], None) for start in range(0, len(rows), batch_size)
        ]
        self.dataset = dataset
        self.num_workers = num_workers
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Batch]:
        yield from fetch(self.dataset, self.keys, self.num_workers, self.pin_memory)
