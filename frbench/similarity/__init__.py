"""Inner products of per-sample gradients, without the per-sample gradients."""

from frbench.similarity.density import dbscan_noise
from frbench.similarity.engine import GradientSimilarity

__all__ = ["GradientSimilarity", "dbscan_noise"]
