"""Where a run reads the attribute: in training, selection, fitting behind it, and at test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from frbench.data import balance
from frbench.metrics.attribute_use import reads_attribute

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule
    from frbench.objectives import Objective


def attributes_read(
    model: Objective, data: GroupDataModule, monitors: list[str]
) -> dict[str, list[str]]:
    """Name what reads the attribute in each part of a run, from what the classes declare.

    Objectives and penalties say so by ``properties.attributes``; one from outside the package that
    has a ``risk`` or a ``forward`` of its own and no ``properties`` counts as a reader. Inference
    and mixing say so by ``sees_attribute``, and balances by their weights. Augmentations and input
    transforms are given the attribute of the training rows, so each of them counts. Where groups
    are inferred, objective and penalties read these.

    Args:
        model: The trained model.
        data: Its data.
        monitors: Metrics by which a checkpoint is chosen or training stops.

    Returns:
        Names by ``train``, ``select`` and ``test``, no names where nothing reads it.
    """
    parts = [(model, "risk"), *((p, "forward") for p in model.penalties if float(p.weight))]
    train = [said for part, step in parts if (said := _reader(part, step))]
    if model.infer is not None:
        train = [_name(model.infer)] if model.infer.sees_attribute else []
    if model.mixing is not None and model.mixing.sees_attribute and model.infer is None:
        train.append(_name(model.mixing))
    if balance.reads_attribute(data.balance, data.marginals):
        train.append(f"balance: {data.balance}")
    train += map(_name, [*(data.augment or ()), *(data.transforms or ())])
    if data.attribute_as_input:
        train.append("the inputs")
    return {
        "train": train,
        "select": [monitor for monitor in monitors if reads_attribute(monitor)],
        "test": [model.attribute_use] if model.attribute_use else [],
    }


def trains_as_erm(model: Objective, data: GroupDataModule) -> bool:
    """Whether a run minimises ERM's risk on rows that are weighted, drawn or left out at most.

    The objective says so by its ``properties.erm``, and steps by what they change; there is no
    group inference, mixing or penalty, and no transform of the inputs.

    Args:
        model: The trained model.
        data: Its data.
    """
    others = model.infer or model.mixing or any(float(p.weight) for p in model.penalties)
    steps = [step.properties for step in data.augment or ()]
    real = all(s.rows in ("kept", "subset") and {*s.changes} <= {"weight"} for s in steps)
    return {} in model.properties.erm and not others and not data.transforms and real


def attributes_behind(before: dict[str, Any], method: Any) -> dict[str, list[str]]:
    """Name what reads the attribute in a run and in what was fitted behind it.

    Args:
        before: Record of the run.
        method: The postprocessor; its fit reads the attribute of held-out rows if it needs z.
    """
    inferred = getattr(method, "attribute", None)  # known, inferred, or a group inference
    reads = "z" in method.needs and getattr(inferred, "sees_attribute", True)
    earlier = before.get("attributes", {})
    return {
        **earlier,
        "fit": [*earlier.get("fit", []), *[_name(method)] * reads],
        "test": [*earlier.get("test", []), *[_name(method)] * method.reads_attribute],
    }


def _reader(part: Any, step: str) -> str:
    """Name a part that reads the attribute, or does not say that it does not; else return ''."""
    if part.properties.attributes != "unseen":
        return _name(part)
    cls = type(part)
    wrote, said = (next(c for c in cls.__mro__ if k in vars(c)) for k in (step, "properties"))
    # The package's own tests hold its classes to what they declare, the defaults included.
    declared = wrote.__module__.partition(".")[0] == "frbench" or issubclass(said, wrote)
    return "" if declared else f"{_name(part)} (declares nothing)"


def _name(part: Any) -> str:
    return type(part).__name__
