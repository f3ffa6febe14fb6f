"""Objectives: how per-sample losses become one number."""

from frbench.objectives.base import Objective
from frbench.objectives.erm import ERM
from frbench.objectives.fr_train import FRTrain
from frbench.objectives.group_dro import GroupDRO
from frbench.objectives.trimmed import Trimmed

__all__ = ["ERM", "FRTrain", "GroupDRO", "Objective", "Trimmed"]
