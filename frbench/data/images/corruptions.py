"""Ten corruptions of small photographs, those of Corrupted CIFAR-10."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import numpy as np

#: How strong a corruption is, on the scale of arXiv 1903.12261.
Severity = Literal[1, 2, 3, 4, 5]
#: Images at a time; those of one call are all in memory as floats.
CHUNK = 250


def plasma(n: int, side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Draw random clouds by midpoint displacement, with values from 0 to 1 [n, side, side].

    Args:
        n: Number of maps.
        side: Their height and width, a power of two; opposite edges fit together.
        decay: The square of this divides the displacement from one scale to the next.
        rng: Source of randomness.
    """
    height, step, size = np.zeros((n, side, side)), side, 1.0
    while step > 1:
        half, square = step // 2, height[:, ::step, ::step]
        beside = square + np.roll(square, -1, 2)
        centre = (beside + np.roll(beside, -1, 1)) / 4
        centre += size * rng.uniform(-1, 1, centre.shape)
        height[:, half::step, half::step] = centre
        for axis, rows, columns in ((1, 0, half), (2, half, 0)):
            near = square + np.roll(square, -1, 3 - axis) + centre + np.roll(centre, 1, axis)
            height[:, rows::step, columns::step] = near / 4 + size * rng.uniform(
                -1, 1, centre.shape
            )
        step, size = half, size / decay**2
    height -= height.min((1, 2), keepdims=True)
    clouds: np.ndarray = height / np.maximum(height.max((1, 2), keepdims=True), 1e-12)
    return clouds


def blur(layer: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth maps by a Gaussian [n, side, side]."""
    from scipy.ndimage import gaussian_filter

    smooth: np.ndarray = gaussian_filter(layer, (0, sigma, sigma), mode="nearest")
    return smooth


def streaks(layer: np.ndarray, radius: int, sigma: float, angle: np.ndarray) -> np.ndarray:
    """Smear maps in a direction of their own by half a Gaussian [n, side, side].

    Args:
        layer: Maps [n, side, side].
        radius: Half the number of pixels that a streak may have.
        sigma: Standard deviation in pixels.
        angle: Directions in radians [n].
    """
    n, side = len(layer), layer.shape[1]
    places = np.arange(2 * radius + 1)
    share = np.exp(-(places**2) / (2 * sigma**2))
    image, row, column = np.ogrid[:n, :side, :side]
    smeared = np.zeros_like(layer)
    for place, part in zip(places, share / share.sum(), strict=True):
        down = np.rint(place * np.sin(angle)).astype(int)[:, None, None]
        along = np.rint(place * np.cos(angle)).astype(int)[:, None, None]
        rows, columns = ((k.clip(0, side - 1)) for k in (row + down, column + along))
        smeared += part * layer[image, rows, columns]
    return smeared


def snow(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Flakes in streaks, twice, on a whitened image."""
    from scipy.ndimage import zoom

    mean, sd, scale, least, radius, sigma, kept = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]
    n, side = len(x), x.shape[1]
    flakes, part = rng.normal(mean, sd, (n, side, side)), int(np.ceil(side / scale))
    first = (side - part) // 2
    cut = flakes[:, first : first + part, first : first + part]
    large = zoom(cut, (1, scale, scale), order=1)
    first = (large.shape[1] - side) // 2
    flakes = large[:, first : first + side, first : first + side]
    flakes = np.where(flakes < least, 0, flakes).clip(0, 1)
    flakes = streaks(flakes, int(radius), sigma, np.deg2rad(rng.uniform(-135, -45, n)))[..., None]
    grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    white = kept * x + (1 - kept) * np.maximum(x, grey * 1.5 + 0.5)
    result: np.ndarray = white + flakes + flakes[:, ::-1, ::-1]
    return result


def frost(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Ridges of clouds, as ice, laid over the image."""
    image, ice = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    side = x.shape[1]
    ridges = 1 - abs(2 * plasma(len(x), side, 1.3, rng) - 1)
    result: np.ndarray = image * x + ice * ridges[..., None] * np.array([0.85, 0.95, 1.0])
    return result


def fog(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Clouds that are added, and all of it scaled back to the image's brightest value."""
    amount, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    brightest = x.max((1, 2, 3), keepdims=True)
    clouds = plasma(len(x), x.shape[1], decay, rng)[..., None]
    result: np.ndarray = (x + amount * clouds) * brightest / (brightest + amount)
    return result


def brightness(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """A larger value (the V of HSV) of every pixel, of the same hue and saturation."""
    value = x.max(3, keepdims=True)
    more = (value + (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]).clip(0, 1)
    result: np.ndarray = np.where(value > 0, x * more / np.maximum(value, 1e-12), more)
    return result


def contrast(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Smaller distances of each channel from its mean."""
    mean = x.mean((1, 2), keepdims=True)
    result: np.ndarray = (x - mean) * (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1] + mean
    return result


def spatter(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Drops of water (to severity 3), or of mud."""
    mean, sd, sigma, least, more = (
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    )[severity - 1]
    wet = blur(rng.normal(mean, sd, x.shape[:3]), sigma)
    wet = np.where(wet < least, 0, wet)
    if severity <= 3:
        drops = more * wet / np.maximum(wet.max((1, 2), keepdims=True), 1e-12)
        watered: np.ndarray = x + drops[..., None] * np.array([175, 238, 238]) / 255
        return watered
    cover = blur((wet > least).astype(float), more)[..., None]
    cover[cover < 0.8] = 0
    result: np.ndarray = x * (1 - cover) + cover * np.array([63, 42, 20]) / 255
    return result


def elastic(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """A random affine map of the plane, and smooth random displacements on top of it."""
    from scipy.ndimage import map_coordinates

    n, side = len(x), x.shape[1]
    size, sigma, shift = (
        side
        * np.array(
            (
                (0, 0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            )
        )[severity - 1]
    )
    third = side // 3
    points = side // 2 + np.array([[third, third], [-third, third], [-third, -third]])
    moved = points + rng.uniform(-shift, shift, (n, 3, 2))
    ones = np.ones((n, 3, 1))
    back = np.linalg.solve(np.concatenate([moved, ones], 2), np.broadcast_to(points, (n, 3, 2)))
    where = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), 2)
    noise = rng.uniform(-1, 1, (2, n, side, side))
    where = where + size * np.stack([blur(part, sigma) for part in noise], 3)
    where = np.concatenate([where, np.ones((n, side, side, 1))], 3)
    source = np.einsum("nhwk,nkd->dnhw", where, back)
    image = np.broadcast_to(np.arange(n)[:, None, None], source.shape[1:])
    channels = [map_coordinates(x[..., c], [image, *source], order=1, mode="mirror")
                for c in range(3)]  # fmt: skip
    return np.stack(channels, 3)


def jpeg(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Written as a JPEG file of low quality, and read again."""
    from PIL import Image

    quality = (80, 65, 58, 50, 40)[severity - 1]

    def again(image: np.ndarray) -> np.ndarray:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream))

    return np.stack([again(image) for image in to_bytes(x)]) / 255


def pixelate(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Means of larger pixels."""
    from PIL import Image

    side = x.shape[1]
    coarse = int(side * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])

    def again(image: np.ndarray) -> np.ndarray:
        small = Image.fromarray(image).resize((coarse, coarse), Image.Resampling.BOX)
        return np.asarray(small.resize((side, side), Image.Resampling.BOX))

    return np.stack([again(image) for image in to_bytes(x)]) / 255


def saturate(x: np.ndarray, severity: Severity, rng: np.random.Generator) -> np.ndarray:
    """Another saturation (the S of HSV) of every pixel; grey ones have the hue of red."""
    factor, more = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))[severity - 1]
    value = x.max(3, keepdims=True)
    spread = value - x.min(3, keepdims=True)
    old = spread / np.maximum(value, 1e-12)
    new = (old * factor + more).clip(0, 1)
    missing = np.where(spread > 0, (value - x) / np.maximum(old, 1e-12), value * [0.0, 1.0, 1.0])
    result: np.ndarray = value - missing * new
    return result


#: From float images [n, side, side, 3] in [0, 1], a severity and a generator to such images,
#: which are then cut off at 0 and 1.
CORRUPTIONS: dict[str, Callable[[np.ndarray, Severity, np.random.Generator], np.ndarray]] = {
    "snow": snow, "frost": frost, "fog": fog, "brightness": brightness, "contrast": contrast,
    "spatter": spatter, "elastic": elastic, "jpeg": jpeg, "pixelate": pixelate,
    "saturate": saturate,
}  # fmt: skip


def to_bytes(x: np.ndarray) -> np.ndarray:
    """Cut float images off at 0 and 1, and round them to bytes."""
    result: np.ndarray = np.rint(x.clip(0, 1) * 255).astype(np.uint8)
    return result


def corrupted(
    images: np.ndarray, name: str, severity: Severity, rng: np.random.Generator
) -> np.ndarray:
    """Return images with a corruption, each with random numbers of its own.

    Args:
        images: Bytes [n, 3, side, side]; for fog and frost, side is a power of two.
        name: Which of :data:`CORRUPTIONS`.
        severity: How strong.
        rng: Source of randomness.

    Example:
        >>> grey = np.full((1, 3, 32, 32), 100, np.uint8)
        >>> corrupted(grey, "brightness", 1, np.random.default_rng(0))[0, :, 0, 0].tolist()
        [113, 113, 113]
    """
    found = [np.empty((0, *images.shape[1:]), np.uint8)]
    for start in range(0, len(images), CHUNK):
        x = images[start : start + CHUNK].transpose(0, 2, 3, 1) / 255
        found.append(to_bytes(CORRUPTIONS[name](x, severity, rng)).transpose(0, 3, 1, 2))
    return np.concatenate(found)
