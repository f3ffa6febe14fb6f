"""The splits of a table: by a policy or a column, each with rows, every class in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.categorical import Categorical
from frbench.data.splits import SPLITS, SplitPolicy

if TYPE_CHECKING:
    import pandas as pd


class SplitRows(NamedTuple):
    """The rows that the policies keep, and where they go."""

    x: pd.DataFrame
    y: Categorical
    z: Categorical
    training: dict[str, np.ndarray]
    splits: dict[str, np.ndarray]
    notes: list[str]
    classes: dict[str, str]
    bins: dict[str, list[Any]]


def split_rows(
    policy: SplitPolicy, y: np.ndarray, z: np.ndarray, given: np.ndarray | None, path: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Assign the rows of a table to train, val and test.

    Args:
        policy: How rows are assigned.
        y: Codes of the labels [N].
        z: Codes of the attributes [N].
        given: What :func:`given_parts` returns, for a policy by column.
        path: Name of the table, for messages.

    Returns:
        The rows of each split, and notes.

    Raises:
        UserError: If a split is empty.
    """
    part, notes = policy.assign(y, z, given)
    splits = {name: np.flatnonzero(part == i) for i, name in enumerate(SPLITS)}
    for name, rows in splits.items():
        if not len(rows):
            raise UserError(
                f"{path}: the {name} split is empty ({len(part)} rows, split: {policy.split}); "
                "change the split, or give more rows."
            )
    return splits, notes


def check_classes(y: Categorical, train: np.ndarray, path: str) -> None:
    """Check that the training rows hold every class, and more than one.

    Args:
        y: Labels of all rows.
        train: The training rows.
        path: Name of the table, for messages.

    Raises:
        UserError: If they do not.
    """
    if len(np.unique(y.codes[train])) < 2:
        raise UserError(f"{path}: the train split holds one class only; change the split.")
    if len(absent := np.setdiff1d(y.codes, y.codes[train])):
        raise UserError(
            f"{path}: class {y.names[absent[0]]!r} occurs in val or test but in no training row; "
            "change the split, or merge classes (data.positive)."
        )


def given_parts(frame: pd.DataFrame, column: str | None, path: str) -> np.ndarray:
    """Return the split of each row that a column names: 0 train, 1 val, 2 test, int64 [N].

    Raises:
        UserError: If there is no such column, or it holds another value.
    """
    if column is None:
        raise UserError("data.split: column needs data.split_column.")
    names = frame[column]
    if len(other := names[~names.isin(SPLITS)]):
        raise UserError(
            f"{path}: column {column!r} must hold train, val or test, got {other.iloc[0]!r}."
        )
    return names.map({name: i for i, name in enumerate(SPLITS)}).to_numpy(np.int64)


def arl_split(frame: pd.DataFrame) -> np.ndarray:
    """Name train or test for each row: the 70/30 division with seed 42 of the ARL line."""
    from sklearn.model_selection import train_test_split

    _, test = train_test_split(np.arange(len(frame)), test_size=0.3, random_state=42)
    return np.where(np.isin(np.arange(len(frame)), test), "test", "train")
