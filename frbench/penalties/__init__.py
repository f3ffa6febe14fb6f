"""Penalties: terms added to an objective's risk."""

from frbench.penalties.adversary import Adversary
from frbench.penalties.base import Penalty
from frbench.penalties.mutual_information import MutualInformation

__all__ = ["Adversary", "MutualInformation", "Penalty"]
