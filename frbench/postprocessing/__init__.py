"""What is fitted after training, on held-out outputs of a trained model."""

from frbench.postprocessing.barycentre import Barycentre
from frbench.postprocessing.base import (
    GroupMap,
    Head,
    HeldOut,
    LastLayer,
    OutputMap,
    Postprocessor,
)
from frbench.postprocessing.dfr import DFR, DISPEL
from frbench.postprocessing.frappe import FRAPPE
from frbench.postprocessing.group_thresholds import GroupThresholds
from frbench.postprocessing.heads import AFR, CRT, LLR, SELF, ReweightCRT, VanillaCRT
from frbench.postprocessing.odds import CalibratedOdds, EqOddsMixing, RejectOption
from frbench.postprocessing.prototypes import DPE
from frbench.postprocessing.reductions import ExponentiatedGradient, GridSearch
from frbench.postprocessing.rules import Part, ThresholdMap
from frbench.postprocessing.temperature import TemperatureScaling
from frbench.postprocessing.threshold_optimizer import RelaxedEqualizedOdds, ThresholdOptimizer

__all__ = [
    "AFR", "CRT", "DFR", "DISPEL", "DPE", "FRAPPE", "LLR", "SELF", "Barycentre", "CalibratedOdds",
    "EqOddsMixing", "ExponentiatedGradient", "GridSearch", "GroupMap", "GroupThresholds", "Head",
    "HeldOut", "LastLayer", "OutputMap", "Part", "Postprocessor", "RejectOption",
    "RelaxedEqualizedOdds", "ReweightCRT", "TemperatureScaling", "ThresholdMap",
    "ThresholdOptimizer", "VanillaCRT",
]  # fmt: skip
