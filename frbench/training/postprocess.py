"""Outputs of a trained network on held-out rows, and a checkpoint of what is fitted on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from frbench.contracts.checkpoint_format import read_section
from frbench.contracts.errors import UserError
from frbench.contracts.spec import to_spec
from frbench.data.module import GroupDataModule
from frbench.networks.mlp import OneLogit
from frbench.postprocessing.base import HeldOut, LastLayer, OutputMap, Postprocessor
from frbench.postprocessing.split import Split
from frbench.support.progress import busy, track
from frbench.training.decisions import features_of
from frbench.training.objective import Objective


def passed(
    objective: Objective, data: GroupDataModule, split: str, dtype: torch.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over a split, in the table's order and without random transforms.

    Args:
        objective: The method, trained or not; it is in evaluation mode afterwards.
        data: Its data.
        split: Name of the table.
        dtype: Type of what is returned.

    Returns:
        What the head gets [N, D], and logits [N, C].
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    objective.to(device).eval()
    loader = data.eval_loader(split)
    parts = []
    with torch.inference_mode(), features_of(objective.network) as seen:
        for batch in track(loader, f"features of {split}", len(loader)):
            logits = objective(batch.x.to(device))
            parts.append((seen.pop().to("cpu", dtype), logits.to("cpu", dtype)))
    objective.cpu()
    features, logits = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return features, logits


def outputs(objective: Objective, data: GroupDataModule, split: str) -> HeldOut:
    """Run a network over a split in the table's order.

    Args:
        objective: The trained method.
        data: Its data.
        split: Name of the table.
    """
    features, logits = passed(objective, data, split, torch.float64)
    table = data.splits[split]
    weight, bias = _last_layer(objective)
    return HeldOut(
        features,
        logits,
        table.y,
        table.z,
        objective.num_classes,
        objective.num_attributes,
        weight,
        bias,
        tuple(data.group_names),
    )


def _last_layer(objective: Objective) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return weights and bias of a linear last layer, one row a class; None for any other."""
    linear = objective.network.head
    if not isinstance(linear, nn.Linear):
        return None, None
    weight, bias = (p.detach().double().numpy() for p in (linear.weight, linear.bias))
    if isinstance(linear, OneLogit):  # of two classes, the first has the logit 0
        weight, bias = np.vstack([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias


def check_head(name: str, objective: Objective) -> nn.Linear:
    """Return the last layer of a model, if a method can replace it.

    Raises:
        UserError: If it is not linear, or has other outputs than one a class.
    """
    linear = objective.network.head
    if not isinstance(linear, nn.Linear):
        raise UserError(
            f"{name} replaces a linear last layer; {type(objective.network).__name__} has "
            f"{linear}."
        )
    outputs = 1 if isinstance(linear, OneLogit) else objective.num_classes
    if linear.out_features != outputs:
        raise UserError(
            f"{name} fits one output per class; {type(objective).__name__} has "
            f"{linear.out_features} outputs for {objective.num_classes} classes."
        )
    return linear


def check_method(method: Postprocessor, objective: Objective) -> None:
    """Check that a method can be fitted behind a model, before the model is run.

    Raises:
        UserError: Naming what does not fit.
    """
    name = type(method).__name__
    if objective.postprocess is not None:
        raise UserError(
            f"{name}: this checkpoint has {type(objective.postprocess).__name__} behind it "
            "already; start from the checkpoint it was made from."
        )
    if isinstance(method, LastLayer):
        check_head(name, objective)


def apply(objective: Objective, method: Postprocessor, rows: HeldOut) -> dict[str, Any]:
    """Fit a method and make it part of a model.

    Args:
        objective: The model; it is changed.
        method: The method.
        rows: Outputs of the model on the rows to fit on.

    Returns:
        How it came about, for the record.
    """
    if isinstance(method, OutputMap):
        objective.attach(method)
        return {"kind": "map", "reads_attribute": method.reads_attribute, **method.fit(rows)}
    assert isinstance(method, LastLayer)
    linear = check_head(type(method).__name__, objective)
    head = method.fit(rows)
    size = linear.out_features
    with torch.no_grad():
        linear.weight.copy_(torch.as_tensor(head.weight[-size:]))
        linear.bias.copy_(torch.as_tensor(head.bias[-size:]))
    return {"kind": "last layer", "reads_attribute": False, **head.report}


def postprocess(
    objective: Objective, rows: HeldOut, method: Postprocessor, split: Split
) -> dict[str, Any]:
    """Fit a method on a part of a split, and make it part of a model.

    Args:
        objective: The trained method; it is changed.
        rows: What :func:`outputs` gives for the whole split.
        method: What to fit.
        split: The rows to fit on.

    Returns:
        The record: method, what it was fitted on, what selects, the labels it needs, its report.
    """
    check_method(method, objective)
    fitting = split.fitting(rows.group)
    specification = to_spec(method)
    with busy(f"fitting {type(method).__name__}"):
        report = apply(objective, method, rows.take(fitting) if split.share < 1 else rows)
    left = int((~fitting).sum())
    kept = split.name != "val" or method.uses_all
    return {
        "method": specification,
        "fitted_on": {**split._asdict(), "rows": int(fitting.sum())},
        "selected_on": {"name": "val", "rows": "all"} if kept else {"name": "val", "rows": left},
        "needs": list(method.needs),
        **report,
    }


def changed_checkpoint(
    checkpoint: dict[str, Any], objective: Objective, key: str, record: dict[str, Any]
) -> dict[str, Any]:
    """Return a checkpoint of a model that was changed after training.

    Args:
        checkpoint: That of the training.
        objective: The changed model.
        key: Name of the record in the checkpoint's section.
        record: What was done.
    """
    section = read_section(checkpoint)
    selection = {**(section.get("selection") or {}), key: record}
    added = {key: record, "selection": selection, "model": to_spec(objective)}
    return {
        **checkpoint,
        "state_dict": objective.state_dict(),
        "optimizer_states": [],
        "lr_schedulers": [],
        "frbench": {**section, **added},
    }
