"""The declared keys of all metrics, their directions, and the names of groups; no numpy.

`metric_names` lists the keys of an evaluation from these declarations, and the functions that
compute metrics label their values by the same ones, so that the two cannot differ.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType

from frbench.contracts.errors import UserError
from frbench.contracts.text import factors, overlapping

# Directions: 1, higher is better; -1, lower is better; 0, neither by itself, so that no rule may
# maximise the metric. What follows a slash says for what a metric has a key each: the classes y,
# the attribute values z, the groups y,z or the shares alpha.

#: Metrics of a table of counts, in the order of their keys.
COUNTS: dict[str, int] = {
    "accuracy": 1,
    "balanced_accuracy": 1,
    "worst_class_accuracy": 1,
    "worst_group_accuracy": 1,
    "worst_attribute_accuracy": 1,
    "weighted_average_accuracy": 1,
    "rare_groups_accuracy": 1,  # only where groups of few rows are left out
    "accuracy_gap": -1,
    "empty_groups": -1,
    "demographic_parity_difference": -1,
    "disparate_impact": 1,
    "equal_opportunity_difference": -1,
    "equalized_odds_difference": -1,
    "equalized_odds_mean": -1,
    "equalized_odds_sum": -1,
    "average_odds_difference": 0,  # signed for two groups: 0 is best
    "predictive_parity_difference": -1,
    "selection_rate/z": 0,
    "true_positive_rate/z": 1,
    "false_positive_rate/z": -1,
    "positive_predictive_value/z": 1,
    "theil_index": -1,
    "representation_rate": 1,
    "statistical_rate": 1,
    "statistical_rate/y": 1,
    "accuracy/z": 1,
    "group_accuracy/y,z": 1,
}
#: Metrics that crossed attributes have a further key of, ``<metric>/parallel``.
PARALLEL = (
    "demographic_parity_difference",
    "disparate_impact",
    "equal_opportunity_difference",
    "equalized_odds_difference",
)
#: The same, where scores are evaluated.
PARALLEL_SOFT = ("demographic_parity_soft", "equalized_odds_soft")
#: Metrics that overlapping groups have a further key of, ``<metric>/overlapping``.
OVERLAPPING = ("worst_group_accuracy", "worst_attribute_accuracy", "accuracy_gap", *PARALLEL)
#: Metrics of scores, in the order of their keys.
SCORES: dict[str, int] = {
    "auroc": 1,
    "average_precision": 1,
    "expected_calibration_error": -1,
    "brier_score": -1,
    "negative_log_likelihood": -1,
    "demographic_parity_soft": -1,
    "equalized_odds_soft": -1,
    "score_kl": -1,
    "worst_alpha_loss/alpha": -1,
    "worst_alpha_accuracy/alpha": 1,
    "auroc/z": 1,
    "average_precision/z": 1,
}
#: A reference value for ``score_kl``, evaluated with the scores.
NOISE_FLOOR: dict[str, int] = {"score_kl_noise_floor": 0}
#: Metrics that are not of one table's predictions alone.
ELSEWHERE: dict[str, int] = {
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
#: Name of each metric -> its direction.
DIRECTION: dict[str, int] = {
    declared.partition("/")[0]: sign
    for metrics in (COUNTS, SCORES, NOISE_FLOOR, ELSEWHERE, DEBIASING)
    for declared, sign in metrics.items()
}
#: The directions of no metrics, of one's own.
NO_METRICS: Mapping[str, int] = MappingProxyType({})
#: Shares alpha of the worst rows that have a key of their own.
ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def metric_names(
    class_names: Sequence[str],
    attribute_names: Sequence[str],
    scores: bool = True,
    rare: bool = False,
) -> list[str]:
    """Return the keys of `frbench.metrics.evaluate`, in their order, without evaluating.

    Args:
        class_names: C names.
        attribute_names: A names; of several attributes those of the crossed values.
        scores: Whether scores are evaluated too.
        rare: Whether groups of fewer than ``min_group_rows`` rows are left out of minima.

    Example:
        >>> names = metric_names(["no", "yes"], ["f", "m"])
        >>> names[0], names[-1], "group_accuracy/y=no,z=f" in names
        ('accuracy', 'score_kl_noise_floor', True)
    """
    declared = [*COUNTS, *SCORES, *NOISE_FLOOR] if scores else [*COUNTS]
    declared = [name for name in declared if rare or name != "rare_groups_accuracy"]
    keys = [key for name in declared for key in keys_of(name, class_names, attribute_names)]
    parallel = PARALLEL + (PARALLEL_SOFT if scores else ())
    keys += [f"{name}/parallel" for name in parallel if factors(attribute_names)]
    return keys + overlapping_names(class_names, attribute_names)


def overlapping_names(class_names: Sequence[str], attribute_names: Sequence[str]) -> list[str]:
    """Return the further keys of overlapping groups; none where the names are of no sets.

    Example:
        >>> overlapping_names(["no", "yes"], ["{}", "{male}"])[0::7]
        ['worst_group_accuracy/overlapping', 'group_accuracy/y=no,z=male']
    """
    groups = list(dict.fromkeys(g for row in overlapping(attribute_names) for g in row))
    if not groups:
        return []
    each = keys_of("group_accuracy/y,z", class_names, groups)
    return [*(f"{name}/overlapping" for name in OVERLAPPING), *each]


def keys_of(
    declared: str,
    class_names: Sequence[str] = (),
    attribute_names: Sequence[str] = (),
    alphas: Sequence[float] = ALPHAS,
) -> list[str]:
    """Return the keys of one declared metric, in the order of its values.

    Args:
        declared: An entry of `COUNTS` or `SCORES`.
        class_names: C names.
        attribute_names: A names.
        alphas: Shares in (0, 1].

    Example:
        >>> keys_of("group_accuracy/y,z", ["no", "yes"], ["f"])
        ['group_accuracy/y=no,z=f', 'group_accuracy/y=yes,z=f']
    """
    name, _, of = declared.partition("/")
    endings = {
        "": [""],
        "y": [f"/y={label}" for label in class_names],
        "z": [f"/z={value}" for value in attribute_names],
        "y,z": [f"/{group_name(c, a)}" for c in class_names for a in attribute_names],
        "alpha": [f"/alpha={alpha:g}" for alpha in alphas],
    }
    return [name + ending for ending in endings[of]]


def split_key(key: str, own: Mapping[str, int] = NO_METRICS) -> tuple[str, str]:
    """Divide a key ``<table>/<metric>`` into its table and its metric.

    Args:
        key: Any metric key, with or without a table (``val``, ``test/P0``) and with or without a
            group (``/z=male``).
        own: Directions of metrics of one's own, by name.

    Returns:
        Table and metric; the metric is empty if no part of the key is one.

    Example:
        >>> split_key("test/P0/group_accuracy/y=1,z=a/b"), split_key("train/risk")
        (('test/P0', 'group_accuracy/y=1,z=a/b'), ('train/risk', ''))
    """
    parts = key.split("/")
    at = next((i for i, p in enumerate(parts) if p in DIRECTION or p in own), len(parts))
    return "/".join(parts[:at]), "/".join(parts[at:])


def split_of(name: str) -> str:
    """Return the split of a table or key: ``train``, ``val``, ``test``, ``end``.

    Example:
        >>> split_of("test/P0/accuracy"), split_of("test/P0"), split_of("val")
        ('test', 'test', 'val')
    """
    return name.partition("/")[0]


def group_of(metric: str) -> tuple[str, str] | None:
    """Divide a metric of one group into metric and group; None for any other.

    Example:
        >>> group_of("group_accuracy/y=a/b,z=c"), group_of("worst_alpha_loss/alpha=0.1")
        (('group_accuracy', 'y=a/b,z=c'), None)
    """
    name, _, rest = metric.partition("/")
    return (name, rest) if rest[:2] in ("y=", "z=") else None


def direction(name: str, own: Mapping[str, int] = NO_METRICS) -> int:
    """Return 1 if higher is better, -1 if lower is better, 0 if neither.

    Args:
        name: Any metric key, with or without table and group, see `split_key`.
        own: Directions of metrics of one's own, by name.

    Raises:
        UserError: If no part of the name is a metric; the message lists names close to it.

    Example:
        >>> direction("test/P0/true_positive_rate/z=male"), direction("selection_rate/z=male")
        (1, 0)
        >>> direction("val/two_worst", {"two_worst": 1})
        1
    """
    known = {**DIRECTION, **own}
    if metric := split_key(name, own)[1]:
        return known[metric.partition("/")[0]]
    close = [match for part in name.split("/") for match in get_close_matches(part, known, n=3)]
    shown = ", ".join(dict.fromkeys(close or sorted(known)))
    raise UserError(f"Unknown metric {name!r}; {'did you mean' if close else 'known'}: {shown}")


def higher_is_better(name: str, own: Mapping[str, int] = NO_METRICS) -> bool:
    """Tell whether a rule (checkpoint, early stopping, leaderboard) maximises a metric.

    Args:
        name: Any metric key, with or without table and group, see `direction`.
        own: Directions of metrics of one's own, by name.

    Raises:
        UserError: If the name is unknown, or if neither direction is better (a selection rate,
            a signed difference): such a value must not select anything.

    Example:
        >>> higher_is_better("val/worst_group_accuracy"), higher_is_better("val/accuracy_gap")
        (True, False)
    """
    sign = direction(name, own)
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
