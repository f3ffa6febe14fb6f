import numpy as np
import pytest

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.data.balance import (
    balance_ratio,
    balance_weights,
    effective_sample_size,
    subsample_rows,
    target_distribution,
)
from frbench.data.table import Table

WAYS = [
    ("class", "keep"),
    ("group", "keep"),
    ("conditional", "keep"),
    ("joint", "keep"),
    ("joint", "uniform"),
    ("reweighing", "keep"),
]


def table(n=4000, seed=0, unknown=False):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3) + (rng.random(n) < 0.2).astype(int)
    z = (rng.random(n) < 0.2 + 0.25 * y).astype(int)
    if unknown:
        z = np.where(rng.random(n) < 0.1, -1, z)
    return Table(np.zeros((n, 1)), y, z, weight=rng.uniform(0.5, 2, n))


def shares(t, weight):
    q = np.zeros((3, 2))
    for y, z, w in zip(t.y, t.z, weight, strict=True):
        if z >= 0:
            q[y, z] += w
    return q / q.sum()


@pytest.mark.parametrize(("balance", "marginals"), WAYS)
@pytest.mark.parametrize("unknown", [False, True])
def test_weights_reach_the_definition(balance, marginals, unknown):
    t = table(unknown=unknown)
    weight = balance_weights(t, 3, 2, balance, marginals)
    assert weight.mean() == pytest.approx(1)
    if balance == "class":  # z plays no part, known or not
        for y in range(3):
            assert weight[t.y == y].sum() / weight.sum() == pytest.approx(1 / 3)
            assert np.ptp((weight / t.weight)[t.y == y]) < 1e-12
        return
    p, q = shares(t, t.weight), shares(t, weight)
    py, pz = p.sum(1), p.sum(0)
    for y in range(3):
        for z in range(2):
            wanted = {
                "group": p[y, z] / pz[z] / 2,
                "conditional": py[y] / 2,
                "joint": py[y] * pz[z] if marginals == "keep" else 1 / 6,
                "reweighing": py[y] * pz[z],
            }[balance]
            assert q[y, z] == pytest.approx(wanted, abs=1e-12)


def test_joint_keeps_the_marginals_and_the_inputs_given_the_cell():
    t = table()
    q, p = shares(t, balance_weights(t, 3, 2)), shares(t, t.weight)
    np.testing.assert_allclose(q.sum(0), p.sum(0), atol=1e-12)
    np.testing.assert_allclose(q.sum(1), p.sum(1), atol=1e-12)
    ratio = balance_weights(t, 3, 2) / t.weight
    cell = t.y * 2 + t.z
    assert all(np.ptp(ratio[cell == c]) < 1e-12 for c in range(6))


def test_weights_match_the_published_celeba_constants():
    counts = np.array([[71629, 66874], [22880, 1387]])  # specs/data.md, Blond x Male, train
    p = counts / counts.sum()
    keep = target_distribution(p, "joint", "keep") / p
    uniform = target_distribution(p, "joint", "uniform") / p
    np.testing.assert_allclose(keep.ravel(), [1.1227, 0.8686, 0.6158, 7.3373], atol=5e-5)
    np.testing.assert_allclose(uniform.ravel(), [0.5681, 0.6085, 1.7785, 29.3385], atol=5e-5)


def test_unknown_attributes_keep_their_weight_and_share():
    t = table(unknown=True).replace(weight=None)
    weight = balance_weights(t, 3, 2)
    assert np.allclose(weight[t.z < 0], weight[t.z < 0][0])
    assert weight[t.z < 0].sum() / weight.sum() == pytest.approx((t.z < 0).mean(), abs=0.02)


@pytest.mark.parametrize(("balance", "marginals"), WAYS)
def test_the_subsample_is_the_largest_with_the_target_shares(balance, marginals):
    t = table().replace(weight=None)
    weight = balance_weights(t, 3, 2, balance, marginals)
    rows = subsample_rows(weight, t.y * 2 + t.z, np.random.default_rng(0))
    assert len(set(rows)) == len(rows)
    kept = t.take(rows)
    p, n = shares(t, np.ones(len(t))), t.counts(3, 2)
    q = target_distribution(p, balance, marginals)
    total = (n / q).min()
    np.testing.assert_array_equal(kept.counts(3, 2), np.floor(total * q + 1e-9))


def test_celeba_subsample_is_four_times_the_smallest_group():
    y = np.repeat([0, 0, 1, 1], [71629, 66874, 22880, 1387])
    z = np.repeat([0, 1, 0, 1], [71629, 66874, 22880, 1387])
    t = Table(np.zeros((len(y), 1)), y, z)
    weight = balance_weights(t, 2, 2, "joint", "uniform")
    assert len(subsample_rows(weight, y * 2 + z, np.random.default_rng(0))) == 5548


def test_an_empty_cell_is_named():
    t = Table(np.zeros(3), [0, 0, 1], [0, 1, 0])
    names = ["y=a,z=m", "y=a,z=f", "y=b,z=m", "y=b,z=f"]
    for balance in ("joint", "conditional", "reweighing"):
        with pytest.raises(UserError, match=r"\[y=b,z=f\]"):
            balance_weights(t, 2, 2, balance, "keep", names)
    assert balance_weights(t, 2, 2, "class", "keep", names).tolist() == [0.75, 0.75, 1.5]
    with pytest.raises(UserError, match="y=b"):
        balance_weights(t.take(np.array([0, 1])), 2, 2, "class", "keep", names)


def test_effective_sample_size():
    assert effective_sample_size(np.ones(7)) == 7
    assert effective_sample_size(np.array([1.0, 0, 0])) == 1


COUNTS = [3498, 184, 56, 1057]


def cells(counts, width=2):
    """A table with so many rows of each cell, y-major."""
    cell = np.repeat(np.arange(len(counts)), counts)
    return Table(np.zeros((len(cell), 1)), cell // width, cell % width)


def per_cell(counts, width=2, mean_one=True, **options):
    """Weight of each cell that has rows, of mean one over these cells."""
    t = cells(counts, width)
    cell = t.y * width + t.z
    ratio = balance_ratio(t, len(counts) // width, width, **options)
    assert ratio.mean() == pytest.approx(1)
    found = np.array([ratio[cell == c][0] for c in np.unique(cell)])
    return found / found.mean()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.046628, 0.886448, 2.912613, 0.154311]),
        ({"power": 0.5}, [0.265204, 1.156327, 2.096020, 0.482450]),
        ({"beta": 0.9999}, [0.054803, 0.887248, 2.896681, 0.161269]),
        ({"power": 0.0}, [1, 1, 1, 1]),
        ({"beta": 0.0}, [1, 1, 1, 1]),
        ({"beta": 1 - 1e-12}, [0.046628, 0.886448, 2.912613, 0.154311]),
    ],
)
def test_powers_and_effective_numbers_of_the_uniform_balance(options, expected):
    found = per_cell(COUNTS, balance="joint", marginals="uniform", **options)
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_effective_numbers_of_classes():
    found = per_cell([3682, 1113], width=1, balance="class", beta=0.9999)
    assert found == pytest.approx(np.array([0.509640, 1.490360]), abs=1e-6)


def test_a_full_group_is_never_taken_for_an_empty_one():
    """1 - beta^n rounds to 1 for them: SubpopBench gives such groups the weight 0."""
    counts = [71629, 66874, 22880, 1387]
    found = per_cell(counts, balance="joint", marginals="uniform", beta=0.99)
    assert found == pytest.approx(np.ones(4), abs=1e-6)


def test_power_zero_leaves_every_row_alone():
    t = table(unknown=True)
    assert (balance_ratio(t, 3, 2, "joint", power=0.0) == 1).all()


def test_empty_cells_are_refused_or_left_out():
    t = cells([30, 0, 10, 20])
    with pytest.raises(UserError, match="empty_cells: skip"):
        balance_ratio(t, 2, 2, "joint", "uniform")
    q = shares_of(t, balance_ratio(t, 2, 2, "joint", "uniform", skip_empty=True))
    assert q == pytest.approx(np.array([1, 0, 1, 1]) / 3)
    one_class = cells([0, 0, 10, 20])
    assert (balance_ratio(one_class, 2, 2, "class", skip_empty=True) == 1).all()


def shares_of(t, weight):
    q = np.bincount(t.y * 2 + t.z, weights=weight, minlength=4)
    return q / q.sum()


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.0, [56] * 4), (2.0, [112, 112, 56, 112]), (1e9, COUNTS)]
)
def test_a_mixture_cuts_and_then_draws(ratio, expected):
    """From subsampling, ratio 1, to drawing alone, ratio without end."""
    data = TwoGaussians(
        n=40, balance="joint", marginals="uniform", via="mixture", mixture_ratio=ratio
    )
    data.splits["train"] = cells(COUNTS)
    rows, _, weight = data.training
    assert rows.counts(2, 2).ravel().tolist() == expected
    assert shares_of(rows, weight) == pytest.approx([0.25] * 4)
    assert data.sampled_shares == pytest.approx(np.full((2, 2), 0.25))
    assert data.draws and data.changes_shares
