"""The metrics of the de-biasing literature against scikit-learn and plain loops."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import entropy
from sklearn.metrics import average_precision_score

from frbench.contracts.errors import UserError
from frbench.metrics import (
    average_precision,
    bias_amplification,
    calibrated_threshold,
    debiasing_metrics,
)
from frbench.metrics.debiasing import domain_weights, released_kl


def draw(seed, n=400, ties=False):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    y = (rng.random(n) < 0.2 + 0.5 * z).astype(int)
    scores = np.clip(0.3 * y + 0.2 * z + rng.normal(0.2, 0.2, n), 0, 1)
    return y, scores.round(1) if ties else scores, z


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties):
    for seed in range(20):
        y, scores, z = draw(seed, 60, ties)
        for weight in (None, domain_weights(y, z)):
            assert average_precision(y, scores, weight) == pytest.approx(
                average_precision_score(y, scores, sample_weight=weight), abs=1e-12
            )
    assert np.isnan(average_precision(np.zeros(3, int), np.arange(3.0)))
    assert average_precision(np.ones(3, int), np.zeros(3)) == 1


def test_domain_weights_give_each_attribute_half_of_its_label():
    y, _, z = draw(0)
    weight = domain_weights(y, z)
    for t in (0, 1):
        shares = [weight[(y == t) & (z == g)].sum() for g in (0, 1)]
        assert shares == pytest.approx([(y == t).sum() / 2] * 2)


def test_threshold_leaves_as_many_above_as_there_are_positives():
    for seed in range(20):
        y, scores, _ = draw(seed)
        assert (scores > calibrated_threshold(y, scores)).sum() == y.sum()
    scores = np.array([0.2, 0.7, 0.4])
    assert (scores > calibrated_threshold(np.zeros(3, int), scores)).sum() == 0
    assert (scores > calibrated_threshold(np.ones(3, int), scores)).sum() == 3


def test_bias_amplification_is_the_mean_over_four_cells():
    for seed in range(10):
        y, scores, z = draw(seed)
        predicted = (scores > 0.5).astype(int)
        terms = []
        for t in (0, 1):
            for g in (0, 1):
                true = (y[z == g] == t).mean()
                change = (predicted[z == g] == t).mean() - true
                terms.append(change if true > (y == t).mean() else -change)
        assert bias_amplification(y, predicted, z) == pytest.approx(np.mean(terms))
    assert bias_amplification(y, y, z) == 0
    assert bias_amplification(y, z, z) > 0 > bias_amplification(y, 1 - z, z)
    assert np.isnan(bias_amplification(y, y, np.zeros_like(z)))


def test_deo_is_the_difference_of_miss_rates():
    y, scores, z = draw(3)
    found = debiasing_metrics(y, scores, z, 0.45, released=0)
    missed = [(scores[(y == 1) & (z == g)] <= 0.45).mean() for g in (0, 1)]
    assert found["deo"] == pytest.approx(abs(missed[0] - missed[1]))
    assert "kl_released" not in found


def test_corrected_kl_sees_a_shift_that_the_released_one_does_not():
    rng = np.random.default_rng(0)
    y, z = np.repeat([0, 1], 4000), np.tile([0, 1], 4000)
    same = rng.beta(20, 20, 8000) * 0.5
    shifted = same + 0.4 * z
    alike, apart = (debiasing_metrics(y, s, z) for s in (same, shifted))
    assert alike["kl"] < 2 * alike["kl_noise_floor"] and apart["kl"] > 20 * apart["kl_noise_floor"]
    assert abs(apart["kl_released"] - alike["kl_released"]) < 0.3 * alike["kl_released"]


def test_released_kl_is_the_pooled_median_of_cut_histograms():
    y, scores, z = draw(1, 300)
    rng = np.random.default_rng(7)
    pool = []
    for _ in range(15):
        rows = rng.integers(0, 300, 300)
        for t in (0, 1):
            smooth = []
            for g in (0, 1):
                mine = scores[rows][(y[rows] == t) & (z[rows] == g)]
                counts, _ = np.histogram(mine, bins=50)
                exact = gaussian_filter1d(counts.astype(float), 1.0)
                cut = np.floor(exact + 1e-9)
                smooth.append(cut / cut.sum() + 1e-6)
            scale = [p.sum() for p in smooth]
            for p, q, a, b in ((*smooth, *scale), (*smooth[::-1], *scale[::-1])):
                pool.append(a * (entropy(p, q) + np.log(a / b)))
    assert released_kl(y, scores, z, 15, seed=7) == pytest.approx(np.median(pool), rel=1e-6)
    assert np.isnan(released_kl(y, scores, y, 2))


def test_more_than_two_values_are_refused():
    y, scores, z = draw(0)
    with pytest.raises(UserError, match="z holds"):
        debiasing_metrics(y, scores, z - 1)


def test_average_precision_without_positives_is_not_a_number():
    for y in ([], [0, 0]):
        assert np.isnan(average_precision(np.array(y), np.zeros(len(y))))
    assert np.isnan(average_precision(np.array([0, 1]), np.zeros(2), np.array([1.0, 0.0])))
