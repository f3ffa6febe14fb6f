"""An interval for the metrics of scores that have one; numpy only."""

from collections.abc import Sequence

import numpy as np

from frbench.metrics.counts import rate
from frbench.metrics.estimates import Ends, Means, plain
from frbench.metrics.limits import differences, largest, largest_sum
from frbench.metrics.names import keys_of
from frbench.metrics.ranking import Ranking, ranking_limits
from frbench.metrics.shares import positive_classes
from frbench.metrics.worst_losses import loss_state, worst_values

#: Metrics of scores without an interval: their plug-in values are biased upwards, and no interval
#: about them covers where calibration is good, or the groups' scores have one law.
WITHOUT = frozenset({"expected_calibration_error", "score_kl", "score_kl_noise_floor"})
_SHARDS = 100


def score_intervals(
    y: np.ndarray,
    z: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    num_classes: int,
    found: Ranking,
    weight: np.ndarray | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Ends]:
    """Compute the intervals of the score metrics but those of `WITHOUT`.

    AUROC and average precision: see `frbench.metrics.ranking.ranking_limits`; of more than two
    classes the means of the limits. Means of losses have normal limits, gaps between means of
    scores those of `frbench.metrics.limits`. Only the worst alpha shares are resampled, from
    100 random shards of the rows.

    Args:
        y: As in `frbench.metrics.score_state`.
        z: As in `frbench.metrics.score_state`.
        scores: As in `frbench.metrics.score_state`.
        names: Names of the attribute values.
        num_classes: C.
        found: The ranking of the scores.
        weight: As in `frbench.metrics.score_state`.
        n_resamples: Number of resamples.
        level: Coverage aimed at.
        seed: Seed of shards and resamples.

    Example:
        >>> from frbench.metrics.ranking import ranking
        >>> y = np.arange(400) % 2
        >>> columns = y, y * 0, 0.25 + 0.5 * y[:, None]
        >>> low, high = score_intervals(*columns, ["all"], 2, ranking(*columns, 2, 1))["auroc"]
        >>> round(float(low), 2), float(high)
        (0.99, 1.0)
    """
    out: dict[str, Ends] = {}
    limits = ranking_limits(found, level)
    for key, value, ends in zip(("auroc", "average_precision"), found[:2], limits, strict=True):
        low, high = (rate(np.nansum(e, 0), (~np.isnan(value)).sum(0), "ignore") for e in ends)
        out[key] = low[0], high[0]
        for j, name in enumerate(names):
            out[f"{key}/z={name}"] = low[j + 1], high[j + 1]
    rows = np.arange(len(y))
    full = np.column_stack([1 - scores[:, 0], scores[:, 0]]) if num_classes == 2 else scores
    tiny = np.finfo(np.float64).eps
    loss = -np.log(np.clip(full[rows, y], tiny, 1 - tiny))
    square = (full**2).sum(1) - 2 * full[rows, y] + 1
    square = square / 2 if num_classes == 2 else square
    every = np.zeros(len(y), np.int64)
    for key, values in (("brier_score", square), ("negative_log_likelihood", loss)):
        low, high = plain(group_means(values, every, 1, weight, bounded=False), level)
        out[key] = np.maximum(low[0], 0.0), high[0]
    out |= _soft(y, z, scores, num_classes, len(names), weight, level)
    hits = full.argmax(1) == y
    return out | _worst_shares(loss, hits, weight, n_resamples, level, seed)


def group_means(
    values: np.ndarray,
    code: np.ndarray,
    size: int,
    weight: np.ndarray | None,
    bounded: bool = True,
) -> Means:
    """Return the means of values by code, with their standard errors.

    A single row has the largest error that values in [0, 1] can have.
    """
    w = np.ones(len(values)) if weight is None else weight
    total = np.bincount(code, w, size)
    mean = rate(np.bincount(code, w * values, size), total, "ignore")
    squares = np.bincount(code, w * w, size)
    residual = np.bincount(code, (w * (values - mean[code])) ** 2, size)
    rows = rate(total**2, squares, "zero")
    several = rows > 1 + 1e-9
    # The factor is n / (n - 1) of the effective number of rows.
    factor = np.divide(rows, rows - 1, out=np.ones(size), where=several)
    variance = rate(residual * factor, total**2, "zero")
    return Means(mean, np.sqrt(np.where(several | (not bounded), variance, 0.25)))


def _soft(
    y: np.ndarray,
    z: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    num_attributes: int,
    weight: np.ndarray | None,
    level: float,
) -> dict[str, Ends]:
    """Return the limits of the gaps between means of scores."""
    keys = ("demographic_parity_soft", "equalized_odds_soft")
    if num_attributes == 1:
        zero = np.array(0.0)
        return dict.fromkeys(keys, (zero, zero))
    known = z >= 0
    w = None if weight is None else weight[known]
    by_value, by_label = [], []
    for i, c in enumerate(positive_classes(num_classes)):
        s, a = scores[known, i], z[known]
        by_value.append(group_means(s, a, num_attributes, w))
        code = (y[known] == c) * num_attributes + a
        by_label.append(group_means(s, code, 2 * num_attributes, w))
    value = Means(*map(np.stack, zip(*by_value, strict=True)))
    both = [np.stack(x).reshape(-1, 2, num_attributes) for x in zip(*by_label, strict=True)]
    first, second = (Means(both[0][:, i], both[1][:, i]) for i in (0, 1))
    parity = largest(differences(value, 2), level)
    odds = largest_sum(first, second, level, 2)
    return {
        keys[0]: (np.maximum(parity[0], 0.0), np.minimum(parity[1], 1.0)),
        keys[1]: (np.maximum(odds[0] / 2, 0.0), np.minimum(odds[1] / 2, 1.0)),
    }


def _worst_shares(
    loss: np.ndarray,
    hits: np.ndarray,
    weight: np.ndarray | None,
    n_resamples: int,
    level: float,
    seed: int,
) -> dict[str, Ends]:
    """Return percentile intervals of the worst alpha shares."""
    rng = np.random.default_rng(seed)
    w = np.ones(len(loss)) if weight is None else weight
    shards = min(len(loss), _SHARDS)
    states = np.array(
        [
            loss_state(loss[i], hits[i], w[i])
            for i in np.array_split(rng.permutation(len(loss)), shards)
        ]
    )
    times = rng.multinomial(shards, np.full(shards, 1 / shards), n_resamples).astype(float)
    parts = [
        worst_values(np.tensordot(times[i : i + 100], states, 1))
        for i in range(0, n_resamples, 100)
    ]
    tails = [(1 - level) / 2, (1 + level) / 2]
    out = {}
    for name, values in worst_values(states.sum(0)).items():
        sampled = np.concatenate([part[name] for part in parts])
        low, high = np.quantile(sampled, tails, axis=0)
        for key, a, b, value in zip(keys_of(name), low, high, values, strict=True):
            # Resampling adds noise: an interval that would leave the value out is extended to it.
            out[key] = np.fmin(a, value), np.fmax(b, value)
    return out
