"""CIFAR-10's photographs with an attribute that depends on the class."""

from __future__ import annotations

import hashlib
import io
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Interval, OpenShare, Share
from frbench.data.images.conflicts import conflicting_values
from frbench.data.images.corruptions import CORRUPTIONS, Severity, corrupted
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.support.atomic import replacing
from frbench.support.files import cache_folder, locate

#: The file, and the names of the classes in the order of their ids.
FILE = "cifar10/cifar10_jpeg.npz"
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def read_cifar10(path: Path) -> dict[str, np.ndarray]:
    """Read a file of JPEG images, decoded once into the cache folder.

    Args:
        path: An ``.npz`` file with the arrays ``jpeg`` (all files end to end, bytes), ``offset``
            (where each begins, and the end) [N + 1], ``label`` [N] and ``test`` (bool) [N].

    Returns:
        ``images``, bytes [N, 3, 32, 32], ``label`` and ``test``.

    Raises:
        UserError: If the file is damaged or lacks an array, or an image is no JPEG of 32x32.
    """
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            found = {name: file[name] for name in ("jpeg", "offset", "label", "test")}
    except (KeyError, ValueError, OSError, BadZipFile) as error:
        raise UserError(
            f"{path} must be an .npz file with the arrays jpeg, offset, label and test ({error})."
        ) from error
    jpeg, offset = found.pop("jpeg"), found.pop("offset")
    if not len(offset) - 1 == len(found["label"]) == len(found["test"]):
        raise UserError(f"{path}: offset, label and test do not belong together.")
    digest = hashlib.sha256(jpeg.tobytes() + offset.tobytes()).hexdigest()[:16]
    kept = cache_folder() / "cifar10" / f"pixels-{digest}.npy"
    if kept.is_file():
        return {"images": np.load(kept, mmap_mode="r"), **found}
    images = np.empty((len(offset) - 1, 3, 32, 32), np.uint8)
    for i, image in enumerate(images):
        image[:] = _decoded(jpeg[offset[i] : offset[i + 1]].tobytes(), f"{path}: image {i}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with replacing(kept) as part, part.open("wb") as stream:
        np.save(stream, images)
    return {"images": images, **found}


def _decoded(data: bytes, where: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{where} cannot be decoded; fetch the file again.") from error
    if pixels.shape != (32, 32, 3):
        raise UserError(f"{where} has the shape {list(pixels.shape)}, expected [32, 32, 3].")
    return pixels.transpose(2, 0, 1)


class CIFAR10Images(GroupDataModule):
    """CIFAR-10's images and classes, for data sets that change them by an attribute.

    Args:
        val_share: Share of each class's training images that is for validation.
        max_rows: At most this many images of training (with validation) and of test, drawn at
            random; None keeps all.
        path: The file, its path below ``FRBENCH_DATA`` or its own.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.
    """

    class_names = CLASSES

    def __init__(
        self,
        val_share: OpenShare = 0.1,
        max_rows: Count | None = None,
        path: str = FILE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.val_share = val_share
        self.max_rows = max_rows
        self.path = path

    @property
    def files(self) -> list[str]:
        """The file."""
        return [self.path]

    @cached_property
    def _content(self) -> dict[str, np.ndarray]:
        own = next((p for f in self.folders if (p := f / self.path).is_file()), None)
        return read_cifar10(own or locate(self.path))

    def rows(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Choose the images of train, val and test; those of train and val stand class by class.

        Args:
            rng: Source of randomness.
        """
        label, test = self._content["label"], self._content["test"]
        order = rng.permutation(len(label))
        rows, tests = (order[test[order] == flag][: self.max_rows] for flag in (False, True))
        parts: dict[str, list[np.ndarray]] = {"train": [], "val": []}
        for c in range(len(CLASSES)):
            own = rows[label[rows] == c]
            cut = round(self.val_share * len(own))
            parts["val"].append(own[:cut])
            parts["train"].append(own[cut:])
        return {**{name: np.concatenate(found) for name, found in parts.items()}, "test": tests}


class CIFAR10S(CIFAR10Images):
    """CIFAR-10 of which some classes are mostly in colour and the others mostly grey.

    A share ``skew`` of the training and validation rows of automobile, cat, dog, horse and truck
    is in colour, and of the five other classes grey; the numbers of rows are exact. ``test`` has
    each test image twice, in colour and in grey. Source: Wang et al., CVPR 2020 (arXiv
    1911.11834), which trains on all 50,000 images; here ``val_share`` of each class is held out.
    The images are JPEG files, so that published figures are for orientation. They are decoded
    once, into the cache folder.

    Args:
        skew: Share of the larger of the two kinds in each class, in [.5, 1].
        **kwargs: As for :class:`~frbench.data.images.cifar10.CIFAR10Images`.

    Raises:
        UserError: For values out of range, or if the file is missing or damaged.
    """

    sizes = Sizes(10, 2, (3, 32, 32))
    attribute_names = ("grey", "colour")

    def __init__(self, skew: Annotated[float, Interval(0.5, 1)] = 0.95, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.skew = skew

    def tables(self) -> dict[str, Table]:
        """Read the images, choose rows by the seed and take the colour from some."""
        images, label = self._content["images"], self._content["label"]
        rng, tables = np.random.default_rng([self.seed, 36]), {}
        rows = self.rows(rng)
        tests = rows.pop("test")
        for name, chosen in rows.items():
            y = label[chosen]
            kinds = np.concatenate([self._kinds(c, int((y == c).sum())) for c in range(10)])
            shuffled = rng.permutation(len(chosen))
            tables[name] = self._table(images, label, chosen[shuffled], kinds[shuffled])
        both = np.repeat([0, 1], len(tests))
        tables["test"] = self._table(images, label, np.tile(tests, 2), both)
        return tables

    def _kinds(self, c: int, n: int) -> np.ndarray:
        """Attributes of a class's rows: those with odd ids are mostly in colour."""
        mostly = int(CLASSES[c] in ("automobile", "cat", "dog", "horse", "truck"))
        return np.where(np.arange(n) < round(self.skew * n), mostly, 1 - mostly)

    @staticmethod
    def _table(images: np.ndarray, label: np.ndarray, rows: np.ndarray, z: np.ndarray) -> Table:
        x = images[rows]
        luma = np.array([0.299, 0.587, 0.114], np.float32)
        grey = z == 0
        x[grey] = np.rint(np.einsum("nchw,c->nhw", x[grey], luma))[:, None]
        return Table(x, label[rows], z)


class CorruptedCIFAR10(CIFAR10Images):
    """CIFAR-10 whose images show a corruption that says the class, but for a few rows.

    The corruptions of airplane, automobile, bird, cat, deer, dog, frog, horse, ship and truck are
    snow, frost, fog, brightness, contrast, spatter, elastic, JPEG, pixelate and saturate. In
    training and validation a share ``conflicting`` of each class's rows has one of the nine
    others, each equally often; in ``test`` every class has every corruption equally often. Source:
    Nam et al., arXiv 2007.02561, section 4.1, type 0; corruptions of Hendrycks and Dietterich,
    arXiv 1903.12261, with their constants for 32x32 pixels. Severity 5 is that of the released
    folder name ``Severity4``, which counts from 0.

    Published figures are for orientation: the images are JPEG files, ``val_share`` of each class
    is held out, and the corruptions are implemented anew. Snow, fog, brightness, contrast, mud
    (spatter from severity 4 on), JPEG, pixelate and saturate follow the published operations, with
    other random numbers and rounding to the nearest byte. Frost is drawn as ridges of clouds,
    where the publication lays photographs of ice over the image; water (spatter to severity 3) is
    drawn without the relief at the edges of drops; elastic interpolates once, not twice.
    Corrupting all 60,000 images takes about 15 seconds.

    Args:
        conflicting: Share of the rows whose corruption is not that of their class, in [0, 1]; the
            paper has .005, .01, .02 and .05.
        severity: How strong the corruptions are, 1 to 5.
        **kwargs: As for :class:`~frbench.data.images.cifar10.CIFAR10Images`.

    Raises:
        UserError: For values out of range, or if the file is missing or damaged.
    """

    sizes = Sizes(10, 10, (3, 32, 32))
    attribute_names = tuple(CORRUPTIONS)

    def __init__(self, conflicting: Share = 0.01, severity: Severity = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conflicting = conflicting
        self.severity = severity

    def tables(self) -> dict[str, Table]:
        """Read the images, choose rows by the seed and corrupt them."""
        images, label = self._content["images"], self._content["label"]
        rng, tables = np.random.default_rng([self.seed, 37]), {}
        for name, rows in self.rows(rng).items():
            chosen = rng.permutation(rows)
            # Nine of ten: every class has every corruption in a tenth of its rows.
            share = 0.9 if name == "test" else self.conflicting
            z = conflicting_values(label[chosen], len(CORRUPTIONS), share, rng)
            x = images[chosen]
            for value, corruption in enumerate(CORRUPTIONS):
                x[z == value] = corrupted(x[z == value], corruption, self.severity, rng)
            tables[name] = Table(x, label[chosen], z)
        return tables
