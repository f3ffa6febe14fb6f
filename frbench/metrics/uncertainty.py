"""Intervals by resampling tables instead of rows, and Wilson's interval for proportions."""

from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np

from frbench.metrics.counts import Empty, count_metrics
from frbench.metrics.names import check_names, group_name
from frbench.metrics.own import CountMetric, evaluate_own
from frbench.metrics.scores import ScoreState, score_metrics, score_state

Interval = tuple[float, float]

# Cells (resamples x table) held at a time, about 16 MB each.
_MAX_CELLS = 2_000_000


def resample(counts: np.ndarray, n_resamples: int, seed: int, draws: int | None) -> np.ndarray:
    """Draw bootstrap tables: multinomial counts with the table's proportions.

    This equals in law the tables of resampled rows, at a cost free of the number of rows.

    Args:
        counts: Table of any shape.
        n_resamples: R.
        seed: Seed of the draws.
        draws: Rows of each resample; the table's total by default.

    Returns:
        int64 [R, *counts.shape].

    Example:
        >>> resample(np.array([[5, 0], [3, 2]]), 4, seed=0, draws=None).sum((1, 2)).tolist()
        [10, 10, 10, 10]
    """
    rng = np.random.default_rng(seed)
    total = counts.sum()
    draws = round(float(total)) if draws is None else draws
    return rng.multinomial(draws, counts.ravel() / total, n_resamples).reshape(-1, *counts.shape)


def bootstrap(
    counts: np.ndarray,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    *,
    class_names: Sequence[str] | None = None,
    attribute_names: Sequence[str] | None = None,
    train_counts: np.ndarray | None = None,
    empty: Empty = "ignore",
    draws: int | None = None,
    metrics: Sequence[CountMetric] = (),
) -> dict[str, Interval]:
    """Compute an interval for every count metric.

    Accuracies (overall, of an attribute value, of a group) have Wilson's interval, which stays
    honest at 0 and 1 and in groups of a few rows; everything else the percentiles of multinomial
    resamples, see `percentile`. Minima and gaps over many small groups are biased towards the
    worst, and their intervals with them.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`.
        n_resamples: Number of resamples.
        level: Coverage aimed at.
        seed: Seed of the resamples.
        class_names: As in `frbench.metrics.count_metrics`.
        attribute_names: As in `frbench.metrics.count_metrics`.
        train_counts: As in `frbench.metrics.count_metrics`.
        empty: As in `frbench.metrics.count_metrics`.
        draws: Rows of each resample; for weighted tables Kish's effective size,
            (sum w)^2 / sum w^2. The table's total by default.
        metrics: Metrics of one's own, functions of counts.

    Example:
        >>> table = np.array([[[60, 20], [40, 40], [0, 0]], [[20, 60], [0, 80], [0, 0]]])
        >>> low, high = bootstrap(table)["accuracy"]
        >>> round(low, 3), round(high, 3)
        (0.7, 0.794)
    """
    names = (class_names, attribute_names)
    tables = resample(counts, n_resamples, seed, draws)
    step = max(1, _MAX_CELLS // counts.size)

    def values(tables: np.ndarray) -> dict[str, np.ndarray]:
        found = count_metrics(tables, *names, train_counts, empty)
        return found | evaluate_own(metrics, tables)

    parts = [values(tables[i : i + step]) for i in range(0, n_resamples, step)]
    out = _percentiles(parts, values(counts), level)
    return out | _wilson_of(counts, *names, level, draws)


def _wilson_of(
    counts: np.ndarray,
    class_names: Sequence[str] | None,
    attribute_names: Sequence[str] | None,
    level: float,
    draws: int | None,
) -> dict[str, Interval]:
    """Compute Wilson's intervals of the accuracies of a table."""
    classes = check_names(class_names, counts.shape[0], "class_names")
    attributes = check_names(attribute_names, counts.shape[1] - 1, "attribute_names")
    scale = 1.0 if draws is None else draws / counts.sum()
    cell = counts.sum(-1) * scale  # [C, A + 1]
    right = np.diagonal(counts, axis1=0, axis2=2).T * scale
    keys = [group_name(c, a) for c in classes for a in attributes]
    found = {"accuracy": wilson(right.sum(), cell.sum(), level)}
    by_attribute = wilson(right.sum(0)[:-1], cell.sum(0)[:-1], level)
    by_group = wilson(right[:, :-1].ravel(), cell[:, :-1].ravel(), level)
    found |= {f"accuracy/z={a}": by_attribute[j] for j, a in enumerate(attributes)}
    found |= {f"group_accuracy/{key}": by_group[i] for i, key in enumerate(keys)}
    return {key: (float(low), float(high)) for key, (low, high) in found.items()}


def wilson(successes: np.ndarray, trials: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Compute Wilson's score interval of proportions; NaN where there are no trials.

    Args:
        successes: Numbers of successes [...].
        trials: Numbers of trials [...].
        level: Coverage.

    Returns:
        Lower and upper ends [..., 2].

    Example:
        >>> wilson(np.array([0, 8]), np.array([10, 10])).round(3).tolist()
        [[0.0, 0.278], [0.49, 0.943]]
    """
    q = NormalDist().inv_cdf((1 + level) / 2)
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    p = successes / n
    centre, half = p + q * q / (2 * n), q * np.sqrt(p * (1 - p) / n + (q / (2 * n)) ** 2)
    ends = np.stack([centre - half, centre + half], -1) / (1 + q * q / n)[..., None]
    return np.clip(ends, 0.0, 1.0)


def score_bootstrap(
    y: np.ndarray,
    z: np.ndarray,
    scores: np.ndarray,
    num_classes: int,
    num_attributes: int,
    weight: np.ndarray | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Compute percentile intervals of the score metrics from resampled shards of rows.

    Score states add, so rows are dealt at random into 100 shards (single rows if N <= 100; fewer
    where states are large) and a resample is a multinomially weighted sum of the shards' states.

    Args:
        y: As in `frbench.metrics.score_state`.
        z: As in `frbench.metrics.score_state`.
        scores: As in `frbench.metrics.score_state`.
        num_classes: C.
        num_attributes: A.
        weight: As in `frbench.metrics.score_state`.
        n_resamples: Number of resamples.
        level: Coverage aimed at.
        seed: Seed of shards and resamples.

    Example:
        >>> y = np.arange(400) % 2
        >>> intervals = score_bootstrap(y, y * 0, 0.25 + 0.5 * y[:, None], 2, 1)
        >>> intervals["auroc"]
        (1.0, 1.0)
    """
    rng = np.random.default_rng(seed)
    sizes = num_classes, num_attributes
    cells = 2000 * scores.shape[1] * (num_attributes + 1)
    shards = min(len(y), 100, max(20, 10 * _MAX_CELLS // cells))
    states = [
        score_state(y[i], z[i], scores[i], *sizes, None if weight is None else weight[i])
        for i in np.array_split(rng.permutation(len(y)), shards)
    ]
    flat = [np.reshape(field, (shards, -1)) for field in map(np.array, zip(*states, strict=True))]
    times = rng.multinomial(shards, np.full(shards, 1 / shards), n_resamples).astype(float)
    step = max(1, _MAX_CELLS // cells)
    parts = [
        score_metrics(
            ScoreState(
                *(
                    (times[i : i + step] @ field).reshape(-1, *np.shape(like))
                    for field, like in zip(flat, states[0], strict=True)
                )
            )
        )
        for i in range(0, n_resamples, step)
    ]
    whole = ScoreState(*(np.sum(field, 0) for field in zip(*states, strict=True)))
    return _percentiles(parts, score_metrics(whole), level)


def _percentiles(
    parts: Iterable[dict[str, np.ndarray]], observed: dict[str, np.ndarray], level: float
) -> dict[str, Interval]:
    """Join resampled values and take the interval of each key."""
    parts = list(parts)
    return {
        key: percentile(np.concatenate([part[key] for part in parts]), float(value), level)
        for key, value in observed.items()
    }


def percentile(sampled: np.ndarray, observed: float, level: float) -> Interval:
    """Compute the central interval of the values that are defined.

    Resampling adds noise, so gaps near zero are larger in every resample: an interval that would
    leave the observed value out is extended to it.

    Args:
        sampled: Resampled values [R].
        observed: Value of the table itself.
        level: Share of the resampled values within the interval.

    Example:
        >>> percentile(np.array([0.2, 0.3, 0.4, np.nan]), 0.1, 0.95)
        (0.1, 0.395)
    """
    defined = sampled[~np.isnan(sampled)]
    if len(defined) == 0:
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(np.fmin(low, observed)), float(np.fmax(high, observed))


def effective_size(weight: np.ndarray | None) -> int | None:
    """Return Kish's effective number of rows, (sum w)^2 / sum w^2; None without weights.

    Example:
        >>> effective_size(np.array([1.0, 1.0, 0.0])), effective_size(None)
        (2, None)
    """
    if weight is None:
        return None
    return max(1, round(float(weight.sum() ** 2 / (weight**2).sum())))
