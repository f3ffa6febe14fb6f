import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from frbench.metrics.multiplicity import holm
from frbench.report import parse_rule, summarise
from frbench.report.interval import estimate
from frbench.report.results import run_of
from frbench.report.significance import corrected, paired_p


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_p_value_is_that_of_the_paired_t_test(n):
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.02, 0.3):
        ours, theirs = rng.normal(0.7 + shift, 0.05, n), rng.normal(0.7, 0.05, n)
        expected = stats.ttest_rel(ours, theirs).pvalue
        difference = estimate(ours - theirs)
        assert paired_p(difference) == pytest.approx(expected, rel=1e-9)
        # It agrees with the interval that is printed beside it.
        assert (paired_p(difference) < 0.05) == (difference.low > 0 or difference.high < 0)


def test_folds_get_the_corrected_variance():
    values = np.array([0.02, 0.03, 0.01, 0.05, 0.02])
    k = len(values)
    t = values.mean() / math.sqrt(values.var(ddof=1) * (1 / k + 1 / (k - 1)))
    expected = 2 * stats.t(k - 1).sf(t)
    assert paired_p(estimate(values, folds=k)) == pytest.approx(expected, rel=1e-9)
    assert paired_p(estimate(values)) < expected


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.1, 0.1], [0.0, 0.0], [math.nan, 0.2]])
def test_without_spread_there_is_no_test(values):
    assert math.isnan(paired_p(estimate(values)))


def rejected(p, level):
    """Holm's procedure as it is written: step down while p_(i) <= level / (m - i)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    out = set()
    for i, which in enumerate(order):
        if p[which] > level / (len(p) - i):
            break
        out.add(which)
    return out


def test_corrected_values_reject_what_holms_procedure_rejects():
    rng = np.random.default_rng(0)
    for m in range(1, 9):
        for _ in range(40):
            p = (rng.random(m) ** 3).tolist()
            corrected = holm(p)
            for level in (0.01, 0.05, 0.2):
                found = {i for i, value in enumerate(corrected) if value <= level}
                assert found == rejected(p, level)
            assert all(c >= v for c, v in zip(corrected, p, strict=True)) and max(corrected) <= 1


def test_an_undefined_value_is_no_comparison():
    p = [0.03, math.nan, 0.01, math.nan, 0.2]
    corrected = holm(p)
    assert [corrected[i] for i in (0, 2, 4)] == pytest.approx(holm([0.03, 0.01, 0.2]))
    assert math.isnan(corrected[1]) and math.isnan(corrected[3])
    assert holm([]) == []


def test_one_false_mark_or_more_in_twenty_at_most():
    """Under the null of no difference anywhere, five methods against one baseline, n = 5."""
    rng = np.random.default_rng(1)
    trials, found, uncorrected = 600, 0, 0
    for _ in range(trials):
        baseline, methods = rng.normal(size=5), rng.normal(size=(5, 5))
        p = [paired_p(estimate(method - baseline)) for method in methods]
        uncorrected += min(p) < 0.05
        found += min(holm(p)) < 0.05
    # Three standard errors of a share of .05 over 600 trials are .027.
    assert found / trials < 0.077 < uncorrected / trials


def test_order_does_not_matter():
    values = [0.01, 0.2, 0.03]
    for order in itertools.permutations(range(3)):
        mixed = holm([values[i] for i in order])
        assert mixed == [holm(values)[i] for i in order]


def test_corrected_values_equal_a_loop():
    p = [0.012, 0.2, 0.001, 0.02]
    slow = []
    for value in p:
        smaller = sorted(p)[: sorted(p).index(value) + 1]
        slow.append(min(1, max((len(p) - i) * v for i, v in enumerate(smaller))))
    assert holm(p) == pytest.approx(slow) and holm([]) == []


def null_records(record, rng, rho, seeds=5):
    """Methods of three ways of reading the attribute, all of one distribution.

    Noise of test values is independent over methods and seeds, and has correlation ``rho`` with
    that of validation.
    """
    kinds = [
        ("ERM", True, ()), ("class", True, ()), ("RWG", True, ("train",)),
        ("threshold", True, ("fit", "test")), ("CVaR", False, ()), ("JTT", False, ()),
        ("GroupDRO", False, ("train",)), ("IRM", False, ("train",)),
    ]  # fmt: skip
    out = []
    for method, erm, parts in kinds:
        for seed in range(seeds):
            test, own = rng.normal(size=2)
            val = rho * test + math.sqrt(1 - rho**2) * own
            metrics = {"val/accuracy": 0.5 + 0.05 * val, "test/accuracy": 0.5 + 0.05 * test}
            extra = {"attributes": {part: ["x"] for part in parts}, "training": {"erm": erm}}
            out.append(record(method=method, seed=seed, metrics=metrics, **extra))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_the_best_baseline_of_equal_information_gives_few_false_marks(record, rho):
    """Under the null the family of methods gets a false mark in one report of twenty at most.

    Where noise of validation and of test are correlated, the baseline that validation chose is
    lucky on test, too: then fewer methods seem better, and more of the marks say worse.
    """
    rng, trials = np.random.default_rng(7), 600
    marked = better = uncorrected = 0
    for _ in range(trials):
        runs = [run_of(one, Path()) for one in null_records(record, rng, rho)]
        report = summarise(runs, parse_rule("val/accuracy"), ["accuracy"], "equal-information")
        values = corrected(report.rows, "test/accuracy")
        assert len(values) == 8
        signs = [
            row.differences["test/accuracy"].mean > 0
            for row in report.rows
            if values[row.method] < 0.05
        ]
        marked, better = marked + bool(signs), better + any(signs)
        plain = [paired_p(row.differences["test/accuracy"]) for row in report.rows]
        uncorrected += min(plain) < 0.05
    noise = 3 * math.sqrt(0.05 * 0.95 / trials)
    assert better / trials < 0.025 + noise
    assert 0 < marked / trials < 0.05 + noise < uncorrected / trials
