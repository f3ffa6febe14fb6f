"""CIFAR-10 from a file of JPEG images: the reader, its cache, colours and corruptions."""

import colorsys
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frbench.contracts.errors import UserError
from frbench.data import CIFAR10S, CorruptedCIFAR10
from frbench.data.images.cifar10 import CLASSES, read_cifar10
from frbench.data.images.corruptions import CORRUPTIONS, corrupted, plasma
from frbench.support.files import find


def draw(path: Path, n: int = 400, side: int = 32) -> Path:
    """Write n JPEG images of one colour each, 40 of every class, a quarter of them for test."""
    rng = np.random.default_rng(0)
    colours = rng.integers([150, 0, 0], [256, 100, 256], (n, 3))  # none of them grey
    files = []
    for colour in colours:
        stream = io.BytesIO()
        Image.new("RGB", (side, side), tuple(colour.tolist())).save(stream, "JPEG", quality=95)
        files.append(stream.getvalue())
    np.savez(
        path,
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offset=np.cumsum([0, *map(len, files)]),
        label=np.arange(n) % 10,
        test=np.arange(n) // 10 % 4 == 3,
        colours=colours,
    )
    return path


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRBENCH_CACHE", str(tmp_path / "cache"))
    return draw(tmp_path / "drawn.npz")


def test_images_are_decoded_once(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = read_cifar10(drawn)
    colours = np.load(drawn)["colours"]
    assert abs(first["images"].astype(int) - colours[:, :, None, None]).max() <= 3
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1
    monkeypatch.setattr("frbench.data.images.cifar10._decoded", None)
    np.testing.assert_array_equal(read_cifar10(drawn)["images"], first["images"])


def test_kinds_have_their_shares_and_grey_images_no_colour(drawn: Path):
    data = CIFAR10S(path=str(drawn), skew=0.9, val_share=1 / 3)
    train, test = data.splits["train"], data.splits["test"]
    counts = train.counts(10, 2)
    assert {tuple(row) for row in counts[1::2]} == {(2, 18)}
    assert {tuple(row) for row in counts[0::2]} == {(18, 2)}
    assert (test.counts(10, 2) == 10).all()
    for table in (train, test):
        grey = np.ptp(table.x, axis=1).max((1, 2)) == 0
        np.testing.assert_array_equal(grey, table.z == 0)
    grey, colour = test.x[:100], test.x[100:]
    luma = np.tensordot(colour, [0.299, 0.587, 0.114], (1, 0))
    assert abs(grey[:, 0] - luma).max() <= 0.51


def test_a_file_of_another_kind_is_named(tmp_path: Path, drawn: Path):
    np.savez(tmp_path / "other.npz", x=[1])
    with pytest.raises(UserError, match=r"other.npz must be .* jpeg, offset, label and test"):
        CIFAR10S(path=str(tmp_path / "other.npz")).splits  # noqa: B018
    with pytest.raises(UserError, match="image 0 has the shape"):
        read_cifar10(draw(tmp_path / "small.npz", 10, 16))


def test_every_class_has_its_corruption_and_test_has_all(drawn: Path):
    data = CorruptedCIFAR10(path=str(drawn), conflicting=0.1, val_share=1 / 3, num_workers=0)
    assert dict(zip(CLASSES, data.attribute_names, strict=True))["dog"] == "spatter"
    for name, rows, others in (("train", 20, 2), ("val", 10, 1)):
        counts = data.splits[name].counts(10, 10)
        assert np.diag(counts).tolist() == [rows - others] * 10
        assert counts.sum(1).tolist() == [rows] * 10
    assert (data.splits["test"].counts(10, 10) == 1).all()  # of 10 test rows a class


def test_rows_are_those_of_the_seed(drawn: Path):
    def tables(**options):
        return CorruptedCIFAR10(path=str(drawn), conflicting=0.1, **options).splits

    first, again, other = tables(), tables(), tables(seed=1)
    for name, table in first.items():
        np.testing.assert_array_equal(table.x, again[name].x)
        np.testing.assert_array_equal(table.z, again[name].z)
        assert not np.array_equal(table.x, other[name].x)
    weak = tables(severity=2)
    np.testing.assert_array_equal(weak["train"].z, first["train"].z)
    assert not np.array_equal(weak["train"].x, first["train"].x)


def photographs(n: int = 8) -> np.ndarray:
    """Smooth random images with some black and some grey pixels, bytes [n, 3, 32, 32]."""
    rng = np.random.default_rng(3)
    x = np.stack([plasma(n, 32, 1.6, rng) for _ in range(3)], 1)
    x[:, :, :2] = x[:, :1, :2]
    x[:, :, 5] = 0
    return np.rint(255 * x).astype(np.uint8)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_change_every_image_and_draw_by_the_generator(name: str, severity: int):
    x = photographs()
    one, two, other = (corrupted(x, name, severity, np.random.default_rng(s)) for s in (0, 0, 1))
    assert one.shape == x.shape and one.dtype == np.uint8
    np.testing.assert_array_equal(one, two)
    changed = (one != x).mean((1, 2, 3))
    assert (changed > 0.005).all()
    drawn = name in ("snow", "frost", "fog", "spatter", "elastic")
    assert np.array_equal(one, other) is not drawn


@pytest.mark.parametrize("name", ["snow", "frost", "fog", "pixelate", "jpeg"])
def test_a_higher_severity_takes_more_away(name: str):
    x = photographs(40)

    def kept(severity):
        found = corrupted(x, name, severity, np.random.default_rng(0))
        return np.corrcoef(found.ravel(), x.ravel())[0, 1]

    assert kept(5) < kept(3) < kept(1)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("brightness", lambda h, s, v: (h, s, min(v + 0.3, 1))),
        ("saturate", lambda h, s, v: (h, min(2.5 * s + 0.2, 1), v)),
    ],
)
def test_colours_against_a_loop_in_hsv(name: str, change):
    x = photographs(1)
    found = corrupted(x, name, 5, np.random.default_rng(0))[0]
    for row in (0, 5, 20):
        for column in range(0, 32, 5):
            hsv = colorsys.rgb_to_hsv(*(x[0, :, row, column] / 255))
            expected = colorsys.hsv_to_rgb(*change(*hsv))
            assert found[:, row, column] / 255 == pytest.approx(expected, abs=0.5 / 255 + 1e-9)


def test_contrast_and_fog_by_their_formulas():
    x = photographs(2) / 255
    found = corrupted(photographs(2), "contrast", 5, np.random.default_rng(0)) / 255
    mean = x.mean((2, 3), keepdims=True)
    assert abs(found - ((x - mean) * 0.15 + mean)).max() <= 0.5 / 255 + 1e-9
    foggy = corrupted(photographs(2), "fog", 5, np.random.default_rng(0)) / 255
    assert (foggy.max((1, 2, 3)) <= x.max((1, 2, 3)) + 0.5 / 255).all()
    assert foggy.std() < x.std()


def test_elastic_moves_no_more_than_its_constants_allow():
    """The mean of an image with a gradient shows how far its pixels have moved."""
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8) * 8, (50, 3, 32, 32))
    moved = corrupted(ramp, "elastic", 5, np.random.default_rng(0))[:, 0, 8:24, 8:24] / 8.0
    shift = moved - np.arange(8, 24)
    assert abs(shift).max() < 6 and 0.2 < shift.std() < 2


@pytest.mark.skipif(find("cifar10/cifar10_jpeg.npz") is None, reason="set FRBENCH_DATA")
def test_a_sample_of_the_real_photographs():
    data = CorruptedCIFAR10(conflicting=0.05, max_rows=1000)
    train, test = data.splits["train"], data.splits["test"]
    assert len(train) + len(data.splits["val"]) == len(test) == 1000
    assert np.mean(train.y != train.z) == pytest.approx(0.05, abs=0.01)
    assert test.counts(10, 10).min() >= 7
    contrast = {name: np.mean([x.std() for x in test.x[test.z == i]])
                for i, name in enumerate(data.attribute_names)}  # fmt: skip
    assert min(contrast, key=contrast.__getitem__) == "contrast"
    bright = [test.x[test.z == i].mean() for i in range(10)]
    assert {"brightness", "snow"} == {data.attribute_names[i] for i in np.argsort(bright)[-2:]}
