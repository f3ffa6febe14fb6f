"""CelebA: faces with forty attributes each."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.categorical import Categorical, cross
from frbench.data.images.image_data import Annotations, ImageData
from frbench.data.images.image_files import check_once, find_folder
from frbench.support.files import FILES, content_sha256, open_binary

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTE_FILE = "list_attr_celeba.txt"
SPLIT_FILE = "list_eval_partition.txt"
IMAGE_FOLDER = "img_align_celeba"


class CelebA(ImageData):
    """Faces of celebrities (Liu et al., ICCV 2015) with the official split.

    Attributes and splits are joined to the images by file name, never by order: a listing of a
    folder has an order of its own, and labels joined by it are random. The annotation files are
    checked: the number of rows, one value -1 or 1 for each name in each row, the same names in
    both files. Images and annotations are not downloaded; their terms are for non-commercial
    research.

    Args:
        root: Folder with ``list_attr_celeba.txt``, ``list_eval_partition.txt`` (plain or .gz) and
            the images in ``img_align_celeba/``, or its path below ``FRBENCH_DATA``.
        target: An attribute; or several, one class each: images with exactly one of them are
            kept, ``[Black_Hair, Blond_Hair, Brown_Hair, Gray_Hair]`` say.
        attribute: An attribute; of several, the combinations that occur (``Male&Young``).
        **kwargs: As for :class:`~frbench.data.images.image_data.ImageData`.

    Raises:
        UserError: On first use of the data, for files that are missing or damaged, or attributes
            that CelebA lacks.

    Example:
        >>> import tempfile
        >>> from frbench.data.images.drawn_celeba import draw_celeba
        >>> root = draw_celeba(tempfile.mkdtemp(), n=60)
        >>> data = CelebA(str(root), target="Blond_Hair", attribute=["Male", "Young"])
        >>> data.class_names, data.attribute_names[-1]
        (('not_Blond_Hair', 'Blond_Hair'), 'Male&Young')
    """

    def __init__(
        self,
        root: str = "celeba",
        target: str | list[str] = "Blond_Hair",
        attribute: str | list[str] = "Male",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = root
        self.target = target
        self.attribute = attribute

    @property
    def image_folder(self) -> Path:
        """The images below ``root``."""
        return find_folder(self.root, self.folders) / IMAGE_FOLDER

    @property
    def files(self) -> list[str]:
        """Both annotation files."""
        return [f"{self.root}/{name}" for name in (ATTRIBUTE_FILE, SPLIT_FILE)]

    def read(self) -> Annotations:
        """Read both annotation files and join them by name."""
        frame = read_attributes(self._locate(ATTRIBUTE_FILE))
        split = read_split(self._locate(SPLIT_FILE))
        if len(frame) != len(split) or len(alone := frame.index.symmetric_difference(split.index)):
            odd = f"{alone[0]} is in one only" if len(frame) == len(split) else ""
            raise UserError(
                f"{self.root}: {ATTRIBUTE_FILE} names {len(frame)} images, {SPLIT_FILE} "
                f"{len(split)}; {odd or 'their names must be the same'}."
            )
        part = split.loc[frame.index]
        targets = [self.target] if isinstance(self.target, str) else list(self.target)
        attributes = [self.attribute] if isinstance(self.attribute, str) else list(self.attribute)
        for option, names in (("target", targets), ("attribute", attributes)):
            for name in names:
                if name not in frame.columns:
                    raise UserError(
                        f"data.{option}: CelebA has no attribute {name!r}; it has: "
                        f"{', '.join(frame.columns)}."
                    )
        if not targets or not attributes or set(targets) & set(attributes):
            raise UserError(
                f"data.target and data.attribute must name different attributes, got {targets} "
                f"and {attributes}."
            )
        if len(targets) > 1:
            kept = (frame[targets] == 1).sum(axis=1) == 1
            self.notes.append(
                f"{int(kept.sum())} of {len(kept)} images have exactly one of {', '.join(targets)}"
            )
            frame, part = frame[kept], part[kept]
            y = Categorical((frame[targets] == 1).to_numpy().argmax(axis=1), targets)
        else:
            y = _binary(frame[targets[0]])
        z = cross([_binary(frame[name]) for name in attributes])
        return Annotations(frame.index.to_numpy(dtype=str), y, z, part.to_numpy())

    def _locate(self, name: str) -> Path:
        folder = find_folder(self.root, self.folders)
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                if content_sha256(path) != FILES[f"celeba/{name}"].sha256:
                    self.notes.append(f"{path} is not the official file")
                return path
        raise UserError(
            f"data.root: there is no {name} in {folder}. Where people find it: "
            f"{FILES[f'celeba/{name}'].source}."
        )


def _binary(column: pd.Series) -> Categorical:
    return Categorical((column == 1).to_numpy(np.int64), [f"not_{column.name}", str(column.name)])


def read_attributes(path: Path) -> pd.DataFrame:
    """Read CelebA's attribute file: a count, the names, then one image a line.

    Args:
        path: The file, plain or ``.gz``.

    Returns:
        Attributes in {-1, 1}, int8, by file name [N, 40].

    Raises:
        UserError: If count, columns or values are not as the file says.
    """
    import pandas as pd

    with open_binary(path) as file:
        count, header, body = file.readline().decode(), file.readline().decode(), file.read()
    names = header.split()
    if not count.strip().isdigit() or not names:
        raise UserError(f"{path} must begin with a count and a line of attribute names.")
    check_once(np.array(names), str(path))
    # A row that is longer or shorter than the header shifts every column after the gap.
    first = body[: body.find(b"\n")].split()
    if len(first) != len(names) + 1:
        raise UserError(
            f"{path} names {len(names)} attributes, but its first row has {len(first) - 1} values."
        )
    try:
        frame = pd.read_csv(
            io.BytesIO(body),
            sep=r"\s+",
            header=None,
            names=["file", *names],
            dtype={"file": "str", **dict.fromkeys(names, "int8")},
            index_col="file",
        )
    except ValueError as error:  # a row too long, too short, or with something else than numbers
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())}.") from error
    if len(frame) != int(count):
        raise UserError(f"{path} says it has {int(count)} rows, but has {len(frame)}.")
    check_once(frame.index.to_numpy(dtype=str), str(path))
    if not frame.isin([-1, 1]).all(axis=None):
        raise UserError(f"{path} holds values other than -1 and 1.")
    return frame


def read_split(path: Path) -> pd.Series:
    """Read CelebA's partition file: a name and 0, 1 or 2 for train, val, test a line.

    Args:
        path: The file, plain or ``.gz``.

    Returns:
        Split by file name, int64 [N].

    Raises:
        UserError: If a line has another form, or a name occurs twice.
    """
    import pandas as pd

    with open_binary(path) as file:
        lines = file.read().decode().splitlines()
    pairs = [line.split() for line in lines if line.strip()]
    for i, pair in enumerate(pairs):
        if len(pair) != 2 or not re.fullmatch("[012]", pair[1]):
            raise UserError(
                f"{path}: line {i + 1} must be a name and 0, 1 or 2, got {' '.join(pair)!r}."
            )
    names = np.array([pair[0] for pair in pairs])
    check_once(names, str(path))
    return pd.Series([int(pair[1]) for pair in pairs], index=names, dtype="int64")
