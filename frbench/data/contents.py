"""Hashes of columns and tables, and what differs between two tables."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def hash_column(column: Any) -> str:
    """Return the hash of the values of a column: an array, a pandas column, or lazy inputs.

    Other values than numbers are numbered in the order in which they occur, so that no Python
    object is looked at more than once.

    Example:
        >>> hash_column(np.array([1, 2])) == hash_column(np.array([2, 1]))
        False
    """
    digest = hashlib.sha256()
    x = column.numpy() if isinstance(column, Tensor) else column
    if hasattr(x, "dtype") and (not isinstance(x, np.ndarray) or x.dtype.kind in "OUS"):
        import pandas as pd

        if not isinstance(x, np.ndarray) and getattr(x.dtype, "kind", "O") in "iufb":
            x = x.to_numpy()
        else:
            x, values = pd.factorize(x)
            digest.update("\0".join(map(str, values)).encode())
            x = x.astype(np.int32)
    if isinstance(x, np.ndarray):
        digest.update(f"{x.dtype}{x.shape}".encode())
        digest.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    else:  # lazily decoded inputs: what they are made from
        digest.update(x.digest() if hasattr(x, "digest") else pickle.dumps(x))
    return digest.hexdigest()[:16]


def contents(
    columns: Mapping[str, Any],
    y: np.ndarray,
    z: np.ndarray,
    each_column: bool = True,
    weight: np.ndarray | None = None,
    continuous: np.ndarray | None = None,
) -> dict[str, Any]:
    """Describe a table by its number of rows and hashes of its columns.

    Args:
        columns: Raw inputs by name.
        y: Labels [N].
        z: Attributes [N].
        each_column: Whether each column has a hash of its own, or all together one.
        weight: Sample weights [N]; those that are all equal are left out.
        continuous: A continuous attribute [N]; one that is nowhere known is left out.

    Returns:
        ``rows`` and ``columns``, a hash by name.
    """
    hashes = {name: hash_column(column) for name, column in columns.items()}
    hashes |= {"(class)": hash_column(y), "(attribute)": hash_column(z)}
    if weight is not None and len(weight) and np.ptp(weight):
        hashes["(weight)"] = hash_column(weight)
    if continuous is not None and not np.isnan(continuous).all():
        hashes["(continuous)"] = hash_column(continuous)
    if not each_column:
        text = json.dumps(hashes, sort_keys=True)
        hashes = {"": hashlib.sha256(text.encode()).hexdigest()[:16]}
    return {"rows": len(y), "columns": hashes}


def changes(
    stored: Mapping[str, Any], found: Mapping[str, Any], only: str | tuple[str, ...] = ""
) -> str:
    """Say how tables differ from those of a checkpoint; empty if they do not.

    Args:
        stored: What :func:`contents` gave for each table when the checkpoint was written.
        found: The same of the present tables.
        only: Beginning of the names of the tables that are compared.

    Example:
        >>> old, new = (contents({"x": np.arange(n)}, np.zeros(n), np.zeros(n)) for n in (3, 4))
        >>> changes({"train": old}, {"train": new})
        'train has 4 rows, had 3'
    """
    said = []
    for name, now in found.items():
        before = stored.get(name)
        if before is None or not name.startswith(only):
            continue
        if now["rows"] != before["rows"]:
            said.append(f"{name} has {now['rows']} rows, had {before['rows']}")
            continue
        ours, theirs = now["columns"], before["columns"]
        if ours.keys() == theirs.keys():
            differing = [key for key in ours if ours[key] != theirs[key]]
            what = ", ".join(filter(None, differing[:5])) + (", ..." if differing[5:] else "")
            if differing:
                said.append(f"{name} has other values" + (f" in {what}" if what else ""))
            continue
        lost, new = (sorted(set(a) - set(b)) for a, b in ((theirs, ours), (ours, theirs)))
        said += [f"{name} lacks the column {key}" for key in lost[:3]]
        said += [f"{name} has the column {key}, which it had not" for key in new[:3]]
    return "; ".join(said)
