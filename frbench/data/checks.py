"""Checks of a data set's tables and inputs."""

from __future__ import annotations

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data.table import Table


def check_tables(tables: dict[str, Table], sizes: Sizes, owner: str) -> None:
    """Check the splits: which there are, and that labels, attributes and weights are in range.

    Args:
        tables: The splits by name.
        sizes: C and A.
        owner: Name of the data set, for the message.

    Raises:
        UserError: Naming split, column and what was expected.
    """
    tests = [name for name in tables if name == "test" or name.startswith("test/")]
    if not {"train", "val"} <= set(tables) or not tests:
        raise UserError(
            f"{owner}.tables() must give train, val and test (or test/<name>), got "
            f"{sorted(tables)}."
        )
    for name, table in tables.items():
        if not len(table):
            raise UserError(f"{owner}: the {name} split is empty.")
        for column, low, size in (("y", 0, sizes.num_classes), ("z", -1, sizes.num_attributes)):
            values = getattr(table, column)
            if values.min() < low or values.max() >= size:
                raise UserError(
                    f"{owner}: column {column} of the {name} split has values "
                    f"{values.min()}..{values.max()}, expected {low}..{size - 1}."
                )
        weight = table.weight
        if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
            raise UserError(
                f"{owner}: weights of the {name} split must be finite, not negative, and not all "
                "zero."
            )


def check_inputs(x: np.ndarray, sizes: Sizes, owner: str) -> None:
    """Check encoded inputs: their shape, and that they are finite.

    Args:
        x: Inputs [N, ...].
        sizes: The declared shape of one input.
        owner: Name of data set and split, for the message.

    Raises:
        UserError: Naming the first row that is not finite, or both shapes.
    """
    if x.shape[1:] != tuple(sizes.input_shape):
        raise UserError(
            f"{owner} has inputs of shape {x.shape[1:]}, but sizes declares "
            f"{tuple(sizes.input_shape)}."
        )
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))[0])
        raise UserError(f"{owner} holds NaN or infinite inputs in row {row}; drop or fill them.")
