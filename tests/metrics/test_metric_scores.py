import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from frbench.metrics import evaluate
from frbench.metrics.scores import (
    RANK_BINS,
    ScoreState,
    rank,
    rank_bound,
    score_kl,
    score_kl_noise_floor,
    score_metrics,
    score_state,
)


def random_scores(seed, n=2000, num_classes=2, num_attributes=3, sharp=1.0):
    rng = np.random.default_rng(seed)
    y, z = rng.integers(num_classes, size=n), rng.integers(-1, num_attributes, size=n)
    logits = sharp * rng.normal(size=(n, num_classes)) + np.eye(num_classes)[y]
    logits[:, 0] += 0.3 * z
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return y, z, p, rng.random(n)


def auroc_bound(y, s, w):
    """docs/metric_definitions.md: pairs within one bin are wrong by at most one half."""
    bins = np.minimum((rank(s) * RANK_BINS).astype(int), RANK_BINS - 1)
    positive = np.bincount(bins, w * y, RANK_BINS)
    negative = np.bincount(bins, w * (1 - y), RANK_BINS)
    return (positive * negative).sum() / 2 / positive.sum() / negative.sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sharp", [0.1, 1.0, 10.0])
def test_binned_auroc_is_within_its_bound_of_scikit_learn(sharp, weighted):
    for seed in range(3):
        y, z, p, w = random_scores(seed, sharp=sharp)
        w = w if weighted else np.ones(len(y))
        state = score_state(y, z, p[:, 1:], 2, 3, w)
        found, bound = float(score_metrics(state)["auroc"]), auroc_bound(y, p[:, 1], w)
        assert rank_bound(state.ranks) == pytest.approx(bound)
        assert abs(found - roc_auc_score(y, p[:, 1], sample_weight=w)) <= bound + 1e-12
        assert bound < (0.02 if sharp > 5 else 0.005)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("digits", [1, 3, 12])
def test_auroc_and_average_precision_are_exact(digits, weighted, monkeypatch):
    monkeypatch.setattr("frbench.metrics.ranking._BLOCK", 64)  # ties go over the blocks' ends
    y, z, p, w = random_scores(0, 1000)
    s, w = np.round(p[:, 1], digits), w if weighted else None
    found = evaluate(y, y, z, s, w)
    for key, rows in [("", y >= 0), *((f"/z={a}", z == a) for a in range(3))]:
        weights = {} if w is None else {"sample_weight": w[rows]}
        area = roc_auc_score(y[rows], s[rows], **weights)
        precision = average_precision_score(y[rows], s[rows], **weights)
        assert found[f"auroc{key}"] == pytest.approx(area, abs=1e-12)
        assert found[f"average_precision{key}"] == pytest.approx(precision, abs=1e-12)


def test_close_scores_are_told_apart():
    y, s = np.array([0, 0, 1, 1]), np.array([0.5001, 0.5002, 0.5003, 0.5004])
    assert evaluate(y, y, 0 * y, s)["auroc"] == 1.0


def test_multiclass_auroc_is_the_macro_mean_of_one_against_the_rest():
    y, z, p, _ = random_scores(0, num_classes=4)
    found = evaluate(y, y, z, p)
    assert found["auroc"] == pytest.approx(roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)
    rows = z == 1
    one = roc_auc_score(y[rows], p[rows], multi_class="ovr")
    assert found["auroc/z=1"] == pytest.approx(one, abs=1e-12)
    expected = average_precision_score(np.eye(4)[y], p)
    assert found["average_precision"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_brier_and_likelihood_agree_with_scikit_learn(num_classes, weighted):
    y, z, p, w = random_scores(1, num_classes=num_classes, sharp=3.0)
    found = evaluate(y, y, z, p, w if weighted else None)
    extra = {"sample_weight": w} if weighted else {}
    nll = log_loss(y, p, **extra)
    assert found["negative_log_likelihood"] == pytest.approx(nll, abs=1e-12)
    if num_classes == 2:
        brier = brier_score_loss(y, p[:, 1], **extra)
    else:
        brier = np.average(((p - np.eye(3)[y]) ** 2).sum(1), weights=w if weighted else None)
    assert found["brier_score"] == pytest.approx(brier, abs=1e-12)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_calibration_and_soft_gaps_equal_the_loop(num_classes):
    y, z, p, w = random_scores(2, 500, num_classes)
    found = evaluate(y, y, z, p, w)
    error = 0.0
    for b in range(15):
        inside = [i for i in range(len(y)) if min(int(p[i].max() * 15), 14) == b]
        gap = sum(w[i] * (p[i].max() - (p[i].argmax() == y[i])) for i in inside)
        error += abs(gap) / w.sum()
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-12)

    def gap(s, among):
        groups = [[i for i in range(len(y)) if among(i) and z[i] == a] for a in range(3)]
        means = [sum(w[i] * s[i] for i in g) / sum(w[i] for i in g) for g in groups]
        return max(means) - min(means)

    parity, odds = [], []
    for c in [1] if num_classes == 2 else range(num_classes):
        s = p[:, c]
        parity.append(gap(s, lambda i: True))
        inside, outside = gap(s, lambda i, c=c: y[i] == c), gap(s, lambda i, c=c: y[i] != c)
        odds.append((inside + outside) / 2)
    assert found["demographic_parity_soft"] == pytest.approx(max(parity), abs=1e-12)
    assert found["equalized_odds_soft"] == pytest.approx(max(odds), abs=1e-12)


def slow_kl(y, z, s, num_attributes):
    """Section 2.6 of the specification, pair by pair, smoothing by scipy."""
    labels = []
    for label in range(2):
        shapes = []
        for a in range(num_attributes):
            h = np.histogram(s[(y == label) & (z == a)], bins=50, range=(0, 1))[0].astype(float)
            if h.sum() > 0:
                p = gaussian_filter1d(h, 1.0, mode="reflect", truncate=4) / h.sum() + 1e-6
                shapes.append(p / p.sum())
        pairs = [
            (p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()
            for i, p in enumerate(shapes)
            for q in shapes[:i]
        ]
        if pairs:
            labels.append(np.mean(pairs))
    return np.mean(labels)


@pytest.mark.parametrize("num_attributes", [2, 4])
def test_score_kl_equals_the_loop_over_pairs(num_attributes):
    y, z, p, _ = random_scores(3, 3000, num_attributes=num_attributes)
    found = evaluate(y, y, z, p[:, 1])["score_kl"]
    assert found == pytest.approx(slow_kl(y, z, p[:, 1], num_attributes), rel=1e-9)
    keep = (y != 1) | (z != 0)  # an empty cell is left out of the pairs
    y, z, s = y[keep], z[keep], p[keep, 1]
    found = evaluate(y, y, z, s)["score_kl"]
    assert found == pytest.approx(slow_kl(y, z, s, num_attributes), rel=1e-9)


def test_a_pure_shift_of_scores_is_seen():
    y, z = np.repeat([0, 1], 2000), np.tile([0, 1], 2000)
    s = np.random.default_rng(0).uniform(0.1, 0.3, 4000)
    apart = evaluate(y, y, z, s + 0.5 * z)["score_kl"]
    assert apart > 10 > 1 > evaluate(y, y, z, s)["score_kl"]


def test_noise_floor_is_that_of_shuffled_rows():
    rng = np.random.default_rng(0)
    y, z, p, _ = random_scores(4, 600)
    shuffled = []
    for _ in range(100):
        mixed = z.copy()
        for label in range(2):
            rows = np.flatnonzero((y == label) & (z >= 0))
            mixed[rows] = rng.permutation(z[rows])
        state = score_state(y, mixed, p[:, 1:], 2, 3)
        shuffled.append(float(score_kl(state.histogram)))
    histogram = score_state(y, z, p[:, 1:], 2, 3).histogram
    floor = score_kl_noise_floor(histogram, shuffles=100)
    error = np.std(shuffled) / 10
    assert abs(floor - np.mean(shuffled)) < 5 * error
    assert score_kl(histogram) > floor + 5 * error  # these scores do depend on z
    assert floor == score_kl_noise_floor(histogram, shuffles=100)
    assert floor != score_kl_noise_floor(histogram, shuffles=100, seed=1)


def test_noise_floor_falls_with_the_number_of_rows():
    floors = []
    for n in (200, 2000, 20000):
        y, z, p, _ = random_scores(5, n)
        floors.append(score_kl_noise_floor(score_state(y, z, p[:, 1:], 2, 3).histogram))
    assert floors[0] > 3 * floors[1] > 9 * floors[2] > 0


def test_states_of_shards_add_to_the_whole():
    y, z, p, w = random_scores(6, num_classes=3)
    whole = score_state(y, z, p, 3, 3, w)
    shards = [score_state(y[i::5], z[i::5], p[i::5], 3, 3, w[i::5]) for i in range(5)]
    for field, parts in zip(whole, zip(*shards, strict=True), strict=True):
        np.testing.assert_allclose(sum(parts), field, rtol=1e-12, atol=1e-15)


def test_leading_dimensions_are_carried_through():
    states = [score_state(*random_scores(s)[:2], random_scores(s)[2][:, 1:], 2, 3) for s in (0, 1)]
    stacked = score_metrics(ScoreState(*map(np.stack, zip(*states, strict=True))))
    for i, state in enumerate(states):
        for key, value in score_metrics(state).items():
            assert stacked[key][i] == pytest.approx(value, rel=1e-12), key


def test_undefined_values_are_nan_without_warnings():
    values = evaluate([1, 1, 1], [1, 1, 1], [0, 0, 1], [0.2, 0.9, 1.0])
    assert np.isnan(values["auroc"])
    assert values["brier_score"] == pytest.approx(0.65 / 3)
    alone = evaluate([0, 1], [0, 1], [0, -1], [0.2, 0.9], attribute_names=["a", "b"])
    for key in ("demographic_parity_soft", "score_kl", "score_kl_noise_floor"):
        assert np.isnan(alone[key]), key
    assert alone["auroc"] == 1.0


def test_certain_and_wrong_scores_give_a_finite_likelihood():
    nll = evaluate([0, 1], [1, 0], [0, 0], [1.0, 0.0])["negative_log_likelihood"]
    assert nll == pytest.approx(-np.log(np.finfo(float).eps))
