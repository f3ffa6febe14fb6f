"""Moves in latent space against a general constrained solver, and their exact properties."""

import numpy as np
import pytest
from scipy.optimize import minimize

from frbench.contracts.errors import UserError
from frbench.gan.latent import Hyperplane, complement, fit_hyperplane, shift


def planes(rng, d, cosine):
    """Two random unit normals with the given cosine, random intercepts."""
    a, b = np.linalg.qr(rng.normal(size=(d, 2)))[0].T
    normals = a, cosine * a + np.sqrt(1 - cosine**2) * b
    return [Hyperplane(w, rng.normal()) for w in normals]


@pytest.mark.parametrize("cosine", [-0.99, -0.5, 0.0, 0.3, 0.9, 0.99])
def test_target_is_kept_protected_negated_and_twice_is_identity(cosine):
    rng = np.random.default_rng(int(100 * cosine + 100))
    for d in (2, 16, 512):
        target, protected = planes(rng, d, cosine)
        z = rng.normal(size=(200, d))
        pair = complement(z, target, protected)
        np.testing.assert_allclose(target.score(pair), target.score(z), atol=1e-5)
        np.testing.assert_allclose(protected.score(pair), -protected.score(z), atol=1e-5)
        np.testing.assert_allclose(complement(pair, target, protected), z, atol=1e-5)


def test_closed_form_of_the_paper():
    rng = np.random.default_rng(0)
    target, protected = planes(rng, 8, 0.7)
    z = rng.normal(size=(5, 8))
    c = target.normal @ protected.normal
    for row, pair in zip(z, complement(z, target, protected), strict=True):
        s = protected.normal @ row + protected.intercept
        written = row - 2 * s / (1 - c**2) * (protected.normal - c * target.normal)
        np.testing.assert_allclose(pair, written, atol=1e-12)


def test_the_move_is_the_shortest_one():
    rng = np.random.default_rng(1)
    normals = np.stack([h.normal for h in planes(rng, 6, 0.6)] + [np.eye(6)[0]])
    z, change = rng.normal(size=6), rng.normal(size=3)
    found = minimize(
        lambda d: d @ d, np.zeros(6), jac=lambda d: 2 * d, method="SLSQP",
        constraints={"type": "eq", "fun": lambda d: normals @ d - change}, tol=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose(shift(z[None], normals, change[None])[0], z + found.x, atol=1e-6)


def test_several_protected_and_a_half_flip():
    rng = np.random.default_rng(2)
    target, first = planes(rng, 10, 0.5)
    second = Hyperplane(np.linalg.qr(rng.normal(size=(10, 10)))[0][0], 0.2)
    z = rng.normal(size=(50, 10))
    pair = complement(z, target, [first, second], flip=0.5)
    np.testing.assert_allclose(target.score(pair), target.score(z), atol=1e-10)
    np.testing.assert_allclose(first.score(pair), 0, atol=1e-10)
    np.testing.assert_allclose(second.score(pair), 0, atol=1e-10)


def test_domain_dependent_targets():
    rng = np.random.default_rng(3)
    zero, protected = planes(rng, 12, 0.4)
    one = planes(rng, 12, 0.0)[0]
    z = rng.normal(size=(80, 12))
    pair = complement(z, (zero, one), protected)
    for row, partner in zip(z, pair, strict=True):
        own, other = (one, zero) if protected.score(row) > 0 else (zero, one)
        assert other.score(partner) == pytest.approx(own.score(row), abs=1e-9)
        assert protected.score(partner) == pytest.approx(-protected.score(row), abs=1e-9)


def test_label_correlation_vanishes_where_a_reflection_keeps_few_targets():
    rng = np.random.default_rng(4)
    target, protected = (h._replace(intercept=0.0) for h in planes(rng, 64, 0.9))
    z = rng.normal(size=(20_000, 64))
    t, g = (h.score(z) > 0 for h in (target, protected))
    planes_fitted = [fit_hyperplane(z[:10_000], labels[:10_000]) for labels in (t, g)]
    rest = z[10_000:]
    pair = complement(rest, *planes_fitted)
    reflected = rest - 2 * protected.score(rest)[:, None] * protected.normal
    before = target.score(rest) > 0
    assert np.corrcoef(before, protected.score(rest) > 0)[0, 1] > 0.65
    both_t = np.concatenate([before, target.score(pair) > 0])
    both_g = np.concatenate([protected.score(rest) > 0, protected.score(pair) > 0])
    assert abs(np.corrcoef(both_t, both_g)[0, 1]) < 0.05
    assert ((target.score(pair) > 0) == before).mean() > 0.97
    assert ((protected.score(pair) > 0) != (protected.score(rest) > 0)).mean() > 0.97
    assert ((target.score(reflected) > 0) == before).mean() < 0.4


def test_nearly_parallel_planes_and_one_label_are_refused():
    rng = np.random.default_rng(5)
    with pytest.raises(UserError, match=r"nearly parallel .*0\.9999"):
        complement(rng.normal(size=(3, 4)), *planes(rng, 4, 0.9999))
    same = Hyperplane(np.eye(4)[0])
    with pytest.raises(UserError, match="nearly parallel"):
        complement(rng.normal(size=(3, 4)), same, same)
    with pytest.raises(UserError, match="both attribute values"):
        fit_hyperplane(rng.normal(size=(4, 2)), np.ones(4))
    with pytest.raises(UserError, match="a pair"):
        complement(rng.normal(size=(3, 4)), (same, same, same), same)
