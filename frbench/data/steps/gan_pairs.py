"""Generated images in the training table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.properties import StepProperties
from frbench.contracts.ranges import Count
from frbench.data.mixed import Mixed
from frbench.data.step import Augmentation, Encode
from frbench.data.table import Table

Use = Literal["pairs", "images"]


class GanPairs(Augmentation):
    """Add generated images to the training rows: complementary pairs, or G(z) alone.

    An image and its partner share the label f_t(G(z)) and have opposite attributes. The folder
    is one that ``frbench gan pairs`` wrote, or a ready table of your own: ``images.npy`` (bytes
    [N, C, H, W]), ``pairs.npz`` with ``y`` and ``z`` of the images (0 or 1) [N], and for pairs
    ``partners.npy``. Added rows carry ``synthetic``; validation and test stay real. Images are
    read from disk as batches need them where the data set reads its own so.

    Args:
        path: The folder; ``{seed}`` in it stands for the seed of the data, so that a grid can
            give each seed pairs of its own.
        use: pairs, or images: G(z) without partners.
        rows: Rows to add in all, the first in the folder: half as many latents for pairs, as many
            for images, so that both arms get the same number. None adds everything.

    Raises:
        UserError: If the folder is no table of pairs, has fewer rows than asked for, or its
            images are not of the size of the data's.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "images.npy", np.zeros((2, 1, 4, 4), np.uint8))
        >>> np.savez(folder / "pairs.npz", y=[0, 1], z=[0, 1])
        >>> table = Table(np.ones((3, 1, 4, 4)), [0, 1, 1], [0, 0, 1])
        >>> step = GanPairs(str(folder), use="images")
        >>> step.apply(table, np.random.default_rng(0), np.asarray).synthetic.tolist()
        [False, False, False, True, True]
    """

    properties = StepProperties(rows="extended", changes=())

    def __init__(self, path: str, use: Use = "pairs", rows: Count | None = None) -> None:
        if rows is not None and use == "pairs" and rows % 2:
            raise UserError(f"GanPairs.rows must be even for pairs, got {rows}.")
        self.path = path
        self.use = use
        self.rows = rows
        self._report = ""

    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the table with the generated rows at its end."""
        folder = Path(self.path.replace("{seed}", str(self.seed)))
        names = ["images", *(["partners"] if self.use == "pairs" else [])]
        for name in (*(f"{name}.npy" for name in names), "pairs.npz"):
            if not (folder / name).is_file():
                raise UserError(
                    f"GanPairs.path: there is no {name} in {folder}; make pairs with "
                    "`frbench gan pairs --out FOLDER ...`."
                )
        try:
            images = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
            with open(folder / "pairs.npz", "rb") as raw, np.load(raw) as file:
                y, z = file["y"].astype(np.int64), file["z"].astype(np.int64)
            record = folder / "pairs.json"
            judged = json.loads(record.read_text()).get("quality", {}) if record.is_file() else {}
        except (KeyError, ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
            raise UserError(
                f"GanPairs: {folder} is damaged or no table of pairs ({error}); make it again "
                "with `frbench gan pairs`."
            ) from error
        wanted = len(y) if self.rows is None else self.rows // len(names)
        same = all(len(part) == len(y) == len(z) for part in images)
        if not same or not 0 < wanted <= len(y):
            raise UserError(
                f"GanPairs: {folder} has {len(y)} labels, {len(z)} attributes and "
                f"{' and '.join(str(len(part)) for part in images)} images; {wanted} are wanted."
            )
        y, z, images = y[:wanted], z[:wanted], [part[:wanted] for part in images]
        shape = tuple(np.shape(encode(table.take(np.arange(1)).x)))[1:]
        if images[0].shape[1:] != shape or images[0].dtype != np.uint8:
            raise UserError(
                f"GanPairs: images in {folder} are {images[0].dtype} of shape "
                f"{images[0].shape[1:]}, the data's inputs of shape {shape}; make pairs of that "
                "size, as bytes."
            )
        if min(y.min(), z.min()) < 0 or max(y.max(), z.max()) > 1:
            raise UserError(f"GanPairs: y and z of {folder} must be 0 or 1.")
        told = ", ".join(f"{k} {judged[k]:.3f}" for k in ("keep_rate", "flip_rate") if k in judged)
        self._report = f"GanPairs: {wanted * len(names)} rows of {folder}" + (
            f" ({told})" if told else ""
        )
        count = wanted * len(names)
        return Table(
            Mixed(table.x, images),
            np.concatenate([table.y, *[y] * len(names)]),
            np.concatenate([table.z, *[z, 1 - z][: len(names)]]),
            np.concatenate([table.weight, np.ones(count)]),
            np.concatenate([table.clean, np.zeros(count, bool)]),
            np.concatenate([table.true_y, *[y] * len(names)]),
            np.concatenate([table.synthetic, np.ones(count, bool)]),
        )

    def report(self) -> str:
        """Say how many rows were added, and how good the pairs are."""
        return self._report
