"""Arrays in memory, or in an ``.npz`` file: numbers, embeddings, images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data.categorical import MAX_TEXTS, MAX_VALUES, Categorical, categorize, texts
from frbench.data.learnt import CHUNK, read_arrays
from frbench.data.module import GroupDataModule
from frbench.data.splits import SPLITS, Fractions, SplitPolicy
from frbench.data.table import Table
from frbench.support.files import find

#: Names of the arrays of a file: inputs, labels, attributes, weights, a continuous attribute,
#: splits, names of classes and attribute values in the order of their codes, what each row is
#: called, and where all is from.
ARRAYS = (
    "x", "y", "z", "weight", "continuous", "split", "class_names", "attribute_names", "id",
    "about",
)  # fmt: skip
#: Those that have one value a row and may be given in Python.
COLUMNS = ("x", "y", "z", "weight", "continuous", "split")
#: Splits that a file may name; verified rows are those of ``clean_share``.
NAMES = (*SPLITS, "clean")


class _Rows(NamedTuple):
    """All rows, and where they go."""

    x: np.ndarray
    y: Categorical
    z: Categorical
    weight: np.ndarray
    continuous: np.ndarray
    splits: dict[str, np.ndarray]
    notes: list[str]


def as_array(values: Any) -> np.ndarray:
    """Return an array, a tensor of any device, or a list as an array; 16 bits become float32."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        narrow = tensor.is_floating_point() and tensor.element_size() < 4
        values = tensor.float() if narrow else tensor
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def named(values: Any, names: Sequence[str] | None, what: str) -> np.ndarray:
    """Return the name of each value, None where missing [N].

    Args:
        values: Codes of ``names`` (-1 where missing), or, without them, any values.
        names: Names in the order of their codes.
        what: Which array it is, for messages.

    Raises:
        UserError: If there is a code without a name, or more than one dimension.

    Example:
        >>> named([1, 0, -1], ["cat", "dog"], "y").tolist()
        ['dog', 'cat', None]
    """
    import pandas as pd

    array = as_array(values)
    if array.ndim != 1:
        raise UserError(f"{what} must have one value a row, got the shape {list(array.shape)}.")
    if names is None:
        return texts(pd.Series(array))
    integers = np.issubdtype(array.dtype, np.integer)
    if not integers or (len(array) and not -1 <= array.min() <= array.max() < len(names)):
        raise UserError(
            f"{what} must hold codes from 0 to {len(names) - 1} of its {len(names)} names, or -1."
        )
    result: np.ndarray = np.array([*names, None], dtype=object)[array]
    return result


class ArrayData(GroupDataModule):
    """Arrays of inputs, labels and attributes of your own, in memory or in an ``.npz`` file.

    Labels and attributes are names or numbers, whose sorted values are the classes; or codes of
    ``classes`` and ``attributes``. Without ``z`` all rows have one attribute value, ``all``, so
    that groups are classes. An attribute of -1, NaN or None is unknown. Bytes are scaled to
    [0, 1], and no other input is: embeddings of large scale need a step of ``transforms``, or a
    smaller learning rate.

    A file has the arrays ``x``, ``y`` and, where they are known, ``z``, ``split`` and ``weight``,
    and may have ``class_names`` and ``attribute_names``, of which ``y`` and ``z`` are codes then.
    ``frbench features`` writes such a file. Arrays in memory are not written into checkpoints: to
    evaluate such a model, give its data set, or a file.

    Args:
        x: Inputs: an array, a tensor, or a list [N, ...].
        y: Labels [N].
        z: Attributes [N].
        split: Split of each row: train, val, test, or ``test/NAME`` for several test tables [N].
            Without val rows, val takes its share, relative to train, out of the training rows.
            None draws the splits by ``fractions``, stratified on (y, z).
        weight: Sample weights, for training only; they are scaled to mean one [N].
        continuous: A continuous attribute, NaN where unknown, for penalties that take one [N].
        path: The file, in the place of the arrays.
        fractions: Shares of train, val and test.
        classes: Names of the classes in the order of their codes.
        attributes: Names of the attribute values in the order of their codes.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: On first use of the data, for a file or an array that cannot be used.

    Example:
        >>> x = np.arange(40.0).reshape(20, 2)
        >>> data = ArrayData(x, y=["no", "yes"] * 10, z=np.arange(20) // 10)
        >>> data.class_names, data.attribute_names, data.input_shape
        (('no', 'yes'), ('0', '1'), [2])
        >>> {name: len(table) for name, table in data.splits.items()}
        {'train': 12, 'val': 4, 'test': 4}
    """

    def __init__(
        self,
        x: Any = None,
        y: Any = None,
        z: Any = None,
        split: Any = None,
        weight: Any = None,
        continuous: Any = None,
        path: str | None = None,
        fractions: Fractions = (0.6, 0.2, 0.2),
        classes: list[str] | None = None,
        attributes: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.x = x
        self.y = y
        self.z = z
        self.split = split
        self.weight = weight
        self.continuous = continuous
        self.path = path
        self.fractions = fractions
        self.classes = classes
        self.attributes = attributes

    @property
    def files(self) -> list[str]:
        """The file, if there is one."""
        return [] if self.path is None else [self.path]

    # ---- the rows -----------------------------------------------------------------------------
    def _given(self) -> dict[str, Any]:
        """Return the arrays by name, those of the file or those of the constructor."""
        own = {name: getattr(self, name) for name in COLUMNS}
        given = {name: values for name, values in own.items() if values is not None}
        if self.path is None:
            if "x" not in given or "y" not in given:
                raise UserError("ArrayData needs x and y, or data.path, an .npz file with both.")
            if single := [k for k, v in given.items() if np.ndim(as_array(v)) == 0]:
                raise UserError(f"data.{single[0]} is an array in Python; name a file: data.path.")
        elif given:
            raise UserError(f"data.path and data.{min(given)} name the rows twice; drop one.")
        else:
            given = self._read()
        for role, names in (("class_names", self.classes), ("attribute_names", self.attributes)):
            if names is not None:
                given[role] = names
        return given

    def _read(self) -> dict[str, Any]:
        assert self.path is not None
        near = (folder / self.path for folder in self.folders)
        file = next((p for p in near if p.is_file()), None) or find(self.path)
        if file is None:
            raise UserError(
                f"data.path: there is no file {self.path}, seen from {Path.cwd()} or below "
                "FRBENCH_DATA."
            )
        arrays = dict(read_arrays(file))
        if absent := [name for name in ("x", "y") if name not in arrays]:
            have = ", ".join(arrays) or "nothing"
            raise UserError(f"{self.path} has no array {absent[0]}; it has: {have}.")
        return arrays

    @cached_property
    def _rows(self) -> _Rows:
        given, notes = self._given(), list[str]()
        x = as_array(given["x"])
        lengths = {name: len(given[name]) for name in COLUMNS if name in given}
        if len(set(lengths.values())) > 1:
            raise UserError(f"{self._what}: the arrays have different lengths: {lengths}.")
        if x.dtype.kind not in "buif" or x.ndim < 2:
            raise UserError(
                f"{self._what}: x must be numbers [N, ...], got {list(x.shape)} of {x.dtype}."
            )
        labels = names_of(given)
        y = self._coded(labels["y"], given.get("class_names"), "class")
        if missing := int((y.codes == -1).sum()):
            raise UserError(f"{self._what}: {missing} rows have no label; leave them out.")
        if "z" in labels:
            z = self._coded(labels["z"], given.get("attribute_names"), "attribute")
        else:
            z = self._coded(np.full(len(x), "all", object), None, "attribute")
            notes.append("no attribute is given: groups are classes")
        if "about" in given:
            notes.append(f"{self.path}: {given['about']}")
        split = as_array(given["split"]).astype(str) if "split" in given else None
        weight, continuous = (
            as_array(given.get(name, np.full(len(x), default))).astype(np.float64)
            for name, default in (("weight", 1.0), ("continuous", np.nan))
        )
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise UserError(f"{self._what}: weight must be finite, and nowhere negative.")
        kept = (y.codes > -2) & (z.codes > -2)
        if dropped := int((~kept).sum()):
            notes.append(f"{dropped} rows dropped: class or attribute unknown to the checkpoint")
            x, weight, continuous = x[kept], weight[kept], continuous[kept]
            split = None if split is None else split[kept]
            y, z = (Categorical(column.codes[kept], column.names) for column in (y, z))
        splits, more = self._divide(y.codes, z.codes, split)
        return _Rows(x, y, z, weight, continuous, splits, notes + more)

    @property
    def _what(self) -> str:
        return self.path or type(self).__name__

    def _coded(self, values: np.ndarray, names: Any, role: Any) -> Categorical:
        """Give names their codes: those of the checkpoint, of the file, or in sorted order."""
        if self.restored is not None:
            known = self.restored["class_names" if role == "class" else "attribute_names"]
            return Categorical(self.name_codes(values, role), list(known))
        if names is not None:
            order = list(map(str, names))
            place = {name: code for code, name in enumerate(order)}
            return Categorical(np.array([place.get(v, -1) for v in values], np.int64), order)
        import pandas as pd

        column, most = pd.Series(values, name=role), MAX_TEXTS
        numbers = pd.to_numeric(column, errors="coerce")
        if numbers.notna().equals(column.notna()):
            column = numbers.rename(role)
            most = MAX_TEXTS if (column.dropna() % 1 == 0).all() else MAX_VALUES
        if (count := column.nunique()) > most:
            raise UserError(
                f"{self._what}: the {role} has {count} different values, more than {most}; bin a "
                "quantity before it is given."
            )
        return categorize(column, most=most)

    def _divide(
        self, y: np.ndarray, z: np.ndarray, names: np.ndarray | None
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Return the rows of each split, and notes."""
        notes: list[str] = []
        if names is None:
            part, notes = SplitPolicy("fraction", self.fractions, seed=self.seed).assign(y, z)
            names = np.array(SPLITS)[part]
        else:
            known = np.isin(names, NAMES) | np.char.startswith(names, "test/")
            if not known.all():
                raise UserError(
                    f"{self._what}: split must hold train, val, test, test/NAME or clean, got "
                    f"{str(names[~known][0])!r}."
                )
            if not (names == "val").any():
                own = np.where(names == "train", 0, 2)
                part, notes = SplitPolicy("column", self.fractions, seed=self.seed).assign(
                    y, z, own
                )
                names = np.where(part == 1, "val", names)
        order = dict.fromkeys([*SPLITS[:2], *names.tolist()])
        return {name: np.flatnonzero(names == name) for name in order}, notes

    def tables(self) -> dict[str, Table]:
        """Return the splits."""
        rows = self._rows
        self.notes.extend(rows.notes)
        tables = {
            name: Table(
                rows.x[index],
                rows.y.codes[index],
                rows.z.codes[index],
                continuous=rows.continuous[index],
            )
            for name, index in rows.splits.items()
        }
        own = rows.weight[rows.splits["train"]]
        tables["train"] = tables["train"].replace(weight=own / (own.mean() or 1.0))
        return tables

    # ---- names and sizes ----------------------------------------------------------------------
    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the classes in the order of their ids."""
        return tuple(self._rows.y.names if self.restored is None else self.restored["class_names"])

    @property
    def attribute_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the attribute values in the order of their ids."""
        known = self.restored
        return tuple(self._rows.z.names if known is None else known["attribute_names"])

    @cached_property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Numbers of classes and attribute values, and the shape of an input."""
        known = self.restored
        shape = self._rows.x.shape[1:] if known is None else known["shape"]
        return Sizes(len(self.class_names), len(self.attribute_names), tuple(shape))

    def learn(self) -> dict[str, Any]:
        """Return names, counts, and the shape of an input."""
        return {**super().learn(), "shape": list(self.sizes.input_shape)}

    # ---- other files --------------------------------------------------------------------------
    def new_parts(self, source: Any, chunk: int = CHUNK) -> Iterator[Any]:
        """Read a file, whose labels may be codes of the names beside them, or take an array."""
        if isinstance(source, str | Path):
            arrays = read_arrays(source)
            rows = {
                k: v for k, v in {**arrays, **names_of(arrays)}.items() if k in ("x", "y", "z")
            }
            if "x" not in rows:
                raise UserError(f"{source} has no array x; it has: {', '.join(arrays)}.")
            for start in range(0, len(rows["x"]), chunk):
                yield {name: array[start : start + chunk] for name, array in rows.items()}
        else:
            yield from super().new_parts(as_array(source), chunk)


def names_of(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the names of labels and attributes of each row, None where missing, by array."""
    found = {}
    for name, role in (("y", "class_names"), ("z", "attribute_names")):
        if name in arrays:
            given = arrays.get(role)
            known = None if given is None else list(map(str, given))
            found[name] = named(arrays[name], known, name)
    if "z" in found:
        found["z"][found["z"] == "-1"] = None
    return found
