"""FID and KID against slow references, and their way into the record of a table of pairs."""

import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from frbench.gan import AnalyticFaces, GeneratedFaces, PairSettings, build_pairs
from frbench.gan.distance import feature_distances, features_of
from frbench.networks import SmallCNN
from frbench.objectives import ERM


def slow_fid(a, b):
    """The definition, with a matrix square root."""
    root = sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    gap = a.mean(0) - b.mean(0)
    return gap @ gap + np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root)


def slow_kid(a, b):
    """The unbiased estimate, pair by pair."""
    d = a.shape[1]

    def mean(x, y, same):
        values = [
            (float(p @ q) / d + 1) ** 3
            for i, p in enumerate(x)
            for j, q in enumerate(y)
            if not (same and i == j)
        ]
        return sum(values) / len(values)

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_distances_equal_slow_references(seed):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(5, 5))
    a, b = rng.normal(size=(60, 5)) @ mix, rng.normal(size=(60, 5)) + rng.normal(size=5)
    found = feature_distances(a, b, subsets=1, subset_size=60)
    assert found["fid"] == pytest.approx(slow_fid(a, b), rel=1e-8)
    assert found["kid"] == pytest.approx(slow_kid(a, b), rel=1e-8)


def test_dead_features_do_no_harm():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 3)), rng.normal(size=(70, 3)) + 0.5
    dead = [np.concatenate([x, np.zeros((len(x), 2))], 1) for x in (a, b)]
    assert feature_distances(*dead)["fid"] == pytest.approx(slow_fid(a, b), abs=1e-6)


def test_subsets_follow_the_seed_and_leave_the_global_generator_alone():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(90, 3)), rng.normal(size=(80, 3))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = [feature_distances(a, b, subset_size=40, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] and found[0]["kid"] != found[2]["kid"]
    assert found[0]["kid_sd"] > 0 and torch.equal(state, torch.get_rng_state())


def test_features_are_those_before_the_last_layer():
    model = ERM(2, 2, [3, 8, 8], network=SmallCNN(channels=[4], features=6))
    x = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 8)).astype(np.uint8)
    found = features_of(model, x)
    assert found.shape == (7, 6) and found.dtype == np.float64
    logits = model(torch.as_tensor(x).float() / 255)
    again = torch.as_tensor(found).float() @ model.network.head.weight.T + model.network.head.bias
    torch.testing.assert_close(again, logits)
    np.testing.assert_allclose(features_of(model, torch.as_tensor(x).float() / 255), found)


def test_a_table_says_how_far_it_is_from_the_real_rows_also_when_asked_later(tmp_path):
    torch.manual_seed(0)
    kind = {"cosine": 0.9, "image_size": 16}
    f_t, f_g = (
        ERM(2, 2, [3, 16, 16], network=SmallCNN(channels=[4], features=8)) for _ in range(2)
    )
    # Untrained classifiers do, with thresholds in the middle of their scores.
    x = torch.as_tensor(GeneratedFaces(n=300, n_eval=4, **kind).splits["train"].x).float() / 255
    middle = tuple(model(x).softmax(1)[:, 1].median().item() for model in (f_t, f_g))
    settings = PairSettings(n=300, fit=1500, thresholds=middle)
    parts = (AnalyticFaces(**kind), f_t, f_g, settings)
    record = build_pairs(tmp_path / "p", *parts)
    assert "distance" not in record["quality"]
    real = GeneratedFaces(n=400, n_eval=250, noise=0.0, **kind)
    quality = build_pairs(tmp_path / "p", *parts, real=real)["quality"]
    assert quality == json.loads((tmp_path / "p" / "pairs.json").read_text())["quality"]
    found = quality["distance"]
    assert (found["rows"], found["real_rows"]) == (250, 400)
    images, held_out = found["images"], found["held_out"]
    assert abs(images["kid"] - held_out["kid"]) < 4 * (images["kid_sd"] + held_out["kid_sd"])
    far = GeneratedFaces(n=400, n_eval=250, noise=0.5, **kind)
    build = build_pairs(tmp_path / "q", *parts, real=far)
    assert build["quality"]["distance"]["images"]["fid"] > 5 * images["fid"]
