"""Inputs of a data set beside inputs that came from elsewhere, already encoded."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Mixed:
    """Raw inputs of a data set followed by encoded ones; indexing chooses rows, lazily.

    Args:
        raw: Inputs as the data set's table holds them.
        ready: Arrays as its ``encode`` would give them; bytes are scaled to [0, 1] where it
            gives floats.
        rows: Positions in the parts laid end to end [N]; all by default.

    Example:
        >>> x = Mixed(np.array(["1", "2"]), [np.array([[7.0]])])[np.array([2, 0])]
        >>> x.encode(lambda raw: raw.astype(float)[:, None]).tolist()
        [[7.0], [1.0]]
    """

    def __init__(
        self, raw: Any, ready: Sequence[np.ndarray], rows: np.ndarray | None = None
    ) -> None:
        self.raw = raw
        self.ready = ready
        self.rows = np.arange(len(raw) + sum(map(len, ready))) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: np.ndarray) -> Mixed:
        return Mixed(self.raw, self.ready, self.rows[rows])

    def encode(self, encode: Callable[[Any], Any]) -> Any:
        """Encode the raw inputs and put the others beside them."""
        raw = self.raw.encode(encode) if isinstance(self.raw, Mixed) else encode(self.raw)
        return join([raw, *self.ready], self.rows)


class Joined:
    """Encoded inputs laid end to end that are read only when they are indexed.

    Args:
        parts: Objects whose indexing by an integer array gives an array.
        rows: Positions in the parts laid end to end [N].
    """

    def __init__(self, parts: Sequence[Any], rows: np.ndarray) -> None:
        self.parts = parts
        self.rows = rows
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...], without reading anything."""
        return (len(self), *self.parts[0].shape[1:])

    def __getitem__(self, rows: Any) -> np.ndarray:
        place = self.rows[np.asarray(rows)]
        owner = np.searchsorted(self._starts, place, side="right") - 1
        pieces = [(owner == i, part) for i, part in enumerate(self.parts) if (owner == i).any()]
        at = place - self._starts[owner]
        values = [np.asarray(part[at[mine]]) for mine, part in pieces]
        out = np.empty((len(place), *self.shape[1:]), values[0].dtype if values else np.uint8)
        for (mine, _), value in zip(pieces, values, strict=True):
            out[mine] = value
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read everything, for steps that need an array."""
        x = self[np.arange(len(self))]
        return x.astype(dtype or x.dtype, copy=False)

    def digest(self) -> bytes:
        """Hash of what the inputs are made from."""
        digest = hashlib.sha256(self.rows.tobytes())
        for part in self.parts:
            if isinstance(part, np.ndarray):
                for start in range(0, len(part), 4096):  # it may be a file larger than memory
                    digest.update(part[start : start + 4096].tobytes())
            else:
                digest.update(part.digest() if hasattr(part, "digest") else pickle.dumps(part))
        return digest.digest()


def join(parts: Sequence[Any], rows: np.ndarray | None = None) -> Any:
    """Lay encoded inputs end to end: an array if the first part is one, else read lazily.

    Example:
        >>> join([np.array([0.0, 1.0]), np.array([255], np.uint8)]).tolist()
        [0.0, 1.0, 1.0]
    """
    rows = np.arange(sum(map(len, parts))) if rows is None else rows
    first = parts[0]
    if not isinstance(first, np.ndarray):
        return Joined(parts, rows)
    fits = [
        part / np.asarray(255, first.dtype)
        if part.dtype == np.uint8 and first.dtype.kind == "f"
        else part
        for part in parts
    ]
    return np.concatenate(fits)[rows]
