"""Faces drawn by a formula: a data set whose biases are known exactly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch

from frbench.contracts.batch import Sizes
from frbench.contracts.ranges import Count, Interval, NotNegative
from frbench.data.module import GroupDataModule
from frbench.data.table import Table

Trait = Literal["smile", "long_hair"]


class GeneratedFaces(GroupDataModule):
    """Drawn faces whose smile and hair depend on each other through latents.

    Images are :class:`~frbench.gan.generator.AnalyticFaces` of z ~ N(0, I); a face smiles if
    w_t.z > 0 and has long hair if w_g.z > 0, where the unit vectors have cosine c: both agree in
    1/2 + asin(c) / pi of the rows (.86 at .9). Noise is added to the pixels, after rounding, so
    that no two rows are equal. Test tables: ``test/P`` as training, ``test/balanced`` with
    equally many rows of each group.

    Args:
        cosine: c in (-1, 1).
        target: The trait that is the label; the other one is the attribute.
        n: Training rows.
        n_eval: Rows of validation and of each test table.
        noise: Standard deviation of the noise, in pixel values of 0 to 1.
        image_size: Height and width in pixels.
        **kwargs: As for :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: For a value out of range.

    Example:
        >>> data = GeneratedFaces(n=100, n_eval=40, image_size=16)
        >>> data.splits["test/balanced"].counts(2, 2).tolist()
        [[10, 10], [10, 10]]
    """

    sizes = Sizes(2, 2, (3, 28, 28))

    def __init__(
        self,
        cosine: Annotated[float, Interval(-1, 1, closed="neither")] = 0.9,
        target: Trait = "smile",
        n: Count = 2000,
        n_eval: Annotated[int, Interval(4)] = 1000,
        noise: NotNegative = 0.05,
        image_size: Annotated[int, Interval(8)] = 28,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        from frbench.gan.generator import AnalyticFaces

        self.cosine = cosine
        self.target = target
        self.n = n
        self.n_eval = n_eval
        self.noise = noise
        self.image_size = image_size
        self.generator = AnalyticFaces(cosine, image_size)
        self.sizes = Sizes(2, 2, (3, image_size, image_size))
        names = ("no_smile", "smile"), ("short_hair", "long_hair")
        both = names if target == "smile" else names[::-1]
        self.class_names, self.attribute_names = both

    def tables(self) -> dict[str, Table]:
        """Draw the four tables."""
        names = ("train", "val", "test/P", "test/balanced")
        return {name: self._draw(i, name == "test/balanced") for i, name in enumerate(names)}

    def _draw(self, stream: int, balanced: bool) -> Table:
        from frbench.gan.generator import generate

        rng = np.random.default_rng([self.seed, 31, stream])
        n = self.n if stream == 0 else self.n_eval // 4 * 4 if balanced else self.n_eval
        z = self.generator.sample(rng, n)
        if balanced:
            # Signs of the two scores are chosen; their sizes and all else stay as drawn.
            normals = self.generator.normals.numpy().astype(np.float64)
            signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])[np.arange(n) % 4]
            scores = z @ normals.T
            change = signs * np.abs(scores) - scores
            z = (z + np.linalg.solve(normals @ normals.T, change.T).T @ normals).astype(np.float32)
        traits = self.generator.attributes(torch.as_tensor(z)).numpy() > 0
        x = generate(self.generator, z)
        x = x + rng.normal(0, 255 * self.noise, x.shape)
        y, attribute = traits.T if self.target == "smile" else traits.T[::-1]
        return Table(x.round().clip(0, 255).astype(np.uint8), y, attribute)
