"""Features of a fixed network for every row of a data set, as a file to train on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning import seed_everything

from frbench.contracts.errors import UserError
from frbench.contracts.spec import to_spec
from frbench.data.module import GroupDataModule
from frbench.networks import Network
from frbench.objectives import ERM, Objective
from frbench.runs.build import build, built, checkpoint_data
from frbench.runs.checkpoint import load, read_checkpoint
from frbench.runs.environment import environment
from frbench.support.atomic import replacing, write_text
from frbench.support.files import file_hashes
from frbench.training.checks import data_spec
from frbench.training.postprocess import passed
from frbench.training.threads import use_threads


class Source(NamedTuple):
    """Where features come from.

    Attributes:
        model: Has the network.
        data: The data set.
        about: What they are, in words.
    """

    model: Objective
    data: GroupDataModule
    about: str


def of_checkpoint(path: Path, words: Sequence[str]) -> Source:
    """Take the network of a checkpoint, and its data or others.

    Args:
        path: The checkpoint.
        words: ``--data.OPTION VALUE`` words that change the checkpoint's data; with ``--data
            NAME`` among them, another data set is meant.

    Raises:
        UserError: If the checkpoint or the data cannot be used, or inputs have another shape.
    """
    model = load(path)
    if any(word.split("=")[0] == "--data" for word in words):
        data = build(list(words))
    else:
        data = checkpoint_data(read_checkpoint(path), path, list(words))
    ours, theirs = (list(sizes.input_shape) for sizes in (data.sizes, model.data_sizes))
    if ours != theirs:
        raise UserError(
            f"{path} was trained on inputs of shape {theirs}; those of {data} are {ours}."
        )
    name, digest = type(model.network).__name__, file_hashes([str(path)])[str(path)]
    return Source(model, data, f"features of {data} by {name} of {path.name} ({digest:.12})")


def of_network(words: Sequence[str], data_words: Sequence[str], seed: int) -> Source:
    """Build a network for a data set; weights that no file gives are drawn by the seed.

    Args:
        words: ``--network NAME --network.OPTION VALUE`` words.
        data_words: ``--data NAME --data.OPTION VALUE`` words.
        seed: Seed of the weights.

    Raises:
        UserError: If there is no such network or data set, or they do not fit.
    """
    data = build(list(data_words))
    network: Network = built(Network, "network", words)
    seed_everything(seed, verbose=False)
    sizes = data.sizes
    model = ERM(*sizes[:2], list(sizes.input_shape), sizes.vocab_size, network=network)
    weights = "" if network.pretrained else " with random weights"
    return Source(model, data, f"features of {data} by {type(network).__name__}{weights}")


def write_features(source: Source, out: Path) -> dict[str, int]:
    """Write the features of all rows, in the order of the splits and of their tables.

    The file has the arrays of :data:`frbench.data.tables.array_data.ARRAYS`; a record stands
    beside it. Nothing is written before all features are there.

    Args:
        source: Network and data.
        out: File to write, ``.npz``; it must not be there.

    Returns:
        Number of rows of each split.

    Raises:
        FileExistsError: If the file has come to be there meanwhile.
    """
    model, data, about = source
    use_threads(model, data.eval_batch_size)
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("x", "y", "z", "weight", "continuous", "split", "id")
    }
    for name, table in data.splits.items():
        features, _ = passed(model, data, name, torch.float32)
        parts = (features, table.y, table.z, table.weight, table.continuous)
        more = (np.repeat(name, len(table)), ids_of(table.x))
        for column, part in zip(columns.values(), (*parts, *more), strict=True):
            column.append(part)
    arrays: dict[str, Any] = {name: np.concatenate(c) for name, c in columns.items()}
    if np.ptp(arrays["weight"]) == 0:
        del arrays["weight"]
    if np.isnan(arrays["continuous"]).all():
        del arrays["continuous"]
    with replacing(out, new=True) as file, file.open("wb") as stream:
        np.savez(
            stream,
            **arrays,
            class_names=np.array(data.class_names),
            attribute_names=np.array(data.attribute_names),
            about=np.array(about),
        )
    rows = {name: len(table) for name, table in data.splits.items()}
    record: dict[str, Any] = {
        "about": about,
        "network": to_spec(model.network),
        "data": data_spec(data),
        "rows": rows,
        "features": int(arrays["x"].shape[1]),
        **environment(),
    }
    write_text(out.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    return rows


def ids_of(x: Any) -> np.ndarray:
    """Return what the rows of a split are called: file names, rows of the raw table, or places.

    Args:
        x: Raw inputs of the split.
    """
    found: np.ndarray
    if hasattr(x, "iloc"):
        found = x.index.to_numpy()
    elif isinstance(x, np.ndarray) and x.dtype.kind in "OU" and x.ndim == 1:
        found = x  # names of files
    else:
        found = np.arange(len(x))
    if found.dtype == object:
        found = found.astype(str)
    return found
