import numpy as np
import pytest
from scipy.stats import binomtest

from frbench.metrics import (
    corrected,
    count_intervals,
    count_metrics,
    evaluate,
    four_fifths,
    intervals,
    tabulate,
    unknown_bounds,
)
from frbench.metrics.estimates import effective_size, wilson
from frbench.metrics.names import DIRECTION


def sample(rng, n=400):
    y, z = rng.integers(2, size=n), rng.integers(2, size=n)
    p = np.where(rng.random(n) < 0.75 + 0.1 * z, y, 1 - y)
    return y, p, z


def test_coverage_is_near_its_level():
    truth = {"accuracy": 0.8, "selection_rate/z=0": 0.5, "true_positive_rate/z=1": 0.85}
    truth |= {"average_odds_difference": 0.0, "group_accuracy/y=1,z=0": 0.75}
    rng = np.random.default_rng(0)
    hits = dict.fromkeys(truth, 0)
    for _ in range(200):
        found = count_intervals(tabulate(*sample(rng), 2, 2))
        for key, value in truth.items():
            hits[key] += found[key][0] <= value <= found[key][1]
    for key, number in hits.items():
        assert 0.88 <= number / 200 <= 0.995, key


def test_accuracies_have_wilson_intervals():
    y, p, z = sample(np.random.default_rng(3))
    found = intervals(y, p, z, n_resamples=10)
    for key, rows in (
        ("accuracy", y >= 0),
        ("accuracy/z=1", z == 1),
        ("group_accuracy/y=1,z=0", (y == 1) & (z == 0)),
    ):
        hits = int((y == p)[rows].sum())
        exact = binomtest(hits, int(rows.sum())).proportion_ci(method="wilson")
        assert found[key] == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_wilson_of_no_trials_is_undefined():
    assert np.isnan(wilson(np.array([0]), np.array([0]))).all()


def test_the_level_decides_the_width():
    table = tabulate(*sample(np.random.default_rng(0)), 2, 2)
    for name in ("accuracy_gap", "accuracy", "group_accuracy/y=0,z=0", "worst_group_accuracy"):
        wide, narrow = (count_intervals(table, level)[name] for level in (0.99, 0.5))
        assert wide[0] <= narrow[0] < narrow[1] < wide[1], name
        assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0]), name


def test_one_number_has_one_interval_and_empty_groups_stay_undefined():
    y = np.array([0] * 50 + [1] * 2)
    z = np.array([0, 1] * 25 + [1, 1])
    found = count_intervals(tabulate(y, y, z, 2, 2))
    assert found["true_positive_rate/z=1"] == found["group_accuracy/y=1,z=1"]
    assert found["true_positive_rate/z=1"][0] == pytest.approx(0.342, abs=1e-3)
    assert np.isnan(found["group_accuracy/y=1,z=0"]).all()
    assert np.isnan(found["equal_opportunity_difference"]).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_hold_their_value(weighted):
    rng = np.random.default_rng(0)
    y, z = rng.integers(3, size=500), rng.integers(-1, 5, size=500)
    scores = rng.dirichlet(np.ones(3), size=500)
    columns = y, scores.argmax(1), z, scores, rng.random(500) if weighted else None
    values = evaluate(*columns)
    found = intervals(*columns, n_resamples=50)
    without = {"empty_groups", "expected_calibration_error", "score_kl", "score_kl_noise_floor"}
    assert values.keys() - found.keys() == without
    for key, (low, high) in found.items():
        assert low - 1e-9 <= values[key] <= high + 1e-9, key


@pytest.mark.parametrize("groups", [2, 8])
def test_gaps_and_minima_of_equal_groups_are_covered(groups):
    """A small version of benchmarks/coverage.py, where percentiles of resamples cover in 0 %."""
    rng = np.random.default_rng(0)
    cells = np.zeros((2, groups + 1, 2))
    cells[:, :-1] = np.array([[0.51, 0.09], [0.08, 0.32]])[:, None] / groups
    tables = rng.multinomial(400 * groups, cells.ravel(), 400).reshape(-1, *cells.shape)
    found, truth = count_intervals(tables), count_metrics(cells)
    for key in (
        "worst_group_accuracy",
        "worst_attribute_accuracy",
        "accuracy_gap",
        "demographic_parity_difference",
        "disparate_impact",
        "equal_opportunity_difference",
        "equalized_odds_difference",
        "equalized_odds_mean",
        "balanced_accuracy",
        "theil_index",
    ):
        low, high = found[key]
        inside = (low <= truth[key] + 1e-12) & (truth[key] <= high + 1e-12)
        assert inside.mean() >= 0.9, key
        assert (high - low).mean() < 0.5, key


def test_many_tables_have_the_intervals_of_each():
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 40, size=(3, 3, 5, 3))
    found = count_intervals(tables)
    for i, table in enumerate(tables):
        for key, (low, high) in count_intervals(table).items():
            if key != "theil_index":  # drawn
                ends = found[key][0][i], found[key][1][i]
                assert ends == pytest.approx((float(low), float(high))), key


def test_every_cell_has_its_own_effective_size():
    weight = np.r_[100.0, 100.0, np.ones(1000)]
    y = np.r_[0, 1, np.arange(1000) % 2]
    z = np.r_[0, 0, np.ones(1000, int)]
    found = intervals(y, np.zeros(1002, int), z, weight=weight)
    assert found["accuracy/z=0"] == pytest.approx((0.0945, 0.9055), abs=1e-3)
    assert found["accuracy/z=1"] == pytest.approx(tuple(wilson(500, 1000)), abs=1e-9)
    # Rows of one outcome that weigh more than the others are fewer than Kish's number.
    rows = np.array([90.0, 990.0, 900.0, 1800.0])
    assert effective_size(*rows) < rows[1] ** 2 / rows[3]


def test_equal_weights_change_nothing():
    y, p, z = sample(np.random.default_rng(0))
    plain, weighted = intervals(y, p, z), intervals(y, p, z, weight=np.full(len(y), 3.0))
    for key, ends in plain.items():
        if key != "theil_index":
            assert weighted[key] == pytest.approx(ends, abs=1e-9), key


def test_a_group_of_few_rows_takes_part_only_where_it_is_asked_to():
    y, z = np.repeat([0, 1, 1], [100, 100, 3]), np.r_[np.tile([0, 1], 100), 2, 2, 2]
    p = np.r_[y[:200], 0, 0, 0]
    every, large = evaluate(y, p, z), evaluate(y, p, z, min_group_rows=10)
    assert every["worst_group_accuracy"] == every["group_accuracy/y=1,z=2"] == 0.0
    assert large["worst_group_accuracy"] == 1.0 and large["demographic_parity_difference"] == 0.0
    assert large["group_accuracy/y=1,z=2"] == large["rare_groups_accuracy"] == 0.0
    assert "rare_groups_accuracy" not in every
    heavy = evaluate(y, p, z, weight=np.where(z == 2, 100.0, 1.0), min_group_rows=10)
    assert heavy["worst_group_accuracy"] == 1.0  # rows count, whatever they weigh
    none = evaluate(y, p, z, min_group_rows=1000)
    assert none["worst_group_accuracy"] == 0.0  # fewer than two groups have as many: all take part


def test_corrected_estimates_are_exceeded_about_half_of_the_time():
    rng = np.random.default_rng(0)
    cells = np.zeros((2, 3, 2))
    cells[:, :-1] = np.array([[0.51, 0.09], [0.08, 0.32]])[:, None] / 2
    tables = rng.multinomial(600, cells.ravel(), 60).reshape(-1, *cells.shape)
    plugin = [float(count_metrics(t)["accuracy_gap"]) for t in tables]
    found = [corrected(t) for t in tables]
    assert np.mean(np.array(plugin) > 0) == 1
    assert 0.25 < np.mean([f["accuracy_gap"] > 0 for f in found]) < 0.75
    assert abs(np.mean([f["accuracy_variance"] for f in found])) < 5e-4
    for key in ("worst_group_accuracy", "disparate_impact"):
        moved = [f[key] - float(count_metrics(t)[key]) for f, t in zip(found, tables, strict=True)]
        assert DIRECTION[key] * np.mean(moved) > 0, key


def test_bounds_hold_for_every_assignment_of_rows_without_attribute():
    rng = np.random.default_rng(0)
    table = rng.integers(1, 6, size=(2, 3, 2))
    table[:, -1] = [[1, 2], [2, 1]]
    bounds, seen = unknown_bounds(table), {}
    for first in np.ndindex(2, 3, 3, 2):
        assigned = table.copy()
        part = np.reshape(first, (2, 2))
        assigned[:, 0] += part
        assigned[:, 1] += table[:, -1] - part
        assigned[:, -1] = 0
        for key, value in count_metrics(assigned).items():
            seen.setdefault(key, []).append(float(value))
    assert len(bounds) == 7
    for key, (low, high) in bounds.items():
        assert low - 1e-9 <= min(seen[key]) and max(seen[key]) <= high + 1e-9, key
        found = max(seen[key]) if DIRECTION[key] < 0 else min(seen[key])
        assert (high if DIRECTION[key] < 0 else low) == pytest.approx(found), key
    assert unknown_bounds(tabulate(*sample(rng), 2, 2)) == {}


def test_score_intervals_have_the_width_of_resampled_rows():
    rng = np.random.default_rng(0)
    y, p, z = sample(rng, 3000)
    scores = np.clip(0.3 + 0.4 * y + 0.2 * rng.normal(size=3000), 0, 1)
    found = intervals(y, p, z, scores, n_resamples=400)
    rows = [rng.integers(3000, size=3000) for _ in range(150)]
    slow = [evaluate(y[i], p[i], z[i], scores[i]) for i in rows]
    for key in (
        "auroc",
        "auroc/z=1",
        "average_precision",
        "brier_score",
        "negative_log_likelihood",
        "worst_alpha_loss/alpha=0.1",
    ):
        spread = 2 * 1.96 * np.std([values[key] for values in slow])
        assert np.diff(found[key])[0] == pytest.approx(spread, rel=0.35), key


def test_score_intervals_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    y, z, scores = rng.integers(2, size=3000), rng.integers(2, size=3000), rng.random(3000)
    order = np.argsort(scores)
    mixed = intervals(y, y, z, scores)["brier_score"]
    in_order = intervals(y[order], y[order], z[order], scores[order])["brier_score"]
    assert np.diff(in_order)[0] == pytest.approx(np.diff(mixed)[0], rel=0.35)


def rule(*rates, n=1000):
    z = np.repeat(np.arange(len(rates)), n)
    p = np.concatenate([np.arange(n) < round(r * n) for r in rates]).astype(int)
    return four_fifths(tabulate(p, p, z, 2, len(rates)), tuple(map(str, range(len(rates)))))


def test_four_fifths_verdicts():
    everyone, *pairs = rule(0.5, 0.25, 0.41, 0.49)
    assert everyone.groups == () and everyone.ratio == 0.5 and everyone.verdict == "fail"
    verdicts = {pair.groups: pair.verdict for pair in pairs}
    assert verdicts == {
        ("1", "0"): "fail",
        ("2", "0"): "undecided",
        ("3", "0"): "pass",
        ("1", "2"): "fail",
        ("1", "3"): "fail",
        ("2", "3"): "undecided",
    }
    for pair in pairs:
        assert pair.interval[0] <= pair.ratio <= pair.interval[1] <= 1
        assert bool(pair.note) == (pair.verdict == "undecided")


def test_four_fifths_of_few_rows_is_undecided_and_says_what_would_decide():
    everyone, pair = rule(0.5, 0.5, n=20)
    assert everyone.verdict == pair.verdict == "undecided"
    assert "fails if the true ratio is 0." in rule(0.5, 0.5, n=60)[1].note
    p, z = np.array([1] * 5 + [0] * 6), np.array([0] * 10 + [1])
    _, pair = four_fifths(tabulate(p, p, z, 2, 2), ("A", "B"))
    assert pair.verdict == "undecided" and pair.ratio == 0
    assert pair.note.startswith("B has 1 row: no ratio could be decided")


@pytest.mark.parametrize("split", [[0.5, 0.5], [0.97, 0.03], [0.6, 0.25, 0.12, 0.03]])
def test_a_fair_classifier_fails_in_at_most_one_table_in_twenty(split):
    rng = np.random.default_rng(0)
    names = tuple(map(str, range(len(split))))
    for n in (60, 300):
        fails = 0
        for _ in range(100):
            z = rng.choice(len(split), n, p=split)
            p = (rng.random(n) < 0.4).astype(int)
            found = four_fifths(tabulate(p, p, z, 2, len(split)), names)
            fails += any(one.verdict == "fail" for one in found)
        assert fails <= 5, n


def test_four_fifths_leaves_out_values_without_rows():
    y, z = np.array([0, 1]), np.array([0, 2])
    found = four_fifths(tabulate(y, y, z, 2, 3), ("a", "b", "c"))
    assert [r.groups for r in found] == [(), ("a", "c")]
    assert four_fifths(tabulate(y, y, y * 0, 2, 1), ("a",)) == []


def test_four_fifths_of_many_values_compares_with_the_most_selected():
    rng = np.random.default_rng(0)
    z = np.repeat(np.arange(60), 50)
    p = (rng.random(3000) < np.where(z == 33, 0.99, 0.4)).astype(int)
    everyone, *pairs = four_fifths(tabulate(p, p, z, 2, 60), tuple(map(str, range(60))))
    assert everyone.groups == () and len(pairs) == 59
    assert all(pair.groups[1] == "33" for pair in pairs)
