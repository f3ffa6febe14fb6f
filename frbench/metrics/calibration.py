"""Predicted probabilities against what happened, by bin and by attribute value; numpy only."""

from typing import NamedTuple

import numpy as np

from frbench.metrics.estimates import Interval, Rates, effective_size, plain
from frbench.metrics.rows import Rows
from frbench.metrics.score_intervals import group_means

#: Bins of a reliability diagram, of equal width.
BINS = 10


class Bins(NamedTuple):
    """Predicted probabilities against what happened.

    Attributes:
        predicted: Mean probability of the rows of each bin that has any.
        happened: Share of these rows for which it came true.
        low: Lower end of Wilson's 95 % interval of that share.
        high: Upper end.
        rows: Rows of the bin; the sum of their weights under weights.
    """

    predicted: np.ndarray
    happened: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: np.ndarray


class Calibration(NamedTuple):
    r"""How the probabilities of one attribute value agree with what happened.

    Attributes:
        score: Mean probability.
        score_interval: Its interval.
        observed: Share of the rows for which it came true.
        observed_interval: Its interval.
        brier: Brier score.
        brier_interval: Its interval.
        error: Calibration error, the mean of |happened - predicted| over the bins' rows.
        by_chance: What that error would be on average, were the probabilities true.
    """

    score: float
    score_interval: Interval
    observed: float
    observed_interval: Interval
    brier: float
    brier_interval: Interval
    error: float
    by_chance: float


def reliability(
    probability: np.ndarray,
    true: np.ndarray,
    bins: int = BINS,
    weight: np.ndarray | None = None,
) -> Bins:
    """Compare probabilities with what happened, in bins of equal width.

    Args:
        probability: Probability of an event [N].
        true: Whether it happened, bool [N].
        bins: Number of bins.
        weight: Sample weights [N].

    Example:
        >>> found = reliability(np.array([0.1, 0.9, 0.9]), np.array([False, True, False]), 2)
        >>> found.predicted.tolist(), found.happened.tolist(), found.rows.tolist()
        ([0.1, 0.9], [0.0, 0.5], [1.0, 2.0])
    """
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    w = np.ones(len(place)) if weight is None else weight
    some = np.bincount(place, w, bins) > 0

    def sums(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.bincount(place, values, bins)[some]
        return found

    rows, hits = sums(w), sums(w * true)
    size = effective_size(hits, rows, sums(w * w * true), sums(w * w))
    low, high = plain(Rates(hits / rows, size), 0.95)
    return Bins(sums(w * probability) / rows, hits / rows, low, high, rows)


def event(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability that is judged, and whether its event happened.

    That of the positive class of two; of more classes the largest one, and whether the class that
    has it is the label.

    Example:
        >>> from frbench.metrics.rows import to_rows
        >>> p, true = event(to_rows([0, 1], [0, 1], [0, 0], [0.2, 0.6]))
        >>> p.tolist(), true.tolist()
        ([0.2, 0.6], [False, True])
    """
    assert rows.scores is not None
    if rows.scores.shape[1] == 1:
        return rows.scores[:, 0], rows.y == 1
    return rows.scores.max(1), rows.scores.argmax(1) == rows.y


def calibration(rows: Rows) -> dict[str, Calibration]:
    """Compare probabilities and outcomes of each attribute value.

    Probabilities that are too high on average in a group have a mean above the interval of the
    observed rate. The calibration error has no interval: its value is biased upwards, by about
    `by_chance`.

    Args:
        rows: Coded rows with scores.

    Returns:
        Attribute value -> comparison; values without rows are left out.

    Example:
        >>> from frbench.metrics.rows import to_rows
        >>> y = np.tile([0, 1], 50)
        >>> found = calibration(to_rows(y, y, np.repeat(["f", "m"], 50), 0.25 + 0.5 * y))["f"]
        >>> found.score, found.observed, found.brier, round(found.error, 3)
        (0.5, 0.5, 0.0625, 0.25)
    """
    probability, true = event(rows)
    assert rows.scores is not None
    if rows.scores.shape[1] == 1:
        square = (probability - true) ** 2
    else:
        square = ((rows.scores - np.eye(len(rows.class_names))[rows.y]) ** 2).sum(1)
    out = {}
    for j, name in enumerate(rows.attribute_names):
        own = rows.z == j
        weight = None if rows.weight is None else rows.weight[own]
        if not own.any() or (weight is not None and not weight.sum()):
            continue
        p, t = probability[own], true[own]
        w = np.ones(len(p)) if weight is None else weight
        bins = reliability(p, t, weight=weight)
        share = bins.rows / bins.rows.sum()
        place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
        noise = np.sqrt(2 / np.pi * np.bincount(place, (w**2) * p * (1 - p), BINS)).sum() / w.sum()
        observed = float((w * t).sum() / w.sum())
        size = effective_size(*(np.array([x]) for x in (
            (w * t).sum(), w.sum(), (w * w * t).sum(), (w * w).sum())))  # fmt: skip
        score, score_interval = _mean(p, weight)
        brier, brier_interval = _mean(square[own], weight)
        out[name] = Calibration(
            score,
            score_interval,
            observed,
            _ends(*plain(Rates(np.array([observed]), size), 0.95)),
            brier,
            brier_interval,
            float((share * np.abs(bins.happened - bins.predicted)).sum()),
            float(noise),
        )
    return out


def _mean(values: np.ndarray, weight: np.ndarray | None) -> tuple[float, Interval]:
    found = group_means(values, np.zeros(len(values), np.int64), 1, weight)
    low, high = _ends(*plain(found, 0.95))
    return float(found.value[0]), (max(low, 0.0), high)


def _ends(low: np.ndarray, high: np.ndarray) -> Interval:
    return float(low[0]), float(high[0])
