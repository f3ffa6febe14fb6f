"""Hashes of data, by which results and checkpoints say what they are about."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from frbench.data.contents import hash_column

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule


def fingerprint(data: GroupDataModule) -> str:
    """Return the hash of what training and evaluation see; equal data gives an equal hash.

    Columns of tables are hashed as they are, beside what encodes them.

    Args:
        data: The data set.
    """
    table, clean, weight = data.training
    learnt = json.dumps([data.learnt, data.sizes], sort_keys=True, default=str)
    digest = hashlib.sha256(learnt.encode())
    tables = {**data.splits, "training": table, "clean": clean}
    for name, part in sorted(tables.items()):
        digest.update(name.encode())
        raw = hasattr(part.x, "columns")
        x = part.x if raw or not len(part) else data.encode_all(part.x)
        columns = {str(k): x[k] for k in x.columns} if raw else {"x": x}
        extra = {"weight": part.weight, "clean": part.clean}
        extra |= {"synthetic": part.synthetic} if part.synthetic.any() else {}
        known = not np.isnan(part.continuous).all()
        extra |= {"continuous": part.continuous} if known else {}
        for key, column in {**columns, "y": part.y, "z": part.z, **extra}.items():
            digest.update(f"{key} {hash_column(column)}".encode())
    digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]
