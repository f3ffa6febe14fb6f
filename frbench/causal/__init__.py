"""Causal graphs of classification tasks: what balancing and regularising can and cannot do."""

from importlib import import_module
from typing import Any

_HOME = {
    "EXAMPLES": "examples",
    "Evidence": "evidence",
    "Analysis": "analysis",
    "CausalTask": "graph",
    "Independence": "independence",
    "REAL": "examples",
    "Recommendation": "advice",
    "analyze": "analysis",
    "balanced_graphs": "independence",
    "confront": "evidence",
    "example": "examples",
    "main": "command",
    "practice": "feasibility",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"frbench.causal.{_HOME[name]}"), name)
    raise AttributeError(f"module 'frbench.causal' has no attribute {name!r}")
