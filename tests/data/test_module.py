import given_tables as tables
import numpy as np
import pytest
import torch

from frbench.contracts.errors import UserError
from frbench.data import (
    Digits,
    FairBatchSynthetic,
    FlipLabels,
    PoisonLargestMargin,
    TwoGaussians,
)
from frbench.data.describe import describe
from frbench.data.fingerprint import fingerprint
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.data.tasks.two_gaussians import two_gaussians


class Tiny(GroupDataModule):
    """A table given by the test."""

    from frbench.contracts.batch import Sizes

    sizes = Sizes(2, 2, (1,))
    class_names = ("n", "p")
    attribute_names = ("f", "m")

    def __init__(self, given, **kwargs):
        super().__init__(**kwargs)
        self.given = given

    def tables(self):
        return self.given


def rows(n=40, y=None, z=None):
    r = np.arange(n)
    return Table(
        r[:, None].astype(np.float32), r % 2 if y is None else y, r // 2 % 2 if z is None else z
    )


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"clean_share": 1.0}, "clean_share"),
        ({"marginals": "uniform"}, "balance: joint"),
        ({"marginals": "uniform", "balance": "class"}, "balance: joint"),
    ],
)
def test_contradictory_options_are_refused(kwargs, words):
    with pytest.raises(UserError, match=words):
        Tiny({}, **kwargs)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train": rows(), "val": rows()}, "train, val and test"),
        ({"train": rows(), "val": rows(0), "test": rows()}, "val split is empty"),
        ({"train": rows(), "val": rows(), "test": rows(y=np.full(40, 2))}, "column y of the test"),
        ({"train": rows(z=np.full(40, -2)), "val": rows(), "test": rows()}, "column z of the tra"),
    ],
)
def test_bad_tables_are_refused(given, words):
    with pytest.raises(UserError, match=words):
        _ = Tiny(given).splits


def given(**train):
    return {"train": rows(**train), "val": rows(8), "test": rows(8)}


def test_group_names_and_counts_are_those_of_the_table_training_sees():
    z = np.r_[np.ones(30, int), np.zeros(10, int)]
    data = Tiny(given(z=z), balance="joint", via="subsample")
    assert data.group_names == ["y=n,z=f", "y=n,z=m", "y=p,z=f", "y=p,z=m"]
    assert data.train_counts.tolist() == [[5, 15], [5, 15]]  # already independent
    skewed = np.where(np.arange(40) < 30, np.arange(40) % 2, 1 - np.arange(40) % 2)
    data = Tiny(given(z=skewed), balance="joint", via="subsample")
    assert data.train_counts.tolist() == [[5, 5], [5, 5]]
    assert len(data.training.table) == 20


@pytest.mark.parametrize("via", ["sample", "weight"])
def test_balance_goes_into_the_sampler_or_into_the_weight(via):
    z = np.where(np.arange(40) < 30, np.arange(40) % 2, 1 - np.arange(40) % 2)
    data = Tiny(given(z=z), balance="joint", via=via, batch_size=40)
    loader = data.train_dataloader()
    batches = [b for _ in range(200) for b in loader]
    weight, group = (torch.cat([getattr(b, k) for b in batches]) for k in ("weight", "group"))
    mass = torch.zeros(4).index_add(0, group, weight) / weight.sum()
    assert torch.allclose(mass, torch.full((4,), 0.25), atol=0.02)
    if via == "sample":
        assert weight.unique().tolist() == [1.0]
        np.testing.assert_allclose(data.sampled_shares, 0.25)
    else:
        assert len(weight.unique()) == 2
        np.testing.assert_allclose(data.sampled_shares, data.train_counts / 40)


def test_reweighing_is_joint_balancing_by_weight_under_its_own_name():
    z = np.where(np.arange(40) < 30, np.arange(40) % 2, 1 - np.arange(40) % 2)
    ours = Tiny(given(z=z), balance="reweighing")
    joint = Tiny(given(z=z), balance="joint", via="weight")
    assert ours.effective_via == "weight"
    np.testing.assert_array_equal(ours.training.weight, joint.training.weight)


def test_clean_rows_are_held_out_before_corruption_and_come_last_in_every_batch():
    data = Tiny(given(), corrupt=[FlipLabels(rate=1.0)], clean_share=0.25, batch_size=8)
    table, clean, _ = data.training
    assert len(table) == 30 and len(clean) == 10 and clean.clean.all()
    assert (table.y == 1 - table.x[:, 0] % 2).all()  # all flipped
    assert (clean.y == clean.x[:, 0] % 2).all()  # none flipped
    assert data.clean_per_batch == 3
    for batch in data.train_dataloader():
        assert batch.clean.tolist() == [False] * 8 + [True] * 3
        assert set(batch.x[8:, 0].tolist()) <= set(clean.x[:, 0].tolist())
    whole = Tiny(given(), clean_share=0.25, batch_size=30)
    (batch,) = whole.train_dataloader()
    assert sorted(batch.x[30:, 0].tolist()) == sorted(whole.training.clean.x[:, 0].tolist())


def test_verified_rows_of_the_data_sets_own_with_a_stated_share_and_noise():
    own = Table(np.arange(100, 110, dtype=np.float32)[:, None], np.arange(10) % 2, np.zeros(10))
    splits = given() | {"clean": own}
    plain = Tiny(splits, corrupt=[FlipLabels(rate=1.0)])
    assert len(plain.training.table) == 40 and not len(plain.training.clean)
    noisy = Tiny(splits, clean_share=0.2, clean_noise=0.3, batch_size=40)
    table, clean, _ = noisy.training
    assert len(table) == 40 and clean.clean.all() and clean.x[:, 0].tolist() == [*range(100, 110)]
    assert (clean.y != own.y).sum() == 3 and noisy.clean_per_batch == 10
    folds = [Tiny(splits, clean_share=0.2, clean_noise=0.3, batch_size=40) for _ in range(5)]
    for fold, data in enumerate(folds):
        data.fold = fold
    wrong = [tuple(np.flatnonzero(data.training.clean.y != own.y)) for data in folds]
    assert wrong[0] == tuple(np.flatnonzero(clean.y != own.y)) and len(set(wrong)) > 1
    alone = Tiny(splits, clean_share=0.1, clean_only=True, corrupt=[FlipLabels(rate=1.0)])
    table, clean, _ = alone.training
    assert len(table) == 5 and not len(clean) and alone.clean_per_batch == 0
    assert (table.x >= 100).all() and (table.y == table.x[:, 0] % 2).all()
    with pytest.raises(UserError, match="there may be 1 to 10"):
        _ = Tiny(splits, clean_share=0.3).training
    for bad in ({"clean_only": True}, {"clean_noise": 0.1},
                {"clean_share": 0.2, "clean_noise": 2}):  # fmt: skip
        with pytest.raises(UserError, match="clean_"):
            Tiny(splits, **bad)


def test_validation_and_test_are_never_corrupted():
    data = Tiny(given(), corrupt=[FlipLabels(rate=1.0)])
    for name in ("val", "test"):
        assert (data.splits[name].y == np.arange(8) % 2).all()


def test_fingerprint_follows_the_data():
    prints = {
        fingerprint(Tiny(given(), **kwargs))
        for kwargs in ({}, {"balance": "class"}, {"corrupt": [FlipLabels(0.5)]}, {"batch_size": 4})
    }
    z = np.arange(40) % 3 % 2
    skewed = {
        fingerprint(Tiny(given(z=z), **kwargs)) for kwargs in ({}, {"balance": "conditional"})
    }
    assert len(prints) == 2  # class balancing changes nothing here, flipping does
    assert len(skewed) == 2 and not skewed & prints


def test_describe_names_every_group_with_its_counts_and_q():
    z = np.where(np.arange(40) < 30, np.arange(40) % 2, 1 - np.arange(40) % 2)
    z[0] = -1
    text = describe(Tiny(given(z=z), balance="joint", via="weight"))
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert lines["y=n,z=f"][:3] == ["14", "2", "2"]
    assert "1 rows without attribute" in text and "effective sample size" in text
    total = sum(float(lines[g][3]) for g in ("y=n,z=f", "y=n,z=m", "y=p,z=f", "y=p,z=m"))
    assert total == pytest.approx(39 / 40, abs=1e-3)


# ---- corruption -----------------------------------------------------------------------------
def test_flips_hit_the_stated_share_of_the_stated_group_and_spare_clean_rows():
    n = 1000
    t = Table(np.zeros(n), np.arange(n) % 3, np.arange(n) // 3 % 2, clean=np.arange(n) < 100)
    flipped = FlipLabels(rate=0.3, y=1, z=0).apply(t, np.random.default_rng(0), np.asarray)
    changed = np.flatnonzero(flipped.y != t.y)
    eligible = (t.y == 1) & (t.z == 0) & ~t.clean
    assert len(changed) == round(0.3 * eligible.sum()) and eligible[changed].all()
    assert set(flipped.y[changed]) == {0, 2}


@pytest.mark.parametrize("via", ["sample", "subsample"])
def test_flipped_rows_stay_known_through_batches(via):
    steps = [FlipLabels(rate=0.5, z=0), FlipLabels(rate=0.2, z=1)]
    z = np.arange(40) // 20
    plain = Tiny(given(z=z), batch_size=4)
    assert not plain.training.table.flipped.any() and "labels changed" not in describe(plain)
    data = Tiny(given(z=z), corrupt=steps, balance="class", via=via, batch_size=4)
    table = data.training.table
    assert (table.true_y == table.x[:, 0] % 2).all()
    assert f"labels changed: {table.flipped.sum()} of {len(table)}" in describe(data)
    if via == "sample":
        assert [int(table.flipped[table.z == a].sum()) for a in (0, 1)] == [10, 4]
    for batch in data.train_dataloader():
        truly = (batch.y != batch.x[:, 0].long() % 2).numpy()
        np.testing.assert_array_equal(table.flipped[batch.index.numpy()], truly)


@pytest.mark.parametrize("step", [FlipLabels, PoisonLargestMargin])
def test_a_rate_outside_the_unit_interval_is_refused(step):
    with pytest.raises(UserError, match="rate"):
        step(rate=1.5)


def test_poison_flips_the_surest_rows_of_one_attribute():
    x, y, z = two_gaussians(1000, 0.5, 1.0, np.random.default_rng(0))
    t = Table(x, y, z)
    poisoned = PoisonLargestMargin(rate=0.1, z=1).apply(t, np.random.default_rng(0), np.asarray)
    changed = poisoned.y != t.y
    assert changed.sum() == 100 and (t.z[changed] == 1).all()
    # The poisoned table looks fairer: P(y=1 | z=1) falls.
    assert poisoned.y[z == 1].mean() < t.y[z == 1].mean() - 0.1
    with pytest.raises(UserError, match="lower the rate"):
        PoisonLargestMargin(rate=0.9, z=1).apply(t, np.random.default_rng(0), np.asarray)
    with pytest.raises(UserError, match="binary"):
        PoisonLargestMargin().apply(t.replace(y=y + 1), np.random.default_rng(0), np.asarray)


def test_poison_follows_the_released_labels(shared_data):
    folder = shared_data / "fr_train"
    x, y, z = (np.load(folder / f"{n}_synthetic.npy")[:2000] for n in ("X", "y", "s1"))
    released = np.load(folder / "y_poi.npy")
    t = Table(x, y > 0, z)
    poisoned = PoisonLargestMargin(rate=0.1, z=1).apply(t, np.random.default_rng(0), np.asarray)
    ours, theirs = poisoned.y != t.y, (released > 0) != t.y
    assert theirs.sum() == 200
    assert (ours == theirs).all()  # the specs' ranker, without z, finds 199 of the 200


# ---- embedded data sets ---------------------------------------------------------------------
def test_two_gaussians_fit_the_released_arrays(shared_data):
    folder = shared_data / "fr_train"
    x, y, z = (np.load(folder / f"{n}_synthetic.npy") for n in ("X", "y", "s1"))
    gx, gy, gz = two_gaussians(200_000, 0.5, 1.0, np.random.default_rng(0))
    for label in (0, 1):
        ours, theirs = gx[gy == label], x[(y > 0) == label]
        np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.15)
        np.testing.assert_allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.35)
        assert gz[gy == label].mean() == pytest.approx(z[(y > 0) == label].mean(), abs=0.03)


def test_released_splits_are_those_of_the_released_code(shared_data):
    clean = TwoGaussians(source="released", attribute_as_input=True, clean_share=0.1,
                         batch_size=1800)  # fmt: skip
    table, verified, _ = clean.training
    assert (len(table), len(verified), len(clean.splits["test"])) == (1800, 200, 1000)
    for t, p1, z1, y0, y1 in (
        (table, 0.507, 0.442, 0.350, 0.706),
        (clean.splits["test"], 0.519, 0.427, 0.347, 0.749),
    ):  # the statistics of the specification
        rates = [t.y.mean(), t.z.mean(), t.y[t.z == 0].mean(), t.y[t.z == 1].mean()]
        np.testing.assert_allclose(rates, [p1, z1, y0, y1], atol=6e-4)
    folder = shared_data / "fr_train"
    x = np.load(folder / "X_synthetic.npy")
    for part, first in ((table, 0), (verified, 2000), (clean.splits["test"], 2700)):
        np.testing.assert_array_equal(part.x[:, :2], x[first : first + len(part)])
        np.testing.assert_array_equal(part.x[:, 2], part.z)
    (batch,) = clean.train_dataloader()
    assert batch.clean.sum() == 200 and len(batch.y) == 2000
    poisoned = TwoGaussians(source="released", poisoned=True)
    flipped = poisoned.training.table.y != table.y
    assert flipped.sum() == 179 and (table.z[flipped] == 1).all()
    assert (poisoned.splits["test"].y == clean.splits["test"].y).all()
    assert len(clean.splits["val"]) == 500
    one_percent = TwoGaussians(source="released", clean_share=0.01, seed=3)
    assert len(one_percent.training.clean) == 20 and len(one_percent.training.table) == 1800


def test_the_arrays_of_fair_batch(shared_data):
    held_out = FairBatchSynthetic(val_share=0.2, seed=1)
    x = np.load(shared_data / "fairbatch" / "xz_train.npy")
    val, train = held_out.splits["val"].x, held_out.splits["train"].x
    assert (len(train), len(val), len(held_out.splits["test"])) == (1600, 400, 1000)
    together = np.concatenate([train, val])
    np.testing.assert_array_equal(together[np.lexsort(together.T)], x[np.lexsort(x.T)])
    whole = FairBatchSynthetic(val_share=0.0).splits
    np.testing.assert_array_equal(whole["train"].x, x)
    for table in whole.values():
        np.testing.assert_array_equal(table.x[:, 2], table.z)
    y = np.load(shared_data / "fairbatch" / "y_test.npy")
    np.testing.assert_array_equal(2 * whole["test"].y - 1, y)


def test_options_of_the_other_source_are_refused():
    for options in ({"source": "released", "c": 1.4}, {"poisoned": True}, {"source": "new"}):
        with pytest.raises(UserError, match=r"source|released"):
            TwoGaussians(**options)


def test_two_gaussians_options():
    rng = np.random.default_rng(0)
    _, y, z = two_gaussians(50_000, 0.2, 0.6, rng)
    assert y.mean() == pytest.approx(0.2, abs=0.01)
    _, _, full = two_gaussians(50_000, 0.2, 1.0, rng)
    assert z.mean() == pytest.approx(0.6 * full.mean(), rel=0.05)
    data = TwoGaussians(n=50, attribute_as_input=True)
    assert data.splits["train"].x.shape == (50, 3) and data.input_shape == [3]
    assert (data.splits["train"].x[:, 2] == data.splits["train"].z).all()
    for bad in ({"positive_rate": 0.0}, {"c": 0.0}, {"n": 1}):
        with pytest.raises(UserError):
            TwoGaussians(**bad)


def test_digits_tables_are_drawn_from_disjoint_images():
    data = Digits(n=3000, n_eval=3000)
    assert Digits.sizes.input_shape == data.splits["train"].x.shape[1:]
    images = {}
    for name, table in data.splits.items():
        top = table.x[:, :, :2]
        assert (top[:, 1] == 0).all()
        red, blue = top[:, 0].sum((1, 2)) > 0, top[:, 2].sum((1, 2)) > 0
        assert (blue == (table.z == 1)).all() and (red == (table.z == 0)).all()
        assert (table.x[:, 0, 2:] == table.x[:, 2, 2:]).all()  # the digit is grey
        images[name] = {row.tobytes() for row in table.x[:, 1]}
    assert not images["train"] & images["val"]
    assert not (images["train"] | images["val"]) & images["test/P0"]


@pytest.mark.parametrize("train_on", ["P", "Q", "P0"])
def test_digits_train_on_the_distribution_asked_for(train_on):
    table = Digits(train_on=train_on, n=20_000, n_eval=10).splits["train"]
    low = {"P": 0.05, "Q": 0.475, "P0": 0.5}[train_on]
    assert table.z[table.y == 0].mean() == pytest.approx(low, abs=0.02)


def test_equal_seeds_give_equal_tables():
    a, b, c = (Digits(n=50, n_eval=20, seed=s).splits["val"].x for s in (0, 0, 1))
    assert (a == b).all() and not (a == c).all()


def test_qmnist_writers(shared_data):
    from frbench.data import QMNISTWriters

    data = QMNISTWriters()
    counts = {name: np.bincount(t.z).tolist() for name, t in data.splits.items()}
    assert np.add(counts["train"], counts["val"]).tolist() == [30950, 29050]
    assert counts["test"] == [4999, 5001]
    assert data.splits["train"].x.shape[1:] == QMNISTWriters.sizes.input_shape
    batch = next(iter(data.train_dataloader()))
    assert batch.x.dtype == torch.float32 and float(batch.x.max()) == 1.0
    few = QMNISTWriters(students=0.1, max_train=2000).splits["train"]
    assert len(few) == 2000 and 0.05 < few.z.mean() < 0.13
    with pytest.raises(UserError, match="students"):
        QMNISTWriters(students=0)


@pytest.mark.parametrize(
    "kwargs",
    [{"balance": "Joint"}, {"via": "weights"}, {"balance": "joint", "marginals": "unif"},
     {"balance": "reweighing", "via": "sample"}],
)  # fmt: skip
def test_misspelt_options_fail_in_python_too(kwargs):
    with pytest.raises(UserError):
        TwoGaussians(**kwargs)


def test_subsampling_loses_no_cell_and_no_weight():
    counts = [59, 1, 1, 139]
    y, z = np.repeat([0, 0, 1, 1], counts), np.repeat([0, 1, 0, 1], counts)
    with pytest.raises(UserError, match="without a row"):
        _ = tables.Given(tables.rows(200, y=y, z=z), balance="joint", via="subsample").training
    weight = np.linspace(0.5, 1.5, 40)
    given = tables.Given(tables.rows(weight=weight), balance="none", via="subsample")
    table, _, used = given.training
    assert len(table) == 40
    np.testing.assert_allclose(used, weight / weight.mean())


def test_clean_rows_do_not_depend_on_the_number_of_devices():
    data = TwoGaussians(n=200, batch_size=20, clean_share=0.25)
    assert data.clean_per_batch == 7
    with pytest.raises(UserError, match="is 0 verified rows"):  # a batch would lose training rows
        _ = TwoGaussians(n=64, clean_share=0.001).training
    few = TwoGaussians(n=28, batch_size=64, clean_share=0.25)
    assert few.clean_per_batch == 7  # of the 21 rows left, not of the nominal batch


@pytest.mark.parametrize("step", [FlipLabels(0.5), PoisonLargestMargin(0.1)])
def test_corruption_of_one_class_is_refused(step):
    with pytest.raises(UserError):
        step.apply(tables.rows(y=np.zeros(40)), np.random.default_rng(0), np.asarray)
