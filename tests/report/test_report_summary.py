import math
import statistics

import numpy as np
import pytest
from scipy import stats

from frbench.contracts.errors import UserError
from frbench.report import estimate, parse_rule, read, summarise

WORST = parse_rule("val/worst_group_accuracy")
METRICS = ["accuracy", "worst_group_accuracy", "demographic_parity_difference"]


def of(report, method, data="digits"):
    (row,) = [row for row in report.rows if (row.data, row.method) == (data, method)]
    return row


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_equals_scipy(n):
    values = np.random.default_rng(n).normal(size=n)
    found = estimate(values)
    expected = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert found[:3] == pytest.approx((values.mean(), values.std(ddof=1), n))


def test_undefined_values_are_left_out_and_a_single_one_has_no_interval():
    assert estimate([0.5, math.nan, 0.7, math.inf]) == estimate([0.5, 0.7])
    assert estimate([0.5, math.nan])[:3] == pytest.approx((0.5, math.nan, 1), nan_ok=True)
    assert math.isnan(estimate([0.5]).low) and math.isnan(estimate([]).mean)


def test_folds_have_the_variance_of_nadeau_and_bengio():
    values = [0.1, 0.2, 0.4, 0.4, 0.6]
    half = stats.t.ppf(0.975, 4) * statistics.stdev(values) * math.sqrt(1 / 5 + 1 / 4)
    assert estimate(values, folds=5).high - estimate(values).mean == pytest.approx(half)


def test_selection_by_validation_then_aggregation_of_test(grid, write):
    report = summarise(read([write(grid)])[0], WORST, METRICS)
    assert report.tables == {"digits": ["test/P", "test/P0"], "adult": ["test"]}
    assert len(report.rows) == 6
    for row in report.rows:
        by_setting = {}
        for r in grid:
            if (r["data"], r["method"]) == (row.data, row.method):
                by_setting.setdefault(r["settings"]["model.lr"], []).append(r["metrics"])
        means = {
            lr: statistics.mean(m["val/worst_group_accuracy"] for m in metrics)
            for lr, metrics in by_setting.items()
        }
        best = max(means, key=means.get)
        assert best == 0.1  # on test, 1.0 is better
        assert row.runs[0].settings == {"model.lr": best} and row.given == 2
        assert row.rule.mean == pytest.approx(means[best])
        assert len(row.metrics) == 3 * len(report.tables[row.data])
        for key, found in row.metrics.items():
            values = [metrics[key] for metrics in by_setting[best]]
            assert found.mean == pytest.approx(statistics.mean(values))
            assert found.sd == pytest.approx(statistics.stdev(values))
            assert found.n == 3


@pytest.mark.parametrize(
    ("rule", "lr"),
    [
        ("val/worst_group_accuracy - val/demographic_parity_difference", 1.0),
        ("val/worst_group_accuracy - 0.1*val/demographic_parity_difference", 0.1),
        ("val/demographic_parity_difference", 1.0),
        ("max:val/demographic_parity_difference", 0.1),
    ],
)
def test_rules_choose(grid, write, rule, lr):
    report = summarise(read([write(grid)])[0], parse_rule(rule), METRICS)
    assert {run.settings["model.lr"] for row in report.rows for run in row.runs} == {lr}


def test_an_oracle_rule_chooses_on_test(grid, write):
    runs = [r for r in grid if r["data"] == "digits"]
    report = summarise(read([write(runs)])[0], parse_rule("oracle:test/P0/accuracy"), METRICS)
    assert of(report, "ERM").runs[0].settings == {"model.lr": 1.0}
    assert report.rule.oracle


def test_differences_are_paired_over_common_seeds(grid, write):
    records = [r for r in grid if not (r["method"] == "GroupDRO" and r["seed"] == 2)]
    report = summarise(read([write(records)])[0], WORST, METRICS)
    assert report.baseline == "ERM" and not of(report, "ERM").differences

    def value(method, seed):
        (found,) = [
            r["metrics"]["test/accuracy"]
            for r in grid
            if (r["data"], r["method"], r["seed"]) == ("adult", method, seed)
            and r["settings"]["model.lr"] == 0.1
        ]
        return found

    for method, seeds in (("joint_weight", range(3)), ("GroupDRO", range(2))):
        pairs = [value(method, seed) - value("ERM", seed) for seed in seeds]
        found = of(report, method, "adult").differences["test/accuracy"]
        expected = stats.t.interval(0.95, len(pairs) - 1, np.mean(pairs), stats.sem(pairs))
        assert found.n == len(pairs)
        assert (found.mean, found.low, found.high) == pytest.approx((np.mean(pairs), *expected))
    assert any("GroupDRO: 2 runs where others have 3" in note for note in report.notes)


def test_a_setting_that_lacks_seeds_does_not_win(record, write):
    def run(lr, seed, value):
        metrics = {"val/worst_group_accuracy": value, "test/accuracy": value}
        return record(settings={"model.lr": lr}, seed=seed, metrics=metrics)

    records = [run(0.1, 0, 0.5), run(0.1, 1, 0.6), run(1.0, 0, 0.9)]
    records.append({**run(1.0, 1, 0.0), "status": "failed", "error": "boom"})
    report = summarise(read([write(records)])[0], WORST, ["accuracy"])
    assert of(report, "ERM").runs[0].settings == {"model.lr": 0.1}
    assert of(report, "ERM").given == 2
    assert report.notes == ["digits ERM: setting model.lr=1.0 has 1 of 2 runs: not selected from."]


def test_a_diverged_setting_does_not_win(record, write):
    values = {0.1: (0.5, 0.5), 1.0: (0.9, math.nan), 2.0: (math.inf, math.inf)}
    records = [
        record(
            settings={"model.lr": lr},
            seed=seed,
            metrics={"val/worst_group_accuracy": value, "test/accuracy": value},
        )
        for lr, pair in values.items()
        for seed, value in enumerate(pair)
    ]
    report = summarise(read([write(records)])[0], WORST, ["accuracy"])
    assert of(report, "ERM").runs[0].settings == {"model.lr": 0.1}
    assert len([note for note in report.notes if "undefined for setting" in note]) == 2
    only = summarise(read([write(records[2:4])])[0], WORST, ["accuracy"])
    assert of(only, "ERM").metrics["test/accuracy"].n == 1  # nothing to choose from: shown
    none = summarise(read([write(records[2:])])[0], WORST, ["accuracy"])
    assert not none.rows and "no setting could be selected" in none.notes[-1]


def test_folds_are_averaged_over_seeds_and_noted(record, write):
    records = [
        record(
            seed=seed,
            fold=fold,
            metrics={
                "val/worst_group_accuracy": 0.5,
                "test/accuracy": 0.5 + 0.02 * fold + 0.01 * seed,
            },
        )
        for fold in range(4)
        for seed in range(2)
    ]
    runs = read([write(records)])[0]
    report = summarise(runs, WORST, ["accuracy"])
    expected = estimate([0.505 + 0.02 * fold for fold in range(4)], folds=4)
    assert of(report, "ERM").metrics["test/accuracy"] == pytest.approx(expected)
    assert "not independent" in report.notes[0] and "4 folds" in report.notes[0]
    repeated = summarise(runs, WORST, ["accuracy"], folds=2)
    assert of(repeated, "ERM").metrics["test/accuracy"].low < expected.low


def test_remarks_on_what_makes_rows_unlike(record, write):
    metrics = {"val/worst_group_accuracy": 0.5, "test/accuracy": 0.5}
    selection = {"monitor": "test/accuracy", "mode": "max", "oracle": True}
    records = [
        record(metrics=metrics),
        record(method="Peek", metrics=metrics, selection=selection, attribute_as_input=True),
        record("adult", "Peek", metrics=metrics),
        {**record("adult", "Broken"), "status": "failed", "error": "boom"},
        {**record("bank"), "status": "failed", "error": "boom"},
    ]
    report = summarise(read([write(records)])[0], WORST, ["accuracy"])
    notes = "\n".join(report.notes)
    assert "digits Peek: test data chose the checkpoint (oracle)" in notes
    assert "digits Peek: the attribute was an input" in notes
    assert "ERM by val/accuracy (max); Peek by test/accuracy (max)" in notes
    assert "adult: no result of the baseline ERM" in notes
    assert "adult Broken: no run finished" in notes
    assert "bank: no run finished" in notes


def test_errors_name_the_remedy(grid, record, write):
    runs = read([write(grid)])[0]
    with pytest.raises(UserError, match="did you mean: accuracy"):
        summarise(runs, WORST, ["acuracy"])
    with pytest.raises(UserError, match="test metric 'theil_index'; known: accuracy"):
        summarise(runs, WORST, ["theil_index"])
    with pytest.raises(UserError, match="no run on digits has 'val/loss'"):
        summarise(runs, parse_rule("val/loss"), METRICS)
    with pytest.raises(UserError, match="no method 'GroupDR'; did you mean GroupDRO"):
        summarise(runs, WORST, METRICS, "GroupDR")
    failed = read([write([{**record(), "status": "failed", "error": "boom"}])])[0]
    with pytest.raises(UserError, match="All 1 runs failed, the first with: boom"):
        summarise(failed, WORST, METRICS)


@pytest.mark.parametrize(
    ("values", "leaders"),
    [
        ({"A": [0.90, 0.91, 0.92], "B": [0.89, 0.92, 0.91], "C": [0.5, 0.51, 0.53]}, {"A", "B"}),
        ({"A": [0.90, 0.91, 0.92], "B": [0.89, 0.92, 0.91]}, set()),  # no more than noise
        ({"A": [0.9], "B": [0.2]}, set()),  # nothing is known of the noise
        ({"A": [0.90, 0.91, 0.92], "B": [math.nan] * 3, "C": [0.5, 0.51, 0.53]}, {"A"}),
    ],
)
def test_leaders_are_those_not_clearly_behind_the_best(record, write, values, leaders):
    records = [
        record(method=method, seed=seed, metrics={"val/accuracy": 0.5, "test/accuracy": value})
        for method, column in values.items()
        for seed, value in enumerate(column)
    ]
    report = summarise(read([write(records)])[0], parse_rule("val/accuracy"), ["accuracy"])
    assert {row.method for row in report.rows if "test/accuracy" in row.leads} == leaders
