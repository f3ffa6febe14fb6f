"""Causal graphs of classification tasks: what balancing and regularising can and cannot do."""

from frbench.support.lazy import lazy

_HOME = {
    "EXAMPLES": "examples",
    "Evidence": "evidence",
    "Analysis": "analysis",
    "BalancedModel": "independence",
    "CausalTask": "graph",
    "Independence": "independence",
    "REAL": "examples",
    "Recommendation": "advice",
    "analyze": "analysis",
    "confront": "evidence",
    "example": "examples",
    "practice": "feasibility",
}
__all__ = sorted(_HOME)


__getattr__ = lazy(__name__, _HOME)
