"""Group metrics with uncertainty; no torch is imported until `GroupCounts` is asked for."""

from frbench.lazy import lazy

_HOME = {
    "GroupCounts": "module",
    "Rows": "encode",
    "bootstrap": "uncertainty",
    "count_metrics": "counts",
    "direction": "names",
    "evaluate": "api",
    "four_fifths": "selection",
    "group_name": "names",
    "higher_is_better": "names",
    "intervals": "api",
    "table_rates": "api",
    "tabulate": "counts",
    "wilson": "uncertainty",
    "worst_alpha": "worst",
}
__all__ = sorted(_HOME)

__getattr__ = lazy(__name__, _HOME)


def __dir__() -> list[str]:
    return __all__
