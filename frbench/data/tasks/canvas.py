"""Noise of a colour above an image, a green mark below it."""

import numpy as np

#: Colours of the noise, by code: the channels red, green and blue that it fills.
COLOURS = {
    "red": (1, 0, 0),
    "blue": (0, 0, 1),
    "green": (0, 1, 0),
    "yellow": (1, 1, 0),
    "magenta": (1, 0, 1),
    "cyan": (0, 1, 1),
    "white": (1, 1, 1),
}


def paint(
    images: np.ndarray,
    colour: np.ndarray,
    side: np.ndarray | None,
    rows: int,
    overwrite: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """Copy images to three channels and add coloured noise, and a mark at the left or right.

    Args:
        images: Grey [N, H, W] or colour [N, 3, H, W]; uint8, or floats in [0, 1].
        colour: Position in :data:`COLOURS` of each image's noise [N].
        side: 0 for a mark at the left, 1 at the right [N]; None for no mark.
        rows: Rows of noise, and height of the mark.
        overwrite: Whether they replace rows of the image or are added to it.
        rng: Source of the noise.

    Returns:
        Images [N, 3, H + 2 rows, W], or [N, 3, H, W], of the dtype given.

    Example:
        >>> grey = np.zeros((2, 8, 8), np.float32)
        >>> x = paint(grey, np.array([0, 1]), None, 2, False, np.random.default_rng(0))
        >>> x.shape, [int(c) for c in x.sum((2, 3)).argmax(1)]  # red, then blue
        ((2, 3, 12, 8), [0, 2])
    """
    images = images[:, None] if images.ndim == 3 else images
    height, width = images.shape[2:]
    top = 0 if overwrite else rows
    x = np.zeros((len(images), 3, height + 2 * top, width), dtype=images.dtype)
    x[:, :, top : top + height] = images
    size = (len(images), rows, width)
    whole = x.dtype == np.uint8
    noise = rng.integers(0, 256, size, np.uint8) if whole else rng.random(size, np.float32)
    channels = np.asarray(list(COLOURS.values()))[colour].astype(bool)
    x[:, :, :rows] = np.where(channels[:, :, None, None], noise[:, None], 0)
    if side is not None:
        green = np.zeros((3, rows, rows), x.dtype)
        green[1] = 255 if whole else 1
        edge = width // 8
        for value, start in enumerate((edge, width - edge - rows)):
            here = x[side == value, :, -rows:, start : start + rows]
            x[side == value, :, -rows:, start : start + rows] = np.where(_mark(rows), green, here)
    return x


def _mark(size: int) -> np.ndarray:
    """A cross, or a full square where there is no room for one, bool [size, size]."""
    if size < 4:
        return np.ones((size, size), bool)
    arm = np.zeros(size, bool)
    arm[(size - 1) // 2 : size // 2 + 1] = True
    return arm[:, None] | arm
