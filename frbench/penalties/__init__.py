"""Penalties: terms added to an objective's risk."""

from frbench.penalties.base import Penalty
from frbench.penalties.mmd import ConditionalMMD, MarginalMMD

__all__ = ["ConditionalMMD", "MarginalMMD", "Penalty"]
