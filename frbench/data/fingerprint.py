"""A hash of data, by which results say what they are about."""

from __future__ import annotations

import hashlib
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule


def fingerprint(data: GroupDataModule) -> str:
    """Return the hash of what training and evaluation see; equal data gives an equal hash.

    Args:
        data: The data set.
    """
    digest = hashlib.sha256()
    table, clean, weight = data.training
    tables = {**data.splits, "training": table, "clean": clean}
    for name, part in sorted(tables.items()):
        digest.update(name.encode())
        x: Any = data.encode_all(part.x) if len(part) else None
        x = x.numpy() if isinstance(x, Tensor) else x
        if isinstance(x, np.ndarray):
            digest.update(f"{x.dtype}{x.shape}".encode())
            digest.update(x.tobytes())
        else:  # lazily decoded inputs: what they are made from
            digest.update(x.digest() if hasattr(x, "digest") else pickle.dumps(x))
        for column in (part.y, part.z, part.weight, part.clean):
            digest.update(column.tobytes())
        if part.synthetic.any():
            digest.update(part.synthetic.tobytes())
    digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]
