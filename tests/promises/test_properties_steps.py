"""Every corruption and augmentation keeps what its ``properties`` state, on drawn tables.

A new class is tested by itself, against the defaults until it states others.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promises import found

from frbench.contracts.properties import StepProperties
from frbench.data import FlipLabels, GanPairs, PoisonLargestMargin
from frbench.data.mixed import Mixed
from frbench.data.step import Augmentation, Corruption, TableStep
from frbench.data.steps.baselines import Subset
from frbench.data.table import Table

STEPS = [*found(Corruption), *found(Augmentation)]
SLOW = {"OptimizedPreprocessing": 3}  # solves a program for each table
COLUMNS = ("x", "y", "z", "weight", "clean", "true_y", "synthetic")
#: Arguments that have no default.
NEEDED = {"GanPairs": {"path": "pairs"}, "Subset": {"size": 20}}
pytestmark = pytest.mark.promise("properties")
steps = pytest.mark.parametrize("cls", STEPS, ids=lambda cls: cls.__name__)


@pytest.fixture(scope="module", autouse=True)
def pairs(tmp_path_factory):
    """Lays a table of pairs for the images of :func:`table`."""
    folder = tmp_path_factory.mktemp("steps")
    (folder / "pairs").mkdir()
    for name in ("images", "partners"):
        np.save(folder / "pairs" / f"{name}.npy", np.full((4, 1, 2, 2), 7, np.uint8))
    np.savez(folder / "pairs" / "pairs.npz", y=[0, 1, 0, 1], z=[0, 0, 1, 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


def table(cls, seed):
    """Two classes, two attribute values, every cell with rows; weights, some verified rows."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(40, 120))
    y, z = (np.append(first, rng.integers(2, size=n)) for first in ([0, 0, 1, 1], [0, 1, 0, 1]))
    if cls is GanPairs:
        x = rng.random((len(y), 1, 2, 2)).astype(np.float32)
    elif cls.__name__ == "OptimizedPreprocessing":
        x = rng.integers(3, size=(len(y), 1)).astype(float)
    else:
        x = rng.normal(size=(len(y), 2)) + y[:, None]
    flips = rng.random(len(y)) < 0.1  # of an earlier step
    return Table(x, np.where(flips, 1 - y, y), z, rng.uniform(0.5, 2, len(y)),
                 rng.random(len(y)) < 0.2, y, np.zeros(len(y), bool))  # fmt: skip


def apply(cls, given, seed=0, **options):
    step = cls(**{**NEEDED.get(cls.__name__, {}), **options})
    step.bind(("no", "yes"), ("a", "b"))
    return step.apply(given, np.random.default_rng(seed), np.asarray)


def columns(t):
    """Copies of all columns as arrays."""
    inputs = np.array(t.x.encode(np.asarray) if isinstance(t.x, Mixed) else t.x)
    return {name: getattr(t, name).copy() for name in COLUMNS[1:]} | {"x": inputs}


def same(a, b, names=COLUMNS):
    a, b = columns(a), columns(b)
    for name in names:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-9, err_msg=name)


def drawn(cls):
    return settings(max_examples=SLOW.get(cls.__name__, 15), deadline=None, derandomize=True,
                    database=None)  # fmt: skip


def each_table(cls, check):
    """Run a check on tables of many seeds, drawn by hypothesis."""
    drawn(cls)(given(seed=st.integers(0, 2**32 - 1))(check))()


def places(cls, before, after):
    """The rows of the table before that are still there, found by their inputs."""
    kind = cls.properties.rows
    if kind == "subset":
        known = {tuple(np.ravel(x)): i for i, x in enumerate(before.x)}
        return np.array([known[tuple(np.ravel(x))] for x in after.x])
    return np.arange(len(before))


def check_statement(cls, seed):
    before = table(cls, seed)
    untouched, kept = columns(before), cls.properties
    after = apply(cls, before)
    for name, value in columns(before).items():  # nothing was written into what was given
        assert np.array_equal(value, untouched[name]), name
    same(apply(cls, before), after)  # the same seed, the same table
    assert set(after.y) <= {0, 1} and set(after.z) <= {0, 1}
    assert np.isfinite(after.weight).all() and (after.weight >= 0).all()
    if kept.rows == "drawn":
        return
    rows = places(cls, before, after)
    assert (np.diff(rows) > 0).all()
    assert (len(after) > len(before)) == (kept.rows == "extended")
    first = after.take(np.arange(len(rows)))
    same(first, before.take(rows), [c for c in COLUMNS if c not in kept.changes])
    added = after.take(np.arange(len(rows), len(after)))
    assert added.synthetic.all() and not added.clean.any() and not first.synthetic.any()
    if issubclass(cls, Corruption):
        assert np.array_equal(after.y[before.clean], before.y[before.clean])


@steps
def test_a_step_touches_what_it_says_and_draws_by_its_seed_alone(cls):
    each_table(cls, lambda seed: check_statement(cls, seed))


@steps
def test_a_step_that_is_off_changes_nothing(cls):
    options = cls.properties.identity
    if options is None:
        pytest.skip("states no options under which it does nothing")

    def check(seed):
        before = table(cls, seed)
        before = before.replace(weight=before.weight / before.weight.mean())
        same(apply(cls, before, **options), before)

    each_table(cls, check)


@steps
def test_the_order_of_the_rows_does_not_matter(cls):
    if not cls.properties.ordered:
        pytest.skip("states that random numbers go to positions")

    def check(seed):
        before = table(cls, seed)
        order = np.random.default_rng(seed).permutation(len(before))
        after = apply(cls, before)
        rows = np.append(order, np.arange(len(before), len(after)))
        same(apply(cls, before.take(order)), after.take(rows))

    each_table(cls, check)


rates = st.floats(0, 1)


@pytest.mark.promise("properties", FlipLabels)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 99), rate=rates, y=st.sampled_from([None, 0, 1]),
       z=st.sampled_from([None, 0, 1]))  # fmt: skip
def test_flips_have_the_share_of_the_rows_that_are_named(seed, rate, y, z):
    before = table(FlipLabels, seed)
    flipped = apply(FlipLabels, before, rate=rate, y=y, z=z).y != before.y
    named = ~before.clean
    named &= True if y is None else before.y == y
    named &= True if z is None else before.z == z
    assert flipped.sum() == round(rate * named.sum()) and not (flipped & ~named).any()


@pytest.mark.promise("properties", PoisonLargestMargin)
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 99), rate=st.floats(0, 0.25))
def test_poison_has_the_share_of_the_table_and_grows_with_the_rate(seed, rate):
    before = table(PoisonLargestMargin, seed)
    less, more = (
        apply(PoisonLargestMargin, before, rate=r, z=None).y != before.y for r in (rate / 2, rate)
    )
    assert more.sum() == round(rate * len(before)) and not (less & ~more).any()


@pytest.mark.promise("properties", Subset)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 99), size=st.integers(8, 200))
def test_subsets_have_the_size_and_shares_of_the_table(seed, size):
    before = table(Subset, seed)
    after = apply(Subset, before, size=size)
    assert len(after) == min(size, len(before))
    expected = before.counts(2, 2) * len(after) / len(before)
    assert (abs(after.counts(2, 2) - np.maximum(expected, 1)) < 2).all()


@pytest.mark.promise("properties", FlipLabels)
def test_a_false_statement_fails():
    """What the tests above would say of steps that claim too much."""

    class Boasting(FlipLabels):
        properties = StepProperties(changes=())

    class Unseeded(FlipLabels):
        def apply(self, table, rng, encode):
            return super().apply(table, np.random.default_rng(), encode)

    class InPlace(FlipLabels):
        def apply(self, table, rng, encode):
            table.y[:] = super().apply(table, rng, encode).y
            return table

    for cls in (Boasting, Unseeded, InPlace):
        with pytest.raises(AssertionError):
            check_statement(cls, 1)
    assert issubclass(Boasting, TableStep)
