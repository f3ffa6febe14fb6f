"""What is fitted after training, on held-out outputs of a trained model."""

from frbench.postprocessing.base import (
    GroupMap,
    Head,
    HeldOut,
    LastLayer,
    OutputMap,
    Postprocessor,
)
from frbench.postprocessing.dfr import DFR
from frbench.postprocessing.rules import ThresholdMap
from frbench.postprocessing.threshold_optimizer import RelaxedEqualizedOdds, ThresholdOptimizer

__all__ = [
    "DFR", "GroupMap", "Head", "HeldOut", "LastLayer", "OutputMap", "Postprocessor",
    "RelaxedEqualizedOdds", "ThresholdMap", "ThresholdOptimizer",
]  # fmt: skip
