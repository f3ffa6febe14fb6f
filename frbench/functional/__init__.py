"""The parts of objectives and penalties as functions of tensors, for loops of one's own.

With several processes the arguments are each one's rows, and the results those of the global
batch, scaled for the averaging of gradients that DDP does.
"""

from frbench.functional.environments import (
    environment_means,
    irm,
    mean_of_present,
    variance_of_present,
    vrex,
)
from frbench.functional.fairness import gap, log_odds, violation
from frbench.functional.losses import (
    chi2_dro,
    chi2_weights,
    cvar,
    cvar_weights,
    focal,
    group_dro_weights,
)
from frbench.functional.mmd import conditional_mmd, marginal_mmd

__all__ = [
    "chi2_dro",
    "chi2_weights",
    "conditional_mmd",
    "cvar",
    "cvar_weights",
    "environment_means",
    "focal",
    "gap",
    "group_dro_weights",
    "irm",
    "log_odds",
    "marginal_mmd",
    "mean_of_present",
    "variance_of_present",
    "violation",
    "vrex",
]
