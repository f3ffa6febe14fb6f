"""Runs of FR-Train for a study: built from plain data, trained in stacks, measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.errors import UserError
from frbench.contracts.spec import from_spec
from frbench.data.module import GroupDataModule
from frbench.objectives import FRTrain
from frbench.objectives.fr_train.sweep import View, sweep


class GameRun(NamedTuple):
    """One run of a study.

    Attributes:
        name: What tells it from the others, column -> value.
        model: The method.
        data: What it is trained on.
    """

    name: dict[str, Any]
    model: FRTrain
    data: GroupDataModule


def build_data(spec: dict[str, Any], **changes: Any) -> GroupDataModule:
    """Build a data set from ``{class_path, init_args}``, with some arguments exchanged.

    Raises:
        UserError: If there is no such class, or an argument that it does not take.
    """
    try:
        result: GroupDataModule = from_spec(
            spec | {"init_args": spec.get("init_args", {}) | changes}
        )
        return result
    except TypeError as error:
        raise UserError(f"A data set of the study cannot be built: {error}.") from error


def build_model(
    options: dict[str, Any], data: GroupDataModule, seed: int, **changes: Any
) -> FRTrain:
    """Build FRTrain for a data set; its initial parameters depend on the seed alone.

    Raises:
        UserError: If FRTrain does not take an argument or its value.
    """
    torch.manual_seed(seed)
    sizes = data.num_classes, data.num_attributes, data.input_shape
    try:
        return FRTrain(*sizes, **from_spec(options | changes))
    except TypeError as error:
        raise UserError(f"A model of the study cannot be built: {error}.") from error


def impact(prediction: np.ndarray, y: np.ndarray, z: np.ndarray) -> dict[str, np.ndarray]:
    """Measure binary predictions of several runs [R, N]; nobody selected is impact 1.

    Example:
        >>> z, y = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
        >>> {name: round(float(value[0]), 2) for name, value in impact(z == 1, y, z).items()}
        {'accuracy': 0.75, 'disparate_impact': 0.0, 'selection_rate': 0.5, 'information': 0.69}
    """
    n = z.shape[1]
    joint = np.stack([
        ((prediction == c) & (z == a)).sum(1) / n for a in (0, 1) for c in (0, 1)
    ], -1).reshape(-1, 2, 2)  # run, z, prediction  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = joint[:, :, 1] / joint.sum(2)
        ratio = rates.min(1) / rates.max(1)
    return {
        "accuracy": (prediction == y).mean(1),
        "disparate_impact": np.where(rates.max(1) == 0, 1.0, ratio),
        "selection_rate": joint[:, :, 1].sum(1),
        "information": np.maximum(
            _entropies(joint.sum(1)) + _entropies(joint.sum(2)) - _entropies(joint), 0
        ),
    }


def _entropies(p: np.ndarray) -> np.ndarray:
    """Entropy of each run's table, in nats [R]."""
    p = p.reshape(len(p), -1)
    result: np.ndarray = -(p * np.log(np.where(p > 0, p, 1))).sum(1)
    return result


class Watch:
    """Measures the runs of a sweep while they train; hand it to ``sweep`` as ``observe``.

    Args:
        runs: The runs in the order of the sweep.
        tables: Which tables to predict: train, val, test.
        losses: Whether to keep the players' losses.
    """

    def __init__(
        self,
        runs: Sequence[GameRun],
        tables: Sequence[str] = ("val", "test"),
        losses: bool = False,
    ) -> None:
        self.runs = runs
        self.tables = tables
        self.losses = losses
        self.rows: list[dict[str, Any]] = []
        self._stacked: dict[tuple[int, ...], dict[str, tuple[Tensor, np.ndarray, np.ndarray]]] = {}

    def __call__(self, view: View) -> None:
        """Add one row per run and table."""
        for table, (x, y, z) in self._inputs(view.runs).items():
            measured = impact(view.margin(x).numpy() > 0, y, z)
            for i, run in enumerate(view.runs):
                row = self.runs[run].name | {"step": view.step, "table": table}
                row |= {name: float(values[i]) for name, values in measured.items()}
                if self.losses:
                    row |= {f"{n}_loss": float(v[i]) for n, v in view.losses.items()}
                self.rows.append(row)

    def _inputs(self, runs: Sequence[int]) -> dict[str, tuple[Tensor, np.ndarray, np.ndarray]]:
        key = tuple(runs)
        if key not in self._stacked:
            self._stacked.clear()  # stacks are trained one after the other
            out = {}
            for name in self.tables:
                parts = [self._table(self.runs[run].data, name) for run in runs]
                x = torch.stack([torch.as_tensor(p.x, dtype=torch.float32).T for p in parts])
                out[name] = x, np.stack([p.y for p in parts]), np.stack([p.z for p in parts])
            self._stacked[key] = out
        return self._stacked[key]

    @staticmethod
    def _table(data: GroupDataModule, name: str) -> Any:
        return data.training.table if name == "train" else data.splits[name]


def play(runs: Sequence[GameRun], steps: int, every: int, watch: Watch) -> list[dict[str, Any]]:
    """Train all runs in stacks and return what was watched."""
    models, data = [run.model for run in runs], [run.data for run in runs]
    sweep(models, data, steps, every=every, observe=watch)
    return watch.rows
