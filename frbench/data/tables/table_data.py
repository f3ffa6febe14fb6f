"""Any CSV or Parquet file as a data set: rows, labels, attributes, splits and encoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegativeInt
from frbench.data.categorical import (
    Categorical,
    binary,
    binned,
    categorize,
    codes_of,
    cross,
    joined,
    texts,
    value_name,
)
from frbench.data.encode import TableEncoder
from frbench.data.learnt import CHUNK, NewRows
from frbench.data.module import GroupDataModule
from frbench.data.reading import read_table, table_parts
from frbench.data.splits import SPLITS, Folds, Fractions, Split, SplitPolicy
from frbench.data.table import Table

if TYPE_CHECKING:
    import pandas as pd


#: What a cell of a table may hold, as written in a configuration.
Value = str | int | float | bool


class _Rows(NamedTuple):
    """The rows that the policies keep, and where they go."""

    x: pd.DataFrame
    y: Categorical
    z: Categorical
    splits: dict[str, np.ndarray]
    notes: list[str]
    classes: dict[str, str]
    bins: dict[str, list[Any]]


class TableData(GroupDataModule):
    """A table of your own with a target column and one or more attribute columns.

    The encoder (:class:`~frbench.data.encode.TableEncoder`) sees the raw training split only.
    What happened to rows without a value is among the notes printed before training.

    Args:
        path: A ``.csv``, ``.jsonl`` or ``.parquet`` file (text also as ``.gz``), or a name
            that ``frbench data`` lists.
        target: Column of the labels; rows without one are dropped.
        attribute: Column of the attribute z; of several columns, the combinations that occur
            (``Female&Black``).
        positive: Values of the target that make class 1, all others class 0; by default the
            distinct values, sorted, are the classes.
        drop: Columns that are no inputs.
        categorical: Columns to encode as categories whatever their type.
        numeric: Columns to encode as numbers whatever their type.
        bins: For attribute columns. Numbers: edges, ``{age: [25]}`` gives ``age<25`` and
            ``age>=25``. Text: values that stay, all others become ``other``.
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
        sep: Separator of a text file.
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

    #: Bins of attribute columns that ``bins`` does not name.
    default_bins: dict[str, list[float | str]] = {}

    def __init__(
        self,
        path: str,
        target: str,
        attribute: str | list[str],
        positive: Value | list[Value] | None = None,
        drop: list[str] | None = None,
        categorical: list[str] | None = None,
        numeric: list[str] | None = None,
        bins: dict[str, list[float | str]] | None = None,
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
        sep: str = ",",
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

    # ---- what the base class asks for ---------------------------------------------------------
    def read(self) -> pd.DataFrame:
        """Return the raw table; a named data set overrides this."""
        return read_table(self.path, self.sep, self.missing_values, self.folders)

    def tables(self) -> dict[str, Table]:
        """Return the splits with raw columns as x; their index is the row of the raw table."""
        rows = self._rows
        tables = {
            name: Table(rows.x.iloc[index], rows.y.codes[index], rows.z.codes[index])
            for name, index in rows.splits.items()
        }
        self.notes.extend(rows.notes)
        self.notes.extend(self._column_notes(tables))
        return tables

    def _column_notes(self, tables: dict[str, Table]) -> list[str]:
        """Say which columns name single rows, and where values occur that training lacks."""
        notes = [
            f"{column}: {count} different values in {len(tables['train'])} training rows; if it "
            f"names single rows, leave it out by --data.drop+={column}"
            for column, count in self.encoder.identifiers().items()
        ]
        for name in ("val", "test"):
            for column, count in self.encoder.unseen(tables[name].x).items():
                levels = ", ".join(map(repr, self.encoder.new_levels(tables[name].x[column])))
                notes.append(
                    f"{name}: {count} rows whose {column} does not occur in training (all zeros): "
                    f"{levels}"
                )
        return notes

    def encode(self, x: pd.DataFrame) -> np.ndarray:
        """Encode raw columns by what the training split shows; float32 [N, D]."""
        encoder = self.encoder
        try:
            return encoder.transform(x)
        except UserError as error:
            raise self._error(str(error)) from error

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
        """The table."""
        return [self.path]

    # ---- what was learnt, and other files -----------------------------------------------------
    def learn(self) -> dict[str, Any]:
        """Return names, which value of the target is which class, bins, and the encoder."""
        return {
            **super().learn(),
            "classes": self._classes,
            "bins": self._bins,
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

    @property
    def reading(self) -> dict[str, Any]:
        """How another file is read: as text, but for numeric inputs and binned attributes."""
        numeric = [name for name, is_numeric in self._input_columns.items() if is_numeric]
        edges = [name for name, bins in self._bins.items() if _are_edges(bins)]
        return {
            "folders": self.folders,
            "sep": self.sep,
            "missing_values": self.missing_values,
            "numeric": [*numeric, *edges],
        }

    @property
    def label_columns(self) -> set[str]:
        """Target and attributes."""
        return {self.target, *self._attributes}

    def new_parts(self, source: Any, chunk: int = CHUNK) -> Iterator[Any]:
        """Read a table, or take a DataFrame, in parts."""
        yield from table_parts(source, chunk, **self.reading)

    def new_rows(self, part: pd.DataFrame) -> NewRows:
        """Take the inputs of training, and target and attributes where the table has them."""
        inputs = list(self._input_columns)
        if absent := [name for name in inputs if name not in part.columns]:
            raise UserError(
                f"There is no column {absent[0]!r}, an input of the checkpoint; the columns are: "
                f"{', '.join(map(str, part.columns))}."
            )
        y = self._class_texts(part[self.target]) if self.target in part.columns else None
        named = all(name in part.columns for name in self._attributes)
        return NewRows(part[inputs], y, self._crossed_texts(part) if named else None, part)

    def complete(self, rows: NewRows, z: np.ndarray) -> np.ndarray:
        """Leave out the rows that ``missing_attribute`` and ``missing_input`` drop."""
        kept = np.ones(len(z), bool)
        if self.missing_attribute == "drop" and rows.z is not None:
            kept &= z != -1
        if self.missing_input == "drop":
            kept &= rows.x.notna().all(axis=1).to_numpy()
        return kept

    def unseen(self, x: pd.DataFrame) -> dict[str, int]:
        """Count, for each column, the values that training lacks."""
        return self.encoder.unseen(x)

    def _class_texts(self, column: pd.Series) -> np.ndarray:
        """Names of the classes of the rows; a value that training lacks stays as it is."""
        codes, _ = codes_of(found := texts(column), list(self._classes))
        names = np.array([*self._classes.values(), None], dtype=object)[np.maximum(codes, -1)]
        return np.where(codes == -2, found, names)

    def _attribute_texts(self, column: pd.Series) -> np.ndarray:
        """Names of the values of one attribute column."""
        bins = self._bins.get(str(column.name))
        if bins is None:
            return texts(column)
        if _are_edges(bins):
            return binned(column, bins)
        found = texts(column)
        codes, _ = codes_of(found, bins)
        names = np.array([*bins, "other", None], dtype=object)
        return names[np.where(codes == -2, len(bins), np.where(codes == -1, len(bins) + 1, codes))]

    def _crossed_texts(self, frame: pd.DataFrame) -> np.ndarray:
        """Names of the attribute's values of the rows, of several columns their combinations."""
        parts = [self._attribute_texts(frame[name]) for name in self._attributes]
        z = parts[0] if len(parts) == 1 else joined(parts)
        if self.missing_attribute == "group" and "missing" in self.attribute_names:
            z = np.where([value is None for value in z], "missing", z)
        result: np.ndarray = z
        return result

    # ---- from the raw table to rows -----------------------------------------------------------
    @property
    def _attributes(self) -> list[str]:
        return [self.attribute] if isinstance(self.attribute, str) else list(self.attribute)

    @cached_property
    def _rows(self) -> _Rows:
        frame = self.read()
        self._check_columns(frame)
        inputs = self._inputs(frame) if self.restored is None else list(self._input_columns)
        self._check_names(frame, {"an input of the checkpoint": inputs})
        among = "among" if self.attribute_as_input else "not among"
        notes = [f"attribute {', '.join(self._attributes)}: {among} the inputs"]
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
            raise self._error(f"every row lacks a value ({'; '.join(notes[1:])}).")
        if self.restored is None:
            y, z, classes, bins = self._factors(frame, notes)
        else:
            frame, y, z = self._known_factors(frame, notes)
            classes, bins = self._classes, self._bins
        splits = self._split(frame, y, z, notes)
        return _Rows(frame[inputs], y, z, splits, notes, classes, bins)

    def _known_factors(
        self, frame: pd.DataFrame, notes: list[str]
    ) -> tuple[pd.DataFrame, Categorical, Categorical]:
        """Labels and attributes by the names of the checkpoint; rows of unknown ones go."""
        try:
            y = self.name_codes(self._class_texts(frame[self.target]), "class")
            z = self.name_codes(self._crossed_texts(frame), "attribute")
        except UserError as error:
            raise self._error(str(error)) from error
        known = (y != -2) & (z != -2)
        if dropped := int((~known).sum()):
            notes.append(f"{dropped} of {len(frame)} rows dropped: unknown class or attribute")
        names = list(self.class_names), list(self.attribute_names)
        return frame[known], Categorical(y[known], names[0]), Categorical(z[known], names[1])

    def _inputs(self, frame: pd.DataFrame) -> list[str]:
        """Columns that the network sees."""
        left_out = {self.target, self.split_column, *(self.drop or [])}
        if not self.attribute_as_input:
            left_out.update(self._attributes)
        inputs = [name for name in frame.columns if name not in left_out]
        if not inputs:
            raise self._error("no column is left as input; shorten drop.")
        return inputs

    def _attribute(self, column: pd.Series) -> Categorical:
        """Values of one attribute column."""
        return categorize(column, {**self.default_bins, **(self.bins or {})}.get(str(column.name)))

    def _factors(
        self, frame: pd.DataFrame, notes: list[str]
    ) -> tuple[Categorical, Categorical, dict[str, str], dict[str, list[Any]]]:
        """Labels and attributes of the rows; the class of each target value; bins that apply."""
        try:
            y = categorize(frame[self.target])
            values, codes = np.asarray(y.names), y.codes
            if self.positive is not None:
                chosen = self.positive if isinstance(self.positive, list) else [self.positive]
                y = binary(y, chosen)
            z = cross([self._attribute(frame[name]) for name in self._attributes])
        except UserError as error:
            raise self._error(str(error)) from error
        unknown = z.codes < 0
        if self.missing_attribute == "group" and unknown.any():
            notes.append(f"{unknown.sum()} rows have no attribute: they are a group, z=missing")
            z = Categorical(np.where(unknown, len(z.names), z.codes), [*z.names, "missing"])
        for role, found in (("target", y), ("attribute", z)):
            if len(found.names) < 2:
                raise self._error(
                    f"the {role} has fewer than two values: {', '.join(found.names) or 'none'}."
                )
        first = dict(zip(*np.unique(codes, return_index=True), strict=True))
        classes = {str(v): y.names[y.codes[first[i]]] for i, v in enumerate(values) if i in first}
        options = {**self.default_bins, **(self.bins or {})}
        bins = {k: list(v) for k, v in options.items() if k in self._attributes}
        return y, z, classes, {k: v if _edges(frame[k]) else _kept(v) for k, v in bins.items()}

    def _error(self, text: str) -> UserError:
        return UserError(f"{self.path}: {text}")

    def _check_columns(self, frame: pd.DataFrame) -> None:
        options = {
            "target": [self.target],
            "attribute": self._attributes,
            "drop": self.drop,
            "categorical": self.categorical,
            "numeric": self.numeric,
            "bins": self.bins,
            "split_column": [self.split_column] if self.split_column else [],
        }
        self._check_names(frame, options)
        if not self._attributes:
            raise self._error("data.attribute names no column.")
        if self.target in self._attributes:
            raise self._error(f"column {self.target!r} is both target and attribute.")

    def _check_names(self, frame: pd.DataFrame, options: Mapping[str, Any]) -> None:
        """Refuse a column that the table lacks, naming the option."""
        for option, names in options.items():
            for name in names or []:
                if name not in frame.columns:
                    where = option if " " in option else f"data.{option}"
                    raise self._error(
                        f"there is no column {name!r} ({where}); the columns, separated by "
                        f"{self.sep!r}, are: {', '.join(frame.columns)}."
                    )

    def _split(
        self, frame: pd.DataFrame, y: Categorical, z: Categorical, notes: list[str]
    ) -> dict[str, np.ndarray]:
        policy = SplitPolicy(
            self.split, self.fractions, self.folds, self.repeats, self.fold, self.seed
        )
        given = self._given_parts(frame) if self.split == "column" else None
        part, more = policy.assign(y.codes, z.codes, given)
        notes.extend(more)
        splits = {name: np.flatnonzero(part == i) for i, name in enumerate(SPLITS)}
        for name, rows in splits.items():
            if not len(rows):
                raise self._error(
                    f"the {name} split is empty ({len(part)} rows, split: {self.split}); change "
                    "the split, or give more rows."
                )
        if self.restored is not None:
            return splits
        if len(np.unique(y.codes[splits["train"]])) < 2:
            raise self._error("the train split holds one class only; change the split.")
        if len(absent := np.setdiff1d(y.codes, y.codes[splits["train"]])):
            raise self._error(
                f"class {y.names[absent[0]]!r} occurs in val or test but in no training row; "
                "change the split, or merge classes (data.positive)."
            )
        return splits

    def _given_parts(self, frame: pd.DataFrame) -> np.ndarray:
        if self.split_column is None:
            raise UserError("data.split: column needs data.split_column.")
        names = frame[self.split_column]
        if len(other := names[~names.isin(SPLITS)]):
            raise self._error(
                f"column {self.split_column!r} must hold train, val or test, got "
                f"{other.iloc[0]!r}."
            )
        return names.map({name: i for i, name in enumerate(SPLITS)}).to_numpy(np.int64)


def _edges(column: pd.Series) -> bool:
    """Whether bins of a column are edges of intervals."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return bool(is_numeric_dtype(column) and not is_bool_dtype(column))


def _are_edges(bins: list[Any]) -> bool:
    """Whether learnt bins are edges; values that stay are stored as text."""
    return bool(bins) and not isinstance(bins[0], str)


def _kept(values: list[Any]) -> list[str]:
    return [value_name(value) for value in values]
