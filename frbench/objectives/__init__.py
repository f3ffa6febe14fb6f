"""Objectives: how per-sample losses become one number."""

from frbench.objectives.base import Objective
from frbench.objectives.erm import ERM
from frbench.objectives.group_dro import GroupDRO

__all__ = ["ERM", "GroupDRO", "Objective"]
