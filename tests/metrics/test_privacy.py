"""Private answers: exact variance by enumeration, bias and coverage by simulation."""

import doctest
import gzip
import itertools
import json
import math

import numpy as np
import pytest
from paths import ROOT

from frbench.contracts.errors import UserError
from frbench.metrics.privacy import RandomizedResponse

LN3 = math.log(3)


def exact_moments(mechanism, chances):
    """Mean and variance of the estimate, over every combination of answers.

    ``chances[i][a]`` is the probability that person i gives answer a.
    """
    k = mechanism.num_groups
    mean, square = np.zeros(k), np.zeros(k)
    for answers in itertools.product(range(k), repeat=len(chances)):
        chance = math.prod(row[a] for row, a in zip(chances, answers, strict=True))
        estimate = mechanism.shares(np.bincount(answers, minlength=k))
        mean += chance * estimate
        square += chance * estimate**2
    return mean, square - mean**2


@pytest.mark.parametrize("epsilon", [0.3, LN3, 3.0])
@pytest.mark.parametrize(("k", "groups"), [(2, [0, 1, 1, 1, 0, 1]), (3, [0, 1, 2, 2, 2])])
def test_mean_and_variance_are_exact(epsilon, k, groups):
    mechanism, n = RandomizedResponse(k, epsilon), len(groups)
    share = np.bincount(groups, minlength=k) / n
    rows = np.full((k, k), mechanism.lie) + np.eye(k) * (mechanism.truth - mechanism.lie)
    assert rows.sum(1) == pytest.approx(1)
    mean, variance = exact_moments(mechanism, rows[groups])
    np.testing.assert_allclose(mean, share, atol=1e-12)
    np.testing.assert_allclose(variance, mechanism.variance(share, n), rtol=1e-9)
    mean, variance = exact_moments(mechanism, [share @ rows] * n)
    np.testing.assert_allclose(mean, share, atol=1e-12)
    np.testing.assert_allclose(variance, mechanism.variance(share, n, "sampled"), rtol=1e-9)


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("epsilon", [0.1, LN3, 4.0])
def test_privacy_is_epsilon(k, epsilon):
    mechanism = RandomizedResponse(k, epsilon)
    assert mechanism.truth / mechanism.lie == pytest.approx(math.exp(epsilon))
    assert mechanism.truth + (k - 1) * mechanism.lie == pytest.approx(1)


def test_two_coins_are_ln_3_and_k_groups_ln_k_plus_1():
    coins = RandomizedResponse()
    assert (coins.truth, coins.lie) == (pytest.approx(3 / 4), pytest.approx(1 / 4))
    for n, s in ((10, 0.1), (999, 0.5)):
        assert coins.variance([s, 1 - s], n) == pytest.approx(3 / (4 * n))
        expected = (0.75 + s * (1 - s)) / n
        assert coins.variance([s, 1 - s], n, "sampled") == pytest.approx(expected)
    for k in (2, 4, 9):  # the truth with probability 1/2, else uniform on all K
        mechanism = RandomizedResponse(k, math.log(k + 1))
        assert mechanism.truth == pytest.approx(0.5 + 0.5 / k)
        assert mechanism.lie == pytest.approx(0.5 / k)


def test_no_privacy_returns_the_shares():
    mechanism = RandomizedResponse(3, math.inf)
    groups = np.array([0, 1, 1, 2, 2, 2])
    assert (mechanism.answer(groups, np.random.default_rng(0)) == groups).all()
    np.testing.assert_allclose(mechanism.shares([1, 2, 3]), [1 / 6, 2 / 6, 3 / 6])
    assert mechanism.variance([0.2, 0.3, 0.5], 10).max() == 0


def test_answers_follow_the_mechanism():
    mechanism = RandomizedResponse(4, 1.0)
    answers = mechanism.answer(np.full(40_000, 2), np.random.default_rng(0))
    expected = np.full(4, mechanism.lie)
    expected[2] = mechanism.truth
    np.testing.assert_allclose(np.bincount(answers) / 40_000, expected, atol=0.01)


CASES = [
    (2, LN3, [4571, 478]),  # the share of COMPAS
    (2, LN3, [18074, 511]),  # of Law School
    (4, math.log(5), [478, 520, 1800, 2251]),
    (3, 0.5, [300, 300, 400]),
    (2, 4.0, [95, 5]),
]


@pytest.mark.parametrize("members", ["fixed", "sampled"])
@pytest.mark.parametrize(("k", "epsilon", "counts"), CASES)
def test_simulation_shows_no_bias_the_exact_variance_and_coverage(k, epsilon, counts, members):
    trials = 4000
    run = RandomizedResponse(k, epsilon).simulate(counts, trials, members=members, seed=1)
    assert (np.abs(run.bias) < 4 * run.bias_error).all()
    # The standard deviation of a sample sd is about sd / sqrt(2 trials) = 1.1 %.
    np.testing.assert_allclose(run.sd, run.exact_sd, rtol=0.05)
    noise = math.sqrt(0.05 * 0.95 / trials)
    assert run.coverage >= 0.95 - 3 * noise
    assert run.lower < run.true_shares.min()
    assert run.alpha <= run.true_shares.min() + 4 * run.bias_error.max()


def test_the_normal_bound_of_two_coins_has_its_level():
    run = RandomizedResponse().simulate([4571, 478], 4000, bound="normal")
    assert run.coverage == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 4000))


@pytest.mark.parametrize(
    ("n", "alpha", "expected"),
    [(5049, 0.0947, 0.0747), (18585, 0.0275, 0.0171), (32561, 0.0478, 0.0399)],
)
def test_the_normal_bounds_of_the_specification(n, alpha, expected):
    yes = n * (alpha / 2 + 1 / 4)
    lower = RandomizedResponse().lower_shares([n - yes, yes], bound="normal")[1]
    assert lower == pytest.approx(expected, abs=1e-4)


def test_the_bound_stays_between_one_person_and_an_equal_share():
    mechanism = RandomizedResponse(2, 0.5)
    assert mechanism.estimate([100, 0]).lower == 0.01 == mechanism.estimate([100, 0]).alpha
    assert mechanism.estimate([1, 1], level=1e-6).lower <= 0.5
    assert RandomizedResponse(2, math.inf).estimate([5000, 5000]).lower < 0.5
    levels = [mechanism.lower_shares([5000, 9000], level)[0] for level in (0.5, 0.9, 0.99)]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: RandomizedResponse(1), "num_groups"),
        (lambda: RandomizedResponse(2, 0.0), "epsilon must be at least"),
        (lambda: RandomizedResponse(2, float("nan")), "epsilon must be at least"),
        (lambda: RandomizedResponse(3).shares([1, 2]), "need 3 counts"),
        (lambda: RandomizedResponse().shares([0, 0]), "all zero"),
        (lambda: RandomizedResponse().estimate([3, 4], level=1.0), "level"),
        (lambda: RandomizedResponse().simulate([3, 4], trials=1), "2 trials"),
        (lambda: RandomizedResponse().answer([2], np.random.default_rng(0)), "0..1"),
    ],
)
def test_wrong_values_are_refused(call, words):
    with pytest.raises(UserError, match=words):
        call()


# ---- the command ----------------------------------------------------------------------------
def test_command_estimates_from_counts_and_from_a_file(in_tmp, capsys):
    from frbench.__main__ import main

    assert main(["alpha", "3561", "1488", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = RandomizedResponse().estimate([3561, 1488])
    assert (found["alpha"], found["lower"]) == (expected.alpha, expected.lower)
    (in_tmp / "a.csv").write_text("id,answer\n" + "1,b\n" * 1488 + "2,a\n" * 3561)
    assert main(["alpha", "a.csv", "--column", "answer", "--format", "json"]) == 0
    by_file = json.loads(capsys.readouterr().out)
    assert by_file["alpha"] == found["alpha"] and list(by_file["groups"]) == ["a", "b"]
    assert main(["alpha", "a.csv", "--column", "answer", "--groups", "3", "--format", "json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert [group["answers"] for group in groups.values()] == [3561, 1488, 0]
    assert main(["alpha", "3561", "1488"]) == 0
    assert f"at least {expected.lower:.4f} with 95% confidence" in capsys.readouterr().out


def test_command_simulates(capsys):
    from frbench.__main__ import main

    assert main(["alpha", "90", "30", "40", "--simulate", "500", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    run_ = RandomizedResponse(3).simulate([90, 30, 40], 500)
    assert found["coverage"] == run_.coverage and found["lower"] == run_.lower
    assert main(["alpha", "90", "30", "--simulate", "500", "--members", "sampled"]) == 0
    assert "95% asked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["12"], "at least two groups"),
        (["12", "²"], "'²' is neither a file nor a count"),
        (["12", "3", "--members", "sampled"], "add --simulate TRIALS"),
        (["12", "3", "--seed", "1"], "add --simulate TRIALS"),
        (["cut.csv.gz", "--column", "a"], "cut.csv.gz cannot be read"),
        (["12", "x"], "'x' is neither a file nor a count"),
        (["-3", "4"], "'-3' is neither a file nor a count"),
        (["12", "3", "--column", "a"], "--column belongs to a file"),
        (["12", "3", "--epsilon", "0"], "epsilon must be at least"),
        (["a.csv"], "--column must name a column of a.csv: id, answer"),
        (["a.csv", "--column", "answer"], "1 rows have no answer"),
        (["a.csv", "--column", "id", "--groups", "2"], "--groups 2 is less than the 3 groups"),
    ],
)
def test_command_refuses_in_one_line(words, message, in_tmp, capsys):
    from frbench.__main__ import main

    (in_tmp / "a.csv").write_text("id,answer\n1,a\n2,\n3,b\n")
    (in_tmp / "cut.csv.gz").write_bytes(gzip.compress(b"a\n1\n")[:15])
    assert main(["alpha", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_examples_of_the_documentation_run():
    path = ROOT / "docs" / "private_alpha.md"
    found = doctest.testfile(str(path), module_relative=False)
    assert found.failed == 0 and found.attempted > 0


def test_help_is_short_and_shows_examples(capsys):
    from frbench.__main__ import main

    with pytest.raises(SystemExit):
        main(["alpha", "--help"])
    text = capsys.readouterr().out
    assert text.count("\n") < 45 and "--simulate 1000" in text
