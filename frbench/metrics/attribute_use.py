"""Which metrics depend on the attribute; no numpy."""

from frbench.metrics.names import split_key

#: Metrics whose value depends on no attribute.
UNGROUPED = frozenset((
    "accuracy", "balanced_accuracy", "worst_class_accuracy", "theil_index", "auroc",
    "average_precision", "expected_calibration_error", "brier_score", "negative_log_likelihood",
    "loss", "worst_alpha_loss", "worst_alpha_accuracy",
))  # fmt: skip


def reads_attribute(name: str) -> bool:
    """Whether a metric depends on the attribute; so do the user's own, of which it is not known.

    Args:
        name: Any metric key, with or without table and group.

    Example:
        >>> reads_attribute("val/accuracy"), reads_attribute("val/accuracy/z=male")
        (False, True)
        >>> reads_attribute("val/worst_alpha_loss/alpha=0.1")
        False
    """
    metric, _, of = (split_key(name)[1] or name).partition("/")
    return metric not in UNGROUPED or bool(of and not of.startswith("alpha="))
