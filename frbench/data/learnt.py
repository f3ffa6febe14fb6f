"""What a data set learnt from its training rows, and new rows encoded by it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
from pytorch_lightning import LightningDataModule

from frbench.contracts.errors import UserError
from frbench.data.categorical import codes_of, texts
from frbench.data.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from frbench.contracts.batch import Sizes

#: Rows of a new file that are read and scored at a time.
CHUNK = 16_384


class NewRows(NamedTuple):
    """Rows that are not of the data set's own tables.

    Attributes:
        x: Inputs, as the data set's tables hold them [N, ...].
        y: Names of the labels, None where missing [N]; None if they are not given.
        z: The same of the attribute.
        columns: The columns of their file; None for arrays and lists.
    """

    x: Any
    y: np.ndarray | None
    z: np.ndarray | None
    columns: pd.DataFrame | None


class Learnt(LightningDataModule):
    """Base of data sets: what was learnt from the training rows, and rows of other files.

    A subclass that learns more than names extends :meth:`learn` and reads :attr:`restored`
    wherever it would look at the training rows. A set whose rows do not come from a table of
    arrays says by :meth:`new_parts` and :meth:`new_rows` how another file is read.
    """

    sizes: Sizes
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    unknown_classes: Literal["error", "drop"]
    #: What was learnt, if it comes from a checkpoint; nothing is learnt anew then.
    restored: dict[str, Any] | None = None
    #: Folders from which relative paths are tried, in this order.
    folders: Sequence[Path] = (Path(),)
    #: Whether the attribute is among the inputs.
    attribute_as_input: bool = False

    def __str__(self) -> str:
        """Return the class; Lightning's own text would build the loaders."""
        return type(self).__name__

    @property
    def files(self) -> list[str]:
        """Names of the files that decide what the tables hold, as the options write them."""
        return []

    @property
    def schema(self) -> list[str]:
        """Lines that say what the columns hold and are used as; none without columns."""
        return []

    # ---- what was learnt ----------------------------------------------------------------------
    @abstractmethod
    def learn(self) -> dict[str, Any]:
        """Return what the training rows show, as plain values."""

    @property
    def learnt(self) -> dict[str, Any]:
        """What was learnt from the training rows, here or in the run of a checkpoint."""
        return self.learn() if self.restored is None else self.restored

    def restore(self, learnt: dict[str, Any]) -> None:
        """Encode by what a checkpoint says from now on, and learn nothing.

        Args:
            learnt: What :attr:`learnt` gave when the checkpoint was written.

        Raises:
            UserError: If a data set of another kind learnt it, or names that this one declares
                differ.
        """
        declared = vars(type(self)).keys() | vars(self).keys()
        for role in ("class_names", "attribute_names"):
            if role in declared and not isinstance(getattr(type(self), role, None), property):
                ours, theirs = list(getattr(self, role)), list(learnt[role])
                if strange := [name for name in ours if name not in theirs] or ours != theirs:
                    what = role.removesuffix("_names")
                    shown = repr(strange[0]) if isinstance(strange, list) else f"order {ours}"
                    raise UserError(
                        f"{type(self).__name__}: the {what} {shown} is unknown to the checkpoint, "
                        f"which has: {', '.join(theirs)}."
                    )
        for cls in type(self).__mro__:
            for name in vars(cls).keys() & vars(self).keys():
                if isinstance(vars(cls)[name], cached_property):
                    vars(self).pop(name)  # it may be what this data set has learnt itself
        self.restored = learnt

    # ---- rows of other files ------------------------------------------------------------------
    @property
    def reading(self) -> dict[str, Any]:
        """Options of :func:`frbench.data.reading.table_parts` for other files."""
        return {"folders": self.folders}

    @property
    def label_columns(self) -> set[str]:
        """Columns of another table that hold label and attribute."""
        return {"y", "z"}

    def new_parts(self, source: Any, chunk: int = CHUNK) -> Iterator[Any]:
        """Read a file, or take rows in memory, in parts; here arrays.

        Args:
            source: An ``.npz`` file with the array ``x`` and, where they are known, ``y`` and
                ``z`` with names; or the array of inputs.
            chunk: Rows of a part.

        Raises:
            UserError: If the file cannot be read.
        """
        arrays = read_arrays(source) if isinstance(source, str | Path) else {"x": source}
        if "x" not in arrays:
            raise UserError(f"{source} has no array x; it has: {', '.join(arrays)}.")
        for start in range(0, len(arrays["x"]), chunk):
            yield {name: array[start : start + chunk] for name, array in arrays.items()}

    def new_rows(self, part: Any) -> NewRows:
        """Turn a part into rows.

        Raises:
            UserError: If it lacks a column, or its inputs do not have the shape of training's.
        """
        import pandas as pd

        x = np.asarray(part["x"])
        if x.shape[1:] != tuple(self.sizes.input_shape):
            raise UserError(
                f"The inputs have the shape {list(x.shape[1:])}, those of the checkpoint "
                f"{list(self.sizes.input_shape)}."
            )
        given = {k: texts(pd.Series(part[k])) if k in part else None for k in ("y", "z")}
        return NewRows(x, given["y"], given["z"], None)

    def name_codes(self, names: np.ndarray, role: Literal["class", "attribute"]) -> np.ndarray:
        """Turn names of classes or attribute values into codes, -1 where missing, -2 unknown.

        Raises:
            UserError: For a name that the checkpoint lacks, unless those rows are to be dropped.
        """
        known = self.class_names if role == "class" else self.attribute_names
        codes, strange = codes_of(names, known)
        if strange and self.unknown_classes == "error":
            more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
            raise UserError(
                f"The {role} {strange[0]!r}{more} is unknown to the checkpoint, which has: "
                f"{', '.join(known)}; correct it, or drop such rows by "
                "--data.unknown_classes drop."
            )
        return codes

    def labelled(self, rows: NewRows) -> tuple[Table, np.ndarray]:
        """Turn new rows into a table to evaluate.

        Args:
            rows: With their labels.

        Returns:
            The rows whose class is known, and a mask of them among all [N].

        Raises:
            UserError: If there are no labels, or a name is unknown.
        """
        if rows.y is None:
            raise UserError(
                "The file has no labels: test needs the column (or array) of the target; without "
                "it use frbench predict."
            )
        y = self.name_codes(rows.y, "class")
        z = np.full(len(y), -1) if rows.z is None else self.name_codes(rows.z, "attribute")
        kept = (y >= 0) & (z > -2) & self.complete(rows, z)
        table = Table(rows.x, np.maximum(y, 0), np.maximum(z, -1))
        return table.take(kept), kept

    def complete(self, rows: NewRows, z: np.ndarray) -> np.ndarray:
        """Say which new rows the data set's own policies for missing values keep, bool [N]."""
        return np.ones(len(z), bool)

    def unseen(self, x: Any) -> dict[str, int]:
        """Count, for each column of new inputs, the values that training lacks."""
        return {}


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file by name.

    Raises:
        UserError: If the file is of another kind, is damaged, or holds Python objects.
    """
    if not str(path).endswith(".npz"):
        raise UserError(f"{path}: this data set holds arrays; give an .npz file with the array x.")
    try:
        with open(path, "rb") as raw, np.load(raw) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an .npz file ({error}).") from error
