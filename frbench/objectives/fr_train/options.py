"""What the options of FR-Train must satisfy."""

from __future__ import annotations

from typing import Any, NamedTuple

from frbench.contracts.errors import UserError
from frbench.penalties.mutual_information import check_target

CHOICES = {
    "fairness": ("discriminator", "smooth_mi", "none"),
    "robustness": ("discriminator", "none"),
    "reweight": ("official", "mean_one", "off"),
    "robust_sees": ("x", "features", None),
}


class Values(NamedTuple):
    """The options that are checked, see :class:`frbench.objectives.FRTrain`."""

    fairness: str
    robustness: str
    reweight: str
    robust_sees: str | None
    target: Any
    positive_class: int
    lambda_f: float
    lambda_r: float
    fair_weight: float
    robust_weight: float
    k: int
    warmup: int
    reweight_every: int
    fairness_hidden: list[int]
    robust_hidden: list[int]
    init_std: float | None
    weight_bounds: list[float]


def check_values(values: Values) -> None:
    """Refuse values out of range and players that do not fit together.

    Raises:
        UserError: Naming the value and what is allowed.
    """
    for name, allowed in CHOICES.items():
        if getattr(values, name) not in allowed:
            names = ", ".join(str(a) for a in allowed)
            raise UserError(
                f"FRTrain.{name}: expected one of {names}, got {getattr(values, name)!r}."
            )
    check_target("FRTrain", values.target, values.positive_class)
    rest = 1 - values.fair_weight - values.robust_weight
    if not (values.fair_weight >= 0 and values.robust_weight >= 0 and rest > 1e-9):
        raise UserError(
            f"FRTrain weighs the classifier's own loss by 1 - lambda_f - lambda_r, which must "
            f"be positive; lambda_f {values.lambda_f} and lambda_r {values.lambda_r} give "
            f"{rest:.6g}. Lower one of them (neither may be negative)."
        )
    if values.k < 1 or values.warmup < 0 or values.reweight_every < 1:
        raise UserError(
            f"FRTrain needs k >= 1, warmup >= 0 and reweight_every >= 1, got {values.k}, "
            f"{values.warmup}, {values.reweight_every}."
        )
    if values.k > 1 and values.fairness != "discriminator" and values.robustness == "none":
        raise UserError(
            f"FRTrain without a discriminator has nothing to train in {values.k - 1} of "
            f"{values.k} iterations; set k to 1."
        )
    widths = [*values.fairness_hidden, *values.robust_hidden]
    if any(width < 1 for width in widths) or not (values.init_std is None
                                                  or values.init_std >= 0):  # fmt: skip
        raise UserError(
            f"FRTrain needs hidden widths of at least 1 and an init_std not below 0 (or none), "
            f"got fairness_hidden {values.fairness_hidden}, robust_hidden "
            f"{values.robust_hidden}, init_std {values.init_std}."
        )
    low, high = values.weight_bounds if len(values.weight_bounds) == 2 else (1.0, 0.0)
    if not 0 <= low <= 1 <= high:
        raise UserError(
            f"FRTrain.weight_bounds must be two numbers around 1, the first not negative, "
            f"got {values.weight_bounds}."
        )
