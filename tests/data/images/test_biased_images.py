"""The drawn faces and the coloured digits: shares of their groups, labels by the picture."""

import numpy as np
import pytest

from frbench.data import ColouredMNIST
from frbench.gan import AnalyticFaces, GeneratedFaces
from frbench.support.files import find


def test_shares_of_faces_follow_from_the_cosine():
    data = GeneratedFaces(cosine=0.5, n=4000, n_eval=400, image_size=8)
    agree = np.trace(data.splits["train"].counts(2, 2)) / 4000
    assert agree == pytest.approx(0.5 + np.arcsin(0.5) / np.pi, abs=0.03)
    assert (data.splits["test/balanced"].counts(2, 2) == 100).all()


def test_exchanging_target_and_attribute_changes_the_labels_alone():
    data, other = (GeneratedFaces(n=200, n_eval=8, target=t) for t in ("smile", "long_hair"))
    for name, table in data.splits.items():
        np.testing.assert_array_equal(table.x, other.splits[name].x)
        np.testing.assert_array_equal(table.y, other.splits[name].z)
        np.testing.assert_array_equal(table.z, other.splits[name].y)
    assert data.class_names == other.attribute_names == ("no_smile", "smile")


def test_balanced_faces_show_what_their_labels_say():
    data = GeneratedFaces(n=4, n_eval=400, noise=0.0, cosine=0.9)
    table = data.splits["test/balanced"]
    # Two faces that differ in hair alone differ beside the chin; the mean face shows it.
    mean = [table.x[(table.z == z)].astype(float).mean((0, 1)) for z in (0, 1)]
    rest = np.abs(mean[0] - mean[1])
    assert rest[17:22, 6:8].mean() > 5 * rest[:4].mean()
    assert AnalyticFaces(0.9).image_shape == list(table.x.shape[1:])


@pytest.mark.skipif(find("MNIST/raw/train-images-idx3-ubyte") is None, reason="MNIST is not here")
def test_colours_of_digits_follow_the_skew():
    data = ColouredMNIST(skew=0.9, n=5000, n_eval=3000)
    for name, share in (("train", 0.9), ("val", 0.9), ("test/P", 0.9), ("test/balanced", 0.5)):
        table = data.splits[name]
        assert (table.y == table.z).mean() == pytest.approx(share, abs=0.03)
        filled = table.x.reshape(len(table), 3, -1).any(2)
        assert not filled[:, 2].any()
        np.testing.assert_array_equal(filled[:, 1], table.z == 1)
        np.testing.assert_array_equal(filled[:, 0], table.z == 0)
    other = ColouredMNIST(skew=0.9, n=5000, n_eval=3000, target="colour")
    np.testing.assert_array_equal(other.splits["train"].y, data.splits["train"].z)
    assert other.class_names == ("red", "green")
