"""Stratified batches: enough of every group, the same distribution, ranks and resume."""

import numpy as np
import pytest
import torch
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import Digits
from frbench.data.describe import describe
from frbench.data.fetch import TensorTable
from frbench.data.loader import GroupLoader
from frbench.data.strata import allot, stratified_order
from frbench.data.table import Table
from frbench.networks import MLP
from frbench.objectives import ERM


def dataset(n=400, clean=0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n + clean)
    z = rng.choice([-1, 0, 1], n + clean, p=[0.1, 0.86, 0.04])
    return TensorTable(Table(np.arange(n + clean)[:, None] * 1.0, y, z), np.ones(n + clean), 2,
                       lambda x: x)  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_rows_add_up_and_none_is_below_its_least(seed):
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(6, 0.3))
    for least in (0, 1, 3, 10, 16):
        rows = allot(share, 100, np.full(6, least))
        assert rows.sum() == 100 and rows.min() >= least
        above = rows > least
        if above.sum() > 1:  # those above share the rest in proportion, up to one row
            wanted = rows[above].sum() * share[above] / share[above].sum()
            assert np.abs(rows[above] - wanted).max() < 1 + 1e-9
    assert np.abs(allot(share, 100, np.zeros(6, int)) - 100 * share).max() < 1


def test_every_batch_has_the_same_rows_of_each_group():
    data = dataset()
    loader = GroupLoader(data, 40, rows_per_group=5)
    counts = [np.bincount(batch.group + 1, minlength=5) for batch in loader]
    assert len(counts) == 10 and all((c == counts[0]).all() for c in counts)
    assert counts[0].sum() == 40 and counts[0][1:].min() == 5 and counts[0][0] > 0
    # Rows of a group come in turn: a rare one again and again, a frequent one at most once.
    drawn = torch.cat([batch.index for batch in loader])
    times = np.bincount(drawn, minlength=400)
    for g in range(4):
        of_group = times[(data.group == g).numpy()]
        assert of_group.max() - of_group.min() <= 1


@pytest.mark.parametrize("sampling", [None, np.linspace(0.1, 3, 400)])
def test_weighted_means_keep_their_expectation(sampling):
    data = dataset()
    values = np.sin(np.arange(400)) + data.group.numpy() * 2.0
    weight = np.ones(400) if sampling is None else sampling
    expected = (values * weight).sum() / weight.sum()
    means = []
    loader = GroupLoader(data, 40, rows_per_group=6, sampling=sampling)
    for _ in range(60):
        for batch in loader:
            assert batch.weight.mean().item() == pytest.approx(1, abs=1e-5)
            means.append(float((values[batch.index] * batch.weight.numpy()).mean()))
    error = np.std(means) / np.sqrt(len(means))
    assert np.mean(means) == pytest.approx(expected, abs=5 * error) and error < 0.02
    naive = np.mean([values[batch.index].mean() for batch in loader])
    assert abs(naive - expected) > 0.2  # without the weights, rare groups count too much


def test_ranks_share_out_the_batch_and_clean_rows_keep_their_weight():
    def make(rank, world):
        return GroupLoader(dataset(clean=8), 40, rows_per_group=4, rank=rank, world_size=world,
                           num_clean=8, clean_per_batch=2)  # fmt: skip

    whole, left, right = (list(make(r, w)) for r, w in ((0, 1), (0, 2), (1, 2)))
    for batch, a, b in zip(whole, left, right, strict=True):
        assert torch.equal(batch.index[:40], torch.cat([a.index[:20], b.index[:20]]))
        assert torch.equal(batch.weight[:40], torch.cat([a.weight[:20], b.weight[:20]]))
        assert (batch.weight[40:] == 1).all() and (batch.index[40:] >= 400).all()


@pytest.mark.parametrize("stop", [0, 3, 10])
def test_resume_continues_the_same_order(stop):
    def rows(loader):
        return [(b.index.tolist(), b.weight.tolist()) for b in loader]

    whole = GroupLoader(dataset(), 40, rows_per_group=4, seed=3)
    expected = rows(whole) + rows(whole)
    loader = GroupLoader(dataset(), 40, rows_per_group=4, seed=3)
    iterator = iter(loader)
    got = [(b.index.tolist(), b.weight.tolist()) for b in (next(iterator) for _ in range(stop))]
    state = loader.state_dict()
    resumed = GroupLoader(dataset(), 40, rows_per_group=4, seed=3)
    resumed.load_state_dict(state)
    while len(got) < len(expected):
        got += rows(resumed)
    assert got == expected


def test_epoch_weights_move_the_shares_inside_the_batch():
    data = dataset()
    loader = GroupLoader(data, 40, rows_per_group=2)
    weights = np.where(data.group.numpy() == 0, 0.0, 1.0)
    loader.set_epoch_weights(weights, "sample")
    assert all((batch.group != 0).all() for batch in loader)


def test_a_group_without_mass_gets_no_rows():
    group = np.array([0, 0, 1, 1, 2, 2])
    order, factor = stratified_order(
        group, np.array([1, 1, 1, 1, 0, 0.0]), 4, 5, 1, np.random.default_rng(0)
    )
    assert set(group[order]) == {0, 1} and np.isfinite(factor).all()


def test_weights_count_by_their_ratio_however_small():
    group, weights = np.array([0, 0, 1, 1]), np.array([1e-9, 9e-9, 1, 1])
    order, _ = stratified_order(group, weights, 8, 500, 4, np.random.default_rng(0))
    first, second = np.bincount(order, minlength=4)[:2]
    assert first + second == 2000 and 140 <= first <= 260  # a tenth; sd 13


def fit(**options):
    data = Digits(n=600, n_eval=50, **{"batch_size": 64, **options})
    model = ERM(2, 2, data.input_shape, network=MLP(hidden=[4]))
    run = trainer()
    run.fit(model, datamodule=data)
    return data


@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
def test_on_the_command_line_it_is_one_option_and_what_cannot_be_is_refused():
    data = fit(rows_per_group=8)
    assert data.sampled_shares.min() * 64 == pytest.approx(8)
    assert "stratified: 8 to 2" in describe(data)
    assert fit(rows_per_group=16).sampled_shares.tolist() == [[0.25] * 2] * 2
    for options, words in (
        ({"balance": "joint", "via": "weight"}, "cannot be combined with via: weight"),
        ({"balance": "reweighing"}, "cannot be combined with via: weight"),
        ({"rows_per_group": 17}, "need a batch of 68, but it has 64"),
        ({"z_rates": [0.0, 0.9]}, r"none of \[y=0-4,z=blue\]"),
        ({"rows_per_group": -1}, "rows_per_group: expected an integer of at least 0"),
    ):
        with pytest.raises(UserError, match=words):
            fit(**{"rows_per_group": 8, **options})
