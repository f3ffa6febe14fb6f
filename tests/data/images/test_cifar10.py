"""CIFAR-10 from a file of JPEG images: the reader, its cache, and colour against grey."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frbench.contracts.errors import UserError
from frbench.data import CIFAR10S
from frbench.data.images.cifar10 import read_cifar10


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
