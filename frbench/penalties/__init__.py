"""Penalties: terms added to an objective's risk."""

from frbench.penalties.adversary import Adversary
from frbench.penalties.base import Penalty
from frbench.penalties.mmd import ConditionalMMD, MarginalMMD
from frbench.penalties.mutual_information import MutualInformation

__all__ = ["Adversary", "ConditionalMMD", "MarginalMMD", "MutualInformation", "Penalty"]
