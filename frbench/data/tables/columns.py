"""The columns of a table by their roles: checks of them, and rows of other files by them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.balance import effective_sample_size
from frbench.data.categorical import (
    Categorical,
    binned,
    categorize,
    codes_of,
    cross,
    joined,
    membership_sets,
    texts,
)
from frbench.data.cells import Cells
from frbench.data.encode import TableEncoder
from frbench.data.learnt import CHUNK, NewRows
from frbench.data.module import GroupDataModule
from frbench.data.reading import table_parts
from frbench.data.table import Table
from frbench.data.tables.bins import are_edges
from frbench.data.tables.training_columns import sample_weights, standardised
from frbench.data.targets import THRESHOLD, above, binary, check_classes_of

if TYPE_CHECKING:
    import pandas as pd


class TableColumns(GroupDataModule):
    """Base of tables: which columns are inputs, target and attributes.

    Rows of another file are named by what the columns of the training rows showed: which value
    of the target is which class, and the bins of the attributes. The options are arguments of
    :class:`~frbench.data.tables.table_data.TableData`.
    """

    path: str
    target: str
    attribute: str | list[str]
    drop: list[str] | None
    categorical: list[str] | None
    numeric: list[str] | None
    bins: dict[str, int | list[float | str]] | None
    max_values: int | None
    weight: str | None
    continuous: str | None
    overlapping: int | None
    #: Bins of attribute columns that ``bins`` does not name.
    default_bins: dict[str, int | list[float | str]] = {}

    @property
    @abstractmethod
    def encoder(self) -> TableEncoder:
        """The encoder, fitted on the raw training split."""

    missing_attribute: Literal["drop", "group", "ignore"]
    missing_input: Literal["keep", "drop"]
    missing_values: list[str] | None
    split_column: str | None
    sep: str | None
    decimal: str
    thousands: str | None
    units: list[str] | None
    missing_words: list[str] | None
    encoding: str
    map: dict[str, dict[str, Any]] | None
    positive: Any

    # ---- what the columns of the training rows showed -----------------------------------------
    @property
    @abstractmethod
    def _classes(self) -> dict[str, str]:
        """The class of each value of the target."""

    @property
    @abstractmethod
    def _bins(self) -> dict[str, list[Any]]:
        """Bins of the attribute columns: edges, or the values that stay."""

    @property
    @abstractmethod
    def _input_columns(self) -> dict[str, bool]:
        """The input columns, and whether each is numeric."""

    @property
    def _attributes(self) -> list[str]:
        return [self.attribute] if isinstance(self.attribute, str) else list(self.attribute)

    @property
    def cells(self) -> Cells:
        """How cells are written; which words are missing, and the map, as in the checkpoint."""
        learnt = (self.restored or {}).get("cells") or {
            "map": self.map, "missing_words": self.missing_words,
            "missing_values": self.missing_values,
        }  # fmt: skip
        return Cells(
            self.sep, self.decimal, self.thousands, self.units or (), encoding=self.encoding,
            numeric=self.numeric or (), **learnt,
        )  # fmt: skip

    @property
    def threshold(self) -> str | None:
        """The comparison that makes class 1 of a numeric target, if there is one."""
        if self.restored is not None and "threshold" in self.restored:
            known: str | None = self.restored["threshold"]
            return known
        one = self.positive
        return one if isinstance(one, str) and THRESHOLD.fullmatch(one) else None

    @property
    def schema(self) -> list[str]:
        """Column, kind, levels, missing values and use of the training rows."""
        from frbench.data.tables.schema import named, schema

        table = self.splits["train"]
        frame = table.x.copy(deep=False)
        for name, codes, names in (
            ("&".join(self._attributes), table.z, self.attribute_names),
            (self.target, table.y, self.class_names),
        ):
            frame[name] = named(codes, names)
        roles = {**dict.fromkeys(table.x.columns, "input"), self.target: "target",
                 "&".join(self._attributes): "attribute"}  # fmt: skip
        return schema(frame, roles).render("table").splitlines()

    # ---- checks -------------------------------------------------------------------------------
    def _error(self, text: str, rows: pd.DataFrame | None = None) -> UserError:
        path = self.path if rows is None else rows.attrs.get("path", self.path)
        return UserError(f"{path}: {text}" if path else text)

    def _check_columns(self, frame: pd.DataFrame) -> None:
        options = {
            "target": [self.target],
            "attribute": self._attributes,
            "drop": self.drop,
            "categorical": self.categorical,
            "numeric": self.numeric,
            "bins": self.bins,
            "split_column": [self.split_column] if self.split_column else [],
            "weight": [self.weight] if self.weight else [],
            "continuous": [self.continuous] if self.continuous else [],
        }
        self._check_names(frame, options)
        if not self._attributes:
            raise self._error("data.attribute names no column.")
        if self.target in self._attributes:
            raise self._error(f"column {self.target!r} is both target and attribute.")
        if self.weight in (self.target, *self._attributes):
            raise self._error(f"column {self.weight!r} is data.weight and target or attribute.")
        if self.overlapping is not None and (
            self.missing_attribute == "group" or self.bins or self.continuous
        ):
            raise self._error(
                "data.overlapping: the attribute columns say which groups a row is in; leave out "
                "data.bins, data.continuous and missing_attribute: group."
            )
        if self.continuous is not None and self.continuous not in self._attributes:
            raise self._error(
                f"data.continuous: {self.continuous!r} is no attribute column; metrics are about "
                "its bins, so name it under attribute, too, and its edges under bins."
            )

    def _check_names(self, frame: pd.DataFrame, options: Mapping[str, Any]) -> None:
        """Refuse a column that the table lacks, naming the option."""
        for option, names in options.items():
            for name in names or []:
                if name not in frame.columns:
                    where = option if " " in option else f"data.{option}"
                    sep = self.cells.sep
                    separated = f", separated by {sep!r}," if sep else ""
                    raise self._error(
                        f"there is no column {name!r} ({where}); the columns{separated} are: "
                        f"{', '.join(frame.columns)}."
                    )

    # ---- labels, attributes, and what is said of them ----------------------------------------
    def _crossed(self, frame: pd.DataFrame) -> Categorical:
        """Combinations of the attributes, or the sets of overlapping groups."""
        if self.overlapping is not None:
            return membership_sets(frame[self._attributes])
        columns = [self._attribute(frame[name]) for name in self._attributes]
        return cross(columns, self.max_values)

    def _attribute(self, column: pd.Series) -> Categorical:
        """Values of one attribute column."""
        bins = {**self.default_bins, **(self.bins or {})}.get(str(column.name))
        return categorize(column, bins, self.max_values)

    def _labels(self, column: pd.Series) -> tuple[Categorical, dict[str, str]]:
        """Labels of the rows, and the class of each value of the target; none by a threshold."""
        if self.threshold:
            return above(column, self.threshold), {}
        check_classes_of(column, self.max_values)
        y = categorize(column, most=self.max_values)
        values, codes = np.asarray(y.names), y.codes
        if self.positive is not None:
            y = binary(y, self.positive if isinstance(self.positive, list) else [self.positive])
        first = dict(zip(*np.unique(codes, return_index=True), strict=True))
        return y, {str(v): y.names[y.codes[first[i]]] for i, v in enumerate(values) if i in first}

    def _training_columns(
        self, frame: pd.DataFrame, train: np.ndarray, notes: list[str]
    ) -> dict[str, np.ndarray]:
        """Weights of the training rows and their continuous attribute, where there are any."""
        found = {}
        if self.continuous is not None:
            found["continuous"] = standardised(frame[self.continuous].iloc[train], self.path)
        if self.weight is None:
            return found
        weight = sample_weights(frame[self.weight], train, self.path)
        notes.append(
            f"weights of the column {self.weight}, for training only: effective sample size "
            f"{effective_sample_size(weight):.0f} of {len(weight)}; metrics count rows"
        )
        return {**found, "weight": weight}

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

    def _remarks(self, frame: pd.DataFrame, used: list[str]) -> list[str]:
        """What was done to the cells of the columns in use, and what they look like."""
        about = tuple(f"{name}: " for name in (self.path, *used))
        done = [note for note in frame.attrs.get("notes", []) if note.startswith(about)]
        return [*done, *self.cells.remarks(frame[list(dict.fromkeys(used))])]

    def _column_notes(self, tables: dict[str, Table]) -> list[str]:
        """Say which columns name single rows, and where values occur that training lacks."""
        notes = [
            f"{column}: {count} different values in {len(tables['train'])} training rows; if it "
            f"names single rows, leave it out by --data.drop+={column}"
            for column, count in self.encoder.identifiers().items()
        ]
        seen = _row_hashes(tables["train"])
        for name in ("val", "test"):
            if doubles := int(np.isin(_row_hashes(tables[name]), seen).sum()):
                notes.append(f"{name}: {doubles} rows equal a training row in every column")
            for column, count in self.encoder.unseen(tables[name].x).items():
                levels = ", ".join(map(repr, self.encoder.new_levels(tables[name].x[column])))
                notes.append(
                    f"{name}: {count} rows whose {column} does not occur in training (all zeros): "
                    f"{levels}"
                )
        return notes

    # ---- rows of other files ------------------------------------------------------------------
    @property
    def reading(self) -> dict[str, Any]:
        """How another file is read: as text, but for numeric inputs and binned attributes."""
        numeric = [name for name, is_numeric in self._input_columns.items() if is_numeric]
        edges = [name for name, bins in self._bins.items() if are_edges(bins)]
        return {
            "folders": self.folders,
            "cells": self.cells,
            "numeric": [*numeric, *edges, *([self.target] if self.threshold else [])],
        }

    @property
    def label_columns(self) -> set[str]:
        """Target and attributes."""
        return {self.target, *self._attributes}

    def new_parts(self, source: Any, chunk: int = CHUNK) -> Iterator[Any]:
        """Read a table, or take a DataFrame, in parts."""
        for part in table_parts(source, chunk, **self.reading):
            part.attrs["path"] = "" if hasattr(source, "columns") else str(source)
            yield part

    def new_rows(self, part: pd.DataFrame) -> NewRows:
        """Take the inputs of training, and target and attributes where the table has them."""
        inputs = list(self._input_columns)
        if absent := [name for name in inputs if name not in part.columns]:
            text = (
                f"There is no column {absent[0]!r}, an input of the checkpoint; the columns are:"
            )
            raise self._error(f"{text} {', '.join(map(str, part.columns))}.", part)
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

    def _class_texts(self, column: pd.Series) -> np.ndarray:
        """Names of the classes of the rows; a value that training lacks stays as it is."""
        if self.threshold:
            compared = above(column, self.threshold)
            result: np.ndarray = np.array([*compared.names, None], dtype=object)[compared.codes]
            return result
        codes, _ = codes_of(found := texts(column), list(self._classes))
        names = np.array([*self._classes.values(), None], dtype=object)[np.maximum(codes, -1)]
        return np.where(codes == -2, found, names)

    def _attribute_texts(self, column: pd.Series) -> np.ndarray:
        """Names of the values of one attribute column."""
        bins = self._bins.get(str(column.name))
        if bins is None:
            return texts(column)
        if are_edges(bins):
            return binned(column, bins)
        found = texts(column)
        codes, _ = codes_of(found, bins)
        names = np.array([*bins, "other", None], dtype=object)
        return names[np.where(codes == -2, len(bins), np.where(codes == -1, len(bins) + 1, codes))]

    def _crossed_texts(self, frame: pd.DataFrame) -> np.ndarray:
        """Names of the attribute's values of the rows, of several columns their combinations."""
        if self.overlapping is not None:
            codes, names = membership_sets(frame[self._attributes])
            sets: np.ndarray = np.array([*names, None], dtype=object)[codes]
            return sets
        parts = [self._attribute_texts(frame[name]) for name in self._attributes]
        z = parts[0] if len(parts) == 1 else joined(parts)
        ours = [n for n in ("((missing))", "(missing)", "missing") if n in self.attribute_names]
        if self.missing_attribute == "group" and ours:
            z = np.where([value is None for value in z], ours[0], z)
        result: np.ndarray = z
        return result


def _row_hashes(table: Table) -> np.ndarray:
    from pandas.util import hash_pandas_object

    rows = hash_pandas_object(table.x.assign(**{"y ": table.y, "z ": table.z}), index=False)
    return rows.to_numpy()
