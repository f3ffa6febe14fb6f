"""The identities behind the analyzer (B, C and A.1), exact, with the weights that frbench uses."""

import itertools

import numpy as np
import pytest

from frbench.data.balance import cell_weights, target_distribution

SIZES = [(2, 2, 2), (3, 2, 4), (2, 3, 3), (4, 4, 5)]  # values of Y, Z and W
SAME = 1e-12


def random_law(rng, sizes):
    """P(Y, Z) and P(W | Y, Z)."""
    p_yz = rng.dirichlet(np.ones(sizes[0] * sizes[1])).reshape(sizes[:2])
    return p_yz, rng.dirichlet(np.ones(sizes[2]), sizes[:2])


def balanced(p_yz, w_given_yz):
    """Weight the joint table [Y, Z, W] by frbench's joint balancing."""
    joint = p_yz[..., None] * w_given_yz
    return joint * cell_weights(p_yz, "joint", "keep")[..., None]


def dependence(p):
    """Return max |p(a, b | s) - p(a | s) p(b | s)| of a table [A, B, S]."""
    p = p / p.sum((0, 1))
    return float(np.abs(p - p.sum(1, keepdims=True) * p.sum(0, keepdims=True)).max())


def fairness(q):
    """Dependences that demographic parity, predictive parity, equalized odds forbid."""
    return (
        dependence(q.sum(0)[..., None]),  # W ⊥ Z
        dependence(q),  # Y ⊥ Z | W
        dependence(q.transpose(1, 2, 0)),  # W ⊥ Z | Y
    )


@pytest.mark.parametrize("sizes", SIZES)
def test_balancing_keeps_the_marginals_and_the_conditional(sizes):
    rng = np.random.default_rng(0)
    for _ in range(50):
        p_yz, w = random_law(rng, sizes)
        q = balanced(p_yz, w)
        assert np.allclose(q.sum(2), np.outer(p_yz.sum(1), p_yz.sum(0)), atol=SAME)
        assert np.allclose(q / q.sum(2, keepdims=True), w, atol=SAME)
        assert dependence(p_yz[..., None]) > 1e-6 > SAME > dependence(q.sum(2)[..., None])


@pytest.mark.parametrize("sizes", SIZES)
def test_all_criteria_hold_if_w_is_independent_given_the_label(sizes):
    """B.1, B.3, B.5 (premise in P) and C.2-C.4 (premise in Q: the same, as P(W | Y, Z) stays)."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        p_yz, w = random_law(rng, sizes)
        given_y = np.repeat(w[:, :1], sizes[1], axis=1)
        assert max(fairness(balanced(p_yz, given_y))) < SAME
        # Each criterion needs balancing (but equalized odds) and needs the premise.
        before = fairness(p_yz[..., None] * given_y)
        assert min(before[:2]) > 1e-7 and before[2] < SAME
        assert min(fairness(balanced(p_yz, w))) > 1e-7


@pytest.mark.parametrize("sizes", SIZES)
def test_an_entangled_graph_keeps_the_core_independent_given_the_label(sizes):
    """C.1: in graph d, X_Z⊥ ⊥ Z | Y in P and in Q, whatever the hidden cause of Y and Z."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        u = rng.dirichlet(np.ones(3))
        y, z = rng.dirichlet(np.ones(sizes[0]), 3), rng.dirichlet(np.ones(sizes[1]), 3)
        p_yz = np.einsum("u,uy,uz->yz", u, y, z)
        core, both = rng.dirichlet(np.ones(sizes[2]), sizes[0]), random_law(rng, sizes)[1]
        for joint in (p_yz, np.outer(p_yz.sum(1), p_yz.sum(0))):
            p = np.einsum("yz,yw,yzv->yzwv", joint, core, both)
            assert dependence(p.sum(3).transpose(1, 2, 0)) < SAME
            assert dependence(p.sum(2).transpose(1, 2, 0)) > 1e-7


@pytest.mark.parametrize("sizes", SIZES)
def test_marginal_independence_gives_demographic_parity_only(sizes):
    """C.5-C.7: balancing plus W ⊥_Q Z leaves predictive parity and equalized odds open."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        p_yz, w = random_law(rng, sizes)
        # Shift P(W | Y = 0, Z) so that Σ_y P(y) P(W | y, z) is the same for every z.
        p_y = p_yz.sum(1)
        wanted = np.full(sizes[2], 1 / sizes[2])
        rest = np.einsum("y,yzw->zw", p_y[1:], w[1:] * 0.05 + wanted * 0.95)
        w = np.concatenate([((wanted - rest) / p_y[0])[None], w[1:] * 0.05 + wanted * 0.95])
        if w.min() < 0:
            continue
        parity, predictive, odds = fairness(balanced(p_yz, w))
        assert parity < SAME and min(predictive, odds) > 1e-9


def test_the_three_coins_of_the_appendix():
    """C.5-C.7: X = [A = B], Y = [A = C], Z = [B = C]: pairwise independent, not jointly."""
    q = np.zeros((2, 2, 2))
    for a, b, c in itertools.product((0, 1), repeat=3):
        q[int(a == c), int(b == c), int(a == b)] += 1 / 8
    assert np.allclose(cell_weights(q.sum(2), "joint", "keep"), 1)  # balanced as it is
    parity, predictive, odds = fairness(q)
    assert parity == 0 and predictive == pytest.approx(0.25) and odds == pytest.approx(0.25)


@pytest.mark.parametrize("sizes", SIZES)
def test_law_of_a_part_given_the_factor_after_balancing(sizes):
    """Q(W | Z) = Σ_y P(W | Z, y) P(y): a function of Z unless W ⊥ Z | Y."""
    rng = np.random.default_rng(4)
    for _ in range(20):
        p_yz, w = random_law(rng, sizes)
        q = balanced(p_yz, w).sum(0)
        expected = np.einsum("y,yzw->zw", p_yz.sum(1), w)
        assert np.allclose(q / q.sum(1, keepdims=True), expected, atol=SAME)
        assert np.ptp(expected, axis=0).max() > 1e-6


def test_class_balancing_can_worsen_the_factor():
    """A.1: sign condition (sufficient, not necessary) and bound, on random tables."""
    rng = np.random.default_rng(5)
    worse_by_sign = worse_without = 0
    for _ in range(3000):
        p = rng.dirichlet(np.ones(4)).reshape(2, 2)
        q = target_distribution(p, "class", "keep")
        (e_0, e_1), p_1, mean, new = p[:, 1] / p.sum(1), p[1].sum(), p[:, 1].sum(), q[:, 1].sum()
        assert new == pytest.approx((e_0 + e_1) / 2)
        change = abs(new - 0.5) - abs(mean - 0.5)
        assert abs(change) <= abs(p_1 - 0.5) * abs(e_1 - e_0) + SAME
        if np.sign((mean - 0.5) / (p_1 - 0.5)) == np.sign(e_0 - e_1):
            assert change > 0
            worse_by_sign += 1
        else:
            worse_without += change > 0
    assert worse_by_sign > 500 and worse_without > 100


def test_example_of_class_balancing():
    """A.1's example: the mean of Z goes from 1/2 to 2/3 (the paper prints 1/3)."""
    p = np.array([[0.75 * 2 / 3, 0.75 / 3], [0.0, 0.25]])
    assert p[:, 1].sum() == pytest.approx(0.5)
    assert target_distribution(p, "class", "keep")[:, 1].sum() == pytest.approx(2 / 3)


def signal_and_rest(rng, sizes, case):
    """P(W, R | Y, Z) for a core W and a rest R [Y, Z, W, R], by what the propositions ask."""
    y, z, w = sizes
    core = rng.dirichlet(np.ones(w), y)
    if case == "corollary":  # R from Z alone
        return np.einsum("yw,zr->yzwr", core, rng.dirichlet(np.ones(3), z))
    if case == "proposition":  # R from W and Z: tied to Y, but it adds nothing to W in Q
        return np.einsum("yw,zwr->yzwr", core, rng.dirichlet(np.ones(3), (z, w)))
    if case == "insufficient":  # R from Y and Z
        return np.einsum("yw,yzr->yzwr", core, rng.dirichlet(np.ones(3), (y, z)))
    tied = rng.dirichlet(np.ones(w), (y, z))  # "tied": W depends on Z given Y
    return np.einsum("yzw,zr->yzwr", tied, rng.dirichlet(np.ones(3), z))


@pytest.mark.parametrize("case", ["corollary", "proposition", "insufficient", "tied"])
@pytest.mark.parametrize("sizes", SIZES)
def test_propositions(sizes, case):
    """4.2 and 4.3: their premises give one risk in the family, and each of them is needed."""
    rng = np.random.default_rng(6)
    applies = 0
    for _ in range(15):
        p_yz = rng.dirichlet(np.ones(sizes[0] * sizes[1])).reshape(sizes[:2])
        inputs = signal_and_rest(rng, sizes, case)
        p = p_yz[..., None, None] * inputs
        q = p * cell_weights(p_yz, "joint", "keep")[..., None, None]
        f_q = q.sum(1) / q.sum((0, 1))  # P(Y | W, R) in Q [Y, W, R]
        core = q.sum((1, 3)) / q.sum((0, 1, 3))
        # Premises of 4.2 in Q, of 4.3 in P.
        invariant = dependence(q.sum(3).transpose(1, 2, 0)) < SAME
        sufficient = np.allclose(f_q, core[..., None], atol=1e-10)
        joint = p.transpose(3, 0, 2, 1).reshape(3, -1, sizes[1])  # [R, (Y, W), Z]
        corollary = dependence(joint) < SAME and dependence(p.sum(3).transpose(1, 2, 0)) < SAME
        assert invariant == (case != "tied") and corollary == (case == "corollary")
        if corollary:
            assert invariant and sufficient
        if invariant and sufficient:
            applies += 1
        # The family: P(Y) and P(W, R | Y, Z) stay, P(Z | Y) is anything.
        risks = []
        for _ in range(5):
            shifted = rng.dirichlet(np.ones(sizes[1]), sizes[0]) * p_yz.sum(1)[:, None]
            member = (shifted[..., None, None] * inputs).sum(1)
            risks.append(-(member * np.log(f_q)).sum())
            own = member / member.sum(0)
            # Optimal on Q, where Y and Z are independent; not on every member.
            assert -(q.sum(1) * np.log(own)).sum() >= -(q.sum(1) * np.log(f_q)).sum() - SAME
            assert -(member * np.log(own)).sum() <= risks[-1] + SAME
        assert (np.ptp(risks) < 1e-10) == (invariant and sufficient), (case, risks)
    assert (applies == 15) == (case in ("corollary", "proposition"))
