"""What values a metric can have."""

from __future__ import annotations

import math

from frbench.metrics.names import split_key

#: Metrics whose values are not all in [0, 1]: what they lie in.
_RANGES = {
    "average_odds_difference": (-1.0, 1.0),
    "bias_amplification": (-1.0, 1.0),
    "deo": (-1.0, 1.0),
    "equalized_odds_sum": (0.0, 2.0),
    "brier_score": (0.0, 2.0),
} | dict.fromkeys(
    (
        "theil_index",
        "empty_groups",
        "negative_log_likelihood",
        "worst_alpha_loss",
        "score_kl",
        "score_kl_noise_floor",
        "negative_log_likelihood_range",
        "brier_score_range",
        "family_worst_negative_log_likelihood",
        "kl",
        "kl_noise_floor",
        "kl_released",
    ),
    (0.0, math.inf),
)


def bounds(name: str) -> tuple[float, float]:
    """Return the smallest and largest value of a metric; infinite for what is no metric.

    Args:
        name: Any metric key, with or without prefix and group, see `split_key`.

    Example:
        >>> bounds("test/accuracy"), bounds("val/negative_log_likelihood"), bounds("seconds")
        ((0.0, 1.0), (0.0, inf), (-inf, inf))
    """
    known = split_key(name)[1].partition("/")[0]
    if known in ("", "loss"):
        return -math.inf, math.inf
    return _RANGES.get(known, (0.0, 1.0))
