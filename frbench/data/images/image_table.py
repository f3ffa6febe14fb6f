"""Any folder of images with a table as a data set."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.categorical import (
    Categorical,
    categorize,
    codes_of,
    cross,
    joined,
    texts,
    value_name,
)
from frbench.data.images.image_data import Annotations, ImageData
from frbench.data.images.image_files import (
    ImageFiles,
    SourceImages,
    find_folder,
    plain_names,
)
from frbench.data.learnt import CHUNK
from frbench.data.reading import read_table
from frbench.data.sources import Source, is_source, read_source
from frbench.data.splits import SPLITS
from frbench.support.files import find

if TYPE_CHECKING:
    import pandas as pd


#: Columns of SubpopBench and WILDS, and their names here.
_OTHER_NAMES = {"filename": "file", "img_filename": "file", "a": "z"}


class ImageTable(ImageData):
    """A folder of images with a table that says file, split, label and attributes.

    Args:
        root: Folder of the images, or its path below ``FRBENCH_DATA``; or a data set of another
            package, such as ``wilds:waterbirds``, which has no metadata or file names.
        metadata: The table (.csv, .csv.gz or .parquet), by its path below ``root`` or its own,
            also below ``FRBENCH_DATA``.
        file: Column of the file names, relative to ``root``. Where a column of the default name
            is not there, ``filename`` or ``img_filename`` stands for ``file``, ``a`` for ``z``.
        target: Column of the labels.
        attribute: Column of the attribute z; of several, the combinations that occur. Rows
            without one are in the loss, not in group statistics (z = -1).
        split: Column with train, val, test or 0, 1, 2; None cuts by ``fractions``. Without val
            rows, val is cut out of train.
        value_names: Names of the values 0, 1, ... of a column, ``{y: [landbird, waterbird]}``;
            by default the values themselves.
        **kwargs: As for :class:`~frbench.data.images.image_data.ImageData`.

    Raises:
        UserError: On first use of the data, for a file, column or value that cannot be used.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> rows = [f"{i}.png,{i % 2},{i // 2 % 2}" for i in range(40)]
        >>> _ = (root / "metadata.csv").write_text(chr(10).join(["file,y,z", *rows]))
        >>> for i in range(40):
        ...     Image.new("RGB", (20, 30), (6 * i, 0, 0)).save(root / f"{i}.png")
        >>> data = ImageTable(str(root), split=None, image_size=8)
        >>> data.input_shape, {name: len(table) for name, table in data.splits.items()}
        ([3, 8, 8], {'train': 24, 'val': 8, 'test': 8})
    """

    def __init__(
        self,
        root: str,
        metadata: str = "metadata.csv",
        file: str = "file",
        target: str = "y",
        attribute: str | list[str] = "z",
        split: str | None = "split",
        value_names: dict[str, list[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.metadata = metadata
        self.file = file
        self.target = target
        self.attribute = attribute
        self.split = split
        self.value_names = value_names

    @property
    def image_folder(self) -> Path:
        """``root``."""
        return find_folder(self.root, self.folders)

    def read(self) -> Annotations:
        """Read the table."""
        frame = self._renamed(self._frame())
        attributes = [self.attribute] if isinstance(self.attribute, str) else list(self.attribute)
        if not attributes or self.target in attributes:
            raise self._error(
                f"data.attribute must name columns other than the target, got {attributes}."
            )
        for name in [self.file, self.target, *attributes, *([self.split] if self.split else [])]:
            if name not in frame.columns:
                shown = ", ".join(map(str, frame.columns[:50]))
                raise self._error(f"there is no column {name!r}; the columns are: {shown}.")
            if name not in attributes and (empty := frame[name].isna()).any():
                raise self._error(
                    f"column {name!r} has no value in row {int(np.flatnonzero(empty)[0])}."
                )
        if strange := sorted(set(self.value_names or {}) - {self.target, *attributes}):
            raise self._error(
                f"data.value_names names {strange[0]!r}, which is neither target nor attribute."
            )
        try:
            y = self._factor(frame[self.target])
            z = cross([self._factor(frame[name]) for name in attributes])
        except UserError as error:
            raise self._error(str(error)) from error
        part = None if self.split is None else self._parts(frame[self.split])
        return Annotations(plain_names(frame[self.file]), y, z, part)

    @cached_property
    def _package(self) -> Source | None:
        """What another package reads, if ``root`` names a data set of one."""
        return read_source(self.root, self.folders) if is_source(self.root) else None

    def images(self, names: np.ndarray, place: Any = None) -> ImageFiles:
        """Return images by name, or by position where another package decodes them."""
        found = self._package
        if place is not None or found is None or found.images is None:
            return super().images(names, place)
        shape = self.image_size, self.crop, self.channels
        return SourceImages(found.images, names, self.root, *shape)

    def _renamed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Take the column names of SubpopBench and WILDS for the default ones that lack."""
        lacking = [name for name in {self.file, *self.label_columns} if name not in frame.columns]
        known = {new: old for old, new in _OTHER_NAMES.items() if old in frame.columns}
        names = {known[name]: name for name in lacking if name in known}
        return frame.rename(columns=names)

    def new_parts(self, source: Any, chunk: int = CHUNK) -> Iterator[Any]:
        """Read a folder of images, a table of file names in their folder, or take an array."""
        for part in super().new_parts(source, chunk):
            yield (part[0], self._renamed(part[1])) if isinstance(part, tuple) else part

    @property
    def files(self) -> list[str]:
        """The table of the images, if it is a file."""
        if self._package is not None:
            return []
        below = f"{self.root}/{self.metadata}"
        return [below if (self.image_folder / self.metadata).is_file() else self.metadata]

    @property
    def file_column(self) -> str:  # type: ignore[override]
        """Column of the file names."""
        return self.file

    @property
    def label_columns(self) -> set[str]:
        """Target and attributes."""
        attribute = [self.attribute] if isinstance(self.attribute, str) else self.attribute
        return {self.target, *attribute}

    def label_texts(self, frame: pd.DataFrame) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Names of classes and attribute values of another table, by the options' columns."""
        attributes = [self.attribute] if isinstance(self.attribute, str) else list(self.attribute)
        y = self._texts(frame[self.target]) if self.target in frame.columns else None
        if not all(name in frame.columns for name in attributes):
            return y, None
        parts = [self._texts(frame[name]) for name in attributes]
        return y, parts[0] if len(parts) == 1 else joined(parts)

    def _texts(self, column: pd.Series) -> np.ndarray:
        """Names of the values of a column of another table; unknown ones stay as they are."""
        names = (self.value_names or {}).get(str(column.name))
        found = texts(column)
        if names is None:
            return found
        codes, _ = codes_of(found, [str(i) for i in range(len(names))])
        named = np.array([*names, None], dtype=object)[np.maximum(codes, -1)]
        return np.where(codes == -2, found, named)

    def _frame(self) -> pd.DataFrame:
        if self._package is not None:
            return _with_positions(self._package, self.root, self.file)
        below = self.image_folder / self.metadata
        if below.is_file():
            return read_table(str(below))
        file = next((f for p in self.folders if (f := p / self.metadata).is_file()), None)
        if (file := file or find(self.metadata)) is None:
            raise UserError(
                f"data.metadata: there is no file {self.metadata}, neither in {self.root} nor "
                f"seen from {Path.cwd()}, nor below FRBENCH_DATA."
            )
        return read_table(str(file))

    def _error(self, text: str) -> UserError:
        of = self.root if self._package is not None else f"{self.metadata} of {self.root}"
        return UserError(f"{of}: {text}")

    def _factor(self, column: pd.Series) -> Categorical:
        """Values of a column with their names, as given or as they occur."""
        names = (self.value_names or {}).get(str(column.name))
        if names is None:
            return categorize(column)
        codes = column.map(value_name).map({str(i): i for i in range(len(names))})
        if (strange := codes.isna() & column.notna()).any():
            row = int(np.flatnonzero(strange)[0])
            value = value_name(column.iloc[row])
            raise UserError(
                f"column {column.name!r} has the value {value} in row {row}, out of range: "
                f"data.value_names names the values 0..{len(names) - 1}."
            )
        return Categorical(codes.fillna(-1).to_numpy(np.int64), list(names))

    def _parts(self, column: pd.Series) -> np.ndarray:
        """Split of each row, from names or numbers."""
        known = {**{name: i for i, name in enumerate(SPLITS)}, **{str(i): i for i in range(3)}}
        part = column.map(value_name).map(known)
        if part.isna().any():
            row = int(np.flatnonzero(part.isna())[0])
            raise self._error(
                f"column {self.split!r} must hold train, val, test or 0, 1, 2, got "
                f"{value_name(column.iloc[row])} in row {row}."
            )
        return part.to_numpy(np.int64)


def _with_positions(source: Source, path: str, file: str) -> pd.DataFrame:
    """Return the table of a source with the position of each image as its file name."""
    if source.images is None:
        raise UserError(f"{path} holds no images; read it by TableData or TextTable.")
    positions = np.arange(len(source.frame)).astype(str)
    return source.frame.assign(**{file: positions})
