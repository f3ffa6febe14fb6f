"""State with one value for each training row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from frbench.contracts.state import Staged
from frbench.distributed import all_gather


def write_rows(rows: Tensor, index: Tensor, value: Tensor) -> None:
    """Write values of some rows in place, in a time that does not depend on the other rows.

    A row that occurs several times gets the mean of its values.

    Args:
        rows: One value for each row [N, ...]; it is changed.
        index: Rows [B].
        value: Their values [B, ...].

    Example:
        >>> rows = torch.zeros(4)
        >>> write_rows(rows, torch.tensor([2, 0, 2]), torch.tensor([1.0, 5.0, 2.0]))
        >>> rows
        tensor([5.0000, 0.0000, 1.5000, 0.0000])
    """
    value = value.to(rows)
    counts = rows.index_fill_(0, index, 0).index_add_(0, index, torch.ones_like(value))[index]
    sums = rows.index_fill_(0, index, 0).index_add_(0, index, value)[index]
    rows[index] = sums / counts if rows.is_floating_point() else sums // counts


class RowState(Staged):
    """A module with tensors [N, ...] over the training rows, which change as its buffers do.

    They are allocated from the data when training starts, and are no buffers: DDP does not send
    them to all processes in each step, and ``state_dict`` does not hold them. A checkpoint keeps
    them for continuing a run.
    """

    @property
    def row_state(self) -> Mapping[str, float | list[float]]:
        """Names of the tensors, and what each row begins with, a number or a list of numbers.

        Integers give int64. A subclass may set a class attribute instead.
        """
        return {}

    def __init__(self) -> None:
        super().__init__()
        self._proposed_rows: dict[str, tuple[Tensor, Tensor]] = {}

    def allocate_rows(self, count: int) -> None:
        """Give each row its first value; the base calls this when training starts.

        Args:
            count: Number of training rows N.
        """
        for name, value in self.row_state.items():
            row = torch.tensor(value)
            setattr(self, name, row.expand(count, *row.shape).clone())

    def move_rows(self, device: torch.device) -> None:
        """Move the tensors to the device of training."""
        for name in self.row_state:
            if hasattr(self, name):
                setattr(self, name, getattr(self, name).to(device))

    def stage_rows(self, index: Tensor, **values: Tensor) -> None:
        """Propose values of some rows; a collective.

        A row that occurs several times in the global batch gets the mean of its values.

        Args:
            index: Rows of this process, ``batch.index`` [B / W].
            **values: Their values by name of the tensor [B / W].

        Raises:
            ValueError: If ``row_state`` has no such name.
        """
        index = all_gather(index)
        for name, value in values.items():
            if name not in self.row_state:
                raise ValueError(f"stage_rows({name}=...): name it in row_state.")
            self._proposed_rows[name] = index, all_gather(value.detach())

    def discard(self) -> None:
        """Forget what was proposed."""
        super().discard()
        self._proposed_rows.clear()

    def commit(self) -> None:
        """Write what was proposed."""
        for name, (index, value) in self._proposed_rows.items():
            write_rows(getattr(self, name), index, value)
        super().commit()

    @contextmanager
    def rows_as_proposed(self) -> Iterator[None]:
        """Let the tensors have inside, for reading, the values that were proposed."""
        before = [(name, index, getattr(self, name)[index])
                  for name, (index, _) in self._proposed_rows.items()]  # fmt: skip
        for name, (index, value) in self._proposed_rows.items():
            write_rows(getattr(self, name), index, value)
        try:
            yield
        finally:
            for name, index, value in before:
                getattr(self, name)[index] = value

    def rows_to_save(self) -> dict[str, Any]:
        """Return copies of the tensors on the CPU, by name."""
        return {name: getattr(self, name).cpu().clone() for name in self.row_state}

    def restore_rows(self, stored: Mapping[str, Any]) -> None:
        """Take back what :meth:`rows_to_save` gave."""
        for name in self.row_state:
            setattr(self, name, stored[name].clone())
