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
from frbench.contracts.ranges import Count, Interval, OpenShare
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


class CIFAR10S(GroupDataModule):
    """CIFAR-10 of which some classes are mostly in colour and the others mostly grey.

    A share ``skew`` of the training and validation rows of automobile, cat, dog, horse and truck
    is in colour, and of the five other classes grey; the numbers of rows are exact. ``test`` has
    each test image twice, in colour and in grey. Source: Wang et al., CVPR 2020 (arXiv
    1911.11834), which trains on all 50,000 images; here ``val_share`` of each class is held out.
    The images are JPEG files, so that published figures are for orientation. They are decoded
    once, into the cache folder.

    Args:
        skew: Share of the larger of the two kinds in each class, in [.5, 1].
        val_share: Share of each class's training images that is for validation.
        max_rows: At most this many images of training (with validation) and of test, drawn at
            random; None keeps all.
        path: The file, its path below ``FRBENCH_DATA`` or its own.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: For values out of range, or if the file is missing or damaged.
    """

    sizes = Sizes(10, 2, (3, 32, 32))
    class_names = CLASSES
    attribute_names = ("grey", "colour")

    def __init__(
        self,
        skew: Annotated[float, Interval(0.5, 1)] = 0.95,
        val_share: OpenShare = 0.1,
        max_rows: Count | None = None,
        path: str = FILE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.skew = skew
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

    def tables(self) -> dict[str, Table]:
        """Read the images, choose rows by the seed and take the colour from some."""
        images, label, test = (self._content[name] for name in ("images", "label", "test"))
        rng = np.random.default_rng([self.seed, 36])
        order = rng.permutation(len(label))
        rows, tests = (order[test[order] == flag][: self.max_rows] for flag in (False, True))
        parts: dict[str, list[np.ndarray]] = {"train": [], "val": []}
        for c in range(len(CLASSES)):
            own = rows[label[rows] == c]
            cut = round(self.val_share * len(own))
            parts["val"].append(own[:cut])
            parts["train"].append(own[cut:])
        tables = {}
        for name, found in parts.items():
            z = [self._kinds(c, len(own)) for c, own in enumerate(found)]
            chosen, kinds = np.concatenate(found), np.concatenate(z)
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
