"""Penalties: terms added to an objective's risk."""

from frbench.penalties.base import Penalty

__all__ = ["Penalty"]
