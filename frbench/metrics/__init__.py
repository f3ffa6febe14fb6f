"""Group metrics with uncertainty; no torch is imported until `GroupCounts` is asked for."""

from frbench.support.lazy import lazy

_HOME = {
    "GroupCounts": "module",
    "GroupMetric": "module",
    "Rows": "rows",
    "Encoding": "probe",
    "Evaluation": "evaluation",
    "average_precision": "debiasing",
    "bias_amplification": "debiasing",
    "calibrated_threshold": "debiasing",
    "chain_information": "information",
    "conditional_mutual_information": "information",
    "corrected": "correction",
    "count_intervals": "table_intervals",
    "count_metrics": "counts",
    "debiasing_metrics": "debiasing",
    "direction": "names",
    "entropy": "information",
    "encoding": "probe",
    "evaluate": "api",
    "four_fifths": "verdicts",
    "gap_tests": "gaps",
    "group_name": "names",
    "higher_is_better": "names",
    "intervals": "api",
    "metric": "own",
    "metric_names": "names",
    "mutual_information": "information",
    "plan": "gaps",
    "risk_invariance": "family",
    "split_key": "names",
    "table_rates": "api",
    "tabulate": "counts",
    "wilson": "estimates",
    "unknown_bounds": "unknown",
    "worst_alpha": "worst_losses",
}
__all__ = sorted(_HOME)

__getattr__ = lazy(__name__, _HOME)


def __dir__() -> list[str]:
    return __all__
