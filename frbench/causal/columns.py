"""Columns of data for the nodes of a graph: from a file, or from a data set of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.causal.graph import CausalTask
from frbench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from frbench.data.module import GroupDataModule

_TABLES = (".csv", ".parquet", ".pq", ".jsonl", ".json")


def columns(
    task: CausalTask, data: str, options: Sequence[str] = (), named: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], str]:
    """Find a column for every node that has one.

    A node has the column of its own name, or the one given for it. In a data set of ours the
    label and a single factor also stand for y and z by their role; further columns are those of
    its raw table.

    Args:
        task: The graph.
        data: A table (``.csv``, ``.jsonl``, ``.parquet``), a YAML file with a ``data`` entry, or
            the name of a data set.
        options: ``--data.NAME VALUE`` words for a data set.
        named: ``NODE=COLUMN`` pairs.

    Returns:
        Node -> values [N], and what the data is called. Of a data set: the training split before
        corruption and balancing.

    Raises:
        UserError: For data, options, nodes or columns that do not exist.
    """
    plain = data.removesuffix(".gz")
    if plain.endswith(_TABLES):
        from frbench.data.reading import read_table

        if options:
            raise UserError(f"--data {data} is a table and takes no {options[0]}.")
        frame, source = read_table(data), Path(data).name
    else:
        frame, source = _from_module(task, data, options)
    pairs = dict(_pair(text) for text in named)
    for node, name in pairs.items():
        if node not in task.observed:
            raise UserError(
                f"--column: {node!r} is no observed node; those are {', '.join(task.observed)}."
            )
        if name not in frame:
            raise UserError(
                f"--column: {source} has no column {name!r}; its columns are "
                f"{', '.join(map(str, frame.columns))}."
            )
    chosen = {node: pairs.get(node, node) for node in task.observed}
    found = {
        node: frame[name].to_numpy() if frame[name].dtype.kind in "iuf"
        else frame[name].astype(object).where(frame[name].notna(), None).to_numpy()  # no pd.NA
        for node, name in chosen.items() if name in frame
    }  # fmt: skip
    return found, source


def _pair(text: str) -> tuple[str, str]:
    node, equals, name = text.partition("=")
    if not (node and equals and name):
        raise UserError(f"--column {text}: write NODE=COLUMN, such as XZ=age.")
    return node, name


def _from_module(task: CausalTask, data: str, options: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """Read the training split of a data set of ours as a table."""
    import pandas as pd

    module = load(data, options)
    train = module.splits["train"]
    if isinstance(train.x, pd.DataFrame):
        frame = train.x.reset_index(drop=True)
    else:
        frame = pd.DataFrame(index=range(len(train)))
    roles = [(task.label, train.y, module.class_names)]
    if len(task.factor) == 1:
        roles.append((task.factor[0], train.z, module.attribute_names))
    for node, codes, names in roles:
        texts = np.array([*names, None], dtype=object)
        if node not in frame:  # as it is where the factor of the graph is not the data's z
            frame[node] = texts[codes]  # an unknown z is -1, the last
    return frame, f"{type(module).__name__} (training split)"


def load(data: str, options: Sequence[str]) -> GroupDataModule:
    """Build a data set from its name, or from a YAML file as ``frbench fit --config`` takes it.

    Raises:
        UserError: If there is no such file or data set, or an option is wrong.
    """
    from frbench.data.inspect import build

    entry = _entry(data) if data.endswith((".yaml", ".yml")) else data
    return build([f"--data={entry}", *options])


def _entry(path: str) -> str:
    import yaml

    try:
        content: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"--data: there is no file {path}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--data: {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or "data" not in content:
        raise UserError(f"--data: {path} has no entry `data`; see configs/data for examples.")
    entry = content["data"]
    return entry if isinstance(entry, str) else json.dumps(entry)
