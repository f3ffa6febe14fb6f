"""Images in a folder with labels from a table, joined by file name: what all such sets share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegativeInt
from frbench.data.categorical import Categorical, texts
from frbench.data.images.image_files import (
    Crop,
    ImageFiles,
    check_inside,
    check_once,
    decode_all,
    plain_names,
)
from frbench.data.learnt import CHUNK, NewRows
from frbench.data.module import GroupDataModule
from frbench.data.reading import find_table, table_parts
from frbench.data.splits import SPLITS, Fractions, SplitPolicy
from frbench.data.table import Table

if TYPE_CHECKING:
    import pandas as pd

Augmentations = Literal["none", "flip", "crop"]

#: Images that are decoded before training, to see whether they are images at all.
CHECKED = 256
#: Ends of the names of image files in a folder.
IMAGE_ENDS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Annotations(NamedTuple):
    """What a table says of images.

    Attributes:
        names: Files, relative to the image folder [N].
        y: Labels.
        z: Attributes.
        part: Split of each row, 0 train, 1 val, 2 test [N]; None if the table gives none.
    """

    names: np.ndarray
    y: Categorical
    z: Categorical
    part: np.ndarray | None


class ImageData(GroupDataModule):
    """Images by file name; a subclass says by :meth:`read` what is known of them.

    Every name must occur once and every file exist before training starts. Images are decoded in
    worker processes, cropped and resized.

    Args:
        subset: Text file with one name a line (further words of a line are ignored): only these
            rows are used.
        image_size: Height and width in pixels.
        crop: A number: the centred square with that share of the shorter side; a list: the box
            [top, left, height, width] in pixels of the file; None: the whole image, squeezed.
        channels: 3 for colour, 1 for grey.
        augmentation: Random transform of training images: none; flip, left to right with
            probability 1/2; crop, a random box of 70 to 100 % of the area, resized, then flip.
        fractions: Shares of train, val and test where the table gives no split; stratified on
            (y, z).
        max_train: At most this many training rows, drawn at random; None keeps all.
        num_workers: Processes that decode; 0 decodes in the training process.
        cache: Whether every image is decoded once and kept in memory, as bytes: for few or small
            images.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: For options out of range; on first use of the data, for names, values or files
            that do not fit; for a file that is no image, before training if it is among
            the 256 that are tried then, else when it is met.
    """

    def __init__(
        self,
        subset: str | None = None,
        image_size: Count = 64,
        crop: Crop = 1.0,
        channels: Literal[1, 3] = 3,
        augmentation: Augmentations = "none",
        fractions: Fractions = (0.6, 0.2, 0.2),
        max_train: Count | None = None,
        num_workers: NotNegativeInt = 4,
        cache: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_workers=num_workers, **kwargs)
        self.subset = subset
        self.image_size = image_size
        self.crop = crop
        self.channels = channels
        self.augmentation = augmentation
        self.fractions = fractions
        self.max_train = max_train
        self.cache = cache
        if isinstance(crop, list) and (len(crop) != 4 or not min(crop[2:])):
            raise UserError(f"data.crop: a box is [top, left, height, width], got {crop}.")

    # ---- what a subclass writes -------------------------------------------------------------
    @property
    @abstractmethod
    def image_folder(self) -> Path:
        """The folder that file names are relative to."""

    @abstractmethod
    def read(self) -> Annotations:
        """Return names, labels, attributes and splits of all rows."""

    # ---- what the base class asks for -------------------------------------------------------
    def tables(self) -> dict[str, Table]:
        """Return the splits with file names as x."""
        names, y, z, part = self._rows
        if self._missing:
            self.notes.append(f"{len(self._missing)} of {len(names)} images are missing")
        if lacking := int((z.codes < 0).sum()):
            self.notes.append(f"{lacking} of {len(names)} rows have no attribute: in no group")
        policy = SplitPolicy("fraction" if part is None else "column", self.fractions,
                             seed=self.seed)  # fmt: skip
        part, notes = policy.assign(y.codes, z.codes, part)
        self.notes.extend(notes)
        tables = {}
        for i, name in enumerate(SPLITS):
            kept = np.flatnonzero(part == i)
            if name == "train" and self.max_train is not None and self.max_train < len(kept):
                rng = np.random.default_rng([self.seed, 13])
                kept = np.sort(rng.choice(kept, self.max_train, replace=False))
            tables[name] = Table(names[kept], y.codes[kept], z.codes[kept])
        return tables

    def setup(self, stage: str) -> None:
        """Check that every image is there, and that a sample of them can be decoded."""
        if self._missing:
            shown = ", ".join(self._missing[:3]) + (", ..." if len(self._missing) > 3 else "")
            raise UserError(
                f"{len(self._missing)} of {len(self._rows.names)} images are not in "
                f"{self.image_folder}: {shown}. Put them there, or give another data.root, or a "
                "data.subset without them."
            )
        names = self._rows.names
        sample = np.random.default_rng([self.seed, 14]).permutation(len(names))[:CHECKED]
        self.images(names)[np.sort(sample)]  # says which cannot be decoded
        super().setup(stage)

    def encode(self, x: Any) -> ImageFiles | np.ndarray:
        """Return the images of file names, decoded when they are indexed, or kept in memory."""
        if isinstance(x, ImageFiles) or x.ndim > 1:  # of another folder, or decoded
            given: ImageFiles | np.ndarray = x
            return given
        if self.cache:
            names, pixels = self._decoded
            found: np.ndarray = pixels[np.searchsorted(names, x)]
            return found
        return self.images(x)

    def images(self, names: np.ndarray, place: Any = None) -> ImageFiles:
        """Return images by name, decoded when they are indexed.

        Args:
            names: Their names [N].
            place: The folder of another table, in the place of ``image_folder``.
        """
        folder = self.image_folder if place is None else place
        return ImageFiles(folder, names, self.image_size, self.crop, self.channels)

    @cached_property
    def _decoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted names and images of all splits, bytes [N, C, H, W]."""
        names = np.unique(np.concatenate([table.x for table in self.splits.values()]))
        return names, decode_all(self.images(names))

    @property
    def transform(self) -> Any:  # type: ignore[override]
        """The random transform of training images, or None."""
        return None if self.augmentation == "none" else _Random(self.augmentation)

    @cached_property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Numbers of classes and attribute values, from the table."""
        shape = (self.channels, self.image_size, self.image_size)
        return Sizes(len(self.class_names), len(self.attribute_names), shape)

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the classes in the order of their ids."""
        return tuple(self._rows.y.names if self.restored is None else self.restored["class_names"])

    @property
    def attribute_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the attribute values in the order of their ids."""
        known = self.restored
        return tuple(self._rows.z.names if known is None else known["attribute_names"])

    # ---- what was learnt, and other images ----------------------------------------------------
    def learn(self) -> dict[str, Any]:
        """Return names, and how images are cropped and resized."""
        options = {name: getattr(self, name) for name in ("image_size", "channels", "crop")}
        return {**super().learn(), **options}

    def restore(self, learnt: dict[str, Any]) -> None:
        """Crop and resize as the checkpoint says."""
        super().restore(learnt)
        for name in ("image_size", "channels", "crop"):
            setattr(self, name, learnt.get(name, getattr(self, name)))

    def traits(self, x: Any) -> dict[str, Any]:
        """Return names and sizes in bytes of the files; images are not decoded to be compared."""
        return {"file": x, "bytes": self.images(x).sizes()}

    #: Column of another table that holds file names.
    file_column = "file"

    def new_parts(self, source: Any, chunk: int = CHUNK) -> Iterator[Any]:
        """Read a folder of images, a table of file names in their folder, or take an array."""
        if not isinstance(source, str | Path):
            yield from super().new_parts(source, chunk)
            return
        folder = Path(source)
        if not folder.is_dir():
            for part in table_parts(source, chunk, **self.reading):
                yield find_table(str(source), self.folders).parent, part
            return
        import pandas as pd

        found = sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_ENDS and p.is_file()
        )
        if not found:
            raise UserError(f"{source} holds no images ({', '.join(sorted(IMAGE_ENDS))}).")
        names = [path.relative_to(folder).as_posix() for path in found]
        for start in range(0, len(names), chunk):
            yield folder, pd.DataFrame({self.file_column: names[start : start + chunk]})

    def new_rows(self, part: Any) -> NewRows:
        """Take file names, and labels and attributes where the table has them."""
        if isinstance(part, dict):
            return super().new_rows(part)
        folder, frame = part
        if self.file_column not in frame.columns:
            raise UserError(
                f"There is no column {self.file_column!r} of file names; the columns are: "
                f"{', '.join(map(str, frame.columns))}."
            )
        names = plain_names(frame[self.file_column])
        check_inside(names, "The table")
        x = self.images(names, folder)
        if lost := x.missing():
            raise UserError(f"{len(lost)} of {len(names)} images are not in {folder}: {lost[0]}.")
        return NewRows(x, *self.label_texts(frame), frame)

    def label_texts(self, frame: pd.DataFrame) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Names of classes and attribute values of another table, here in columns y and z."""
        y, z = (texts(frame[k]) if k in frame.columns else None for k in ("y", "z"))
        return y, z

    # ---- rows -------------------------------------------------------------------------------
    @cached_property
    def _rows(self) -> Annotations:
        names, y, z, part = self.read()
        check_once(names, f"{type(self).__name__}: the table")
        check_inside(names, f"{type(self).__name__}: the table")
        if self.restored is not None:
            y, z = self._recoded(y, "class"), self._recoded(z, "attribute")
            known = (y.codes > -2) & (z.codes > -2)
            names, part = names[known], None if part is None else part[known]
            y, z = Categorical(y.codes[known], y.names), Categorical(z.codes[known], z.names)
        for role, values in (("target", y), ("attribute", z)):
            if len(values.names) < 2:
                raise UserError(
                    f"{type(self).__name__}: the {role} has one value only: "
                    f"{', '.join(values.names)}."
                )
        if self.subset is not None:
            chosen = self._chosen(names)
            self.notes.append(f"subset: {len(chosen)} of {len(names)} rows, by {self.subset}")
            names = names[chosen]
            y, z = (Categorical(f.codes[chosen], f.names) for f in (y, z))
            part = None if part is None else part[chosen]
        return Annotations(names, y, z, part)

    def _recoded(self, found: Categorical, role: Literal["class", "attribute"]) -> Categorical:
        """Codes of a table by the names of the checkpoint."""
        names = np.array([*found.names, None], dtype=object)[found.codes]
        known = self.class_names if role == "class" else self.attribute_names
        return Categorical(self.name_codes(names, role), list(known))

    @cached_property
    def _missing(self) -> list[str]:
        return self.images(self._rows.names).missing()

    def _chosen(self, names: np.ndarray) -> np.ndarray:
        """Rows of the names that the subset file lists, in the table's order."""
        path = Path(str(self.subset))
        if not path.is_file():
            raise UserError(f"data.subset: there is no file {path}.")
        lines = path.read_text().splitlines()
        wanted = np.array([line.split()[0].rstrip(",") for line in lines if line.split()], str)
        check_once(wanted, str(path))
        if len(unknown := np.setdiff1d(wanted, names)):
            raise UserError(
                f"data.subset: {path} names {unknown[0]}, which is not in the table "
                f"({len(unknown)} such names)."
            )
        return np.flatnonzero(np.isin(names, wanted))


class _Random:
    """The random transform of one training image [1, C, H, W]."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, x: Tensor) -> Tensor:
        if self.kind == "crop":
            from torchvision.transforms.v2 import RandomResizedCrop

            x = RandomResizedCrop(x.shape[-2:], scale=(0.7, 1.0), antialias=True)(x)
        return x.flip(-1) if torch.rand(()) < 0.5 else x
