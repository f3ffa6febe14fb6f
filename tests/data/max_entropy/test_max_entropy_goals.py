"""Max entropy with several protected and outcome columns, a band, and goals that cannot be met."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from frbench.contracts.errors import UserError
from frbench.data.max_entropy import Column, Domain, MaxEntropy, Samples, rates, reweigh, solve
from frbench.data.table import Table
from frbench.data.tables.table_data import TableData

COLUMNS = (
    Column("sex", ("f", "m")),
    Column("paid", (False, True)),
    Column("race", ("a", "b", "c")),
    Column("house", ("own", "rent")),
    Column("size", (1.0, 2.0, 4.0), "ordinal"),
)


def people(seed: int, n: int = 400) -> Samples:
    """Samples whose outcomes depend on sex and race, every combination with rows."""
    rng, domain = np.random.default_rng(seed), Domain(COLUMNS)
    codes = np.stack([rng.choice(w, n, p=rng.dirichlet(np.full(w, 4))) for w in domain.widths], 1)
    codes[:, 1] = rng.random(n) < 0.2 + 0.2 * codes[:, 0] + 0.15 * codes[:, 2]
    codes[:24, [0, 1, 2, 3]] = list(itertools.product(range(2), range(2), range(3), range(2)))
    codes[-2:, 4] = (0, 2)
    return Samples.compress(domain, codes, rng.integers(1, 4, n).astype(float))


def enumerate_points(samples: Samples) -> np.ndarray:
    return np.array(list(itertools.product(*(range(w) for w in samples.domain.widths))))


def slow_solution(
    samples: Samples, features: np.ndarray, q: np.ndarray, theta: np.ndarray
) -> np.ndarray:
    """p ~ q exp<f, lambda> with mean theta, by a general optimiser over all points."""

    def dual(lam):
        a = np.log(q) + (features - theta) @ lam
        p = np.exp(a - a.max())
        return a.max() + np.log(p.sum()), (p / p.sum()) @ (features - theta)

    start = np.zeros(features.shape[1])
    lam = optimize.minimize(
        dual, start, jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000}
    ).x
    p = q * np.exp((features - theta) @ lam)
    return p / p.sum()


# ---- several columns ----------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("label", [["paid"], ["paid", "house"]])
def test_intersections_equal_a_general_optimiser_over_all_points(seed, label):
    samples, c, tau = people(seed), 0.3, 0.9
    solution = solve(samples, label, ["sex", "race"], c, tau=tau)
    points = enumerate_points(samples)
    names = [column.name for column in COLUMNS]
    y_at, z_at = [names.index(n) for n in label], [names.index("sex"), names.index("race")]

    # Algorithm 1 on tuples, one distinct row at a time.
    def key(row, at):
        return tuple(row[at])

    n_k, rows = samples.counts, samples.rows
    weight = np.zeros(len(rows))
    z_of = [key(r, z_at) for r in rows]
    most = max(set(z_of), key=lambda z: sum(n_k[i] for i, w in enumerate(z_of) if w == z))
    for k, row in enumerate(rows):
        y, z = key(row, y_at), key(row, z_at)
        same_y = np.array([key(r, y_at) == y for r in rows])
        same_z = np.array([w == z for w in z_of])
        weight[k] = n_k[k] * n_k[same_y].sum() / n_k[same_y & same_z].sum()
        weight[k] *= 1 if z == most else tau
    weight /= weight.sum()
    np.testing.assert_allclose(reweigh(samples, label, ["sex", "race"], tau), weight, atol=1e-14)

    # Its means: shares of all combinations of z, of all of y, and the other columns.
    features = []
    for at in (z_at, y_at):
        values = sorted({key(p, at) for p in points})
        features.append(
            np.array([[key(p, at) == v for v in values[1:]] for p in points], dtype=float)
        )
    rest = [i for i in range(5) if i not in y_at + z_at]
    for i in rest:
        column = COLUMNS[i]
        number = np.array(column.values, float) if column.kind == "ordinal" else np.arange(2.0)
        features.append(number[points[:, i]][:, None])
    f = np.concatenate(features, 1)
    place = {tuple(p): i for i, p in enumerate(points.tolist())}
    w = np.zeros(len(points))
    w[[place[tuple(r)] for r in rows.tolist()]] = weight
    p = slow_solution(samples, f, (1 - c) * w + c / len(points), w @ f)

    domain = solution.samples.domain
    crossed = domain.codes(
        {
            column.name: [
                "&".join(str(COLUMNS[names.index(part.name)].values[point[names.index(part.name)]])
                         for part in column.parts)
                if column.parts else column.values[point[names.index(column.name)]]
                for point in points
            ]
            for column in domain.columns
        }
    )  # fmt: skip
    np.testing.assert_allclose(solution.probability(crossed), p, atol=1e-8)
    joint = {}
    for point, share in zip(points, p, strict=True):
        cell = (key(point, y_at), key(point, z_at))
        joint[cell] = joint.get(cell, 0) + share
    ys, zs = (sorted({cell[i] for cell in joint}) for i in (0, 1))
    slow = np.array([[joint[y, z] for z in zs] for y in ys])
    np.testing.assert_allclose(solution.joint, slow, atol=1e-8)
    pz = slow.sum(0)
    assert solution.representation_rate == pytest.approx(pz.min() / pz.max(), abs=1e-7)
    assert solution.representation_rate == pytest.approx(tau)
    for i, row in enumerate(slow / pz):
        assert solution.statistical_rate[i] == pytest.approx(row.min() / row.max(), abs=1e-7)


def test_rates_of_every_column_are_not_below_those_of_the_intersections():
    for seed in range(5):
        solution = solve(people(seed), "paid", ["sex", "race"], 0.4)
        by_column = solution.by_protected(solution.joint)
        assert list(by_column) == ["sex", "race", "sex&race"]
        assert by_column["sex"].shape == (2, 2) and by_column["race"].shape == (2, 3)
        lowest = rates(by_column["sex&race"])
        for joint in by_column.values():
            assert joint.sum() == pytest.approx(1)
            rr, sr = rates(joint)
            assert rr >= lowest[0] - 1e-12 and (sr >= lowest[1] - 1e-12).all()
        text = solution.describe()
        for name in ("sex", "race", "sex&race"):
            assert f"representation rate of {name}: " in text
            assert f"statistical rate of paid=True over {name}: " in text


def test_crossed_columns_are_taken_apart_again():
    samples = people(0)
    crossed, name = samples.cross(["sex", "race"], "protected")
    assert name == "sex&race" and crossed.domain.size == samples.domain.size
    frame = crossed.domain.frame(crossed.rows)
    pd.testing.assert_frame_equal(
        frame[[column.name for column in COLUMNS]], samples.domain.frame(samples.rows)
    )
    assert frame["paid"].dtype == bool and frame["size"].dtype == float
    assert samples.cross("sex", "protected") == (samples, "sex")


# ---- the band -----------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("band", [1e-5, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("protected", ["sex", "race", ["sex", "race"]])
def test_band_is_the_best_distribution_inside_it(seed, band, protected):
    samples = people(seed)
    exact = solve(samples, "paid", protected, 0.4, "data", "balanced")
    inside = solve(samples, "paid", protected, 0.4, "data", "balanced", band=band)
    free = solve(samples, "paid", protected, 0.4, "data", "balanced", band=0.999)
    goal, shares = exact.shares[exact.z], inside.shares[inside.z]
    assert np.abs(shares - goal).max() <= band + 1e-10
    assert inside.gradient_norm < 1e-10
    # The dual is -KL(p* || q): a wider band lets p* come nearer to the prior.
    assert exact.dual <= inside.dual + 1e-12 <= free.dual + 2e-12
    for i, other in enumerate(inside.shares):
        if i != inside.z:
            column = inside.samples.domain.columns[i]
            if column.kind == "categorical":
                assert other == pytest.approx(exact.shares[i], abs=1e-9)
    # Moving mass from one share, above its lower end, to another, below its upper end, cannot
    # lower KL(p || q), whose derivative is the difference of their tilts.
    column = inside.samples.domain.columns[inside.z]
    tilt = column.points @ inside.multipliers[inside.samples.domain.blocks[inside.z]]
    can_rise, can_fall = shares < goal + band - 1e-9, shares > goal - band + 1e-9
    assert can_rise.any() and can_fall.any()
    for up, down in itertools.product(np.flatnonzero(can_rise), np.flatnonzero(can_fall)):
        assert tilt[up] >= tilt[down] - 1e-9


def test_band_around_a_share_of_zero_and_wide_bands():
    domain = Domain((Column("y", (0, 1)), Column("z", ("a", "b", "c"))))
    samples = Samples.compress(domain, np.array([[0, 0], [1, 1], [0, 1], [1, 0]]))
    with pytest.raises(UserError, match="no share to 'c' of column 'z'"):
        solve(samples, "y", "z", 0.5, "data", "data")
    solution = solve(samples, "y", "z", 0.5, "data", "data", band=0.1)
    assert solution.shares[1][2] == pytest.approx(0.1, abs=1e-10)
    # Where the prior lies inside the band, and the other means are its own, nothing is tilted.
    still = solve(people(0), "paid", "sex", 1.0, marginals={"sex": 0.6, "paid": 0.5, "house": 0.5,
        "race": {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, "size": 7 / 3}, band=0.2)  # fmt: skip
    assert still.dual == pytest.approx(0, abs=1e-9) and still.shares[0][1] == pytest.approx(0.5)


def test_band_without_smoothing():
    samples = people(1)
    given = {"race": {"a": 0.6, "b": 0.2, "c": 0.2}}
    solution = solve(samples, "paid", "race", 0.0, "data", given, band=0.05)
    assert solution.point.rho == 1 and solution.gradient_norm < 1e-10
    assert np.abs(solution.shares[solution.z] - [0.6, 0.2, 0.2]).max() <= 0.05 + 1e-10


# ---- what cannot be met: one error that names the column and the remedy -------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"marginals": {"size": 4.5}}, "column 'size'.*drop the value.*or give other marginals"),
        (
            {"marginals": {"race": {"a": 0.999999, "b": 1e-6}}, "smoothing": 0.0},
            "smoothing 0.*column 'race'.*use smoothing above 0, or marginals nearer",
        ),
        ({"protected": ["sex", "rase"]}, "no protected column 'rase'; the columns are: sex, paid"),
        ({"label": ["paid", "paid"]}, r"distinct label columns, got \['paid', 'paid'\]"),
        ({"protected": []}, "one or more distinct protected columns"),
        ({"protected": "size"}, "'size' is ordinal.*declare it categorical"),
        ({"label": "sex"}, "column 'sex' is both label and protected; choose another"),
        ({"tau": 0.0}, r"solve.tau: expected a number in \(0, 1\], got 0.0"),
        ({"smoothing": 1.5}, r"solve.smoothing: expected a number in \[0, 1\], got 1.5"),
        ({"band": 1.0}, r"solve.band: expected a number in \[0, 1\), got 1.0"),
        (
            {"marginals": {"race": {"d": 1.0}}},
            "'race' holds 'd'.*declare .a, b, c.; add",
        ),
    ],
)
def test_infeasible_goals(options, message):
    options = {"label": "paid", "protected": "sex", **options}
    with pytest.raises(UserError, match=message):
        solve(people(0), **options)


def test_an_intersection_without_rows_is_named():
    samples = people(0)
    keep = ~((samples.rows[:, 0] == 0) & (samples.rows[:, 2] == 1))
    part = Samples.compress(samples.domain, samples.rows[keep])
    with pytest.raises(UserError, match=r"no sample has \[paid=False, sex&race=f&b; .*merge or"):
        solve(part, "paid", ["sex", "race"])
    assert solve(part, "paid", ["sex", "race"], 0.5, "data", "balanced").gradient_norm < 1e-10


def test_a_domain_too_large_for_kl_says_so():
    rng = np.random.default_rng(0)
    domain = Domain(tuple(Column(f"c{i}", (0, 1)) for i in range(40)))
    samples = Samples.compress(domain, (rng.random((300, 40)) < 0.4).astype(np.int64))
    text = solve(samples, "c0", ["c1", "c2"]).describe()
    assert "KL to the data left out: the domain has 1.1e+12 points" in text


# ---- names in the step's messages ---------------------------------------------------------------
@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "hired": rng.choice(["no", "yes"], 600),
            "race": rng.choice(["black", "white", "asian"], 600, p=[0.49, 0.49, 0.02]),
            "job": rng.choice(["cook", "nurse"], 600),
        }
    )
    frame.loc[frame["race"] == "asian", "hired"] = "no"
    frame.to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "t.csv")


def training(file, **options):
    step = MaxEntropy(**options)
    data = TableData(file, target="hired", attribute="race", augment=[step])
    return step, data.training.table


def test_messages_name_classes_and_attribute_values(file):
    with pytest.raises(UserError, match=r"no sample has \[label=yes, attribute=asian\]"):
        training(file)
    step, _ = training(file, prior="data", marginals="balanced")
    assert "statistical rate of label=yes over attribute" in step.report()
    given = {"attribute": {"black": 0.5, "white": 0.3, "asian": 0.2}}
    step, table = training(file, prior="data", marginals=given, size=50_000)
    assert step.solution.shares[1] == pytest.approx([0.2, 0.5, 0.3])  # asian, black, white
    assert np.bincount(table.z) / len(table) == pytest.approx([0.2, 0.5, 0.3], abs=0.01)
    with pytest.raises(UserError, match=r"'attribute' holds 'green'.*declare .asian, bla"):
        training(file, prior="data", marginals={"attribute": {"green": 1.0}})


def test_band_of_the_step(file):
    step, _ = training(file, prior="data", marginals="balanced", band=0.05)
    assert np.abs(step.solution.shares[1] - 1 / 3).max() == pytest.approx(0.05)


def test_texts_that_are_no_categories_are_refused():
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"name": [f"n{i}" for i in range(3000)], "a": rng.integers(0, 2, 3000)})
    table = Table(x, rng.integers(0, 2, 3000), rng.integers(0, 2, 3000))
    with pytest.raises(UserError, match="column 'name' has 3000 categories, more than 1000; drop"):
        MaxEntropy().apply(table, rng, np.asarray)
