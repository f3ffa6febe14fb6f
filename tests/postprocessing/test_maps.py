"""Maps from outputs to decisions, on outputs of an imagined network."""

import itertools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from held_out import accuracy, decisions, fitted, rates, scored
from sklearn.base import BaseEstimator, ClassifierMixin

from frbench.contracts.errors import UserError
from frbench.group_inference import Clusters, Errors, GroupInference
from frbench.postprocessing import (
    Barycentre,
    CalibratedOdds,
    EqOddsMixing,
    ExponentiatedGradient,
    GroupThresholds,
    HeldOut,
    Part,
    RejectOption,
    RelaxedEqualizedOdds,
    TemperatureScaling,
    ThresholdMap,
    ThresholdOptimizer,
)
from frbench.postprocessing.base import draw
from frbench.postprocessing.rules import curve, upper_hull

#: Column of :func:`rates` that a constraint holds equal.
HELD = {
    "demographic_parity": [0], "true_positive_rate": [1], "false_positive_rate": [2],
    "false_negative_rate": [1], "true_negative_rate": [2], "equalized_odds": [1, 2],
}  # fmt: skip


class Scores(ClassifierMixin, BaseEstimator):
    """A classifier whose input is its score, for fairlearn."""

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return np.stack([1 - x[:, 0], x[:, 0]], 1)

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.parametrize("constraint", list(HELD))
@pytest.mark.parametrize(("attributes", "digits"), [(2, None), (3, 1)])
def test_threshold_optimizer_decides_as_fairlearn_does(constraint, attributes, digits):
    from fairlearn.postprocessing import ThresholdOptimizer as Reference

    rows = scored(attributes=attributes, digits=digits)
    score = rows.probabilities[:, 1:]
    theirs = constraint if constraint in ("demographic_parity", "equalized_odds") else (
        f"{constraint}_parity"
    )  # fmt: skip
    for objective, flip in itertools.product(("accuracy", "balanced_accuracy"), (False, True)):
        method, _ = fitted(ThresholdOptimizer(constraint, objective, flip=flip), rows)
        reference = Reference(
            estimator=Scores(), constraints=theirs, objective=f"{objective}_score", flip=flip,
            prefit=True, predict_method="predict_proba",
        )  # fmt: skip
        reference.fit(score, rows.y, sensitive_features=rows.z)
        expected = reference._pmf_predict(score, sensitive_features=rows.z)[:, 1]
        assert np.abs(decisions(method, rows) - expected).max() <= 1e-12


@pytest.mark.parametrize("constraint", list(HELD))
def test_the_constraint_holds_on_the_fitted_table(constraint):
    rows = scored(n=2000, attributes=3, unknown=20)
    for method in (
        ThresholdOptimizer(constraint),
        *([RelaxedEqualizedOdds(0.0, constraint)] if constraint in
          ("equalized_odds", "demographic_parity", "true_positive_rate") else []),
    ):  # fmt: skip
        chance = decisions(fitted(method, rows)[0], rows)
        assert np.ptp(rates(chance, rows), axis=0)[HELD[constraint]].max() < 1e-3
        own = rows.probabilities[:, 1] > 0.5
        assert np.array_equal(chance[rows.z < 0], own[rows.z < 0])  # the network's decision


def test_tolerance_zero_is_equalized_odds_and_one_the_best_thresholds():
    rows = scored(n=900, attributes=3)
    exact = fitted(RelaxedEqualizedOdds(0.0), rows)[1]["value"]
    grid = fitted(ThresholdOptimizer("equalized_odds", grid_size=20_000), rows)[1]["value"]
    assert 0 <= exact - grid < 1e-4  # the grid of the one can only miss the optimum
    values = []
    for tolerance in (0.0, 0.02, 0.1, 0.3, 1.0):
        method, report = fitted(RelaxedEqualizedOdds(tolerance), rows)
        chance = decisions(method, rows)
        found = rates(chance, rows)
        assert np.ptp(found[:, 1:], axis=0).max() <= tolerance + 1e-9
        assert accuracy(chance, rows) == pytest.approx(report["value"], abs=1e-12)
        values.append(report["value"])
    assert values == sorted(values)
    best = sum(
        max(
            ((score > t) == y).sum()
            for t in [-1.0, *score]
        )
        for a in range(3)
        for score, y in [(rows.probabilities[rows.z == a, 1], rows.y[rows.z == a] == 1)]
    ) / len(rows.y)  # fmt: skip
    assert values[-1] == pytest.approx(best, abs=1e-12)


def test_relaxed_odds_beat_every_mixture_of_a_coarse_search():
    """Reference: all pairs of ROC points of two groups within the tolerance."""
    rows = scored(n=60, seed=3)
    value = fitted(RelaxedEqualizedOdds(0.1), rows)[1]["value"]
    best = 0.0
    groups = []
    for a in range(2):
        one = curve(rows.probabilities[rows.z == a, 1], rows.y[rows.z == a])
        right = one.true_positives + one.negatives - one.false_positives
        groups.append((one.rates, right))
    for (r0, n0), (r1, n1) in itertools.product(zip(*groups[0], strict=True),
                                                zip(*groups[1], strict=True)):  # fmt: skip
        if np.abs(r0 - r1).max() <= 0.1:
            best = max(best, (n0 + n1) / 60)
    assert best > 0 and value >= best - 1e-12


def test_the_hull_of_many_points_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(400).round(2))
    y = rng.random(400).round(2)
    order = np.lexsort([y, x])
    x, y = x[order], y[order]
    hull = upper_hull(x, y)
    hull = hull[np.append(np.diff(x[hull]) > 0, True)]  # the first edge may be vertical
    value = np.interp(x, x[hull], y[hull])
    assert (y <= value + 1e-12).all() and (np.diff(np.diff(y[hull]) / np.diff(x[hull])) < 0).all()


def test_equal_odds_by_flips_against_a_search_over_flips():
    rows = scored(n=1500, seed=2)
    method, report = fitted(EqOddsMixing(), rows)
    chance = decisions(method, rows)
    found = rates(chance, rows)
    assert np.ptp(found[:, 1:], axis=0).max() < 1e-9
    assert accuracy(chance, rows) == pytest.approx(report["value"])
    hard = rows.probabilities[:, 1] > 0.5
    best = 0.0
    for stay, flip in itertools.product(np.linspace(0, 1, 41), repeat=2):
        first = rates(np.where(hard, stay, flip), rows)[0, 1:]
        # The other group's flips that give it the same rates.
        own = rates(hard.astype(float), rows)[1, 1:]
        matrix = np.stack([own, 1 - own], 1)
        other = np.linalg.solve(matrix, first)
        if other.min() >= 0 and other.max() <= 1:
            both = np.where(rows.z == 0, np.where(hard, stay, flip), np.where(hard, *other))
            best = max(best, accuracy(both, rows))
    assert report["value"] >= best - 1e-12


def test_fair_decisions_are_left_as_they_are():
    """Copies of one group: no constraint binds."""
    one = scored(n=300, attributes=1)
    one = one._replace(logits=one.logits + np.stack([0 * one.y, 2.0 * one.y], 1))
    copies = HeldOut(
        *(np.concatenate([c, c]) for c in one[:3]), np.repeat([0, 1], 300), 2, 2
    )  # fmt: skip
    own = copies.probabilities[:, 1] > 0.5
    assert np.array_equal(decisions(fitted(EqOddsMixing(), copies)[0], copies), own)
    assert np.array_equal(decisions(fitted(CalibratedOdds(), copies)[0], copies), own)
    assert np.array_equal(decisions(fitted(Barycentre(), copies)[0], copies), own)


@pytest.mark.parametrize("cost", ["false_negative_rate", "false_positive_rate", "weighted"])
def test_calibrated_odds_withholds_scores_until_the_costs_are_equal(cost):
    rows = scored(n=1000)
    drawn = np.random.default_rng(0).random(1000) < rows.probabilities[:, 1]
    rows = rows._replace(y=drawn.astype(int))  # calibrated scores
    method, report = fitted(CalibratedOdds(cost), rows)
    (name, r), *_ = report["withheld"].items()
    assert 0 < r <= 1
    after = report["cost"]
    assert "limited" in report or after["0"] == pytest.approx(after["1"], abs=1e-12)
    # By definition: the mean cost of scores of which a share r is the base rate.
    here = rows.z == int(name)
    score, y, base = rows.probabilities[here, 1], rows.y[here], rows.y[here].mean()
    mixed = r * base + (1 - r) * score  # costs are linear in the score
    by_hand = {"false_negative_rate": (1 - mixed[y == 1]).mean(),
               "false_positive_rate": mixed[y == 0].mean()}  # fmt: skip
    by_hand["weighted"] = (1 - base) * by_hand["false_positive_rate"] + base * by_hand[
        "false_negative_rate"
    ]
    assert after[name] == pytest.approx(by_hand[cost])
    chance = decisions(method, rows)
    expected = np.where(score > 0.5, 1 - r, 0) + r * (base > 0.5)
    assert np.allclose(chance[here], expected)


@pytest.mark.parametrize("cost", ["false_negative_rate", "false_positive_rate", "weighted"])
def test_calibrated_odds_are_equal_wherever_withholding_can_make_them(cost):
    """To 1/1000 on the fitted table, unless even the base rate for all costs too little."""
    limited = 0
    for seed in range(12):
        rows = scored(n=500, seed=seed)
        if seed % 2:  # calibrated scores
            drawn = np.random.default_rng(seed).random(500) < rows.probabilities[:, 1]
            rows = rows._replace(y=drawn.astype(int))
        report = fitted(CalibratedOdds(cost), rows)[1]
        gap = abs(report["cost"]["0"] - report["cost"]["1"])
        low = min(report["cost_before"], key=report["cost_before"].get)
        high = report["cost_before"][{"0": "1", "1": "0"}[low]]
        here = rows.z == int(low)
        base = rows.y[here].mean()
        most = {"false_negative_rate": 1 - base, "false_positive_rate": base,
                "weighted": 2 * base * (1 - base)}[cost]  # fmt: skip
        attainable = most >= high
        assert gap < 1e-3 if attainable else report["withheld"][low] in (0.0, 1.0)
        assert ("limited" in report) != attainable
        limited += not attainable
    assert limited < 9


@pytest.mark.parametrize("gap", ["demographic_parity", "equal_opportunity", "average_odds"])
def test_reject_option_against_a_loop_over_its_grid(gap):
    rows = scored(n=400, seed=5)
    method, report = fitted(RejectOption(gap, 0.05, 0, thresholds=12, margins=9), rows)
    score = rows.probabilities[:, 1]
    best, nearest = (-1.0, None), (9.0, None)
    for t in np.linspace(0.01, 0.99, 12):
        for m in np.linspace(0, min(t, 1 - t), 9):
            chosen = np.where(np.abs(score - t) <= m, rows.z == 0, score > t).astype(float)
            found = rates(chosen, rows)
            size = {"demographic_parity": found[0, 0] - found[1, 0],
                    "equal_opportunity": found[0, 1] - found[1, 1],
                    "average_odds": (found[0] - found[1])[1:].mean()}[gap]  # fmt: skip
            balanced = (chosen[rows.y == 1].mean() + 1 - chosen[rows.y == 0].mean()) / 2
            nearest = min(nearest, (abs(size), (t, m)))
            if abs(size) <= 0.05:
                best = max(best, (balanced, (t, m)), key=lambda pair: pair[0])
    assert best[1] is not None
    assert report["balanced_accuracy"] == pytest.approx(best[0])
    assert rates(decisions(method, rows), rows).shape == (2, 3)


@pytest.mark.parametrize("bound", [0.0, 0.001, 0.05])
@pytest.mark.parametrize("gap", ["demographic_parity", "equal_opportunity", "average_odds"])
def test_reject_option_keeps_its_bound_by_a_lottery_where_no_point_does(gap, bound):
    rows = scored(n=400, seed=5)
    few, grid = {"thresholds": 5, "margins": 4}, {"thresholds": 100, "margins": 50}
    for options in (few, grid):
        method, report = fitted(RejectOption(gap, bound, 0, **options), rows)
        assert "limited" not in report
        chance = decisions(method, rows)
        found = rates(chance, rows)
        size = {"demographic_parity": found[0, 0] - found[1, 0],
                "equal_opportunity": found[0, 1] - found[1, 1],
                "average_odds": (found[0] - found[1])[1:].mean()}[gap]  # fmt: skip
        assert abs(size) <= bound + 1e-9 and size == pytest.approx(report["gap"], abs=1e-9)
        balanced = (chance[rows.y == 1].mean() + 1 - chance[rows.y == 0].mean()) / 2
        assert balanced == pytest.approx(report["balanced_accuracy"])
    # The only points left favour the group too much or too little: nothing can be mixed.
    one_sided = RejectOption(gap, 0.0, 0, thresholds=1, margins=2)
    rows = rows._replace(logits=rows.logits * 0 + [0, 0.3])
    report = fitted(one_sided, rows)[1]
    assert ("limited" in report) == (report["gap"] != 0)


def test_barycentre_of_the_example():
    p, z = np.array([0.2, 0.6, 0.4, 0.8, 0.9]), np.array([0, 0, 1, 1, 1])
    moved = Barycentre.transformed(p, z)
    assert moved[:2].round(12).tolist() == [0.56, 0.78]


@pytest.mark.parametrize("digits", [None, 0])
def test_barycentre_selects_the_same_share_of_each_group(digits):
    rows = scored(n=997, attributes=3, digits=digits)
    method, report = fitted(Barycentre(), rows)
    chance = decisions(method, rows)
    assert np.ptp(rates(chance, rows)[:, 0]) < 1e-9
    moved = Barycentre.transformed(rows.probabilities[:, 1], rows.z)
    if digits is None:  # without ties it is what the transformed scores say, to a row a group
        assert np.abs(chance - (moved > 0.5)).sum() <= 2 * 3
    assert report["rate"] == pytest.approx(rates(chance, rows)[0, 0])


@pytest.mark.parametrize(("attributes", "grid"), [(2, 30), (4, 60)])
def test_levelling_up_keeps_the_minimum_recall(attributes, grid):
    rows = scored(n=1200, attributes=attributes)
    method, report = fitted(GroupThresholds("accuracy", "minimum_recall", 0.8, grid), rows)
    chance = decisions(method, rows)
    assert set(np.unique(chance)) <= {0.0, 1.0}
    assert rates(chance, rows)[:, 1].min() >= 0.8
    assert report["minimum_recall"] == pytest.approx(rates(chance, rows)[:, 1].min())
    assert report["value"] == pytest.approx(accuracy(chance, rows))
    # Separable: in each group the best threshold of those that keep the bound.
    best = 0
    for a in range(attributes):
        score, y = rows.probabilities[rows.z == a, 1], rows.y[rows.z == a]
        tried = method._candidates(score)
        best += max(
            ((score > t) == (y == 1)).sum() for t in tried if (score > t)[y == 1].mean() >= 0.8
        )
    assert report["value"] == pytest.approx(best / len(rows.y))


@pytest.mark.parametrize("attributes", [2, 5])
@pytest.mark.parametrize("bound", [0.0, 0.05])
@pytest.mark.parametrize(
    "name",
    ["demographic_parity_difference", "equal_opportunity_difference",
     "equalized_odds_difference"],
)  # fmt: skip
def test_bounds_on_differences_can_always_be_kept(name, bound, attributes):
    rows = scored(n=900, attributes=attributes)
    method, report = fitted(GroupThresholds("accuracy", name, bound, grid=30), rows)
    found = np.ptp(rates(decisions(method, rows), rows), axis=0)
    size = {"demographic_parity_difference": found[0], "equal_opportunity_difference": found[1],
            "equalized_odds_difference": found[1:].max()}[name]  # fmt: skip
    assert size <= bound + 1e-9 and "limited" not in report


def test_what_cannot_be_kept_is_said():
    rows = scored(n=300)
    report = fitted(GroupThresholds("balanced_accuracy", "worst_group_accuracy", 1.0), rows)[1]
    assert "limited" in report and report["worst_group_accuracy"] < 1


def test_inferred_groups_need_no_attribute_when_they_are_applied():
    rows = scored(n=2000)
    method, _ = fitted(GroupThresholds(attribute="inferred"), rows)
    assert not method.reads_attribute and method.uses_features
    blind = rows._replace(z=np.full(2000, -1))
    assert np.array_equal(decisions(method, rows), decisions(method, blind))
    found = method.groups_of(rows)
    assert (found == rows.z).mean() > 0.8
    assert rates(decisions(method, rows), rows)[:, 1].min() >= 0.8  # of the true groups


class Told(GroupInference):
    """Groups of one's own: whether the second feature is large, unknown for some rows."""

    needs_outputs = False

    def infer(self, rows, rng):
        return np.where(rows.features[:, 2] > 2, -1, rows.features[:, 1] > 1)


#: Every map by groups, with the columns of :func:`rates` that it makes equal.
MAPS = [
    *((ThresholdOptimizer, {"constraint": name}, held) for name, held in HELD.items()),
    (RelaxedEqualizedOdds, {}, [1, 2]), (EqOddsMixing, {}, [1, 2]), (Barycentre, {}, [0]),
    (RejectOption, {"bound": 0.0}, [0]), (CalibratedOdds, {}, []), (TemperatureScaling, {}, []),
    (GroupThresholds, {}, []),
    (GroupThresholds, {"constraint": "demographic_parity_difference", "bound": 0.05}, []),
]  # fmt: skip


@pytest.mark.parametrize(
    "attribute", ["inferred", Errors(), Clusters(clusters=2, of="features"), Told()]
)
@pytest.mark.parametrize(("kind", "options", "held"), MAPS)
def test_every_map_works_for_inferred_groups(kind, options, held, attribute):
    """Fitted for the groups as the features tell them, which is what is known of a new row."""
    rows = scored(n=1500)
    if attribute != "inferred":  # no attribute at all
        rows = rows._replace(z=np.full(1500, -1))
    method, report = fitted(kind(attribute=attribute, **options), rows)
    assert not method.reads_attribute and method.uses_features
    blind = rows._replace(z=np.full(1500, -1))
    if kind is TemperatureScaling:
        scores = [method.scores(torch.as_tensor(r.logits), torch.as_tensor(r.features),
                                torch.as_tensor(r.z)) for r in (rows, blind)]  # fmt: skip
        assert torch.equal(*scores) and len(report["temperature"]) == 3
        return
    chance = decisions(method, rows)
    assert np.array_equal(chance, decisions(method, blind))
    told = method.groups_of(rows)
    assert set(told) == {0, 1}  # errors can hardly be told from the features
    assert report["groups_told_right"] > (0.5 if isinstance(attribute, Errors) else 0.7)
    kept = np.ones(1500, bool)
    if isinstance(attribute, Told):
        assert report["rows_without_attribute"] == (rows.features[:, 2] > 2).sum() > 0
        kept = rows.features[:, 2] <= 2
    found = rates(chance[kept], rows._replace(z=told).take(kept))
    assert np.ptp(found, axis=0)[held].max(initial=0) < 1e-3


@pytest.mark.parametrize("attribute", ["known", "inferred"])
@pytest.mark.parametrize(("kind", "options", "held"), MAPS)
def test_maps_are_fitted_to_rows_in_any_order(kind, options, held, attribute):
    """Fitting again gives the same map, and so do permuted rows; unknown rows are left out."""
    rows = scored(n=700, unknown=30)
    order = np.random.default_rng(1).permutation(700)
    maps = [fitted(kind(attribute=attribute, **options), given)[0].state_dict()
            for given in (rows, rows, rows.take(order))]  # fmt: skip
    for name, value in maps[0].items():
        assert torch.equal(value, maps[1][name])
        if attribute == "known":  # a regression adds up the rows in their order
            assert torch.allclose(value.double(), maps[2][name].double(), atol=1e-9)
    if kind is not TemperatureScaling:  # which gives those rows the temperature of all
        known = rows.take(rows.z >= 0)
        alone = fitted(kind(attribute=attribute, **options), known)[0].state_dict()
        assert all(torch.equal(value, alone[name]) for name, value in maps[0].items())


def test_a_group_that_no_row_is_told_to_be_of_is_said():
    rows = scored(n=400)
    rows = rows._replace(features=np.zeros((400, 3)))
    with pytest.raises(UserError, match="as the features tell it"):
        fitted(ThresholdOptimizer(attribute="inferred"), rows)
    fitted(GroupThresholds(attribute="inferred"), rows)  # measures the true groups


def test_temperatures_calibrate_each_group():
    rows = scored(n=4000)
    factor = np.where(rows.z == 0, 1.0, 4.0)[:, None]  # one group's logits are too large
    method, report = fitted(TemperatureScaling(), rows._replace(logits=rows.logits * factor))
    found = report["temperature"]
    assert found["1"] / found["0"] == pytest.approx(4, rel=0.3)
    logits = torch.as_tensor(rows.logits * factor)
    z = torch.as_tensor(rows.z)
    scores = method.scores(logits, torch.zeros(4000, 0), z)
    assert torch.equal(scores.argmax(1), logits.argmax(1))
    log_p = torch.nn.functional.cross_entropy

    for a in (0, 1):
        here = z == a
        y = torch.as_tensor(rows.y)[here]
        best = log_p(scores[here], y)
        for other in (0.9, 1.1):  # a minimum: neighbours are worse
            assert best < log_p(scores[here] / other, y)
    assert method.decide(scores.softmax(1), torch.zeros(4000, 0), z) is None


def test_exponentiated_gradient_is_fairlearns_mixture():
    reductions = pytest.importorskip("fairlearn.reductions")
    from sklearn.linear_model import LogisticRegression

    rows = scored(n=500)
    method, report = fitted(ExponentiatedGradient(tolerance=0.02, max_iter=10), rows)
    mean, scale = rows.features.mean(0), rows.features.std(0)
    x = (rows.features - mean) / scale
    reference = reductions.ExponentiatedGradient(
        LogisticRegression(max_iter=500), eps=0.02, max_iter=10,
        constraints=reductions.DemographicParity(difference_bound=0.02),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(x, rows.y, sensitive_features=rows.z)
    chance = decisions(method, rows)
    assert np.abs(chance - reference._pmf_predict(x)[:, 1]).max() < 1e-9
    away = np.abs(rates(chance, rows)[:, 0] - chance.mean()).max()
    assert away <= (2 + 2 * report["gap"]) * 0.02 and report["layers"] >= 1
    assert not method.reads_attribute


class ByHand(ThresholdMap):
    """A user's own rule."""

    def rule(self, rows):
        return [[Part(1.0, 0.5)], [Part(0.25, 0.3), Part(0.75, 0.7, above=False)]], {}


def test_a_rule_of_ones_own_is_a_mixture():
    rows = scored(n=200)
    method, _ = fitted(ByHand(), rows)
    score = rows.probabilities[:, 1]
    expected = np.where(rows.z == 0, score > 0.5, 0.25 * (score > 0.3) + 0.75 * (score < 0.7))
    assert np.allclose(decisions(method, rows), expected)


def test_draws_depend_on_the_row_and_the_seed_alone():
    shares = torch.tensor([[0.3, 0.5, 0.2]], dtype=torch.float64).expand(30_000, 3)
    index = torch.arange(30_000)
    whole = draw(shares, index, 7)
    order = torch.randperm(30_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(shares[order], index[order], 7), whole[order])
    parts = [draw(shares[i : i + 97], index[i : i + 97], 7) for i in range(0, 30_000, 97)]
    assert torch.equal(torch.cat(parts), whole)
    share = torch.bincount(whole, minlength=3) / 30_000
    assert torch.allclose(share, torch.tensor([0.3, 0.5, 0.2]), atol=0.01)
    other = draw(shares, index, 8)
    agree = float((other == whole).double().mean())
    assert agree == pytest.approx(0.3**2 + 0.5**2 + 0.2**2, abs=0.02)
    # Neighbouring rows are not alike.
    assert float((whole[1:] == whole[:-1]).double().mean()) == pytest.approx(0.38, abs=0.02)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: fitted(ThresholdOptimizer(), r._replace(y=r.z * 0 + (r.z == 0))), "one class"),
        (lambda r: fitted(ThresholdOptimizer(), r._replace(z=r.z * 0)), "attribute value 1"),
        (lambda r: fitted(ThresholdOptimizer(), r._replace(num_classes=3)), "two classes"),
        (lambda r: fitted(CalibratedOdds(), scored(attributes=3)), "two attribute values"),
        (lambda r: fitted(RejectOption(unprivileged=4), r), "not 4"),
        (lambda r: RelaxedEqualizedOdds(1.5), "tolerance"),
        (lambda r: ThresholdOptimizer("what"), "constraint"),
    ],
)
def test_what_cannot_be_fitted_is_said(make, words):
    with pytest.raises(UserError, match=words):
        make(scored())


def test_a_missing_package_is_named(monkeypatch):
    import frbench.postprocessing.reductions as module

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(module, "importlib", SimpleNamespace(import_module=absent))
    with pytest.raises(UserError, match="pip install fairlearn"):
        fitted(ExponentiatedGradient(), scored())


@pytest.mark.parametrize("right", [True, False])
def test_a_temperature_without_least_loss_inside_the_interval_is_its_end(right):
    rows = scored(n=400)
    wrong = 1 - rows.y
    logits = np.eye(2)[rows.y if right else wrong] * np.linspace(0.5, 4, len(rows.y))[:, None]
    method, _ = fitted(TemperatureScaling(), rows._replace(logits=logits))
    assert np.allclose(method.temperature.numpy(), np.exp(-6 if right else 6))
