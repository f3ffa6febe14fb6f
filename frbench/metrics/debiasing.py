"""Metrics of the GAN de-biasing literature, for two classes and two attribute values; numpy only.

Definitions of Ramaswamy et al. (CVPR 2021, arXiv 2012.01469), with the defects of the released
code mended; the released KL is kept under its own name.
"""

from __future__ import annotations

import numpy as np

from frbench.contracts.errors import UserError
from frbench.metrics.scores import score_kl, score_kl_noise_floor, score_state

RELEASED_BINS = 50


def average_precision(
    y: np.ndarray, scores: np.ndarray, weight: np.ndarray | None = None
) -> float:
    """Compute sum_k (R_k - R_(k-1)) P_k over the distinct scores, from the largest down.

    Args:
        y: Labels, 0 or 1 [N].
        scores: The higher, the more likely is 1 [N].
        weight: Weights [N]; ones by default.

    Returns:
        The area in [0, 1]; NaN without positives.

    Example:
        >>> round(average_precision(np.array([0, 1, 1]), np.array([0.5, 0.4, 0.9])), 4)
        0.8333
    """
    if not np.any(y):
        return float("nan")
    weight = np.ones(len(y)) if weight is None else weight
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(y) - 1)
    hits = np.cumsum((weight * y)[order])[last]
    if hits[-1] == 0:  # positives of no weight
        return float("nan")
    precision = hits / np.cumsum(weight[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


def domain_weights(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Weigh both attribute values of a label alike: w = n_t / (2 n_(t,g)) [N].

    Example:
        >>> domain_weights(np.array([1, 1, 1, 0]), np.array([0, 0, 1, 1])).tolist()
        [0.75, 0.75, 1.5, 0.5]
    """
    cell = np.bincount(2 * y + z, minlength=4).reshape(2, 2)
    result: np.ndarray = cell.sum(1)[y] / (2 * cell[y, z])
    return result


def calibrated_threshold(y: np.ndarray, scores: np.ndarray) -> float:
    """Choose the threshold above which as many scores lie as there are positives.

    Half-way between the n-th and the next score of n positives; ties there are left below. With
    no positives nothing lies above (the released code then takes nearly everything).

    Example:
        >>> calibrated_threshold(np.array([0, 1, 1, 0]), np.array([0.1, 0.5, 0.9, 0.3]))
        0.4
    """
    n = int(np.sum(y))
    falling = np.concatenate([[np.inf], np.sort(scores)[::-1], [-np.inf]])
    above, below = falling[n], falling[n + 1]
    return (
        float((above + below) / 2)
        if np.isfinite([above, below]).all()
        else float(above if n == 0 else below)
    )


def bias_amplification(y: np.ndarray, y_pred: np.ndarray, z: np.ndarray) -> float:
    """Compute the mean over cells (t, g) of +-(P(t_hat = t | g) - P(t | g)).

    The sign is + where P(t | g) > P(t): positive values say that predictions depend on the
    attribute more than labels do. NaN if an attribute value has no rows.

    Example:
        >>> y, z = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 1])
        >>> round(bias_amplification(y, z, z), 4)  # predicts the attribute
        0.3333
    """
    rates = []
    for g in (0, 1):
        rows = z == g
        if not rows.any():
            return float("nan")
        shown, true = y_pred[rows].mean(), y[rows].mean()
        rates.append(np.sign(true - y.mean()) * (shown - true))
    # The cells of t = 0 have both signs turned, and so the same terms.
    return float(np.mean(rates))


def released_kl(
    y: np.ndarray, scores: np.ndarray, z: np.ndarray, resamples: int = 500, seed: int = 0
) -> float:
    """Compute the KL of the released code: median of one-sided divergences over resamples.

    Not the paper's formula: every histogram has a range of its own, so that a pure shift of
    scores is not seen; smoothed counts are cut to integers; the four divergences of a resample
    (labels and directions) are pooled, not added. To compare with numbers of that code alone;
    NaN where a group of a label has no rows.

    Args:
        y: Labels [N].
        scores: Scores [N].
        z: Attributes [N].
        resamples: Resamples of the rows.
        seed: Their seed.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, z, s = rng.integers(0, 2, 900), rng.integers(0, 2, 900), rng.random(900)
        >>> 0 < released_kl(y, s, z, 20) < 0.5
        True
    """
    from scipy.ndimage import gaussian_filter1d

    rng = np.random.default_rng(seed)
    pool = []
    for _ in range(resamples):
        rows = rng.integers(0, len(y), len(y))
        for t in (0, 1):
            p = []
            for g in (0, 1):
                mine = scores[rows][(y[rows] == t) & (z[rows] == g)]
                if not len(mine):
                    return float("nan")
                counts = gaussian_filter1d(np.histogram(mine, RELEASED_BINS)[0], 1.0)
                p.append(counts / max(counts.sum(), 1) + 1e-6)
            pool += [np.sum(a * np.log(a / b)) for a, b in (p, p[::-1])]
    return float(np.median(pool))


def debiasing_metrics(
    y: np.ndarray,
    scores: np.ndarray,
    z: np.ndarray,
    threshold: float = 0.5,
    released: int = 500,
) -> dict[str, float]:
    """Compute all metrics of that literature.

    Args:
        y: Labels, 0 or 1 [N].
        scores: P(y = 1) [N].
        z: Attributes, 0 or 1 [N].
        threshold: A score above it predicts 1; from :func:`calibrated_threshold` on validation.
        released: Resamples of the released KL; 0 leaves it out.

    Returns:
        average_precision, weighted_average_precision, deo (difference of false negative rates),
        bias_amplification, kl, kl_noise_floor, kl_released.

    Raises:
        UserError: For labels or attributes other than 0 and 1.

    Example:
        >>> y, z, s = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [0.2, 0.9, 0.6, 0.4]])
        >>> found = debiasing_metrics(y.astype(int), s, z.astype(int), released=0)
        >>> found["deo"], found["average_precision"]
        (1.0, 0.8333333333333333)
    """
    for name, column in (("y", y), ("z", z)):
        if not np.isin(column, (0, 1)).all():
            raise UserError(
                f"These metrics are for two classes and two known attribute values; {name} holds "
                f"{np.unique(column)[:5].tolist()}."
            )
    predicted = (scores > threshold).astype(np.int64)
    positive = y == 1
    misses = [1 - predicted[positive & (z == g)].mean() if (positive & (z == g)).any() else np.nan
              for g in (0, 1)]  # fmt: skip
    histogram = score_state(y, z, scores[:, None], 2, 2).histogram
    found = {
        "average_precision": average_precision(y, scores),
        "weighted_average_precision": average_precision(y, scores, domain_weights(y, z)),
        "deo": float(abs(misses[0] - misses[1])),
        "bias_amplification": bias_amplification(y, predicted, z),
        "kl": float(score_kl(histogram)),
        "kl_noise_floor": score_kl_noise_floor(histogram),
    }
    if released:
        found["kl_released"] = released_kl(y, scores, z, released)
    return found
