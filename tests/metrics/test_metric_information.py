"""Information: slow references, known values, and the theorem behind FR-Train's discriminators."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import digamma, log_softmax

from frbench.contracts.errors import UserError
from frbench.metrics import (
    chain_information,
    conditional_mutual_information,
    entropy,
    mutual_information,
)


def slow(x, y, z, k):
    """Algorithm 1 of Mesner and Shalizi, point by point; columns of (values, is category)."""
    n = len(x[0][0])

    def distance(columns, i, j):
        gaps = [float(v[i] != v[j]) if category else abs(float(v[i]) - float(v[j]))
                for v, category in columns]  # fmt: skip
        return max(gaps, default=0.0)

    total = 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        rho = sorted(distance(x + y + z, i, j) for j in others)[k - 1]

        def near(columns, i=i, others=others, rho=rho):
            return sum(distance(columns, i, j) <= rho for j in others)

        if z:
            total += (digamma(near(x + y + z)) - digamma(near(x + z)) - digamma(near(y + z))
                      + digamma(near(z)))  # fmt: skip
        else:
            total += digamma(near(x + y)) + digamma(n) - digamma(near(x)) - digamma(near(y))
    return max(total / n, 0.0)


def cases():
    rng = np.random.default_rng(0)
    n = 60
    a, b, c = rng.normal(size=(3, n))
    d, e = rng.integers(0, 3, (2, n))
    tied = np.round(a, 1)  # many points at equal distances
    half = np.where(rng.random(n) < 0.5, 0.0, a)  # a mixture: an atom at 0
    yield "continuous", [a], [0.8 * a + b], [c]
    yield "marginal", [a], [0.8 * a + b], []
    yield "discrete", [d], [(d + (rng.random(n) < 0.3)) % 3], [e]
    yield "discrete marginal", [d], [e], []
    yield "ties", [tied], [tied + np.round(b, 1)], [np.round(c, 1)]
    yield "mixture", [half], [half + 0.3 * b], [d]
    yield "several columns", [d], [a, b], [e, half]
    yield "labels that are floats", [d.astype(float)], [a + d], [e]


@pytest.mark.parametrize(("x", "y", "z"), [pytest.param(*c, id=name) for name, *c in cases()])
@pytest.mark.parametrize("k", [1, 8])
def test_nearest_neighbour_information_is_the_definition(x, y, z, k):
    marked = [[(v, v.dtype.kind != "f") for v in part] for part in (x, y, z)]
    expected = slow(*marked, k)
    for memory in (1, 700, 10**7):  # one row at a time, a few, all
        got = conditional_mutual_information(x, y, z or None, k, memory=memory)
        assert got == pytest.approx(expected, abs=1e-10)


def test_nearest_neighbour_information_is_near_the_truth():
    rng = np.random.default_rng(1)
    n = 2000
    a, b, c = rng.normal(size=(3, n))
    truth = -0.5 * np.log(1 - 0.8**2)
    assert conditional_mutual_information(a, 0.8 * a + 0.6 * b) == pytest.approx(truth, abs=0.05)
    # a and b depend on each other through c alone
    noisy = (c + 0.5 * a, c + 0.5 * b)
    assert conditional_mutual_information(*noisy) > 0.4
    assert conditional_mutual_information(*noisy, c) < 0.1
    z = rng.integers(0, 2, n)
    y = np.where(rng.random(n) < 0.2, 1 - z, z)
    assert conditional_mutual_information(y, z) == pytest.approx(
        mutual_information(y, z), abs=0.01
    )
    text = np.array(["f", "m"])
    assert conditional_mutual_information(y, text[z]) == conditional_mutual_information(y, z)


def test_the_chain_adds_up_to_the_whole():
    rng = np.random.default_rng(2)
    v, z = rng.integers(0, 2, (2, 3000))
    y = np.where(rng.random(3000) < 0.3 + 0.4 * v * z, 1, 0)
    terms = chain_information(v, [z, y])
    joint = mutual_information(v, 2 * z + y)
    assert len(terms) == 2 and sum(terms) == pytest.approx(joint, abs=0.01)
    assert terms[0] < 0.01 < terms[1]
    a, b = rng.normal(size=(2, 3000))
    split = chain_information(v, [np.stack([a, b], 1), z])
    assert split[1] == conditional_mutual_information(v, z, [a, b])


def test_plug_in_information():
    table = np.array([[10, 30, 0], [20, 5, 35]])
    a, b = np.nonzero(table)
    a, b = np.repeat(a, table[table > 0]), np.repeat(b, table[table > 0])
    p = table / table.sum()
    outer = p.sum(1, keepdims=True) * p.sum(0)
    expected = sum(p[i, j] * np.log(p[i, j] / outer[i, j]) for i, j in np.argwhere(p > 0))
    assert mutual_information(a, b) == pytest.approx(expected, abs=1e-12)
    assert mutual_information(a, np.zeros(len(a))) == 0
    assert entropy(table.sum(1)) == pytest.approx(mutual_information(a, a), abs=1e-12)


def test_theorem_3_the_best_discriminator_reaches_the_information():
    """max over D of E ln D_Z(prediction) + H(Z) = I(Z; prediction), reached at D = P(z | .)."""
    rng = np.random.default_rng(3)
    for classes, attributes in ((2, 2), (5, 3)):
        z = rng.integers(0, attributes, 500)
        prediction = np.where(rng.random(500) < 0.4, z, rng.integers(0, classes, 500))
        joint = np.zeros((attributes, classes))
        np.add.at(joint, (z, prediction), 1 / 500)
        truth = mutual_information(z, prediction)

        def bound(logits, joint=joint):
            return (joint * log_softmax(logits.reshape(joint.shape), 0)).sum() + entropy(
                joint.sum(1)
            )

        starts = rng.normal(size=(20, joint.size))
        assert max(map(bound, starts)) < truth  # any other discriminator stays below
        best = minimize(lambda d, bound=bound: -bound(d), starts[0], tol=1e-12)
        assert -best.fun == pytest.approx(truth, abs=1e-8)
        posterior = np.exp(log_softmax(best.x.reshape(joint.shape), 0))
        np.testing.assert_allclose(posterior, joint / joint.sum(0), atol=1e-4)


def test_bad_columns_are_refused():
    a = np.arange(5.0)
    for bad in ((a, a[:4]), (a, a, a[:3]), (a, a, None, 5), (a, a, None, 0),
                (a, np.full(5, np.nan))):  # fmt: skip
        with pytest.raises(UserError, match="conditional_mutual_information"):
            conditional_mutual_information(*bad)
    with pytest.raises(UserError, match="two columns"):
        mutual_information([1, 2], [1])
