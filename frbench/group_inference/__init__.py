"""Group inference: which attribute training takes a row for."""

from frbench.group_inference.base import GroupInference, Rows
from frbench.group_inference.classes import Classes
from frbench.group_inference.clusters import Clusters
from frbench.group_inference.eiil import EIIL
from frbench.group_inference.errors import Errors
from frbench.group_inference.predictions import Predictions
from frbench.group_inference.pseudo_labels import PseudoLabels

__all__ = [
    "EIIL",
    "Classes",
    "Clusters",
    "Errors",
    "GroupInference",
    "Predictions",
    "PseudoLabels",
    "Rows",
]
