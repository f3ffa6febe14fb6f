"""A trained network's features, and a checkpoint with another last layer."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from frbench.contracts.checkpoint_format import read_section
from frbench.contracts.errors import UserError
from frbench.data.module import GroupDataModule
from frbench.networks.mlp import OneLogit
from frbench.postprocessing.base import Head
from frbench.postprocessing.dfr import DFR
from frbench.support.progress import busy, track
from frbench.training.objective import Objective


def extract(objective: Objective, data: GroupDataModule, split: str) -> tuple[np.ndarray, ...]:
    """Run a network over a split in the table's order.

    Args:
        objective: The trained method.
        data: Its data.
        split: Name of the table.

    Returns:
        Features, float64 [N, D]; labels [N]; groups, -1 where unknown [N].
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = objective.to(device).eval().network
    loader = data.eval_loader(split)
    parts = []
    with torch.inference_mode():
        for batch in track(loader, f"features of {split}", len(loader)):
            features = network(batch.x.to(device))[0]
            parts.append((features.double().cpu(), batch.y, batch.group))
    objective.cpu()
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


def reweight(
    checkpoint: dict[str, Any],
    objective: Objective,
    data: GroupDataModule,
    settings: DFR,
    held_out: Literal["val", "train"] = "val",
) -> tuple[dict[str, Any], Head]:
    """Replace the last layer of a checkpoint.

    Args:
        checkpoint: What :func:`frbench.runs.checkpoint.read_checkpoint` gives.
        objective: The method rebuilt from it; its last layer is replaced, too.
        data: The data it was trained on.
        settings: How to fit.
        held_out: Split to fit on.

    Returns:
        A checkpoint that ``frbench test`` evaluates, and the new layer.
    """
    linear = objective.network.head
    if not isinstance(linear, nn.Linear):
        raise UserError(
            f"DFR replaces a linear last layer; {type(objective.network).__name__} has {linear}."
        )
    outputs = 1 if isinstance(linear, OneLogit) else objective.num_classes
    if linear.out_features != outputs:
        raise UserError(
            f"DFR fits one output per class; {type(objective).__name__} has "
            f"{linear.out_features} outputs for {objective.num_classes} classes."
        )
    features, y, group = extract(objective, data, held_out)
    with busy("fitting the last layer"):
        head = settings.fit(features, y, group, objective.num_classes, data.group_names)
    with torch.no_grad():
        # Of two classes, the first has the logit 0.
        linear.weight.copy_(torch.as_tensor(head.weight[-outputs:]))
        linear.bias.copy_(torch.as_tensor(head.bias[-outputs:]))
    record = {
        "held_out": held_out,
        "redraws": settings.redraws,
        "seed": settings.seed,
        "strength": head.strength,
        "scores": [[float(c), float(score)] for c, score in head.scores.items()],
        "per_group": head.per_group,
    }
    changed = {
        **checkpoint,
        "state_dict": objective.state_dict(),
        "optimizer_states": [],
        "lr_schedulers": [],
        "frbench": {
            **read_section(checkpoint),
            "dfr": record,
            "selection": {**(read_section(checkpoint).get("selection") or {}), "dfr": record},
        },
    }
    return changed, head
