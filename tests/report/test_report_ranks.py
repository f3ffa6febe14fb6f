"""Mean ranks over data sets, against scipy's and a loop over pairs."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.report import parse_rule, read, summarise
from frbench.report.ranks import critical_difference, friedman, rank


@pytest.fixture
def results(record, write):
    """Make a file of results: {data: {method: accuracy}}, three seeds of the same mean."""

    def of(values):
        return write([
            record(data=data, method=method, seed=seed,
                   metrics={"val/accuracy": 0.5, "test/accuracy": value + (seed - 1) * 0.001})
            for data, own in values.items()
            for method, value in own.items()
            for seed in range(3)
        ])  # fmt: skip

    return of


def report(file):
    return summarise(read([file])[0], parse_rule("val/accuracy"), ["accuracy"])


VALUES = {
    "a": {"ERM": 0.8, "DRO": 0.9, "MMD": 0.7},
    "b": {"ERM": 0.6, "DRO": 0.6, "MMD": 0.5},
    "c": {"ERM": 0.9, "DRO": 0.95, "MMD": 0.91},
}


def test_ranks_and_win_rates_by_hand(results):
    found = rank(report(results(VALUES)), "accuracy")
    assert found.methods == ("DRO", "ERM", "MMD") and len(found.data) == 3
    assert found.ranks.tolist() == pytest.approx([3.5 / 3, 6.5 / 3, 8 / 3])
    # DRO beats both, ties with one and beats the other, beats both.
    assert found.wins.tolist() == pytest.approx([5.5 / 6, 2.5 / 6, 1 / 6])
    for ends, value in ((found.rank_ends, found.ranks), (found.win_ends, found.wins)):
        assert (ends[:, 0] <= value).all() and (value <= ends[:, 1]).all()


def test_a_lower_value_is_better_where_the_metric_says_so(record, write):
    gap = "equalized_odds_difference"
    file = write([
        record(data=data, method=method, seed=0,
               metrics={"val/accuracy": 0.5, f"test/{gap}": value})
        for data in "ab" for method, value in (("ERM", 0.3), ("DRO", 0.1))
    ])  # fmt: skip
    found = summarise(read([file])[0], parse_rule("val/accuracy"), [gap])
    assert rank(found, gap).methods == ("DRO", "ERM")


@pytest.mark.parametrize("seed", range(5))
def test_friedman_equals_scipy(seed):
    values = np.random.default_rng(seed).integers(0, 4, (7, 4)).astype(float)
    expected = stats.friedmanchisquare(*values.T)
    assert friedman(stats.rankdata(values, axis=1)) == pytest.approx(tuple(expected))


def test_equal_methods_have_no_test():
    assert all(map(math.isnan, friedman(np.full((4, 3), 2.0))))


def test_critical_difference_of_the_publication():
    # Demsar (2006), table 5: q of 2 to 10 methods at 5 %.
    q = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 10: 3.164}
    for k, value in q.items():
        assert critical_difference(k, 10) == pytest.approx(value * (k * (k + 1) / 60) ** 0.5, 1e-3)


def test_nemenyi_is_not_exceeded_too_often_by_chance():
    rng, n, k = np.random.default_rng(0), 20, 4
    ranks = stats.rankdata(rng.normal(size=(2000, n, k)), axis=2).mean(1)
    share = ((ranks.max(1) - ranks.min(1)) > critical_difference(k, n)).mean()
    assert 0.02 < share < 0.065


def test_a_method_that_lacks_a_data_set_is_left_out_and_named(results, capsys):
    values = VALUES | {"c": {"ERM": 0.9, "DRO": 0.95}}
    assert main(["report", str(results(values)), "--select", "val/accuracy", "--metrics",
                 "accuracy", "--ranks"]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "Left out, without a value on some data set: MMD." in out
    assert out.index("DRO") < out.index("ERM")


def test_as_json(results, capsys):
    assert main(["report", str(results(VALUES)), "--select", "val/accuracy", "--metrics",
                 "accuracy", "--ranks", "--format", "json"]) == 0  # fmt: skip
    assert "DRO" in json.dumps(json.loads(capsys.readouterr().out))


def test_too_little_is_refused_in_one_line(results, capsys):
    with pytest.raises(UserError, match="two data sets"):
        rank(report(results({"a": VALUES["a"]})), "accuracy")
    with pytest.raises(UserError, match="two methods"):
        rank(report(results({"a": {"ERM": 0.5}, "b": {"DRO": 0.6}})), "accuracy")
    assert main(["report", str(results(VALUES)), "--ranks", "--frontier", "a", "b"]) == 2
