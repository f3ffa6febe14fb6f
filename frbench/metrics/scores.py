"""Metrics of predicted probabilities as pure functions of histograms and sums; numpy only.

Scores are P(y = 1) for two classes and all C probabilities for more; each class is taken against
the rest. As with counts, states add over shards and carry leading dimensions.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from frbench.metrics.counts import gap, highest, keyed, mean, rate
from frbench.metrics.names import SCORES, check_names
from frbench.metrics.ranking import Ranking
from frbench.metrics.shares import positive_classes
from frbench.metrics.worst_losses import loss_state, worst_values

NUM_BINS = 1000
RANK_BINS = 2000
CALIBRATION_BINS = 15
KL_BINS = 50
KL_PSEUDO = 1e-6
MAX_LOGIT = 16.0
# Rows binned at a time: their codes stay in the cache.
_BLOCK = 1 << 16


class ScoreState(NamedTuple):
    """What score metrics need of a table; S = 1 for two classes, else C.

    Attributes:
        histogram: Rows by score class, whether y is that class, attribute slot (the last is
            unknown z) and score bin [..., S, 2, A + 1, NUM_BINS].
        ranks: Rows by score class, whether y is that class, and bin of `rank` (AUROC needs finer
            bins where scores saturate) [..., S, 2, RANK_BINS].
        score_sum: Sums of the scores [..., S, 2, A + 1].
        loss_sum: Sums of negative log-likelihood and squared error [..., 2].
        calibration: Rows, sums of confidence and of hits by confidence [..., 3, 15].
        losses: Rows, sums of losses and of hits by loss [..., 3, LOSS_BINS].
    """

    histogram: np.ndarray
    ranks: np.ndarray
    score_sum: np.ndarray
    loss_sum: np.ndarray
    calibration: np.ndarray
    losses: np.ndarray


def soft_gaps(sums: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the differences of mean scores between attribute values, of the worst class.

    Args:
        sums: Sums of the scores by score class and by whether y is that class [..., S, 2, A].
        size: Rows, the same [..., S, 2, A].
    """
    by_label = gap(rate(sums, size, "ignore"), "ignore")  # [..., S, 2]
    overall = gap(rate(sums.sum(-2), size.sum(-2), "ignore"), "ignore")
    return {
        "demographic_parity_soft": highest(overall, "ignore"),
        "equalized_odds_soft": highest(by_label.mean(-1), "ignore"),
    }


def score_state(
    y: np.ndarray,
    z: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    num_attributes: int,
    weight: np.ndarray | None = None,
) -> ScoreState:
    """Collect the state of a table of scores.

    Args:
        y: Labels in 0..C-1 [N].
        z: Attributes in 0..A-1, -1 where unknown [N].
        scores: Probabilities [N, S]: of class 1 for two classes, of each class for more.
        num_classes: C.
        num_attributes: A.
        weight: Sample weights [N]; every row counts 1 by default.

    Example:
        >>> state = score_state(np.array([0, 1]), np.array([0, 0]), np.array([[0.2], [0.8]]), 2, 1)
        >>> state.histogram.shape, state.score_sum[0, 1].tolist()
        ((1, 2, 2, 1000), [0.8, 0.0])
    """
    # A block of rows at a time: no more memory than the states, and several times faster.
    total: list[np.ndarray] | None = None
    for start in range(0, max(len(y), 1), _BLOCK):
        rows = slice(start, start + _BLOCK)
        w = None if weight is None else weight[rows]
        state = _block_state(y[rows], z[rows], scores[rows], num_classes, num_attributes, w)
        total = (
            list(state) if total is None else [a + b for a, b in zip(total, state, strict=True)]
        )
    assert total is not None
    return ScoreState(*total)


def _block_state(
    y: np.ndarray,
    z: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    num_attributes: int,
    weight: np.ndarray | None,
) -> ScoreState:
    """Collect the state of some rows, see `score_state`."""
    slots = num_attributes + 1
    slot = np.where(z < 0, num_attributes, z)
    histogram, ranks, score_sum = [], [], []
    for i, c in enumerate(positive_classes(num_classes)):
        cell = (y == c) * slots + slot
        code = cell * NUM_BINS + _bin(scores[:, i], NUM_BINS)
        histogram.append(np.bincount(code, weight, minlength=2 * slots * NUM_BINS))
        code = (y == c) * RANK_BINS + _bin(rank(scores[:, i]), RANK_BINS)
        ranks.append(np.bincount(code, weight, minlength=2 * RANK_BINS))
        weighted = scores[:, i] if weight is None else scores[:, i] * weight
        score_sum.append(np.bincount(cell, weighted, minlength=2 * slots))
    full = np.column_stack([1 - scores[:, 0], scores[:, 0]]) if num_classes == 2 else scores
    rows = np.arange(len(y))
    tiny = np.finfo(np.float64).eps
    nll = -np.log(np.clip(full[rows, y], tiny, 1 - tiny))
    squares = ((full - (y[:, None] == np.arange(num_classes))) ** 2).sum(1)
    # Brier's score of two classes has one of the two equal terms.
    error = squares / 2 if num_classes == 2 else squares
    top = full.argmax(1)
    confidence = full[rows, top]
    bins = _bin(confidence, CALIBRATION_BINS)
    ones = np.ones(len(y)) if weight is None else weight
    terms = (ones, ones * confidence, ones * (top == y))
    return ScoreState(
        np.reshape(histogram, (-1, 2, slots, NUM_BINS)),
        np.reshape(ranks, (-1, 2, RANK_BINS)),
        np.reshape(score_sum, (-1, 2, slots)),
        np.array([ones @ nll, ones @ error]),
        np.array([np.bincount(bins, term, minlength=CALIBRATION_BINS) for term in terms]),
        loss_state(nll, top == y, ones),
    )


def rank(scores: np.ndarray) -> np.ndarray:
    """Map scores to [0, 1], half by value and half by logit (clipped at 16), in the same order.

    Confident networks put most scores next to 0 and 1, where bins of equal width hold them all.

    Example:
        >>> rank(np.array([0.0, 0.5, 0.999])).round(3).tolist()
        [0.0, 0.5, 0.857]
    """
    with np.errstate(divide="ignore"):
        logit = np.log(scores) - np.log1p(-scores)
    result: np.ndarray = (
        scores + 0.5 + np.clip(logit, -MAX_LOGIT, MAX_LOGIT) / (2 * MAX_LOGIT)
    ) / 2
    return result


def _bin(scores: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((scores * bins).astype(np.int64), bins - 1)


def score_metrics(
    state: ScoreState, attribute_names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Compute every score metric but the noise floor; undefined cells are left out.

    AUROC and average precision are those of binned scores, see `rank_bound`;
    `frbench.metrics.ranking` has the exact ones.

    Args:
        state: As made by `score_state`, with any leading dimensions.
        attribute_names: A names used in keys; ``0..A-1`` by default.

    Returns:
        Metric key -> value [...]; the keys are always the same.

    Example:
        >>> y, z, s = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [0.1, 0.6, 0.4, 0.9]])
        >>> state = score_state(y.astype(int), z.astype(int), s[:, None], 2, 2)
        >>> metrics = score_metrics(state)
        >>> {key: round(float(metrics[key]), 4) for key in ("auroc", "brier_score", "score_kl")}
        {'auroc': 0.75, 'brier_score': 0.185, 'score_kl': 24.792}
    """
    names = check_names(attribute_names, state.histogram.shape[-2] - 1, "attribute_names")
    rows, confidence, hits = np.moveaxis(state.calibration, -2, 0)
    total = rows.sum(-1)
    known = state.score_sum[..., :-1]  # [..., S, 2, A]
    size = state.histogram[..., :-1, :].sum(-1)
    calibration_error = rate(np.abs(confidence - hits).sum(-1), total, "ignore")
    by_value = np.moveaxis(state.histogram[..., :-1, :], -2, 0)  # [A, ..., S, 2, NUM_BINS]
    values = {
        "auroc": mean(_auroc(state.ranks), "ignore"),
        "average_precision": mean(_average_precision(state.ranks), "ignore"),
        "expected_calibration_error": calibration_error,
        "brier_score": rate(state.loss_sum[..., 1], total, "ignore"),
        "negative_log_likelihood": rate(state.loss_sum[..., 0], total, "ignore"),
        **soft_gaps(known, size),
        "score_kl": score_kl(state.histogram),
        **worst_values(state.losses),
    }
    for name, function in (("auroc", _auroc), ("average_precision", _average_precision)):
        values[f"{name}/z"] = np.moveaxis(mean(function(by_value), "ignore"), 0, -1)
    return keyed(SCORES, values, (), names)


def exact_ranks(found: Ranking, attribute_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return AUROC and average precision of sorted scores, by the keys of `score_metrics`."""
    values = {}
    for key, found_values in zip(("auroc", "average_precision"), found[:2], strict=True):
        by_column = mean(found_values.T, "ignore")
        values[key], values[f"{key}/z"] = by_column[0], by_column[1:]
    return keyed(values, values, (), attribute_names)


def rank_bound(ranks: np.ndarray) -> float:
    """Return by how much the AUROC of binned scores may be wrong.

    Pairs within one bin count one half, and each is wrong by at most one half.

    Args:
        ranks: As in `ScoreState` [S, 2, RANK_BINS].

    Example:
        >>> spread, alone = np.zeros((2, 1, 2, RANK_BINS))
        >>> spread[0, 0, 3] = spread[0, 1, 4] = alone[0, :, 3] = 10
        >>> rank_bound(spread), rank_bound(alone)
        (0.0, 0.5)
    """
    pairs = rate(ranks.prod(-2).sum(-1), ranks.sum(-1).prod(-1), "zero")
    return float(pairs.mean() / 2)


def _auroc(ranks: np.ndarray) -> np.ndarray:
    """Compute P(score of a positive > of a negative), ties within a bin as half [..., S]."""
    negative, positive = ranks[..., 0, :], ranks[..., 1, :]
    below = np.cumsum(negative, -1) - negative / 2
    pairs = positive.sum(-1) * negative.sum(-1)
    return rate((positive * below).sum(-1), pairs, "ignore")


def _average_precision(ranks: np.ndarray) -> np.ndarray:
    """Compute the mean precision over the positives, a bin as one threshold [..., S]."""
    negative, positive = ranks[..., 0, :], ranks[..., 1, :]
    above = np.cumsum(positive[..., ::-1], -1)[..., ::-1]
    others = np.cumsum(negative[..., ::-1], -1)[..., ::-1]
    precision = rate(above, above + others, "zero")
    return rate(
        (positive * precision).sum(-1), np.where(others[..., 0] > 0, above[..., 0], 0), "ignore"
    )


def score_kl(histogram: np.ndarray) -> np.ndarray:
    """Compute how much the groups' score distributions differ among rows of one label.

    For each label, KL(p || q) + KL(q || p) averaged over the pairs of attribute values, then the
    mean over the labels (the worst class of more than two); 50 bins on [0, 1] common to all
    groups, smoothed with a Gaussian of one bin, a pseudo-count of 1e-6, normalised. After
    Ramaswamy et al., CVPR 2021 (arXiv 2012.01469), without the defects of its released code.

    Args:
        histogram: As in `ScoreState` [..., S, 2, A + 1, NUM_BINS].

    Example:
        >>> same = np.ones((1, 2, 3, NUM_BINS))
        >>> round(float(score_kl(same)), 9)
        0.0
    """
    return _kl_of(_coarse(histogram))


def _coarse(histogram: np.ndarray) -> np.ndarray:
    """Drop unknown z and merge the bins to [..., S, 2, A, KL_BINS]."""
    known = histogram[..., :-1, :]
    result: np.ndarray = known.reshape(*known.shape[:-1], KL_BINS, -1).sum(-1)
    return result


def _kl_of(coarse: np.ndarray) -> np.ndarray:
    size = coarse.sum(-1, keepdims=True)
    p = np.maximum(rate(coarse @ _smoothing(), size, "zero"), 0) + KL_PSEUDO
    p /= p.sum(-1, keepdims=True)
    present = size[..., 0] > 0  # [..., S, 2, A]
    p, log_p = p * present[..., None], np.log(p) * present[..., None]
    # Sum over pairs of (p_i - p_j)(ln p_i - ln p_j), without a loop over pairs.
    n = present.sum(-1)
    total = n * (p * log_p).sum((-2, -1)) - (p.sum(-2) * log_p.sum(-2)).sum(-1)
    mean_pair = rate(total, n * (n - 1) / 2, "zero")
    defined = np.where(n >= min(2, present.shape[-1]), np.maximum(mean_pair, 0), np.nan)
    return highest(mean(defined, "ignore"), "ignore")


@lru_cache(maxsize=1)
def _smoothing() -> np.ndarray:
    """Return the matrix of a Gaussian filter of one bin, mass reflected at both ends."""
    offset = np.arange(-4, 5)
    kernel = np.exp(-(offset**2) / 2)
    kernel /= kernel.sum()
    matrix = np.zeros((KL_BINS, KL_BINS))
    for target in range(KL_BINS):
        source: np.ndarray = target + offset
        source = np.where(source < 0, -1 - source, source)
        source = np.where(source >= KL_BINS, 2 * KL_BINS - 1 - source, source)
        np.add.at(matrix[:, target], source, kernel)
    matrix.setflags(write=False)
    return matrix


def score_kl_noise_floor(histogram: np.ndarray, shuffles: int = 20, seed: int = 0) -> float:
    """Compute the mean of `score_kl` when z is shuffled among the rows of each label.

    A ``score_kl`` near this value says nothing about the scores, only about small groups. The
    shuffle is exact: the bins of each group are drawn from the multivariate hypergeometric
    distribution. Weighted histograms are rounded to whole rows first.

    Args:
        histogram: As in `ScoreState`, without leading dimensions.
        shuffles: Number of shuffles.
        seed: Seed of the shuffles.

    Example:
        >>> 0.0 < score_kl_noise_floor(np.ones((1, 2, 3, NUM_BINS))) < 0.1
        True
    """
    rng = np.random.default_rng(seed)
    coarse = np.rint(_coarse(histogram)).astype(np.int64)
    drawn = np.empty((shuffles, *coarse.shape), np.int64)
    pool = np.broadcast_to(coarse.sum(-2), (shuffles, *coarse.sum(-2).shape)).copy()
    for group in range(coarse.shape[-2] - 1):
        wanted = np.broadcast_to(coarse[..., group, :].sum(-1), pool.shape[:-1]).copy()
        later = pool.sum(-1)
        for b in range(KL_BINS):
            later -= pool[..., b]
            drawn[..., group, b] = rng.hypergeometric(pool[..., b], later, wanted)
            wanted -= drawn[..., group, b]
        pool -= drawn[..., group, :]
    drawn[..., -1, :] = pool  # the last group gets what is left
    return float(_kl_of(drawn).mean())
