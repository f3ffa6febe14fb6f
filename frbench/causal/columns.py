"""Columns of data for the nodes of a graph: from a file, or from a data set of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frbench.causal.graph import CausalTask
from frbench.contracts.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from frbench.data.module import GroupDataModule


def columns(
    task: CausalTask, data: str | GroupDataModule, named: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], str]:
    """Find a column for every node that has one.

    A node has the column of its own name, or the one given for it. In a data set of ours the
    label and a single attribute also stand for y and z by their role; further columns are those of
    its raw table.

    Args:
        task: The graph.
        data: The path of a table (:func:`frbench.data.reading.is_table`), or a data set.
        named: ``NODE=COLUMN`` pairs.

    Returns:
        Node -> values [N], and what the data is called. Of a data set: the training split before
        corruption and balancing.

    Raises:
        UserError: For files, nodes or columns that do not exist.
    """
    if isinstance(data, str):
        from frbench.data.cells import check_plain
        from frbench.data.reading import read_table

        frame, source = read_table(data), Path(data).name
    else:
        frame, source = _from_module(task, data)
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
    if isinstance(data, str):
        check_plain(frame[[c for c in chosen.values() if c in frame]], data, "use another column")
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


def _from_module(task: CausalTask, module: GroupDataModule) -> tuple[pd.DataFrame, str]:
    """Read the training split of a data set of ours as a table."""
    import pandas as pd

    train = module.splits["train"]
    if isinstance(train.x, pd.DataFrame):
        frame = train.x.reset_index(drop=True)
    else:
        frame = pd.DataFrame(index=range(len(train)))
    roles = [(task.label, train.y, module.class_names)]
    if len(task.attribute) == 1:
        roles.append((task.attribute[0], train.z, module.attribute_names))
    for node, codes, names in roles:
        texts = np.array([*names, None], dtype=object)
        if node not in frame:  # as it is where the attribute of the graph is not the data's z
            frame[node] = texts[codes]  # an unknown z is -1, the last
    return frame, f"{type(module).__name__} (training split)"
