import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp

from frbench.metrics import bootstrap, count_metrics, evaluate, four_fifths, intervals, tabulate
from frbench.metrics.rows import to_rows
from frbench.metrics.uncertainty import effective_size, percentile, resample, wilson


def sample(rng, n=400):
    y, z = rng.integers(2, size=n), rng.integers(2, size=n)
    p = np.where(rng.random(n) < 0.75 + 0.1 * z, y, 1 - y)
    return y, p, z


def test_resampled_tables_have_the_law_of_resampled_rows():
    y, p, z = sample(np.random.default_rng(0))
    tables = resample(tabulate(y, p, z, 2, 2), 600, seed=0, draws=None)
    fast = count_metrics(tables)
    rng = np.random.default_rng(1)
    rows = [rng.integers(len(y), size=len(y)) for _ in range(600)]
    slow = count_metrics(np.stack([tabulate(y[i], p[i], z[i], 2, 2) for i in rows]))
    for key in ("accuracy", "worst_group_accuracy", "disparate_impact", "equalized_odds_sum"):
        assert ks_2samp(fast[key], slow[key]).pvalue > 1e-3, key


def test_coverage_is_near_its_level():
    truth = {"accuracy": 0.8, "selection_rate/z=0": 0.5, "true_positive_rate/z=1": 0.85}
    truth |= {"average_odds_difference": 0.0, "group_accuracy/y=1,z=0": 0.75}
    rng = np.random.default_rng(0)
    hits = dict.fromkeys(truth, 0)
    for _ in range(200):
        found = bootstrap(tabulate(*sample(rng), 2, 2), 200)
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


def test_the_seed_decides_the_interval_and_the_level_its_width():
    table = tabulate(*sample(np.random.default_rng(0)), 2, 2)
    key = "accuracy_gap"
    assert bootstrap(table)[key] == bootstrap(table)[key] != bootstrap(table, seed=1)[key]
    for name in (key, "accuracy", "group_accuracy/y=0,z=0"):
        wide, narrow = bootstrap(table, level=0.99)[name], bootstrap(table, level=0.5)[name]
        assert wide[0] < narrow[0] < narrow[1] < wide[1], name


def test_undefined_resamples_are_left_out_and_empty_groups_stay_undefined():
    y = np.array([0] * 50 + [1] * 2)
    z = np.array([0, 1] * 25 + [1, 1])
    found = bootstrap(tabulate(y, y, z, 2, 2))
    assert found["true_positive_rate/z=1"] == (1.0, 1.0)
    assert np.isnan(found["group_accuracy/y=1,z=0"]).all()
    assert np.isnan(found["equal_opportunity_difference"]).all()


def test_intervals_hold_their_value():
    assert percentile(np.array([0.3, 0.4]), 0.1, 0.9)[0] == 0.1
    assert percentile(np.array([0.3, 0.4]), 0.5, 0.9)[1] == 0.5
    assert np.isnan(percentile(np.array([np.nan]), 0.5, 0.9)).all()
    y, p, z = sample(np.random.default_rng(0))
    scores = np.random.default_rng(1).random(len(y))
    values = evaluate(y, p, z, scores)
    for key, (low, high) in intervals(y, p, z, scores, n_resamples=50).items():
        assert low - 1e-9 <= values[key] <= high + 1e-9, key


def test_large_tables_are_resampled_in_parts():
    rng = np.random.default_rng(0)
    y = rng.integers(30, size=3000)
    table = tabulate(y, rng.permutation(y), y % 4, 30, 4)  # 4500 cells, 900 resamples: 3 parts
    found = bootstrap(table, 900)
    key = "demographic_parity_difference"
    whole = count_metrics(resample(table, 900, 0, None))[key]
    assert found[key][1] == pytest.approx(np.quantile(whole, 0.975))


def test_weights_widen_intervals_by_the_effective_size():
    y, p, z = sample(np.random.default_rng(0), 2000)
    weight = np.where(np.arange(2000) < 1000, 3.0, 1e-9)
    assert effective_size(weight) == 1000
    half, all_ = intervals(y, p, z, weight=weight), intervals(y, p, z)
    expected = intervals(y[:1000], p[:1000], z[:1000])
    for key in ("accuracy", "disparate_impact", "accuracy_gap"):
        width = np.diff(half[key])[0]
        assert width == pytest.approx(np.diff(expected[key])[0], rel=0.15)
        assert width > 1.2 * np.diff(all_[key])[0]


def test_score_intervals_have_the_width_of_resampled_rows():
    rng = np.random.default_rng(0)
    y, p, z = sample(rng, 3000)
    scores = np.clip(0.3 + 0.4 * y + 0.2 * rng.normal(size=3000), 0, 1)
    found = intervals(y, p, z, scores, n_resamples=400)
    rows = [rng.integers(3000, size=3000) for _ in range(150)]
    slow = [evaluate(y[i], p[i], z[i], scores[i]) for i in rows]
    for key in ("auroc", "brier_score", "negative_log_likelihood"):
        spread = 2 * 1.96 * np.std([values[key] for values in slow])
        assert np.diff(found[key])[0] == pytest.approx(spread, rel=0.35), key


def test_score_intervals_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    y, z, scores = rng.integers(2, size=3000), rng.integers(2, size=3000), rng.random(3000)
    order = np.argsort(scores)
    mixed = intervals(y, y, z, scores)["brier_score"]
    in_order = intervals(y[order], y[order], z[order], scores[order])["brier_score"]
    assert np.diff(in_order)[0] == pytest.approx(np.diff(mixed)[0], rel=0.35)


def rows_with_rates(*rates, n=1000):
    z = np.repeat(np.arange(len(rates)), n)
    p = np.concatenate([np.arange(n) < round(r * n) for r in rates]).astype(int)
    return to_rows(p, p, z)


def test_four_fifths_verdicts():
    everyone, *pairs = four_fifths(rows_with_rates(0.5, 0.25, 0.41, 0.49))
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


def test_four_fifths_of_few_rows_is_undecided_in_both_directions():
    assert [r.verdict for r in four_fifths(rows_with_rates(0.5, 0.5, n=20))] == ["undecided"] * 2


def test_four_fifths_leaves_out_values_without_rows():
    rows = to_rows([0, 1], [0, 1], [0, 2], attribute_names=["a", "b", "c"])
    assert [r.groups for r in four_fifths(rows)] == [(), ("a", "c")]
    assert four_fifths(to_rows([0, 1], [0, 1], [0, 0])) == []


def test_four_fifths_of_many_values_compares_with_the_most_selected():
    rng = np.random.default_rng(0)
    z = np.repeat(np.arange(60), 50)
    p = (rng.random(3000) < np.where(z == 33, 0.99, 0.4)).astype(int)
    everyone, *pairs = four_fifths(to_rows(p, p, z), n_resamples=20)
    assert everyone.groups == () and len(pairs) == 59
    assert all(pair.groups[1] == "33" for pair in pairs)
