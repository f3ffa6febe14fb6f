"""Baselines beside max entropy: weights alone, massaging, subsets, optimised pre-processing."""

import importlib.util
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from frbench.contracts.errors import UserError
from frbench.data.fingerprint import fingerprint
from frbench.data.max_entropy import MaxEntropy, rates
from frbench.data.steps.baselines import Massaging, Reweigh, Subset
from frbench.data.steps.calmon import OptimizedPreprocessing
from frbench.data.table import Table
from frbench.data.tables.table_data import TableData

NEEDS_CVXPY = pytest.mark.skipif(
    importlib.util.find_spec("cvxpy") is None, reason="cvxpy is not installed (frbench[calmon])"
)
STEPS = [Reweigh, lambda: Reweigh(via="sample"), Massaging, lambda: Subset(500), MaxEntropy]


def table(seed: int = 0, n: int = 3000, values: int = 2) -> Table:
    rng = np.random.default_rng(seed)
    z = rng.choice(values, n, p=rng.dirichlet(np.full(values, 5)))
    y = (rng.random(n) < 0.25 + 0.4 * z / values).astype(int)
    x = pd.DataFrame({"a": rng.integers(0, 3, n) + y, "b": rng.choice(["u", "v"], n)})
    return Table(x, y, z)


def encode(x: pd.DataFrame) -> np.ndarray:
    return np.stack([x["a"], x["b"] == "u"], 1).astype(float)


def joint(t: Table, weight: np.ndarray | None = None) -> np.ndarray:
    out = np.zeros((2, t.z.max() + 1))
    np.add.at(out, (t.y, t.z), np.ones(len(t)) if weight is None else weight)
    return out


@pytest.fixture
def file(tmp_path):
    t = table()
    frame = t.x.assign(y=np.where(t.y, "yes", "no"), z=np.where(t.z, "m", "f"))
    frame.to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "t.csv")


# ---- in a data set ------------------------------------------------------------------------------
@pytest.mark.parametrize("make", STEPS)
def test_only_the_training_table_changes(file, make):
    raw = TableData(file, target="y", attribute="z")
    edited = TableData(file, target="y", attribute="z", augment=[make()])
    assert fingerprint(raw) != fingerprint(edited)
    for name in ("val", "test"):
        real, after = raw.splits[name], edited.splits[name]
        pd.testing.assert_frame_equal(real.x, after.x)
        assert (real.y == after.y).all() and (real.z == after.z).all()
        assert (after.weight == 1).all()
    batch = next(iter(edited.test_dataloader()[0]))
    assert (batch.y.numpy() == raw.splits["test"].y[: len(batch.y)]).all()


@pytest.mark.parametrize("via", ["sample", "weight"])
def test_weights_reach_the_batches(file, via):
    data = TableData(file, target="y", attribute="z", augment=[Reweigh()], via=via, batch_size=900)
    total = np.zeros((2, 2))
    for _ in range(20):
        for batch in data.train_dataloader():
            np.add.at(total, (batch.y.numpy(), batch.z.numpy()), batch.weight.numpy())
        data.seed += 1
    rr, sr = rates(total)
    assert rr > 0.95 and sr.min() > 0.95


# ---- Algorithm 1's weights alone ----------------------------------------------------------------
@pytest.mark.parametrize("tau", [0.6, 1.0])
def test_weights_have_rates_tau_and_one(tau):
    t = table(1, values=3)
    t = t.replace(weight=np.random.default_rng(0).integers(0, 3, len(t)).astype(float))
    out = Reweigh(tau).apply(t, np.random.default_rng(0), np.asarray)
    rr, sr = rates(joint(out, out.weight))
    assert rr == pytest.approx(tau) and sr == pytest.approx([1, 1])
    assert out.weight.mean() == pytest.approx(1)
    assert (out.weight[t.weight == 0] == 0).all() and (out.y == t.y).all()


def test_weights_that_draw():
    out = Reweigh(via="sample", size=100_000).apply(table(), np.random.default_rng(0), np.asarray)
    rr, sr = rates(joint(out))
    assert len(out) == 100_000 and (out.weight == 1).all()
    assert rr > 0.97 and sr.min() > 0.97


def test_wrong_weights(file):
    with pytest.raises(UserError, match=r"size is the number of rows to draw.*via: sample"):
        Reweigh(size=5)
    t = table()
    t = t.take((t.y == 0) | (t.z == 0))
    step = Reweigh()
    step.bind(("no", "yes"), ("f", "m"))
    with pytest.raises(UserError, match=r"no sample has \[label=yes, attribute=m\]"):
        step.apply(t, np.random.default_rng(0), np.asarray)
    for step in (Reweigh(), Massaging(), OptimizedPreprocessing()):
        with pytest.raises(UserError, match="1 training rows have no attribute"):
            step.apply(t.replace(z=np.append(t.z[:-1], -1)), np.random.default_rng(0), encode)


# ---- massaging ----------------------------------------------------------------------------------
@pytest.mark.parametrize("ranker", ["naive_bayes", "logistic"])
@pytest.mark.parametrize("seed", range(3))
def test_massaging_is_the_rule_of_its_authors(ranker, seed):
    t, step = table(seed), Massaging(ranker)
    out = step.apply(t, np.random.default_rng(0), encode)
    share = [t.y[t.z == z].mean() for z in (0, 1)]
    n = [int((t.z == z).sum()) for z in (0, 1)]
    # M = (rate of the favoured - rate of the deprived) n_f n_d / n promotions, as many demotions.
    moves = (share[1] - share[0]) * n[0] * n[1] / len(t)
    up, down = out.y > t.y, out.y < t.y
    assert up.sum() == pytest.approx(moves, abs=0.5) == down.sum()
    assert (t.z[up] == 0).all() and (t.z[down] == 1).all()
    assert step.changed == up.sum() + down.sum()
    assert f"{step.changed} of 3000 labels changed, {up.sum()} of them up" in step.report()
    after = [out.y[t.z == z].mean() for z in (0, 1)]
    assert abs(after[0] - after[1]) < 1 / min(n)
    # The promoted are ranked above the negatives that stay, the demoted below the positives.
    score = step._scores(encode(t.x), t)
    stay = (out.y == 0) & (t.z == 0)
    assert score[up].min() >= score[stay].max()
    assert score[down].max() <= score[(out.y == 1) & (t.z == 1)].min()
    pd.testing.assert_frame_equal(out.x, t.x)


def test_massaging_of_many_groups_changes_as_few_labels_as_possible():
    t, step = table(4, values=4), Massaging()
    out = step.apply(t, np.random.default_rng(0), encode)
    expected = sum(
        abs(t.y[t.z == z].sum() - round((t.z == z).sum() * t.y.mean())) for z in range(4)
    )
    assert step.changed == expected > 100
    assert rates(joint(out))[1].min() > 0.99


def test_massaging_needs_two_classes():
    t = table().replace(y=np.arange(3000) % 3)
    with pytest.raises(UserError, match=r"Massaging needs binary labels.*use MaxEntropy"):
        Massaging().apply(t, np.random.default_rng(0), encode)


# ---- subsets ------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [4, 37, 1000])
def test_subsets_keep_the_shares_of_every_cell(size):
    t = table()
    out = Subset(size).apply(t, np.random.default_rng(0), np.asarray)
    assert len(out) == size
    before, after = t.counts(2, 2), out.counts(2, 2)
    assert (after >= 1).all()
    assert np.abs(after - size * before / len(t)).max() <= 2
    other = Subset(size).apply(t, np.random.default_rng(1), np.asarray)
    assert out.x.index.tolist() != other.x.index.tolist() or size == 4
    assert out.x.index.is_monotonic_increasing and out.x.index.is_unique
    assert len(Subset(10**6).apply(t, np.random.default_rng(0), np.asarray)) == len(t)
    with pytest.raises(UserError, match=r"Subset\.size: expected an integer of at least 1"):
        Subset(0)


# ---- optimised pre-processing -------------------------------------------------------------------
def linear_program(t: Table, step: OptimizedPreprocessing) -> float:
    """The optimum by scipy, written out row by row and point by point."""
    a, b = sorted(set(t.x["a"])), sorted(set(t.x["b"]))
    points = list(itertools.product((0, 1), a, b))
    rows = [(y, p, q, z) for (y, p, q) in points for z in (0, 1)]
    count = dict.fromkeys(rows, 0.0)
    for y, p, q, z in zip(t.y, t.x["a"], t.x["b"], t.z, strict=True):
        count[y, p, q, z] += 1 / len(t)
    rows = [r for r in rows if count[r]]
    mass = {z: sum(count[r] for r in rows if r[3] == z) for z in (0, 1)}

    def distance(row, point):
        label = 0.0 if row[0] == point[0] else step.label_cost[0 if point[0] > row[0] else 1]
        return label + abs(a.index(row[1]) - a.index(point[1])) + (row[2] != point[2])

    # Variables: the edits, then |difference| of every point.
    index = {e: i for i, e in enumerate(itertools.product(range(len(rows)), range(len(points))))}
    size = len(index) + len(points)
    cost = np.append(np.zeros(len(index)), np.full(len(points), 0.5))
    equal, upper, bound = [], [], []
    for k, row in enumerate(rows):
        line = np.zeros(size)
        line[[index[k, j] for j in range(len(points))]] = 1
        equal.append(line)
        for c, d in zip(step.thresholds, step.probabilities, strict=True):
            line = np.zeros(size)
            for j, point in enumerate(points):
                line[index[k, j]] = distance(row, point) > c
            upper.append(line)
            bound.append(d)
    gap = np.zeros(size)
    for (k, j), i in index.items():
        z = rows[k][3]
        gap[i] = points[j][0] * count[rows[k]] / mass[z] * (1 if z else -1)
    upper += [gap, -gap]
    bound += [step.epsilon] * 2
    for j, point in enumerate(points):
        line = np.zeros(size)
        for k, row in enumerate(rows):
            line[index[k, j]] = count[row]
        goal = sum(count[r] for r in rows if r[:3] == point)
        for sign in (1, -1):
            with_slack = sign * line
            with_slack[len(index) + j] = -1
            upper.append(with_slack)
            bound.append(sign * goal)
    found = optimize.linprog(cost, upper, bound, equal, np.ones(len(rows)), bounds=(0, None))
    assert found.status == 0
    return found.fun


@NEEDS_CVXPY
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("label_cost", [(1.0, 1.0), (0.0, 1.5)])
@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_calmon_reaches_the_optimum_of_another_solver(seed, label_cost, epsilon):
    t = table(seed, 300)
    step = OptimizedPreprocessing(epsilon, [0.99, 1.99], [0.3, 0.1], label_cost)
    out = step.apply(t, np.random.default_rng(0), encode)
    assert step.change == pytest.approx(linear_program(t, step), abs=1e-7)
    assert set(out.x["b"]) <= {"u", "v"} and out.x.dtypes.equals(t.x.dtypes)
    assert (out.z == t.z).all()


@NEEDS_CVXPY
def test_calmon_draws_what_it_solved():
    t = table(0, 40_000)
    step = OptimizedPreprocessing(0.02, [0.99, 1.99], [0.4, 0.0])
    out = step.apply(t, np.random.default_rng(0), encode)
    share = [out.y[out.z == z].mean() for z in (0, 1)]
    assert abs(share[1] - share[0]) < 0.02 + 4 * np.sqrt(0.5 / len(t))
    before = abs(t.y[t.z == 1].mean() - t.y[t.z == 0].mean())
    assert before > 0.1
    moved = (out.y != t.y) + np.abs(out.x["a"] - t.x["a"]) + (out.x["b"] != t.x["b"])
    assert moved.max() <= 1  # an edit beyond 1.99 has probability 0, and distances are whole
    assert (moved > 0.99).mean() < 0.41 and (moved > 0.99).any()
    assert f"{(out.y != t.y).sum()} labels and" in step.report()
    unchanged = moved == 0
    pd.testing.assert_frame_equal(out.x[unchanged], t.x[unchanged])


@NEEDS_CVXPY
def test_calmon_in_a_data_set(file):
    edited = TableData(file, target="y", attribute="z", augment=[OptimizedPreprocessing(0.1)])
    raw = TableData(file, target="y", attribute="z")
    assert rates(edited.train_counts)[1].min() > rates(raw.train_counts)[1].min() + 0.03
    for name in ("val", "test"):
        pd.testing.assert_frame_equal(edited.splits[name].x, raw.splits[name].x)
    array = Table(encode(table().x).astype(np.float32), table().y, table().z)
    out = OptimizedPreprocessing(0.1).apply(array, np.random.default_rng(0), np.asarray)
    assert out.x.dtype == np.float32 and out.x.shape == array.x.shape


@NEEDS_CVXPY
def test_calmon_refuses_what_has_no_solution():
    step = OptimizedPreprocessing(0.0, [0.5], [0.01])
    with pytest.raises(UserError, match=r"no edit of the rows brings.*raise epsilon or probab"):
        step.apply(table(), np.random.default_rng(0), encode)


def test_calmon_refuses_large_domains_and_wrong_options():
    rng = np.random.default_rng(0)
    x = pd.DataFrame({f"c{i}": rng.integers(0, 4 + i, 3000) for i in range(6)})
    t = Table(x, rng.integers(0, 2, 3000), rng.integers(0, 2, 3000))
    with pytest.raises(UserError, match=r"pairs of rows.*: c5 \(9\), c4 \(8\), c3 \(7\); or"):
        OptimizedPreprocessing(max_bins=20).apply(t, rng, np.asarray)
    for wrong, words in (
        ({"epsilon": 2.0}, r"epsilon: expected a number in \[0, 1\]"),
        ({"thresholds": [1.0]}, "needs ascending thresholds and as many probabilities"),
        ({"thresholds": [2.0, 1.0], "probabilities": [0.1, 0.1]}, "needs ascending thresholds"),
        ({"probabilities": [0.1, 0.1, 2.0]}, r"probabilities: expected .* numbers in \[0, 1\]"),
        ({"label_cost": (-1.0, 0.0)}, "label_cost: expected a list of numbers of at least 0"),
    ):
        with pytest.raises(UserError, match=f"OptimizedPreprocessing.{words}"):
            OptimizedPreprocessing(**wrong)


def test_calmon_names_the_missing_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(UserError, match=r"needs cvxpy: pip install frbench\[calmon\]"):
        OptimizedPreprocessing().apply(table(), np.random.default_rng(0), encode)


def test_folds_draw_independently(file):
    """One random stream for all folds would hide the noise of drawing from their intervals."""
    shares = []
    for fold in range(10):
        data = TableData(file, target="y", attribute="z", split="folds", fold=fold, repeats=2,
                         augment=[MaxEntropy(size=300)])  # fmt: skip
        shares.append(data.training.table.z.mean())
        again = TableData(file, target="y", attribute="z", split="folds", fold=fold, repeats=2,
                          augment=[MaxEntropy(size=300)])  # fmt: skip
        assert fingerprint(again) == fingerprint(data)
    assert 0.4 < np.std(shares) / (0.5 / np.sqrt(300)) < 2
