"""Grids of images as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frbench.support.atomic import replacing


def grid(images: np.ndarray, columns: int, scale: int = 1) -> np.ndarray:
    """Lay images in rows of a grid, one pixel apart.

    Args:
        images: Bytes [N, C, H, W], C of 1 or 3.
        columns: Images in a row.
        scale: Side of the square that a pixel becomes.

    Returns:
        Bytes [height, width, 3].

    Example:
        >>> grid(np.zeros((3, 1, 4, 4), np.uint8), columns=2).shape
        (11, 11, 3)
    """
    images = np.repeat(images, 3 // images.shape[1], axis=1).repeat(scale, 2).repeat(scale, 3)
    height, width = images.shape[2] + 1, images.shape[3] + 1
    rows = -(-len(images) // columns)
    canvas = np.full((rows * height + 1, columns * width + 1, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height + 1, i % columns * width + 1
        canvas[top : top + height - 1, left : left + width - 1] = image.transpose(1, 2, 0)
    return canvas


def save_grid(path: Path, images: np.ndarray, columns: int = 8, scale: int = 2) -> None:
    """Write a grid of images as PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        Image.fromarray(grid(images, columns, scale)).save(part)
