"""Failure-mode tasks on the embedded digits, on MNIST and on any labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data.images.idx import read_idx
from frbench.data.module import GroupDataModule
from frbench.data.tasks.base import Pool, Scenario
from frbench.support.files import locate


class Digits(Scenario):
    """Scikit-learn's 8x8 digits in a failure-mode task; needs no file.

    The label says which digits are shown (at least five or not, by default), two rows of noise
    above the digit are coloured by the attribute. Under P (of task a) the colour follows the
    label 95 / 10, under Q and P0 it does not. Images of writers are mixed over the splits: in the
    file's own order P(X | Y, Z) would not be the same in all tables.

    Its arguments are those of :class:`Scenario`.

    Example:
        >>> data = Digits(n=50, n_eval=20)
        >>> sorted(data.splits), data.splits["train"].x.shape
        (['test/P', 'test/P0', 'test/Q', 'train', 'val'], (50, 3, 12, 8))
        >>> Digits(task="d", family=[0.1, 0.9], n=50, n_eval=20).test_names[3:]
        ['test/P0_or', 'test/shift=0.1', 'test/shift=0.9']
    """

    sizes = Sizes(2, 2, (3, 12, 8))
    class_names = ("0-4", "5-9")
    attribute_names = ("red", "blue")
    image_shape = (8, 8)

    #: Images of each pool, after a permutation drawn by the seed.
    POOLS: ClassVar = {
        "train": slice(0, 1100),
        "val": slice(1100, 1300),
        "test": slice(1300, None),
    }

    def pools(self) -> dict[str, Pool]:
        """Divide scikit-learn's 1,797 images."""
        images, digit = _digits()
        order = np.random.default_rng([self.seed, 99]).permutation(len(images))
        images = images.reshape(-1, 8, 8).astype(np.float32) / 16
        return {k: Pool(images[order[s]], digit[order[s]]) for k, s in self.POOLS.items()}


def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read scikit-learn's digits without the import of scikit-learn, which takes half a second."""
    found = find_spec("sklearn")
    folders = (found.submodule_search_locations if found else None) or []
    for file in (Path(folder, "datasets", "data", "digits.csv.gz") for folder in folders):
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits  # of a release that keeps them elsewhere

    images, digit = load_digits(return_X_y=True)
    return images, digit


class MNIST(Scenario):
    """MNIST's 28x28 digits in a failure-mode task; read from ``FRBENCH_DATA`` or downloaded.

    Test images are those of MNIST's test file, 10,000 of the training file's are for validation.

    Its arguments are those of :class:`Scenario`.

    Raises:
        UserError: If a file is missing or damaged.
    """

    sizes = Sizes(2, 2, (3, 36, 28))
    class_names = ("0-4", "5-9")
    attribute_names = ("red", "blue")
    image_shape = (28, 28)

    def pools(self) -> dict[str, Pool]:
        """Read the files; validation images are drawn by the seed."""
        parts = []
        for prefix in ("train", "t10k"):
            images = read_idx(locate(f"MNIST/raw/{prefix}-images-idx3-ubyte"))
            parts.append(Pool(images, read_idx(locate(f"MNIST/raw/{prefix}-labels-idx1-ubyte"))))
        (images, labels), test = parts
        order = np.random.default_rng([self.seed, 99]).permutation(len(images))
        val, train = order[:10_000], order[10_000:]
        return {
            "train": Pool(images[train], labels[train]),
            "val": Pool(images[val], labels[val]),
            "test": test,
        }


class ImageScenario(Scenario):
    """Any labelled images in a failure-mode task.

    Args:
        images: A data set of images (its train, val and test splits are the pools, its labels
            what ``labels`` divides into classes), or an ``.npz`` file with ``images``
            [M, H, W] or [M, 3, H, W] (bytes, or floats in [0, 1]) and ``labels`` [M]; a file's
            images are divided 60 / 10 / 30 by the seed.
        labels: The image labels of each class; by default the lower and the upper half.
        **kwargs: Further arguments of :class:`Scenario`.

    The images are read on first use, not by the constructor.

    Raises:
        UserError: On first use, if the file lacks an array, or inputs are not images of one or
            three channels.
    """

    usual_labels = None

    def __init__(
        self,
        images: GroupDataModule | str,
        labels: list[list[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.images = images
        super().__init__(labels=labels, **kwargs)

    @property
    def files(self) -> list[str]:
        """The file, or those of the data set."""
        return [self.images] if isinstance(self.images, str) else self.images.files

    @cached_property
    def _source(self) -> dict[str, Pool]:
        return _source(self.images, self.folders)

    # ---- what only the images say -----------------------------------------------------------
    def name_classes(self) -> None:
        """Leave names and sizes open until they are asked for."""

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the classes by their image labels."""
        return self._spans() if self.restored is None else tuple(self.restored["class_names"])

    @cached_property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Sizes, the shape of the inputs from the images."""
        return self._sizes()

    @property
    def image_shape(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the images."""
        known = None if self.restored is None else self.restored.get("image_shape")
        if known is None:
            known = self._source["train"].images[np.arange(1)].shape[-2:]
        return known[0], known[1]

    @cached_property
    def groups(self) -> list[list[int]]:
        """The image labels of each class; by default halves of those that occur."""
        if self.labels is not None:
            return self.labels
        values = np.unique(np.concatenate([pool.labels for pool in self._source.values()]))
        half = len(values) // 2
        groups = [values[:half].tolist(), values[half:].tolist()]
        self._check_labels(groups)
        return groups

    def learn(self) -> dict[str, Any]:
        """Return names, and the shape of the images."""
        return {**super().learn(), "image_shape": list(self.image_shape)}

    def pools(self) -> dict[str, Pool]:
        """Divide the images of a file; those of a data set are divided."""
        if not isinstance(self.images, str):
            return self._source
        pool = self._source["train"]
        order = np.random.default_rng([self.seed, 99]).permutation(len(pool.labels))
        first, second = int(0.6 * len(order)), int(0.7 * len(order))
        parts = {"train": order[:first], "val": order[first:second], "test": order[second:]}
        return {k: Pool(pool.images[rows], pool.labels[rows]) for k, rows in parts.items()}


def _source(images: GroupDataModule | str, folders: Sequence[Path]) -> dict[str, Pool]:
    """Read and check the images of a file, its path tried from the folders, or of a data set."""
    if isinstance(images, str):
        path = next((p for f in folders if (p := f / images).is_file()), None)
        if path is None:
            raise UserError(f"data.images: there is no file {images}.")
        try:
            # Opened here: np.load leaves a damaged archive open.
            with path.open("rb") as raw, np.load(raw) as file:
                pools = {"train": Pool(file["images"], file["labels"].astype(np.int64))}
        except (KeyError, ValueError, OSError, TypeError, BadZipFile) as error:
            raise UserError(
                f"data.images: {images} must be an .npz file with arrays images and labels "
                f"({error})."
            ) from error
        _check_file(pools["train"], images)
    else:
        test = next(name for name in images.splits if name.startswith("test"))
        pools = {
            split: Pool(images.encode(images.splits[name].x), images.splits[name].y)
            for split, name in (("train", "train"), ("val", "val"), ("test", test))
        }
    for pool in pools.values():
        shape = np.shape(pool.images[np.arange(1)])
        if (len(shape) == 4 and shape[1] not in (1, 3)) or len(shape) not in (3, 4):
            raise UserError(
                f"data.images must hold images [M, height, width] or [M, 3, height, width], got "
                f"{(len(pool.labels), *shape[1:])}."
            )
    return pools


def _check_file(pool: Pool, path: str) -> None:
    """Refuse a file's arrays that do not belong together, or are not scaled as images are here."""
    if pool.labels.shape != np.shape(pool.images)[:1]:
        raise UserError(
            f"data.images: {path} has {len(pool.images)} images and labels of shape "
            f"{pool.labels.shape}; give one label for each image."
        )
    low, high = pool.images.min(initial=0), pool.images.max(initial=0)
    if pool.images.dtype != np.uint8 and not (
        pool.images.dtype.kind == "f" and 0 <= low <= high <= 1
    ):
        raise UserError(
            f"data.images: {path} must hold images as bytes (uint8) or as floats in [0, 1], got "
            f"{pool.images.dtype} from {low:g} to {high:g}; noise and mark have that scale."
        )
