"""Penalties: terms added to an objective's risk."""

from frbench.penalties.adversary import Adversary
from frbench.penalties.base import NetworkRun, Penalty
from frbench.penalties.contrast import Contrast
from frbench.penalties.dependence import HGR, HSIC, Covariance, Wasserstein
from frbench.penalties.fair_mixup import FairMixup
from frbench.penalties.invariance import IRM, PGI, InformationBottleneck, SpectralDecoupling, VREx
from frbench.penalties.mmd import ConditionalMMD, MarginalMMD
from frbench.penalties.moments import CORAL, Fishr
from frbench.penalties.mutual_information import MutualInformation
from frbench.penalties.parallel import Parallel
from frbench.penalties.scores import Gap
from frbench.penalties.statistics import EuclidProjection, KLProjection, Violation

__all__ = [
    "CORAL", "HGR", "HSIC", "IRM", "PGI", "Adversary", "ConditionalMMD", "Contrast", "Covariance",
    "EuclidProjection", "FairMixup", "Fishr", "Gap", "InformationBottleneck", "KLProjection",
    "MarginalMMD", "MutualInformation", "NetworkRun", "Parallel", "Penalty", "SpectralDecoupling",
    "VREx", "Violation", "Wasserstein",
]  # fmt: skip
