"""CutMix."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import NotNegative
from frbench.mixing.base import Named
from frbench.mixing.mixup import Mixup


def cut_box(
    height: int, width: int, share: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Draw a box with a share of an image's area around a uniform centre, cut at the edges.

    Args:
        height: Rows of the image.
        width: Its columns.
        share: Area of the box before it is cut, as a share of the image's.
        rng: Source of the centre.
    """
    row, column = int(rng.integers(height)), int(rng.integers(width))
    side = math.sqrt(share)
    high, wide = int(height * side), int(width * side)
    top, left = row - high // 2, column - wide // 2
    return (
        slice(max(top, 0), min(top + high, height)),
        slice(max(left, 0), min(left + wide, width)),
    )


def paste(
    x: Tensor, other: Tensor, share: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, np.ndarray]:
    """Paste one box of other images into images; return them and the shares of pixels that stay.

    Args:
        x: Images [B, channels, height, width].
        other: Images of the same shape.
        share: Shares t [B], all equal; the box has the area 1 - t before it is cut at the edges.
        rng: Source of its centre.
    """
    height, width = x.shape[-2:]
    rows, columns = cut_box(height, width, 1 - float(share[0]), rng)
    mixed = x.clone()
    mixed[..., rows, columns] = other[..., rows, columns]
    pixels = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, np.full(len(share), 1 - pixels / (height * width))


class CutMix(Mixup):
    """CutMix: a box of each image shows the same place of its partner's.

    The box has the area 1 - t of the image, t ~ Beta(alpha, alpha), around a uniform centre, and
    is cut at the edges; t is then the share of pixels that stay. One box for the batch, partners
    as for :class:`~frbench.mixing.Mixup`. Source: Yun et al., arXiv 1905.04899, equations 1 and 2.

    Args:
        alpha: Strength; 0 is t = 1, which is ERM.
        label: As for :class:`~frbench.mixing.Mixup`.

    Raises:
        UserError: If inputs are no images.

    Example:
        >>> cut_box(4, 4, 0.25, np.random.default_rng(0))
        (slice(2, 4, None), slice(1, 3, None))
    """

    stackable = False
    why_alone = "each batch has a box of its own, a part of the images that is cut by its place"

    def __init__(self, alpha: NotNegative = 1.0, label: Named = "first") -> None:
        super().__init__(alpha, label=label)

    def bind(self, sizes: Sizes) -> None:
        """Check that inputs are images."""
        if len(sizes.input_shape) != 3:
            raise UserError(
                f"{type(self).__name__} needs images [channels, height, width], got inputs of "
                f"shape {sizes.input_shape}; use --model.mixing Mixup."
            )

    def combine(
        self, x: Tensor, other: Tensor, share: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, np.ndarray]:
        """Paste the box."""
        return paste(x, other, share, rng)
