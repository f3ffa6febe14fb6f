"""Estimates of minima and gaps that chance does not push to the worse side; numpy only."""

import numpy as np

from frbench.metrics.counts import count_values, rate
from frbench.metrics.names import DIRECTION
from frbench.metrics.shares import RATES
from frbench.metrics.table_intervals import proportions

_DRAWS = 400
#: Cells of all tables drawn at one point: larger tables are drawn less often, at least 50 times.
_CELLS = 1_000_000
_PATH = np.linspace(0, 1, 11)
#: The metrics that are corrected.
CORRECTED = (
    "worst_group_accuracy",
    "worst_attribute_accuracy",
    "accuracy_gap",
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "equalized_odds_difference",
    "equalized_odds_mean",
    "disparate_impact",
)


def corrected(counts: np.ndarray, squares: np.ndarray | None = None) -> dict[str, float]:
    """Estimate minima, gaps and the disparate impact without the bias of their plug-in values.

    The smallest of several noisy accuracies is too small and the largest difference too large.
    The groups of the table are drawn towards their mean until the plug-in value of a table that is
    drawn from them has the value found as its median; the estimate is the value of the groups
    there. It is 0 for a gap (1 for a ratio) that equal groups exceed in half of all tables.
    Beside them, ``<rate>_variance`` is the unbiased variance of a rate between the groups (after
    Lum et al., arXiv 2205.05770): that of the estimates less their own. It may be negative.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`.
        squares: Sums of the squared weights in the same cells, if the table is weighted; draws
            then have Kish's effective number of rows of each attribute value.

    Returns:
        Key of the metric -> estimate; NaN where the metric is.

    Example:
        >>> equal = np.array([[[40, 12], [42, 10], [0, 0]], [[12, 40], [10, 38], [0, 0]]])
        >>> found = corrected(equal)
        >>> found["accuracy_gap"], found["disparate_impact"]
        (0.0, 1.0)
    """
    known = counts[:, :-1].astype(float)
    people = known.sum((0, 2))
    size = people if squares is None else rate(people**2, squares[:, :-1].sum((0, 2)), "zero")
    own = np.moveaxis(rate(known, people[:, None], "zero"), 1, 0)  # [A, C, C]
    pooled = known.sum(1) / max(known.sum(), 1e-300)
    rng = np.random.default_rng(0)
    there: list[dict[str, float]] = []
    median: list[dict[str, float]] = []
    draws = int(np.clip(_CELLS // known.size, 50, _DRAWS))
    for share in _PATH:
        law = share * own + (1 - share) * pooled
        law = np.where(people[:, None, None] > 0, law, 1 / own[0].size)
        drawn = rng.multinomial(
            np.rint(size).astype(int), law.reshape(len(law), -1), (draws, len(law))
        )
        # Floating-point numbers: numpy multiplies integers without BLAS.
        found = count_values(_table(drawn.reshape(draws, *law.shape).astype(float)))
        truth = count_values(_table(law * people[:, None, None]))
        there.append({key: float(truth[key]) for key in CORRECTED})
        # A table in which the value is undefined would not have been corrected.
        median.append({key: _median(found[key]) for key in CORRECTED})
    observed = count_values(counts)
    out = {}
    for key in CORRECTED:
        sign = -DIRECTION[key]  # 1 where chance makes the value larger
        values = np.array([[sign * x[key] for x in rows] for rows in (there, median)])
        values[1] = np.maximum.accumulate(values[1])
        found_value = sign * float(observed[key])
        # Rounded: the pooled law is that of equal groups but for the last digits.
        out[key] = round(sign * float(np.interp(found_value, values[1], values[0])), 12) + 0.0
        if np.isnan(observed[key]):
            out[key] = np.nan
    for name, (value, size) in proportions(counts, squares).items():
        if name in ("attribute", *RATES[:3]):
            key = "accuracy" if name == "attribute" else name
            rows = zip(*(x.reshape(-1, x.shape[-1]) for x in (value, size)), strict=True)
            out[f"{key}_variance"] = max(_variance(*one) for one in rows)
    return out


def _table(cells: np.ndarray) -> np.ndarray:
    """Turn cells by attribute value [..., A, C, C] into a table [..., C, A + 1, C]."""
    moved = np.moveaxis(cells, -3, -2)
    return np.concatenate([moved, np.zeros_like(moved[..., :1, :])], -2)


def _median(x: np.ndarray) -> float:
    defined = x[~np.isnan(x)]
    return float(np.median(defined)) if len(defined) else np.nan


def _variance(value: np.ndarray, size: np.ndarray) -> float:
    """Return the unbiased variance of the true rates: that of the estimates less their own."""
    p, n = value[size > 1], size[size > 1]
    if len(p) < 2:
        return np.nan
    return float(p.var(ddof=1) - (p * (1 - p) / (n - 1)).mean())
