import itertools

import numpy as np
import pytest
from count_reference import random_table, reference

from frbench.contracts.errors import UserError
from frbench.metrics import count_intervals, count_metrics, evaluate, tabulate
from frbench.metrics.names import DEBIASING, DIRECTION, direction, higher_is_better

CASES = [
    {},
    {"num_attributes": 1},
    {"num_attributes": 4, "n": 200},
    {"num_classes": 3, "n": 150},
    {"num_classes": 4, "num_attributes": 3, "n": 300},
    {"drop": [(1, 0)]},
    {"drop": [(0, 1), (1, 1)]},
    {"num_attributes": 3, "drop": [(1, 0), (1, 1)]},
    {"num_attributes": 3, "drop": [(1, 0), (1, 1), (1, 2)]},
    {"num_classes": 3, "num_attributes": 3, "drop": [(2, 0), (2, 1), (2, 2), (0, 0)], "n": 60},
    {"n": 6, "num_attributes": 3},
]


def case_id(case):
    return ",".join(f"{k}={v}" for k, v in case.items()) or "plain"


def same(found, expected, tolerance=1e-12):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=tolerance, rel=0, nan_ok=True), key


@pytest.mark.parametrize("empty", ["ignore", "zero", "nan"])
@pytest.mark.parametrize("weighted", [False, True], ids=["counts", "weights"])
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_every_metric_equals_the_loop(case, weighted, empty):
    sizes = case.get("num_classes", 2), case.get("num_attributes", 2)
    names = [list(map(str, range(k))) for k in sizes]
    train = np.random.default_rng(9).integers(1, 50, sizes)
    for seed in range(3):
        y, p, z, w = random_table(seed, weighted=weighted, **case)
        table = tabulate(y, p, z, *sizes, w if weighted else None)
        for given in (None, train):
            found = count_metrics(table, *names, given, empty)
            same(found, reference(y, p, z, w, *sizes, empty, given))


def test_negative_attributes_beyond_unknown_and_labels_out_of_range_are_refused():
    good = np.array([0, 1])
    for bad in ([0, 2], [-1, 1]):
        with pytest.raises(ValueError, match=r"y must lie in 0\.\.1"):
            tabulate(np.array(bad), good, good, 2, 2)
    for bad in ([0, 2], [-2, 1]):
        with pytest.raises(ValueError, match=r"z must lie in -1\.\.1"):
            tabulate(good, good, np.array(bad), 2, 2)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64, bool])
def test_any_integer_type_counts_alike(kind):
    y, p, z, _ = random_table(0, n=1000, unknown=0.0)
    narrow = tabulate(y.astype(kind), p.astype(kind), z.astype(kind), 2, 2)
    np.testing.assert_array_equal(narrow, tabulate(y, p, z, 2, 2))


def test_counts_are_exact_over_blocks():
    y, p, z, w = random_table(0, n=200_000, num_classes=3, num_attributes=5, weighted=True)
    expected = np.zeros((3, 6, 3))
    np.add.at(expected, (y, z, p), 1)  # -1 is the last slot
    np.testing.assert_array_equal(tabulate(y, p, z, 3, 5), expected)
    expected[:] = 0
    np.add.at(expected, (y, z, p), w)
    np.testing.assert_allclose(tabulate(y, p, z, 3, 5, w), expected, rtol=1e-12)


def test_shards_add_to_the_whole():
    y, p, z, w = random_table(3, n=500, num_classes=3, weighted=True)
    whole = tabulate(y, p, z, 3, 2, w)
    shards = sum(tabulate(y[i::7], p[i::7], z[i::7], 3, 2, w[i::7]) for i in range(7))
    np.testing.assert_allclose(shards, whole, rtol=1e-13)


def test_weights_of_two_count_rows_twice_and_scale_does_not_matter():
    y, p, z, _ = random_table(4)
    w = np.random.default_rng(0).integers(0, 3, len(y))
    repeated = [np.repeat(v, w) for v in (y, p, z)]
    expected = count_metrics(tabulate(*repeated, 2, 2))
    same(count_metrics(tabulate(y, p, z, 2, 2, w)), expected)
    same(count_metrics(tabulate(y, p, z, 2, 2, w / 7.0)), expected)


def test_leading_dimensions_are_carried_through():
    tables = np.stack([tabulate(*random_table(s, num_classes=3)[:3], 3, 2) for s in range(6)])
    stacked = count_metrics(tables.reshape(2, 3, *tables.shape[1:]))
    for i, table in enumerate(tables):
        same({k: v[i // 3, i % 3] for k, v in stacked.items()}, count_metrics(table), 0)


def test_renaming_attribute_values_permutes_keys_only():
    y, p, z, _ = random_table(5, num_attributes=3)
    names, order = ["a", "b", "c"], np.array([2, 0, 1])
    moved = tabulate(y, p, np.where(z < 0, -1, order[z]), 2, 3)
    found = count_metrics(moved, attribute_names=[names[i] for i in np.argsort(order)])
    same(found, count_metrics(tabulate(y, p, z, 2, 3), attribute_names=names))


def test_reordering_three_classes_permutes_keys_only():
    y, p, z, _ = random_table(5, num_classes=3)
    names, order = ["a", "b", "c"], np.array([2, 0, 1])
    moved = tabulate(order[y], order[p], z, 3, 2)
    found = count_metrics(moved, [names[i] for i in np.argsort(order)])
    same(found, count_metrics(tabulate(y, p, z, 3, 2), names))


def test_unknown_attributes_count_overall_and_in_no_group():
    y, p, z, _ = random_table(6, unknown=0.0)
    wrong = np.ones(40, int)
    more = [np.concatenate(v) for v in ((y, wrong), (p, 1 - wrong), (z, -wrong))]
    known, mixed = evaluate(y, p, z), evaluate(*more)
    overall = {"accuracy", "balanced_accuracy", "worst_class_accuracy", "theil_index"}
    assert mixed["accuracy"] == pytest.approx((y == p).sum() / (len(y) + 40))
    same(
        {k: v for k, v in mixed.items() if k not in overall},
        {k: v for k, v in known.items() if k not in overall},
        0,
    )


def test_keys_never_depend_on_values():
    keys = [
        list(count_metrics(table))
        for table in (
            np.zeros((2, 4, 2), int),
            np.ones((2, 4, 2)),
            tabulate(*random_table(0, n=5)[:3], 2, 3),
        )
    ]
    assert keys[0] == keys[1] == keys[2]


def test_an_empty_table_is_undefined_without_warnings():
    values = count_metrics(np.zeros((2, 3, 2), int))
    assert values.pop("empty_groups") == 4
    assert all(np.isnan(v) for v in values.values())


def test_empty_groups_say_why_a_group_key_is_nan():
    y, p, z, _ = random_table(1, drop=[(1, 0)])
    values = count_metrics(tabulate(y, p, z, 2, 2))
    undefined = [k for k, v in values.items() if np.isnan(v)]
    assert values["empty_groups"] == 1
    assert undefined == [
        "equal_opportunity_difference",
        "equalized_odds_difference",
        "equalized_odds_mean",
        "equalized_odds_sum",
        "average_odds_difference",
        "true_positive_rate/z=0",
        "group_accuracy/y=1,z=0",
    ]


def test_a_constant_predictor_is_at_parity():
    y, p, z, _ = random_table(1)
    values = evaluate(y, 0 * p, z, class_names=["0", "1"])
    assert values["disparate_impact"] == 1.0
    assert values["demographic_parity_difference"] == 0.0


def test_names_must_fit_the_table():
    for names in (["a"], ["a", "a"], ["a", "b", "c"]):
        with pytest.raises(UserError, match="class_names must hold 2 distinct names"):
            count_metrics(np.ones((2, 3, 2)), names)
        with pytest.raises(UserError, match="attribute_names must hold 2 distinct names"):
            count_metrics(np.ones((2, 3, 2)), None, names)
    with pytest.raises(ValueError, match=r"train_counts must be \[2, 2\]"):
        count_metrics(np.ones((2, 3, 2)), train_counts=np.ones((2, 3)))


def test_every_key_has_a_direction_and_every_direction_a_key():
    y, p, z, _ = random_table(0)
    for sizes in ((2, 2), (3, 2)):
        scores = np.full((len(y), sizes[0]), 1 / sizes[0])
        names = list(map(str, range(sizes[0])))
        keys = evaluate(y, p, z, scores, class_names=names, min_group_rows=1)
        # Those of a shift family and of a probe need more than one table.
        elsewhere = {k for k in DIRECTION if k.startswith(("family", "encoding"))}
        elsewhere |= {k for k in DIRECTION if k.endswith("_range")} | {"loss", *DEBIASING}
        elsewhere -= {"average_precision"}
        assert {k.split("/")[0] for k in keys} == DIRECTION.keys() - elsewhere
        assert all(direction(f"test/P0/{k}") == DIRECTION[k.split("/")[0]] for k in keys)


def test_higher_is_better_with_prefixes_and_groups():
    assert higher_is_better("accuracy")
    assert higher_is_better("val/worst_group_accuracy")
    assert higher_is_better("test/P0/group_accuracy/y=1,z=a/b")
    assert not higher_is_better("val/loss")
    assert not higher_is_better("false_positive_rate/z=male")


def test_unknown_and_directionless_names_are_refused_with_help():
    with pytest.raises(UserError, match="did you mean: worst_group_accuracy"):
        higher_is_better("val/worst_group_acuracy")
    with pytest.raises(UserError, match=r"known: accuracy, accuracy_gap"):
        higher_is_better("val/qqqq")
    for name in ("selection_rate/z=0", "average_odds_difference", "score_kl_noise_floor"):
        with pytest.raises(UserError, match="has no better direction"):
            higher_is_better(name)


def test_signed_average_odds_follows_aif360():
    # TPR, FPR: z = 0 has 1/2, 0; z = 1 has 1, 1/2; AIF360: unprivileged minus privileged.
    y = np.array([0, 0, 1, 1] * 2)
    p = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    values = evaluate(y, p, np.repeat([0, 1], 4))
    assert values["average_odds_difference"] == -0.5


@pytest.mark.parametrize("num_classes", [2, 3])
def test_count_intervals_have_every_key_but_one_and_hold_their_value(num_classes):
    table = tabulate(*random_table(0, num_classes=num_classes)[:3], num_classes, 2)
    found, values = count_intervals(table), count_metrics(table)
    assert list(found) == [key for key in values if key != "empty_groups"]
    for key, (low, high) in found.items():
        assert low - 1e-12 <= values[key] <= high + 1e-12, key


FAIRLEARN = list(
    itertools.product(range(3), [False, True], ["plain", "four groups", "no positives"])
)


@pytest.mark.parametrize(("seed", "weighted", "kind"), FAIRLEARN)
def test_agrees_with_fairlearn(seed, weighted, kind):
    fairlearn = pytest.importorskip("fairlearn.metrics")
    groups = 4 if kind == "four groups" else 2
    drop = [(1, 0)] if kind == "no positives" else []
    y, p, z, w = random_table(seed, 300, 2, groups, drop, unknown=0.0, weighted=weighted)
    found = evaluate(y, p, z, weight=w if weighted else None, empty="zero")
    args = {"y_true": y, "y_pred": p, "sensitive_features": z}
    extra = {"sample_weight": w} if weighted else {}
    odds = {**args, **extra}
    expected = {
        "demographic_parity_difference": fairlearn.demographic_parity_difference(**odds),
        "disparate_impact": fairlearn.demographic_parity_ratio(**odds),
        "equalized_odds_difference": fairlearn.equalized_odds_difference(**odds),
        "equalized_odds_mean": fairlearn.equalized_odds_difference(**odds, agg="mean"),
        "equal_opportunity_difference": fairlearn.equal_opportunity_difference(**odds),
    }
    functions = {
        "selection_rate": fairlearn.selection_rate,
        "true_positive_rate": fairlearn.true_positive_rate,
        "false_positive_rate": fairlearn.false_positive_rate,
    }
    params = dict.fromkeys(functions, extra)
    frame = fairlearn.MetricFrame(metrics=functions, sample_params=params, **args)
    for name in functions:
        for a in range(groups):
            expected[f"{name}/z={a}"] = frame.by_group[name][a]
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-12), key


def test_balanced_accuracy_agrees_with_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score

    for seed in range(5):
        y, p, z, w = random_table(seed, num_classes=4, weighted=True)
        found = evaluate(y, p, z, weight=w)["balanced_accuracy"]
        assert found == pytest.approx(balanced_accuracy_score(y, p, sample_weight=w), abs=1e-12)
