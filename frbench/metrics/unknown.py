"""Bounds of group metrics over the attributes that rows without one may have; numpy only."""

import numpy as np

from frbench.metrics.estimates import Interval
from frbench.metrics.shares import RATES, shares


def unknown_bounds(counts: np.ndarray) -> dict[str, Interval]:
    """Bound gaps, ratios and minima over every assignment of the rows of unknown attribute.

    Each such row may belong to any of the values that have rows. The smallest gap allows
    fractions of rows, so that the bounds hold for every assignment of whole ones.

    Args:
        counts: Table [C, A + 1, C] as made by `frbench.metrics.tabulate`; slot A holds the rows of
            unknown attribute.

    Returns:
        Metric key -> smallest and largest value; empty if no row lacks the attribute, or if fewer
        than two values have rows.

    Example:
        >>> table = np.array([[[50, 50], [50, 50], [0, 0]], [[20, 80], [20, 80], [0, 10]]])
        >>> low, high = unknown_bounds(table)["equal_opportunity_difference"]
        >>> round(low, 3), round(high, 3)
        (0.0, 0.018)
    """
    people = counts[:, :-1].sum((0, 2))
    if counts[:, -1].sum() == 0 or (people > 0).sum() < 2:
        return {}
    known = shares(counts)
    alone = np.zeros((*counts.shape[:1], 2, *counts.shape[2:]), counts.dtype)
    alone[:, 0] = counts[:, -1]  # as if all of them were the one value of an attribute
    lacking = shares(alone)

    def bound(name: str) -> list[tuple[Interval, Interval, Interval]]:
        """Return gap, ratio and minimum for each row of an entry of `shares`."""
        part, whole = (x.reshape(-1, x.shape[-1]).astype(float) for x in known[name])
        one, total = (x.reshape(-1).astype(float) for x in lacking[name])
        return [
            _bound(s[n > 0], n[n > 0], u, t - u)
            for s, n, u, t in zip(part, whole, one, total, strict=True)
            if (n > 0).sum() > 1
        ]

    out: dict[str, Interval] = {}
    selected, tpr, fpr, _ = (bound(name) for name in (*RATES[:3], "selection_rate"))
    for key, found, which, worst in (
        ("accuracy_gap", bound("attribute"), 0, max),
        ("worst_attribute_accuracy", bound("attribute"), 2, min),
        ("worst_group_accuracy", bound("group"), 2, min),
        ("demographic_parity_difference", selected, 0, max),
        ("disparate_impact", selected, 1, min),
        ("equal_opportunity_difference", tpr, 0, max),
        ("equalized_odds_difference", tpr + fpr, 0, max),
    ):
        if found:
            lows, highs = zip(*(one[which] for one in found), strict=True)
            out[key] = worst(lows), worst(highs)
    return out


def _bound(
    part: np.ndarray, whole: np.ndarray, ones: float, zeros: float
) -> tuple[Interval, Interval, Interval]:
    """Bound gap, ratio and minimum of the rates part / whole.

    The gap is largest if one value gets all successes and another all failures. Rates can be
    brought into a band [low, high] about the rate of all if raising the lower ones to `low` takes
    no more successes than there are, and lowering the higher ones to `high` no more failures.

    Args:
        part: Successes [A].
        whole: Rows [A].
        ones: Successes of unknown attribute.
        zeros: Failures of unknown attribute.
    """
    top, bottom = (part + ones) / (whole + ones), part / (whole + zeros)
    apart = ~np.eye(len(part), dtype=bool)
    gap = (top[:, None] - bottom)[apart].max()
    ratio = np.divide(
        bottom, top[:, None], out=np.ones((len(part), len(part))), where=top[:, None] > 0
    )
    overall = (part.sum() + ones) / (whole.sum() + ones + zeros)
    low = _edge(part, whole, ones, overall)
    high = 1 - _edge(whole - part, whole, zeros, 1 - overall)
    largest_ratio = min(1.0, low / high) if high > 0 else 1.0
    return (
        (max(0.0, high - low), float(gap)),
        (float(ratio[apart].min()), float(largest_ratio)),
        (float(bottom.min()), float(low)),
    )


def _edge(part: np.ndarray, whole: np.ndarray, ones: float, overall: float) -> float:
    """Return the largest rate, up to that of all, to which successes can raise every value."""
    low, high = 0.0, float(overall)
    for _ in range(60):
        middle = (low + high) / 2
        needed = np.maximum(middle * whole - part, 0).sum()
        low, high = (middle, high) if needed <= ones * (1 - middle) + 1e-12 else (low, middle)
    # A value that can be reached exactly is not missed by the last half step.
    return high if high - low < 1e-12 else low
