"""Pixels of any kind of image file as 8 bits without transparency, and which side is up."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING

import numpy as np

from frbench.contracts.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

#: The EXIF tag, and its values by which width and height change places.
_TAG, SIDEWAYS = 0x0112, (5, 6, 7, 8)


def orientation(image: Image) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none."""
    with contextlib.suppress(OSError, ValueError, SyntaxError, KeyError, TypeError, struct.error):
        found = image.getexif().get(_TAG, 1)
        return found if found in range(1, 9) else 1
    return 1


def eight_bits(image: Image) -> Image:
    """Return an image of 8 bits a channel; transparent ones are laid on white.

    16 bits lose the lower eight, and floats in [0, 1] are multiplied by 255.

    Raises:
        UserError: For pixels whose range nobody knows.

    Example:
        >>> from PIL import Image
        >>> eight_bits(Image.new("F", (1, 1), 0.2)).getpixel((0, 0))
        51
    """
    from PIL import Image

    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    pixels = np.asarray(image, np.float64)
    if image.mode == "I" and pixels.min() >= 0 and 255 < pixels.max() < 2**16:
        return Image.fromarray((pixels // 256).astype(np.uint8))
    if image.mode == "F" and pixels.min() >= 0 and pixels.max() <= 1:
        return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    kind = "32-bit integers" if image.mode == "I" else "floats"
    raise UserError(
        f"it holds {kind} from {pixels.min():g} to {pixels.max():g}, whose range is not known; "
        "save 8 or 16 bits, or floats in [0, 1]"
    )
