"""Tests of gaps against a tolerance, the rows that they need, and which groups a gap is of."""

import numpy as np
import pytest

from frbench.metrics import gap_tests, plan, tabulate
from frbench.metrics.gaps import gap_groups


def table(labels, rates, rows):
    """A table of which every group has so many rows of each label and the given rates exactly."""
    counts = np.zeros((2, len(rates) + 1, 2))
    for label in labels:
        counts[label, :-1, 1] = np.round(np.array(rates) * rows)
        counts[label, :-1, 0] = rows - counts[label, :-1, 1]
    return counts


def drawn(rng, rates, rows):
    """A random table whose false positive rates are these; true positive rates are all .7."""
    counts = np.zeros((2, len(rates) + 1, 2))
    counts[0, :-1, 1] = rng.binomial(rows, rates)
    counts[1, :-1, 1] = rng.binomial(rows, 0.7, len(rates))
    counts[:, :-1, 0] = rows - counts[:, :-1, 1]
    return counts


def names(count):
    return tuple("abcdefgh"[:count])


def verdict(tests, metric="false_positive_rate", groups=("a", "b")):
    (found,) = [t for t in tests if t.metric == metric and set(t.groups) == set(groups)]
    return found.verdict


def test_gap_tests_are_corrected_for_their_number_and_heed_the_tolerance():
    rng = np.random.default_rng(0)
    marked = 0
    for _ in range(60):
        z = rng.integers(4, size=400)
        y = rng.integers(2, size=400)
        p = np.where(rng.random(400) < 0.8, y, 1 - y)
        tests = gap_tests(tabulate(y, p, z, 2, 4), tuple("abcd"), 0.0)
        marked += any(test.above for test in tests)
        assert len(tests) == 5 * 6
    assert marked <= 6
    z, y = np.repeat([0, 1], 1000), np.tile([0, 1], 1000)
    p = np.where((z == 1) & (np.arange(2000) % 10 < 2), 1 - y, y)  # accuracies 1 and .8
    found = tabulate(y, p, z, 2, 2)
    cases = ((0.0, "above"), (0.1, "above"), (0.18, "undecided"), (0.3, "within"))
    for tolerance, expected in cases:
        test = gap_tests(found, ("a", "b"), tolerance)[0]
        assert (test.metric, test.groups, test.verdict) == ("accuracy", ("b", "a"), expected)
        assert test.gap == pytest.approx(0.2)
        assert test.interval[0] < test.gap < test.interval[1]
        assert (test.interval[0] > tolerance) <= test.above


def test_a_bound_that_is_clearly_met_is_within_the_tolerance():
    equal = table((0, 1), [0.4, 0.401], 50_000)
    assert {t.verdict for t in gap_tests(equal, ("a", "b"), 0.05)} == {"within"}
    few = table((0, 1), [0.4, 0.4], 50)
    assert {t.verdict for t in gap_tests(few, ("a", "b"), 0.05)} == {"undecided"}
    # Without a tolerance nothing can be within it.
    assert {t.verdict for t in gap_tests(equal, ("a", "b"), 0.0)} == {"undecided"}
    assert gap_tests(table((0, 1), [0.4], 50), ("a",), 0.1) == []


def test_a_plan_corrects_for_all_tests_and_names_the_rows_that_it_counts():
    counts = table((0, 1), [0.4, 0.5, 0.45], 500)
    found = {p.metric: p for p in plan(counts, names(3), 0.1, class_names=("no", "yes"))}
    assert {key: p.rows_of for key, p in found.items()} == {
        "accuracy": "all",
        "selection_rate": "all",
        "true_positive_rate": "label yes",
        "false_positive_rate": "label no",
        "positive_predictive_value": "predicted yes",
    }
    pair = plan(counts[:, [0, 1, 3]], names(2), 0.1)[3]
    assert found["false_positive_rate"].rows > 1.2 * pair.rows  # 15 tests, not 5
    assert found["false_positive_rate"].short == (("a", 500), ("b", 500), ("c", 500))
    bound = plan(counts, names(3), 0.05, tolerance=0.05)[3]
    assert bound.rows == np.inf and 3000 < bound.within < 6000
    assert plan(counts, names(3), 0.05)[3].within == np.inf


def test_the_pair_of_a_gap_is_named():
    counts = np.zeros((2, 4, 2))
    counts[0, :3] = [[90, 10], [50, 50], [70, 30]]
    counts[1, :3] = [[30, 70], [20, 80], [10, 90]]
    found = gap_groups(counts, ("no", "yes"), ("f", "g", "h"))
    assert found["equalized_odds_difference"] == "f : g (false_positive_rate)"
    assert found["equal_opportunity_difference"] == "f : h"
    assert found["demographic_parity_difference"] == found["disparate_impact"] == "f : g"
    assert found["accuracy_gap"] == "g : f"
    assert found["worst_attribute_accuracy"] == "g"
    assert found["worst_group_accuracy"] == "y=no,z=g"
    assert gap_groups(counts[:, [0, 3]], ("no", "yes"), ("f",))["accuracy_gap"] == ""


@pytest.mark.slow
@pytest.mark.parametrize("groups", [2, 6])
@pytest.mark.parametrize(("base", "tolerance", "rows"), [(0.3, 0.05, 3000), (0.02, 0.05, 400)])
def test_a_gap_of_the_tolerance_is_seldom_called_within(groups, base, tolerance, rows):
    """At most 5 % of the tables have a wrong verdict; four standard errors of 300 are .05."""
    rng = np.random.default_rng(groups)
    rates = np.full(groups, base)
    rates[0] += tolerance
    wrong = 0
    for _ in range(300):
        tests = gap_tests(drawn(rng, rates, rows), names(groups), tolerance)
        wrong += any(
            t.verdict == "within"
            for t in tests
            if t.metric == "false_positive_rate" and "a" in t.groups
        )
    assert wrong / 300 <= 0.05 + 0.05
    assert groups > 2 or wrong  # a test that never says so would pass, too


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.0, 0.05])
@pytest.mark.parametrize("groups", [2, 6])
def test_the_rows_of_a_plan_decide_four_times_in_five(groups, tolerance):
    """Standard error of 200 tables: .028."""
    rng = np.random.default_rng(groups)
    gap = 0.05 + tolerance
    pilot = table((0, 1), np.full(groups, 0.3), 1000)
    (needed,) = [
        p
        for p in plan(pilot, names(groups), gap, tolerance=tolerance)
        if p.metric == "false_positive_rate"
    ]
    apart = np.full(groups, 0.3)
    apart[:2] = 0.3 - gap / 2, 0.3 + gap / 2
    rows = int(np.ceil(needed.rows))
    found = [
        verdict(gap_tests(drawn(rng, apart, rows), names(groups), tolerance)) == "above"
        for _ in range(200)
    ]
    assert np.mean(found) >= 0.8 - 0.09
    assert np.mean(found) <= 0.95  # nor are far too many rows asked for
    if tolerance:
        rows, equal = int(np.ceil(needed.within)), np.full(groups, 0.3)
        found = [
            verdict(gap_tests(drawn(rng, equal, rows), names(groups), tolerance)) == "within"
            for _ in range(200)
        ]
        assert np.mean(found) >= 0.8 - 0.09
