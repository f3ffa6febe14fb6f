"""Objectives: how per-sample losses become one number."""

from frbench.objectives.adversarial_debiasing import AdversarialDebiasing
from frbench.objectives.arl import ARL
from frbench.objectives.bpf import BPF
from frbench.objectives.domain_independent import DomainIndependent
from frbench.objectives.erm import ERM
from frbench.objectives.fair_batch import FairBatch
from frbench.objectives.focal import Focal
from frbench.objectives.fr_train.game import FRTrain
from frbench.objectives.group_dro import GroupDRO
from frbench.objectives.irw import IRW
from frbench.objectives.irwo import IRWO
from frbench.objectives.lff import LfF
from frbench.objectives.logit_correction import LogitCorrection
from frbench.objectives.margins import LDAM, ULA, LogitAdjustment
from frbench.objectives.trimmed import Trimmed
from frbench.objectives.worst_case import Chi2DRO, CVaR
from frbench.training.objective import Objective

__all__ = [
    "ARL", "BPF", "ERM", "IRW", "IRWO", "LDAM", "ULA", "AdversarialDebiasing", "CVaR", "Chi2DRO",
    "DomainIndependent", "FRTrain", "FairBatch", "Focal", "GroupDRO", "LfF", "LogitAdjustment",
    "LogitCorrection", "Objective", "Trimmed",
]  # fmt: skip
