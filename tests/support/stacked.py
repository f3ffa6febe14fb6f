"""Runs trained one by one and in a stack, from functions that build them."""

import contextlib
import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.callbacks import BestCheckpoint, EarlyStop, RollingCheckpoint, SanityCheck
from frbench.data import TwoGaussians
from frbench.data.module import GroupDataModule
from frbench.networks import MLP
from frbench.objectives import Objective
from frbench.stacks.forming import fit, form
from frbench.stacks.member import Member

#: Builds a run from its number: objective and data.
Build = Callable[[int], tuple[Objective, GroupDataModule]]
OPTIONS = {
    "accelerator": "cpu", "devices": 1, "enable_progress_bar": False,
    "enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False,
}  # fmt: skip


def gaussians(run: int, **options) -> TwoGaussians:
    """Data of three batches and a bit, drawn anew for each run."""
    return TwoGaussians(**{"n": 200, "batch_size": 64, "seed": run, **options})


def builder(cls: type[Objective], settings: Sequence[dict] = ({}, {}), **data) -> Build:
    """Runs of one class with settings of their own; penalties and mixing as functions."""

    def build(run: int) -> tuple[Objective, GroupDataModule]:
        own = {"network": MLP(hidden=[8]), "lr": 0.01, **settings[run]}
        own["network"] = copy.deepcopy(own["network"])  # a network is bound once
        own["penalties"] = [make() for make in own.get("penalties", ())]
        if "mixing" in own:
            own["mixing"] = own["mixing"]()
        table = gaussians(run, **data)
        return cls(2, 2, list(table.input_shape), **own), table

    return build


def _callbacks(folder: Path, patience: int) -> list:
    return [
        SanityCheck(), EarlyStop(patience=patience),
        BestCheckpoint(dirpath=str(folder), monitor="val/worst_class_accuracy"),
        RollingCheckpoint(dirpath=str(folder)),
    ]  # fmt: skip


def one_by_one(build: Build, runs: int, folder: Path, patience: int = 0, **limits) -> list:
    """Train each run by itself."""
    found = []
    for run in range(runs):
        seed_everything(run, verbose=False)
        objective, data = build(run)
        own = trainer(**OPTIONS, **limits, callbacks=_callbacks(folder / f"{run}", patience),
                      enable_checkpointing=True)  # fmt: skip
        own.fit(objective, datamodule=data)
        found.append(objective)
    return found


def members(build: Build, runs: int, folder: Path, patience: int = 0, **limits) -> list[Member]:
    """Build the runs of a stack."""
    found = []
    for run in range(runs):
        seed_everything(run, verbose=False)
        objective, data = build(run)
        own = trainer(**OPTIONS, **limits, callbacks=_callbacks(folder / f"{run}", patience),
                      enable_checkpointing=True)  # fmt: skip
        found.append(Member(own, objective, data))
    return found


def in_stacks(build: Build, runs: int, folder: Path, patience: int = 0, **limits):
    """Train the runs in stacks; return them, the stacks, and reasons of those that fit in none."""
    options = {**OPTIONS, **limits}
    built = members(build, runs, folder, patience, **limits)
    stacks, alone = form(built, [options] * runs)
    wasted = [
        fit(stack, options, folder / f"stack{i}", lambda _: contextlib.nullcontext(), False)[1]
        for i, stack in enumerate(stacks)
    ]
    return built, stacks, [why for _, why in alone], wasted


def worst(mine: Objective, theirs: Objective) -> float:
    """Largest difference of a parameter, relative to the largest number of its tensor."""
    pairs = zip(mine.parameters(), theirs.parameters(), strict=True)
    return max(float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1e-6))
               for a, b in pairs)  # fmt: skip


def buffers_apart(mine: Objective, theirs: Objective) -> float:
    """Largest difference of a buffer."""
    pairs = zip(mine.buffers(), theirs.buffers(), strict=True)
    return max((float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel()),
               default=0.0)  # fmt: skip


def close(mine: Objective, theirs: Objective, tolerance: float = 1e-4) -> bool:
    """Whether parameters and buffers are equal."""
    finite = all(torch.isfinite(p).all() for p in theirs.parameters())
    return finite and worst(mine, theirs) <= tolerance and buffers_apart(mine, theirs) <= 1e-3
