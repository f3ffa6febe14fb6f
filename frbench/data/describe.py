"""What is printed before training: who is in the data, and what training will see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.text import printable
from frbench.data.balance import effective_sample_size

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule


def group_table(data: GroupDataModule) -> dict[str, Any]:
    """Count the groups of each split, as plain values for records and pages.

    Returns:
        ``names`` of the groups, ``counts`` of each table by its name, the training table as
        training really sees it, and ``Q``, each group's share of the training weight.
    """
    table, _, weight = data.training
    shape = (data.num_classes, data.num_attributes)
    counts = {name: t.counts(*shape).ravel().tolist() for name, t in data.splits.items()}
    counts["train"] = data.train_counts.ravel().tolist()
    cells = np.where(table.z < 0, -1, table.y * data.num_attributes + table.z)
    size = data.num_classes * data.num_attributes
    mass = np.bincount(cells[cells >= 0], weights=weight[cells >= 0], minlength=size)
    return {
        "names": list(data.group_names),
        "counts": counts,
        "Q": [round(float(share), 6) for share in mass / weight.sum()],
    }


def describe(data: GroupDataModule) -> str:
    """Table of group counts per split, with the training distribution and the notes."""
    groups = group_table(data)
    counts: dict[str, list[int]] = groups["counts"]
    lines = [
        f"{type(data).__name__}: {data.num_classes} classes, "
        f"{data.num_attributes} attribute values"
        + (f"; positive class {data.class_names[1]}" if data.num_classes == 2 else "")
    ]
    names = [printable(name) for name in data.group_names]
    width = max(map(len, [*names, "group"]))
    # Two spaces at least: names of shifted test tables are long.
    wide = {name: max(12, len(name) + 2) for name in counts}
    header = "".join(f"{name:>{wide[name]}}" for name in counts)
    lines.append(f"{'group':<{width}}{header}{'Q':>9}")
    for i, name in enumerate(names):
        row = "".join(f"{column[i]:>{wide[key]}}" for key, column in counts.items())
        lines.append(f"{name:<{width}}{row}{groups['Q'][i]:>9.4f}")
    return "\n".join(map(printable, [*data.schema, *lines, *remarks(data)]))


def remarks(data: GroupDataModule) -> list[str]:
    """Say what was done to the training rows, and what the data set itself has to note."""
    table, clean, weight = data.training
    lines = []
    for name, t in data.splits.items():
        if unknown := int((t.z < 0).sum()):
            lines.append(f"{name}: {unknown} rows without attribute, in no group")
    for kind in ("corrupt", "augment"):
        if steps := getattr(data, kind):
            lines.append(f"{kind}: {', '.join(type(step).__name__ for step in steps)}")
            lines += [text for step in steps if (text := step.report())]
    if changed := int(table.flipped.sum()):
        lines.append(f"labels changed: {changed} of {len(table)} training rows")
    if generated := int(table.synthetic.sum()):
        lines.append(f"generated: {generated} of {len(table)} training rows")
    if data.balance != "none":
        lines.append(
            f"balance: {data.balance} via {data.effective_via}"
            + (f", marginals {data.marginals}" if data.balance == "joint" else "")
            + f"; effective sample size {effective_sample_size(weight):.0f} of {len(table)}"
        )
    if data.rows_per_group:
        rows = data.sampled_shares * data.rows_per_batch
        lines.append(
            f"stratified: {rows.min():.0f} to {rows.max():.0f} rows of each group in a batch of "
            f"{data.rows_per_batch}, weighed to keep Q"
        )
    if len(clean):
        lines.append(f"clean rows: {len(clean)}, {data.clean_per_batch} in each batch")
    return [*lines, *data.notes]
