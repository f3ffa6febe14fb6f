"""What the options of FR-Train must satisfy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frbench.errors import UserError
from frbench.penalties.mutual_information import check_target

if TYPE_CHECKING:
    from frbench.objectives.fr_train import FRTrain

CHOICES = {
    "fairness": ("discriminator", "smooth_mi", "none"),
    "robustness": ("discriminator", "none"),
    "reweight": ("official", "mean_one", "off"),
    "robust_sees": ("x", "features", None),
}


def check_values(objective: FRTrain) -> None:
    """Refuse values out of range and players that do not fit together.

    Raises:
        UserError: Naming the value and what is allowed.
    """
    for name, allowed in CHOICES.items():
        if getattr(objective, name) not in allowed:
            names = ", ".join(str(a) for a in allowed)
            raise UserError(
                f"FRTrain.{name}: expected one of {names}, got {getattr(objective, name)!r}."
            )
    check_target("FRTrain", objective.target, objective.positive_class)
    rest = 1 - objective.fair_weight - objective.robust_weight
    if not (objective.fair_weight >= 0 and objective.robust_weight >= 0 and rest > 1e-9):
        raise UserError(
            f"FRTrain weighs the classifier's own loss by 1 - lambda_f - lambda_r, which must "
            f"be positive; lambda_f {objective.lambda_f} and lambda_r {objective.lambda_r} give "
            f"{rest:.6g}. Lower one of them (neither may be negative)."
        )
    if objective.k < 1 or objective.warmup < 0 or objective.reweight_every < 1:
        raise UserError(
            f"FRTrain needs k >= 1, warmup >= 0 and reweight_every >= 1, got {objective.k}, "
            f"{objective.warmup}, {objective.reweight_every}."
        )
    if (
        objective.k > 1
        and objective.fairness != "discriminator"
        and objective.robustness == "none"
    ):
        raise UserError(
            f"FRTrain without a discriminator has nothing to train in {objective.k - 1} of "
            f"{objective.k} iterations; set k to 1."
        )
    widths = [*objective.fairness_hidden, *objective.robust_hidden]
    if any(width < 1 for width in widths) or not (objective.init_std is None
                                                  or objective.init_std >= 0):  # fmt: skip
        raise UserError(
            f"FRTrain needs hidden widths of at least 1 and an init_std not below 0 (or none), "
            f"got fairness_hidden {objective.fairness_hidden}, robust_hidden "
            f"{objective.robust_hidden}, init_std {objective.init_std}."
        )
    low, high = objective.weight_bounds if len(objective.weight_bounds) == 2 else (1.0, 0.0)
    if not 0 <= low <= 1 <= high:
        raise UserError(
            f"FRTrain.weight_bounds must be two numbers around 1, the first not negative, "
            f"got {objective.weight_bounds}."
        )
