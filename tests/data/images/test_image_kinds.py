"""Images and their tables as people have them."""

import numpy as np
import pytest
from PIL import Image

from frbench.contracts.errors import UserError
from frbench.data import ImageTable
from frbench.data.images.image_files import ImageFiles


def decoded(folder, *names, channels=3):
    return ImageFiles(folder, np.array(names), 8, channels=channels)[np.arange(len(names))]


def test_sixteen_bits_and_floats_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "float.tif")
    found = decoded(tmp_path, "deep.png", "float.tif")
    assert (found[0] == 128).all() and (found[1] == 128).all()


@pytest.mark.parametrize("pixels", [np.float32(7), np.float32(np.nan), np.int32(2**20)])
def test_pixels_of_an_unknown_range_are_refused(tmp_path, pixels):
    Image.fromarray(np.full((8, 8), pixels)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif cannot be decoded .*range is not known"):
        decoded(tmp_path, "a.tif")


@pytest.mark.parametrize("tag", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path, tag):
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 255
    upright[:, :4, 0] = 128
    turns = {1: [], 2: [0], 3: [1, 1], 4: [0, 1, 1], 5: [0, 1], 6: [1], 7: [0, 3], 8: [3]}
    stored = upright
    for turn in turns[tag]:  # np.rot90 turns to the left, as phones store what is to be righted
        stored = stored[:, ::-1] if turn == 0 else np.rot90(stored, turn)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    shown = decoded(tmp_path, "a.png")[0].transpose(1, 2, 0)
    assert np.array_equal(shown, upright)


def test_transparent_images_lie_on_white(tmp_path):
    for name, colour in (("a.png", (255, 0, 0, 0)), ("b.png", (0, 0, 255, 0))):
        Image.new("RGBA", (8, 8), colour).save(tmp_path / name)
    Image.new("RGBA", (8, 8), (9, 8, 7, 255)).save(tmp_path / "c.png")
    found = decoded(tmp_path, "a.png", "b.png", "c.png")
    assert (found[:2] == 255).all() and found[2, :, 0, 0].tolist() == [9, 8, 7]


def test_columns_of_others_rows_without_attribute_and_no_val_rows(tmp_path):
    rows = ["filename,y,a,split"]
    for i in range(40):
        Image.new("RGB", (8, 8), (6 * i, 0, 0)).save(tmp_path / f"{i}.png")
        rows.append(f"./{i}.png,{i % 2},{'' if i % 5 == 0 else i // 2 % 2},{0 if i < 30 else 2}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    data = ImageTable(str(tmp_path), image_size=8, num_workers=0)
    data.setup("fit")
    sizes = {name: len(table) for name, table in data.splits.items()}
    assert sizes["test"] == 10 and sizes["val"] > 0 and sum(sizes.values()) == 40
    assert data.attribute_names == ("0", "1")
    assert sum(int((table.z < 0).sum()) for table in data.splits.values()) == 8
    assert any("8 of 40 rows have no attribute" in note for note in data.notes)
