"""Inner products of per-sample gradients, without the per-sample gradients."""

from frbench.gradients.density import dbscan_noise
from frbench.gradients.engine import GradientSimilarity
from frbench.gradients.reference import per_sample_gradients

__all__ = ["GradientSimilarity", "dbscan_noise", "per_sample_gradients"]
