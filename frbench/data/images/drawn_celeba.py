"""Drawn faces in CelebA's format: a stand-in for tests, notebooks and a first try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

#: CelebA's attributes in the order of its file.
ATTRIBUTES = [
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs",
    "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows",
    "Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup",
    "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard",
    "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns",
    "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat",
    "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
]  # fmt: skip

#: Colours of the hair attributes.
HAIR = {
    "Black_Hair": (25, 20, 20),
    "Blond_Hair": (225, 195, 110),
    "Brown_Hair": (105, 65, 35),
    "Gray_Hair": (160, 160, 165),
}
#: Training rows of CelebA in the cells (Blond_Hair, Male), from its annotation files.
BLOND_MALE = np.array([[71629, 66874], [22880, 1387]])
WIDTH, HEIGHT = 178, 218


def draw_face(present: set[str], rng: np.random.Generator, hair_spread: int = 12) -> Image:
    """Draw a face of 218x178 pixels that carries the given attributes.

    Seen are hair colour, Male (a beard and short hair against long hair), Young (no wrinkles),
    Smiling, Eyeglasses and Wearing_Lipstick; position, skin and background vary at random.

    Args:
        present: Names of the attributes that hold.
        rng: Source of randomness.
        hair_spread: How far each channel of the hair's colour lies from its mean at most, of 255;
            from about 50 on colours overlap.

    Returns:
        An RGB image.

    Example:
        >>> draw_face({"Blond_Hair", "Male"}, np.random.default_rng(0)).size
        (178, 218)
    """
    from PIL import Image, ImageDraw

    def colour(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(v) for v in rng.integers(low, high, 3))

    background = rng.integers(40, 220, (1, 1, 3)) + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
    image = Image.fromarray(background.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    x, y = WIDTH // 2 + int(rng.integers(-6, 7)), 118 + int(rng.integers(-6, 7))
    tone = rng.uniform(0.55, 1.0)
    skin = tuple(int(tone * v) for v in (240, 200, 170))
    hair = next((rgb for name, rgb in HAIR.items() if name in present), colour(60, 90))
    hair = tuple(
        int(np.clip(v + rng.integers(-hair_spread, hair_spread + 1), 0, 255)) for v in hair
    )
    length = 35 if "Male" in present else 95
    draw.ellipse((x - 58, y - 82, x + 58, y + 20), fill=hair)
    draw.rectangle((x - 58, y - 30, x + 58, y - 30 + length), fill=hair)
    draw.ellipse((x - 42, y - 60, x + 42, y + 60), fill=skin)
    if "Male" in present:
        draw.chord((x - 40, y - 10, x + 40, y + 62), 20, 160, fill=hair)
    for side in (-1, 1):
        eye = x + 18 * side
        draw.ellipse((eye - 7, y - 18, eye + 7, y - 10), fill=(250, 250, 250))
        draw.ellipse((eye - 3, y - 17, eye + 3, y - 11), fill=colour(10, 90))
        if "Eyeglasses" in present:
            draw.ellipse((eye - 13, y - 26, eye + 13, y - 2), outline=(10, 10, 10), width=3)
        if "Young" not in present:
            for step in (0, 5, 10):
                draw.line((eye - 9, y - 2 + step, eye + 9, y + step), fill=(120, 80, 70), width=1)
    draw.line((x, y - 8, x - 4, y + 12, x + 4, y + 12), fill=(150, 100, 80), width=2)
    lips = (200, 20, 60) if "Wearing_Lipstick" in present else (150, 80, 80)
    top = y + 18 if "Smiling" in present else y + 26
    draw.arc((x - 16, top, x + 16, top + 16), 10, 170, fill=lips, width=5)
    return image


def draw_celeba(
    folder: str | Path,
    n: int = 600,
    seed: int = 0,
    shares: Sequence[Sequence[float]] | np.ndarray = BLOND_MALE,
    even_evaluation: bool = False,
    hair_spread: int = 12,
) -> Path:
    """Write a folder in CelebA's format: annotation files and ``img_align_celeba/*.jpg``.

    Blond_Hair and Male occur jointly as in CelebA's training split, with at least two images of
    each cell in each split; the other attributes that :func:`draw_face` shows are drawn
    independently, hair colours exclusively; all further attributes are coin flips.

    Args:
        folder: Where to write; made if missing.
        n: Number of images, at least 60; 70 % train, 15 % val, 15 % test.
        seed: Seed of everything.
        shares: Shares of the cells (Blond_Hair, Male), up to a factor [2, 2].
        even_evaluation: Whether validation and test hold equally many images of every cell, as
            those of Waterbirds do within a label: the rare cell is then measured well.
        hair_spread: As for :func:`draw_face`.

    Returns:
        The folder.

    Example:
        >>> import tempfile
        >>> root = draw_celeba(tempfile.mkdtemp(), n=60)
        >>> len(list((root / "img_align_celeba").iterdir()))
        60
    """
    folder = Path(folder)
    (folder / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    part = np.repeat([0, 1, 2], [n - 2 * round(0.15 * n), *[round(0.15 * n)] * 2])
    shares = np.asarray(shares, float)
    cell = rng.choice(4, n, p=shares.ravel() / shares.sum())
    for split in range(3):
        rows = np.flatnonzero(part == split)
        even = split > 0 and even_evaluation
        cell[rows if even else rows[:8]] = np.arange(len(rows) if even else 8) // 2 % 4
    shown = {"Young": 0.75, "Smiling": 0.5, "Eyeglasses": 0.1, "Wearing_Lipstick": 0.4}
    held = rng.random((n, len(ATTRIBUTES))) < [shown.get(name, 0.5) for name in ATTRIBUTES]
    others = rng.choice(["Black_Hair", "Brown_Hair", "Gray_Hair"], n, p=[0.5, 0.4, 0.1])
    colours = np.where(cell >= 2, "Blond_Hair", others)
    male = cell % 2 == 1
    fixed = {**{name: colours == name for name in HAIR}, "Male": male, "No_Beard": ~male}
    for name, values in fixed.items():
        held[:, ATTRIBUTES.index(name)] = values
    # As in the real file the splits lie one after the other; names carry no other meaning.
    names = [f"{i + 1:06d}.jpg" for i in range(n)]
    lines = [str(n), " ".join(ATTRIBUTES)]
    for i, name in enumerate(names):
        present = {a for a, value in zip(ATTRIBUTES, held[i], strict=True) if value}
        image = draw_face(present, np.random.default_rng([seed, i]), hair_spread)
        image.save(folder / "img_align_celeba" / name, quality=90)
        lines.append(f"{name} " + " ".join(f"{2 * int(value) - 1:2d}" for value in held[i]))
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    splits = "\r\n".join(f"{name} {p}" for name, p in zip(names, part, strict=True))
    (folder / "list_eval_partition.txt").write_bytes((splits + "\r\n").encode())
    return folder
