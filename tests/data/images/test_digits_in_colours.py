"""MNIST in ten colours and in environments: shares of groups, and pictures that show them."""

import numpy as np
import pytest

from frbench.contracts.errors import UserError
from frbench.data import MNISTEnvironments, TenColourMNIST
from frbench.data.images.coloured_mnist import COLOURS
from frbench.support.files import find

needs_mnist = pytest.mark.skipif(
    find("MNIST/raw/train-images-idx3-ubyte") is None, reason="MNIST is not here"
)


@needs_mnist
def test_conflicting_rows_have_the_share_asked_for_and_every_other_colour():
    data = TenColourMNIST(conflicting=0.05, jitter=0, n=6000, n_eval=1000)
    train, test = data.splits["train"], data.splits["test"]
    counts = train.counts(10, 10)
    share = 1 - np.diag(counts) / counts.sum(1)
    np.testing.assert_allclose(share, 0.05, atol=1e-3)
    others = counts[~np.eye(10, dtype=bool)].reshape(10, 9)
    assert (np.ptp(others, axis=1) <= 1).all() and others.min() > 0
    assert np.mean(test.y == test.z) == pytest.approx(0.1, abs=0.04)
    brightest = train.x.reshape(len(train), 3, -1).max(2) / 255
    np.testing.assert_allclose(brightest, np.array(list(COLOURS.values()))[train.z], atol=0.1)


@needs_mnist
def test_noise_of_the_colours_has_its_standard_deviation():
    plain, noisy = (TenColourMNIST(jitter=s, n=2000, n_eval=10).splits["train"] for s in (0, 0.05))
    np.testing.assert_array_equal(plain.z, noisy.z)
    rows = np.flatnonzero(plain.z == 9)  # grey: noise is cut off nowhere
    shades = (t.x[rows].reshape(len(rows), 3, -1).max(2) / 255 for t in (plain, noisy))
    assert np.std(next(shades) - next(shades)) == pytest.approx(0.05, abs=0.01)


@needs_mnist
def test_environments_have_their_shares_of_exchanged_colours_and_wrong_labels():
    data, grey = (MNISTEnvironments(n=20_000, n_eval=5000, grey=g) for g in (False, True))
    colours = MNISTEnvironments(n=20_000, n_eval=5000, attribute="colour")
    images = data.digits()
    for name, table in data.splits.items():
        digit = images[name][1][: len(table)] >= 5
        assert np.mean(digit != table.y) == pytest.approx(0.25, abs=0.02)
        colour = colours.splits[name].z
        np.testing.assert_array_equal(colour, table.x.any((2, 3)).argmax(1))
        for e, flip in enumerate([0.1, 0.2, 0.9]):
            rows = table.z == e
            if rows.any():
                assert np.mean((colour != table.y)[rows]) == pytest.approx(flip, abs=0.02)
        shown = grey.splits[name].x
        np.testing.assert_array_equal(shown[:, 0], shown[:, 1])
        np.testing.assert_array_equal(shown[:, 0], table.x.sum(1))
        np.testing.assert_array_equal(grey.splits[name].y, table.y)
    assert [len(np.unique(t.z)) for t in data.splits.values()] == [2, 2, 1]


def test_environments_are_needed():
    with pytest.raises(UserError, match="flips is empty"):
        MNISTEnvironments(flips=[])
