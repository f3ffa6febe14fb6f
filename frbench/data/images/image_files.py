"""Image files that are decoded when they are indexed, in the loader's workers."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import NotNegativeInt, PositiveShare
from frbench.data.images.pixels import SIDEWAYS, eight_bits, orientation
from frbench.support.files import data_folders

if TYPE_CHECKING:
    from PIL import Image

    from frbench.data.sources import Images

#: Share of the shorter side that a centred square takes, or a box [top, left, height, width].
Crop = PositiveShare | list[NotNegativeInt] | None


class ImageFiles:
    """Files of a folder as uint8 images; indexing by an integer array decodes those rows.

    They are turned as their EXIF tag says, transparent ones lie on white, and 16 bits or floats
    in [0, 1] become 8 bits.

    Args:
        root: The folder.
        names: Paths below it [N].
        size: Height and width of the images that come out.
        crop: A number: the centred square with that share of the shorter side; a list: the box
            [top, left, height, width] in pixels; None: the whole image, squeezed to a square.
        channels: 3 for colour, 1 for grey.
    """

    def __init__(
        self, root: Path, names: np.ndarray, size: int, crop: Crop = 1.0, channels: int = 3
    ) -> None:
        self.root = root
        self.names = names
        self.size = size
        self.crop = crop
        self.channels = channels

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, channels, size, size], without decoding anything."""
        return (len(self), self.channels, self.size, self.size)

    def __getitem__(self, rows: np.ndarray | Tensor) -> np.ndarray:
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for image, row in zip(out, rows.tolist(), strict=True):
            image[:] = self._decode(self.names[row])
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Decode everything, for steps that need an array."""
        return self[np.arange(len(self))].astype(dtype or np.uint8, copy=False)

    def __eq__(self, other: object) -> bool:
        """Whether both decode to the same images, as far as names and sizes in bytes say."""
        if not isinstance(other, ImageFiles):
            return NotImplemented
        return self.root == other.root and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash((self.root, self.digest()))

    def open(self, name: str) -> Image.Image:
        """Open the image of a name, as it is stored."""
        from PIL import Image

        return Image.open(self.root / name)

    def missing(self) -> list[str]:
        """List the names that are no files; each sub-folder is read once."""
        return missing_files(self.root, self.names)

    def sizes(self) -> np.ndarray:
        """Sizes of the files in bytes, -1 where there is none, int64 [N]."""
        paths = [self.root / name for name in self.names]
        sizes = [path.stat().st_size if path.is_file() else -1 for path in paths]
        return np.array(sizes, np.int64)

    def _decode(self, name: str) -> np.ndarray:
        from PIL import Image, ImageOps

        mode, path = "RGB" if self.channels == 3 else "L", self.shown(name)
        try:
            with self.open(name) as image:
                stored, turned = image.size, orientation(image)
                full = stored[::-1] if turned in SIDEWAYS else stored
                box = self._box(*full, path)
                shorter = min(box[2] - box[0], box[3] - box[1])
                if shorter >= 4 * self.size:
                    # JPEG can be decoded at 1/2, 1/4 or 1/8. Twice the wanted size is left for
                    # the resizing, or the picture would become sharper than a full decode's.
                    scale = 2 * self.size / shorter
                    image.draft(mode, (int(stored[0] * scale), int(stored[1] * scale)))
                upright = image if turned == 1 else ImageOps.exif_transpose(image)
                ratio = upright.size[0] / full[0], upright.size[1] / full[1]
                left, right = box[0] * ratio[0], box[2] * ratio[0]
                top, bottom = box[1] * ratio[1], box[3] * ratio[1]
                plain = upright if upright.mode == mode else eight_bits(upright).convert(mode)
                small = plain.resize(
                    (self.size, self.size),
                    Image.Resampling.BILINEAR,
                    box=(left, top, right, bottom),
                )
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, UserError) and str(error).startswith("data."):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{path} cannot be decoded as an image ({reason}); replace the file, or leave its "
                "row out of the table."
            ) from error
        pixels = np.asarray(small)
        return pixels.transpose(2, 0, 1) if self.channels == 3 else pixels[None]

    def shown(self, name: str) -> str:
        """Write what an image is called in messages."""
        return str(self.root / name)

    def _box(self, width: int, height: int, path: str) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the crop."""
        if self.crop is None:
            return 0, 0, width, height
        if isinstance(self.crop, list):
            top, left, rows, columns = self.crop
            if top + rows > height or left + columns > width:
                raise UserError(
                    f"data.crop: the box {self.crop} [top, left, height, width] does not fit into "
                    f"{path} of {height}x{width} pixels."
                )
            return left, top, left + columns, top + rows
        side = self.crop * min(width, height)
        x, y = (width - side) / 2, (height - side) / 2
        return x, y, x + side, y + side

    def digest(self) -> bytes:
        """Hash of names, sizes in bytes and options; not of the folder, nor of every pixel."""
        digest = hashlib.sha256(f"{self.size} {self.crop} {self.channels}".encode())
        for name, size in zip(self.names, self.sizes(), strict=True):
            digest.update(f"{name} {size}".encode())
        return digest.digest()


class SourceImages(ImageFiles):
    """Images that another package decodes; their names are positions.

    Args:
        images: Image of each row.
        names: Positions, as texts [N].
        source: What the data set is called.
        size: As for :class:`ImageFiles`, like the next two.
        crop: As for :class:`ImageFiles`.
        channels: As for :class:`ImageFiles`.
    """

    def __init__(
        self,
        images: Images,
        names: np.ndarray,
        source: str,
        size: int,
        crop: Crop = 1.0,
        channels: int = 3,
    ) -> None:
        super().__init__(Path(source), names, size, crop, channels)
        self.images = images

    def open(self, name: str) -> Image.Image:
        """Let the package decode an image.

        Raises:
            ValueError: If the row has none.
        """
        from PIL import Image

        found = self.images[int(name)]
        if not isinstance(found, Image.Image):
            raise ValueError(f"the package gives {type(found).__name__} for it")
        return found

    def missing(self) -> list[str]:
        """List the names that are no positions."""
        known = len(self.images)
        return [n for n in self.names.tolist() if not (n.isdecimal() and int(n) < known)]

    def sizes(self) -> np.ndarray:
        """Return zeros: sizes in bytes are not known [N]."""
        return np.zeros(len(self), np.int64)

    def shown(self, name: str) -> str:
        """Write source and position."""
        return f"image {name} of {self.root}"


@lru_cache(maxsize=1)
def decode_all(files: ImageFiles) -> np.ndarray:
    """Decode all images; the cells of a grid run in one process and share the latest."""
    pixels = np.asarray(files)
    pixels.flags.writeable = False
    return pixels


def missing_files(root: Path, names: np.ndarray) -> list[str]:
    """List the names that are no files below a folder; each sub-folder is read once."""
    parents = {str(Path(name).parent) for name in names}
    found: set[str] = set()
    for parent in parents:
        folder = root / parent
        if folder.is_dir():
            prefix = "" if parent == "." else f"{parent}/"
            found.update(f"{prefix}{entry.name}" for entry in folder.iterdir())
    return [name for name in names.tolist() if name not in found]


def plain_names(names: Iterable[Any]) -> np.ndarray:
    """Write file names in one way.

    Example:
        >>> plain_names(["./a.png", "b//c.png"]).tolist()
        ['a.png', 'b/c.png']
    """
    return np.array([posixpath.normpath(str(name)) for name in names], dtype=str)


def check_once(names: np.ndarray, where: str) -> None:
    """Refuse names that occur twice.

    Raises:
        UserError: Naming the first.
    """
    values, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise UserError(
            f"{where} names {values[counts > 1][0]} {counts[counts > 1][0]} times; one file is "
            "one row."
        )


def check_inside(names: np.ndarray, where: str) -> None:
    """Refuse names that leave the folder they are relative to.

    Raises:
        UserError: Naming the first.
    """
    for name in names.tolist():
        if name.startswith("/") or ".." in name.split("/"):
            raise UserError(
                f"{where} names {name}, which lies outside the image folder; name files below it."
            )


def find_folder(name: str, folders: Sequence[Path] = (Path(),)) -> Path:
    """Return a folder by its path, seen from the folders, else below the data folders.

    Raises:
        UserError: If there is none.
    """
    for candidate in [*(f / name for f in folders), *(folder / name for folder in data_folders())]:
        if candidate.is_dir():
            return candidate
    raise UserError(
        f"data.root: there is no folder {name}, neither seen from {Path.cwd()} nor below "
        "FRBENCH_DATA."
    )
