"""Inner products of per-sample gradients, without the per-sample gradients."""

from frbench.similarity.density import dbscan_noise
from frbench.similarity.engine import GradientSimilarity
from frbench.similarity.reference import per_sample_gradients

__all__ = ["GradientSimilarity", "dbscan_noise", "per_sample_gradients"]
