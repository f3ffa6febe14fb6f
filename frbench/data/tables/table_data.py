"""Any CSV or Parquet file as a data set: rows, labels, attributes, splits and encoding."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegativeInt
from frbench.data.categorical import Categorical, made_up
from frbench.data.cells import check_plain
from frbench.data.encode import TableEncoder
from frbench.data.reading import read_table
from frbench.data.sources import is_source
from frbench.data.splits import Folds, Fractions, Split, SplitPolicy
from frbench.data.table import Table
from frbench.data.tables.bins import plain_bins
from frbench.data.tables.columns import TableColumns
from frbench.data.tables.table_splits import SplitRows, check_classes, given_parts, split_rows
from frbench.support.overlap import most_specific

if TYPE_CHECKING:
    import pandas as pd

#: What a cell of a table may hold, as written in a configuration.
Value = str | int | float | bool


class TableData(TableColumns):
    """A table of your own with a target column and one or more attribute columns.

    The encoder (:class:`~frbench.data.encode.TableEncoder`) sees the raw training split only.
    What happened to rows without a value is among the notes printed before training.

    Args:
        path: A ``.csv``, ``.jsonl`` or ``.parquet`` file (text also as ``.gz``), a name
            that ``frbench data`` lists, or another package's data (``datasets:NAME``).
        target: Column of the labels; rows without one are dropped.
        attribute: Column of the attribute z; of several columns, the combinations that occur
            (``Female&Black``).
        positive: Values of the target that make class 1, all others class 0; of numbers also a
            threshold, ``> 50000``. By default the distinct values, sorted, are the classes; of an
            ordered categorical of Parquet its own order counts.
        drop: Columns that are no inputs.
        categorical: Columns to encode as categories whatever their type.
        numeric: Columns to encode as numbers whatever their type.
        bins: For attribute columns. Numbers: edges, ``{age: [25]}`` gives ``age<25`` and
            ``age>=25``; or a number of quantile bins, ``{age: 4}``. Text: values that stay, all
            others become ``other``.
        missing_attribute: Rows without a value of an attribute column: drop; group, one more
            attribute value ``missing``; ignore, z = -1: in the loss, not in group statistics.
        missing_input: Rows without a value of an input: keep (see the encoder) or drop.
        missing_values: Further texts that stand for a missing value, such as ``?``.
        attribute_as_input: Whether the attribute columns are among the inputs.
        split: fraction, stratified on (y, z), or on y if a cell is too small; column; folds,
            repeated and stratified.
        fractions: Shares of train, val and test. For column (without val rows) and folds, val
            takes its share, relative to train, out of the rows that are not test.
        split_column: Column with the values train, val and test; never an input.
        folds: Number of folds k.
        repeats: Number of times the rows are dealt into folds anew.
        fold: Which of the repeats * k test folds to use, from 0.
        sep: Separator of a text file, and how its cells are written, see
            :class:`~frbench.data.cells.Cells`.
        decimal: Character before the decimals.
        thousands: Character between groups of three digits.
        units: Signs beside numbers that are left out, ``[%, $]``.
        missing_words: The words that mean a missing value, in place of those of pandas (``NA``,
            ``None`` ...); ``[]`` keeps every word as a value.
        encoding: Of a text file.
        map: Values of columns to write in another way, ``{sex: {F: female, f: female}}``.
        max_values: Distinct values of target and attributes, and combinations, at most; by
            default 50 numbers, 1000 texts, 50 combinations.
        weight: Column of sample weights, for training only: rows are drawn, or their losses
            weighed, in proportion, as ``via`` says. Metrics count rows.
        continuous: Attribute column of numbers whose values training rows keep beside their
            bins, standardised, for penalties with ``attribute: continuous``.
        overlapping: The attribute columns say which of several groups a row is in. Val and test
            rows have the set of their groups as z; training rows, too, if at least so many of
            them have that set, else the rarest of its groups.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: On first use of the data, for a file, column, value, split or option that
            cannot be used.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "people.csv"
        >>> rows = ["yes,f,1", "no,m,2", "no,f,3", "yes,m,4"] * 10
        >>> _ = path.write_text(chr(10).join(["hired,sex,skill", *rows]))
        >>> data = TableData(str(path), target="hired", attribute="sex")
        >>> data.class_names, data.attribute_names, data.input_shape
        (('no', 'yes'), ('f', 'm'), [1])
        >>> {name: len(table) for name, table in data.tables().items()}
        {'train': 24, 'val': 8, 'test': 8}
    """

    def __init__(
        self,
        path: str,
        target: str,
        attribute: str | list[str],
        positive: Value | list[Value] | None = None,
        drop: list[str] | None = None,
        categorical: list[str] | None = None,
        numeric: list[str] | None = None,
        bins: dict[str, int | list[float | str]] | None = None,
        missing_attribute: Literal["drop", "group", "ignore"] = "drop",
        missing_input: Literal["keep", "drop"] = "keep",
        missing_values: list[str] | None = None,
        attribute_as_input: bool = False,
        split: Split = "fraction",
        fractions: Fractions = (0.6, 0.2, 0.2),
        split_column: str | None = None,
        folds: Folds = 5,
        repeats: Count = 1,
        fold: NotNegativeInt = 0,
        sep: str | None = None,
        decimal: str = ".",
        thousands: str | None = None,
        units: list[str] | None = None,
        missing_words: list[str] | None = None,
        encoding: str = "utf-8",
        map: dict[str, dict[str, Value]] | None = None,
        max_values: Count | None = None,
        weight: str | None = None,
        continuous: str | None = None,
        overlapping: NotNegativeInt | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.target = target
        self.attribute = attribute
        self.positive = positive
        self.drop = drop
        self.categorical = categorical
        self.numeric = numeric
        self.bins = bins
        self.missing_attribute = missing_attribute
        self.missing_input = missing_input
        self.missing_values = missing_values
        self.attribute_as_input = attribute_as_input
        self.split = split
        self.fractions = fractions
        self.split_column = split_column
        self.folds = folds
        self.repeats = repeats
        self.fold = fold
        self.sep = sep
        self.decimal = decimal
        self.thousands = thousands
        self.units = units
        self.missing_words = missing_words
        self.encoding = encoding
        self.map = map
        self.max_values = max_values
        self.weight = weight
        self.continuous = continuous
        self.overlapping = overlapping

    # ---- what the base class asks for ---------------------------------------------------------
    def read(self) -> pd.DataFrame:
        """Return the raw table; a named data set overrides this."""
        return read_table(self.path, self.cells, self.folders)

    def tables(self) -> dict[str, Table]:
        """Return the splits with raw columns as x; their index is the row of the raw table."""
        rows = self._rows
        tables = {
            name: Table(rows.x.iloc[index], rows.y.codes[index], rows.z.codes[index])
            for name, index in rows.splits.items()
        }
        tables["train"] = tables["train"].replace(**rows.training)
        self.notes.extend(rows.notes)
        self.notes.extend(self._column_notes(tables))
        return tables

    def encode(self, x: pd.DataFrame) -> np.ndarray:
        """Encode raw columns by what the training split shows; float32 [N, D]."""
        encoder = self.encoder
        try:
            return encoder.transform(x)
        except UserError as error:
            raise self._error(str(error), x) from error

    @cached_property
    def encoder(self) -> TableEncoder:
        """The encoder, fitted on the raw training split."""
        if self.restored is not None:
            return TableEncoder.from_state(self.restored["columns"])
        train = self._rows.x.iloc[self._rows.splits["train"]]
        try:
            return TableEncoder(self.categorical or (), self.numeric or ()).fit(train)
        except UserError as error:
            raise self._error(str(error)) from error

    @cached_property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Numbers of classes, attribute values and encoded columns, from the data."""
        width = len(self.encoder.feature_names)
        return Sizes(len(self.class_names), len(self.attribute_names), (width,))

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the classes in the order of their ids."""
        return tuple(self._rows.y.names if self.restored is None else self.restored["class_names"])

    @property
    def attribute_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the attribute values in the order of their ids."""
        known = self.restored
        return tuple(self._rows.z.names if known is None else known["attribute_names"])

    @property
    def files(self) -> list[str]:
        """The table, if it is a file."""
        return [] if is_source(self.path) else [self.path]

    # ---- what was learnt, and other files -----------------------------------------------------
    def learn(self) -> dict[str, Any]:
        """Return names, which value of the target is which class, bins, and the encoder."""
        return {
            **super().learn(),
            "classes": self._classes,
            "bins": self._bins,
            "threshold": self.threshold,
            "cells": {
                "map": self.map,
                "missing_words": self.missing_words,
                "missing_values": self.missing_values,
            },
            **self._learnt_columns(),
        }

    @property
    def _classes(self) -> dict[str, str]:
        """The class of each value of the target."""
        return self._rows.classes if self.restored is None else self.restored["classes"]

    @property
    def _bins(self) -> dict[str, list[Any]]:
        """Bins of the attribute columns: edges, or the values that stay."""
        return self._rows.bins if self.restored is None else self.restored["bins"]

    def _learnt_columns(self) -> dict[str, Any]:
        return {"columns": self.encoder.state()}

    @property
    def _input_columns(self) -> dict[str, bool]:
        """The input columns, and whether each is numeric."""
        return self.encoder.columns

    def unseen(self, x: pd.DataFrame) -> dict[str, int]:
        """Count, for each column, the values that training lacks."""
        return self.encoder.unseen(x)

    # ---- from the raw table to rows -----------------------------------------------------------
    @cached_property
    def _rows(self) -> SplitRows:
        frame = self.read()
        self._check_columns(frame)
        inputs = self._inputs(frame) if self.restored is None else list(self._input_columns)
        self._check_names(frame, {"an input of the checkpoint": inputs})
        among = "among" if self.attribute_as_input else "not among"
        used = list(dict.fromkeys([self.target, *self._attributes, *inputs]))
        check_plain(frame[used], self.path, "leave it out by --data.drop+=NAME")
        notes = [
            f"attribute {', '.join(self._attributes)}: {among} the inputs",
            *self._remarks(frame, used),
        ]
        required = {"target": [self.target]}
        if self.missing_input == "drop":
            required["input"] = inputs
        if self.missing_attribute == "drop":
            required["attribute"] = self._attributes
        for role, names in required.items():
            known = frame[names].notna().all(axis=1)
            if dropped := int((~known).sum()):
                notes.append(f"{dropped} of {len(frame)} rows dropped: {role} missing")
                frame = frame[known]
        if frame.empty:
            raise self._error(f"every row lacks a value ({notes[-1]}).")
        if self.restored is None:
            y, z, classes, bins = self._factors(frame, notes)
        else:
            frame, y, z = self._known_factors(frame, notes)
            classes, bins = self._classes, self._bins
        splits = self._split(frame, y, z, notes)
        training = self._training_columns(frame, splits["train"], notes)
        if self.overlapping:
            own = z.codes[splits["train"]]
            training["z"] = most_specific(own, z.names, self.overlapping)
            notes.append(f"{(training['z'] != own).sum()} training rows are in their rarest group")
        return SplitRows(frame[inputs], y, z, training, splits, notes, classes, bins)

    def _inputs(self, frame: pd.DataFrame) -> list[str]:
        """Columns that the network sees."""
        roles = self.target, self.split_column, self.weight, frame.attrs.get("split_column")
        left_out = {*roles, *(self.drop or [])}
        if not self.attribute_as_input:
            left_out.update(self._attributes)
        inputs = [name for name in frame.columns if name not in left_out]
        if not inputs:
            raise self._error("no column is left as input; shorten drop.")
        return inputs

    def _factors(
        self, frame: pd.DataFrame, notes: list[str]
    ) -> tuple[Categorical, Categorical, dict[str, str], dict[str, list[Any]]]:
        """Labels and attributes of the rows; the class of each target value; bins that apply."""
        try:
            y, classes = self._labels(frame[self.target])
            z = self._crossed(frame)
        except UserError as error:
            raise self._error(str(error)) from error
        unknown = z.codes < 0
        if self.missing_attribute == "group" and unknown.any():
            name = made_up("missing", z.names)
            notes.append(f"{unknown.sum()} rows have no attribute: they are a group, z={name}")
            z = Categorical(np.where(unknown, len(z.names), z.codes), [*z.names, name])
        for role, found in (("target", y), ("attribute", z)):
            if len(found.names) < 2:
                raise self._error(
                    f"the {role} has fewer than two values: {', '.join(found.names) or 'none'}."
                )
        options = {**self.default_bins, **(self.bins or {})}
        bins = {k: plain_bins(frame[k], v) for k, v in options.items() if k in self._attributes}
        return y, z, classes, bins

    def _split(
        self, frame: pd.DataFrame, y: Categorical, z: Categorical, notes: list[str]
    ) -> dict[str, np.ndarray]:
        policy = SplitPolicy(
            self.split, self.fractions, self.folds, self.repeats, self.fold, self.seed
        )
        by_column = self.split == "column"
        given = given_parts(frame, self.split_column, self.path) if by_column else None
        splits, more = split_rows(policy, y.codes, z.codes, given, self.path)
        notes.extend(more)
        if self.restored is None:
            check_classes(y, splits["train"], self.path)
        return splits
