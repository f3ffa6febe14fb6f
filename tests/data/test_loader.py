import random

import given_tables as tables
import numpy as np
import pytest
import torch

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.data.fetch import TensorTable
from frbench.data.loader import EvalLoader, GroupLoader
from frbench.data.table import Table


def dataset(n=23, augment=None, clean=0):
    rows = np.arange(n + clean)
    table = Table(
        x=rows[:, None].astype(np.float32), y=rows % 3, z=np.where(rows % 5 == 0, -1, rows % 2)
    )
    return TensorTable(table, np.ones(n + clean), 2, lambda x: x, augment)


def indices(loader):
    return [batch.index.tolist() for batch in loader]


def test_a_batch_is_one_indexing_with_every_field():
    batch = dataset()[np.array([4, 5, 7]), 0]
    assert batch.x.squeeze(1).tolist() == [4, 5, 7]
    assert batch.y.tolist() == [1, 2, 1]
    assert batch.z.tolist() == [0, -1, 1]
    assert batch.group.tolist() == [2, -1, 3]  # unknown z: no group
    assert batch.index.tolist() == [4, 5, 7]


def test_an_epoch_is_a_permutation_without_the_last_partial_batch():
    loader = GroupLoader(dataset(), batch_size=5, seed=3)
    first, second = indices(loader), indices(loader)
    assert len(loader) == len(first) == 4 and all(len(b) == 5 for b in first)
    assert len({row for batch in first for row in batch}) == 20
    assert first != second  # another epoch, another order
    assert first == indices(GroupLoader(dataset(), batch_size=5, seed=3))
    assert first != indices(GroupLoader(dataset(), batch_size=5, seed=4))


@pytest.mark.parametrize("sampling", [None, np.linspace(0, 1, 23)])
def test_ranks_share_out_the_global_batch(sampling):
    def make(rank, world):
        return GroupLoader(
            dataset(clean=4),
            batch_size=6,
            sampling=sampling,
            num_clean=4,
            clean_per_batch=2,
            rank=rank,
            world_size=world,
        )

    whole, left, right = (indices(make(r, w)) for r, w in ((0, 1), (0, 2), (1, 2)))
    for all_rows, a, b in zip(whole, left, right, strict=True):
        assert all_rows[:6] == a[:3] + b[:3]
        assert all_rows[6:] == a[3:] + b[3:] and min(all_rows[6:]) >= 23


def test_fewer_rows_than_a_batch_give_one_batch_of_the_largest_multiple_of_the_ranks():
    parts = [GroupLoader(dataset(7), 100, rank=r, world_size=2) for r in (0, 1)]
    rows = [indices(p) for p in parts]
    assert [len(p) for p in parts] == [1, 1] and [len(r[0]) for r in rows] == [3, 3]
    assert not set(rows[0][0]) & set(rows[1][0])


def test_sampling_follows_the_weights():
    weight = np.where(np.arange(23) < 3, 10.0, 0.1)
    loader = GroupLoader(dataset(), batch_size=20, sampling=weight)
    drawn = np.concatenate([indices(loader)[0] for _ in range(300)])
    expected = weight / weight.sum()
    observed = np.bincount(drawn, minlength=23) / len(drawn)
    assert np.abs(observed - expected).max() < 0.02


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_resume_at_every_position_continues_the_same_order(stop, workers):
    def noisy(x):
        return x + torch.rand_like(x)

    def make():
        return GroupLoader(dataset(augment=noisy), batch_size=5, seed=1, num_workers=workers)

    whole = make()
    expected = [b.x.tolist() for _ in range(2) for b in whole]
    loader = make()
    iterator, got = iter(loader), []
    for _ in range(stop):
        got.append(next(iterator).x.tolist())
    state = loader.state_dict()
    resumed = make()
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    while len(got) < len(expected):  # from the end of an epoch, the next one comes
        got += [b.x.tolist() for b in resumed]
    assert got == expected


def test_an_epoch_that_is_announced_is_the_one_that_comes():
    def make(state=None):
        loader = GroupLoader(dataset(), batch_size=5)
        if state is not None:
            loader.load_state_dict(state)
        return loader

    epochs = [indices(loader) for loader in [make()] for _ in range(3)]
    jumped = make()
    jumped.set_epoch(2)
    assert indices(jumped) == epochs[2]
    for delivered in range(4):
        resumed = make({"epoch": 1, "delivered": delivered, "epoch_weights": None,
                        "epoch_via": "weight"})  # fmt: skip
        resumed.set_epoch(1)  # Lightning announces the epoch that is being continued
        assert indices(resumed) == epochs[1][delivered:]
        resumed.set_epoch(2)
        assert indices(resumed) == epochs[2]
    cut = make()
    iterator = iter(cut)
    next(iterator)  # an epoch that the trainer ended early
    cut.set_epoch(1)
    assert indices(cut) == epochs[1]


@pytest.mark.parametrize("via", ["weight", "sample"])
def test_epoch_weights_reach_the_batch_and_the_checkpoint(via):
    weights = np.where(np.arange(23) == 7, 1.0, 0.0)
    loader = GroupLoader(dataset(), batch_size=23)
    loader.set_epoch_weights(weights, via)
    resumed = GroupLoader(dataset(), batch_size=23)
    resumed.load_state_dict(loader.state_dict())
    for each in (loader, resumed):
        (batch,) = list(each)
        if via == "weight":
            assert batch.weight.tolist() == (batch.index == 7).float().tolist()
        else:
            assert set(batch.index.tolist()) == {7}
    loader.set_epoch_weights(None, via)
    assert next(iter(loader)).weight.tolist() == [1.0] * 23


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_sees_every_row_once(world):
    rows = []
    for rank in range(world):
        loader = EvalLoader(dataset(), batch_size=4, rank=rank, world_size=world)
        parts = indices(loader)
        assert len(parts) == len(loader)
        rows += [row for part in parts for row in part]
    assert sorted(rows) == list(range(23))


def test_workers_do_not_change_evaluation():
    plain, with_workers = (EvalLoader(dataset(), 4, num_workers=n) for n in (0, 2))
    assert indices(plain) == indices(with_workers)


def test_several_passes_are_one_epoch_and_each_drops_its_last_partial_batch():
    data = TwoGaussians(n=50, batch_size=20, passes=3)
    loader = data.train_dataloader()
    batches = [b.index for b in loader]
    assert len(batches) == len(loader) == 6
    for i in range(3):
        rows = torch.cat(batches[2 * i : 2 * i + 2])
        assert len(rows.unique()) == 40
    assert not torch.equal(batches[0], batches[2])
    with pytest.raises(UserError, match="passes"):
        TwoGaussians(passes=0)


@pytest.mark.parametrize("delivered", [0, 3])
def test_a_batch_of_all_rows_is_fetched_once(delivered):
    data = TwoGaussians(n=50, batch_size=40, passes=5, clean_share=0.2)
    loader = data.train_dataloader()
    if delivered:
        loader.load_state_dict({"epoch": 0, "delivered": delivered, "epoch_weights": None,
                                "epoch_via": "weight"})  # fmt: skip
    batches = list(loader)
    assert len(batches) == 5 - delivered and loader.delivered == 5
    assert all(batch is batches[0] for batch in batches)
    assert batches[0].index.tolist() == list(range(50))
    assert batches[0].clean.tolist() == [False] * 40 + [True] * 10
    again = list(loader)  # the next epoch
    assert len(again) == 5 and loader.epoch == 1


def test_epoch_weights_multiply_the_balance_and_are_checked():
    table = tables.rows()
    data = TensorTable(table, np.full(40, 2.0), 2, lambda x: x)
    loader = GroupLoader(data, 40)
    loader.set_epoch_weights(np.arange(40), "weight")
    (batch,) = list(loader)
    assert torch.equal(batch.weight, 2.0 * batch.index)
    for bad in (np.ones(39), -np.ones(40), np.full(40, np.nan), np.zeros(40)):
        with pytest.raises(ValueError, match="finite weights"):
            loader.set_epoch_weights(bad, "weight")
    sampled = GroupLoader(data, 40, sampling=(np.arange(40) < 20) * 1.0)
    sampled.set_epoch_weights((np.arange(40) >= 10) * 1.0, "sample")
    (batch,) = list(sampled)
    assert batch.index.min() >= 10 and batch.index.max() < 20


def test_transforms_draw_anew_each_epoch_from_every_generator():

    def noisy(x):
        return x + np.random.random() + random.random()

    data = TensorTable(tables.rows(), np.ones(40), 2, lambda x: x, noisy)
    drawn = []
    for workers in (0, 1):
        loader = GroupLoader(data, 40, num_workers=workers)
        drawn.append([next(iter(loader)).x.sum().item() for _ in range(2)])
        assert drawn[-1][0] != drawn[-1][1]
    assert drawn[0] == drawn[1]
