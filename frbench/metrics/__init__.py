"""Group metrics with uncertainty; no torch is imported until `GroupCounts` is asked for."""

from importlib import import_module
from typing import Any

_HOME = {
    "GroupCounts": "frbench.metrics.module",
    "Rows": "frbench.metrics.encode",
    "bootstrap": "frbench.metrics.uncertainty",
    "count_metrics": "frbench.metrics.counts",
    "direction": "frbench.metrics.names",
    "evaluate": "frbench.metrics.api",
    "four_fifths": "frbench.metrics.selection",
    "group_name": "frbench.metrics.names",
    "higher_is_better": "frbench.metrics.names",
    "intervals": "frbench.metrics.api",
    "table_rates": "frbench.metrics.api",
    "tabulate": "frbench.metrics.counts",
    "wilson": "frbench.metrics.uncertainty",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'frbench.metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
