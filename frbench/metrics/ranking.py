"""Exact AUROC and average precision by sorting, over all rows and by attribute; numpy only."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from frbench.metrics.estimates import Ends, quantile, wilson
from frbench.metrics.shares import positive_classes

# Sorted rows visited at a time: they stay in the cache, and need no memory to speak of.
_BLOCK = 1 << 16


class Ranking(NamedTuple):
    """How well scores rank the rows of a class above the others; NaN where one side is empty.

    Attributes:
        auroc: P(s+ > s-) + P(s+ = s-) / 2, over all rows, then of each attribute value [S, A + 1].
        average_precision: Mean precision over the positives, ties as one threshold [S, A + 1].
        positives: Rows of the class, effective ones under weights [S, A + 1].
        negatives: The other rows [S, A + 1].
    """

    auroc: np.ndarray
    average_precision: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray


def ranking(
    y: np.ndarray,
    z: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    num_attributes: int,
    weight: np.ndarray | None = None,
) -> Ranking:
    """Rank the scores of each class against the rest.

    Each column is sorted once; the rows of an attribute value are then taken in that order.

    Args:
        y: Labels in 0..C-1 [N].
        z: Attributes in 0..A-1, -1 where unknown [N].
        scores: Probabilities [N, S]: of class 1 for two classes, of each class for more.
        num_classes: C.
        num_attributes: A.
        weight: Sample weights [N]; every row counts 1 by default.

    Example:
        >>> y, z = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])
        >>> found = ranking(y, z, np.array([[0.1], [0.4], [0.3], [0.3]]), 2, 2)
        >>> found.auroc.tolist(), found.average_precision.round(3).tolist()
        ([[0.875, 1.0, 0.5]], [[0.833, 1.0, 0.5]])
    """
    slot = z.astype(np.int16 if num_attributes < 1 << 15 else np.int64)
    out = np.full((4, scores.shape[1], num_attributes + 1), np.nan)
    for i, c in enumerate(positive_classes(num_classes)):
        positive = y == c
        order = np.argsort(scores[:, i])
        out[:, i, 0] = _rank(scores[:, i], positive, order, weight)
        in_order = slot[order]
        for a in range(num_attributes):
            out[:, i, a + 1] = _rank(scores[:, i], positive, order[in_order == a], weight)
    return Ranking(*out)


def _rank(
    scores: np.ndarray, positive: np.ndarray, order: np.ndarray, weight: np.ndarray | None
) -> tuple[float, float, float, float]:
    """Sum over the distinct scores, in ascending order."""
    hit = [positive[rows] for rows in _blocks(order)]
    sizes, squares = np.zeros(2), np.zeros(2)
    for rows, is_positive in zip(_blocks(order), hit, strict=True):
        if weight is None:
            counted = np.bincount(is_positive, minlength=2)
            sizes, squares = sizes + counted, squares + counted
        else:
            w = weight[rows]
            sizes += np.bincount(is_positive, w, minlength=2)
            squares += np.bincount(is_positive, w * w, minlength=2)
    effective = np.divide(sizes**2, squares, out=np.zeros(2), where=squares > 0)
    if not (sizes > 0).all():
        return np.nan, np.nan, effective[1], effective[0]
    area = precision = 0.0
    below = np.zeros(2)
    for negative, hits in _ties(scores, hit, order, weight):
        both = np.cumsum(np.stack([negative, hits]), -1) + below[:, None]
        area += float(hits @ (both[0] - negative / 2))
        # Rows at or above each score: all but those below it.
        at_least = sizes[:, None] - both + np.stack([negative, hits])
        total = at_least.sum(0)
        share = np.divide(at_least[1], total, out=np.zeros(len(total)), where=total > 0)
        precision += float(hits @ share)
        below = both[:, -1]
    return area / (sizes[0] * sizes[1]), precision / sizes[1], effective[1], effective[0]


def _blocks(order: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(order), _BLOCK):
        yield order[start : start + _BLOCK]


def _ties(
    scores: np.ndarray, hit: list[np.ndarray], order: np.ndarray, weight: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield negatives and positives at each distinct score, a block of scores at a time.

    The last score of a block may go on in the next, which it is kept for.
    """
    last, kept = np.nan, np.zeros((2, 0))
    for rows, is_positive in zip(_blocks(order), hit, strict=True):
        s = scores[rows]
        start = np.flatnonzero(np.concatenate([[True], s[1:] != s[:-1]]))
        if weight is None:
            hits = np.add.reduceat(is_positive, start, dtype=np.int64).astype(float)
            total = np.diff(start, append=len(s)).astype(float)
        else:
            w = weight[rows]
            hits = np.add.reduceat(w * is_positive, start)
            total = np.add.reduceat(w, start)
        found = np.stack([np.maximum(total - hits, 0.0), hits])
        if s[0] == last:
            found[:, 0] += kept[:, 0]
        elif kept.size:
            found = np.concatenate([kept, found], 1)
        last, kept = s[-1], found[:, -1:]
        if found.shape[1] > 1:
            yield found[0, :-1], found[1, :-1]
    if kept.size:
        yield kept[0], kept[1]


def ranking_limits(found: Ranking, level: float) -> tuple[Ends, Ends]:
    """Return limits of AUROC and average precision, each [S, A + 1].

    AUROC: the score interval of Newcombe (Statistics in Medicine 25, 2006, method 5), which
    solves |A - a| = q sd(a) for a with the variance of Hanley and McNeil, and so does not collapse
    at 1. Average precision: Wilson's interval with the number of positives (after Boyd et al.,
    ECML 2013, who use the binomial law with that number).

    Args:
        found: The ranking.
        level: Coverage aimed at.

    Example:
        >>> one = Ranking(*(np.array([[x]]) for x in (1.0, 1.0, 50.0, 50.0)))
        >>> (low, high), _ = ranking_limits(one, 0.95)
        >>> round(float(low[0, 0]), 3), float(high[0, 0])
        (0.96, 1.0)
    """
    q = float(quantile((1 - level) / 2))
    area, m, n = found.auroc, found.positives, found.negatives

    def spread(a: np.ndarray) -> np.ndarray:
        mean = (m + n) / 2 - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = 1 + mean * ((1 - a) / (2 - a) + a / (1 + a))
            result: np.ndarray = q * np.sqrt(np.maximum(a * (1 - a) * factor / (m * n), 0))
        return result

    ends = []
    for side in (0.0, 1.0):
        inner, outer = area.copy(), np.full(area.shape, side)
        for _ in range(50):
            middle = (inner + outer) / 2
            held = np.abs(area - middle) <= spread(middle)
            inner, outer = np.where(held, middle, inner), np.where(held, outer, middle)
        ends.append(np.where(np.isnan(area), np.nan, (inner + outer) / 2))
    ap = wilson(found.average_precision * m, m, level)
    return (ends[0], ends[1]), (ap[..., 0], ap[..., 1])
