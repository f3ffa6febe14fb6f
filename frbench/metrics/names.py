"""The fixed keys of all metrics, their direction, and the names of groups; no imports."""

from collections.abc import Sequence
from difflib import get_close_matches

from frbench.contracts.errors import UserError

# 1: higher is better; -1: lower is better; 0: neither by itself, so no rule may maximise it.
DIRECTION: dict[str, int] = {
    "accuracy": 1,
    "balanced_accuracy": 1,
    "worst_group_accuracy": 1,
    "worst_attribute_accuracy": 1,
    "weighted_average_accuracy": 1,
    "accuracy_gap": -1,
    "group_accuracy": 1,
    "selection_rate": 0,
    "true_positive_rate": 1,
    "false_positive_rate": -1,
    "positive_predictive_value": 1,
    "demographic_parity_difference": -1,
    "disparate_impact": 1,
    "equal_opportunity_difference": -1,
    "equalized_odds_difference": -1,
    "equalized_odds_mean": -1,
    "equalized_odds_sum": -1,
    "average_odds_difference": 0,  # signed for two groups: 0 is best
    "predictive_parity_difference": -1,
    "theil_index": -1,
    "representation_rate": 1,
    "statistical_rate": 1,
    "empty_groups": -1,
    "auroc": 1,
    "expected_calibration_error": -1,
    "brier_score": -1,
    "negative_log_likelihood": -1,
    "worst_alpha_loss": -1,
    "worst_alpha_accuracy": 1,
    "demographic_parity_soft": -1,
    "equalized_odds_soft": -1,
    "score_kl": -1,
    "score_kl_noise_floor": 0,  # a reference value for score_kl
    "accuracy_range": -1,  # over a shift family, as the next ones
    "negative_log_likelihood_range": -1,
    "brier_score_range": -1,
    "family_worst_accuracy": 1,
    "family_worst_negative_log_likelihood": -1,
    "encoding": -1,
    "encoding_chance": 0,
    "encoding_low": 0,
    "encoding_high": 0,
    "loss": -1,  # logged by every objective beside the metrics
}
#: Metrics that `frbench gan metrics` adds.
DEBIASING: dict[str, int] = {
    "average_precision": 1,
    "weighted_average_precision": 1,
    "deo": -1,
    "bias_amplification": 0,  # signed: 0 is best
    "kl": -1,
    "kl_noise_floor": 0,
    "kl_released": -1,
}
DIRECTION |= DEBIASING


def direction(name: str) -> int:
    """Return 1 if higher is better, -1 if lower is better, 0 if neither.

    Args:
        name: Any metric key, with or without a prefix (``val/``, ``test/P0/``) and with or
            without a group (``/z=male``).

    Raises:
        UserError: If no part of the name is a metric; the message lists names close to it.

    Example:
        >>> direction("test/P0/true_positive_rate/z=male"), direction("selection_rate/z=male")
        (1, 0)
    """
    parts = name.split("/")
    for part in parts:
        if part in DIRECTION:
            return DIRECTION[part]
    close = [match for part in parts for match in get_close_matches(part, DIRECTION, n=3)]
    known = ", ".join(dict.fromkeys(close or sorted(DIRECTION)))
    raise UserError(f"Unknown metric {name!r}; {'did you mean' if close else 'known'}: {known}")


def higher_is_better(name: str) -> bool:
    """Tell whether a rule (checkpoint, early stopping, leaderboard) maximises a metric.

    Args:
        name: Any metric key, with or without prefix and group, see `direction`.

    Raises:
        UserError: If the name is unknown, or if neither direction is better (a selection rate,
            a signed difference): such a value must not select anything.

    Example:
        >>> higher_is_better("val/worst_group_accuracy"), higher_is_better("val/accuracy_gap")
        (True, False)
    """
    sign = direction(name)
    if sign == 0:
        raise UserError(
            f"Metric {name!r} has no better direction; choose one that has, for example "
            "'demographic_parity_difference', 'equalized_odds_mean' or 'score_kl'"
        )
    return sign > 0


def group_name(class_name: str, attribute_name: str) -> str:
    """Return how a (y, z) cell is shown to people.

    Example:
        >>> group_name("blond", "male")
        'y=blond,z=male'
    """
    return f"y={class_name},z={attribute_name}"


def check_names(names: Sequence[str] | None, size: int, what: str) -> tuple[str, ...]:
    """Return the names as strings, ``0..size-1`` by default.

    Raises:
        UserError: If there are not exactly `size` distinct names.

    Example:
        >>> check_names(None, 2, "class_names")
        ('0', '1')
    """
    if names is None:
        return tuple(map(str, range(size)))
    out = tuple(map(str, names))
    if len(out) != size or len(set(out)) != size:
        raise UserError(f"{what} must hold {size} distinct names, got {list(out)}")
    return out
