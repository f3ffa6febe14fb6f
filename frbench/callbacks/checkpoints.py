"""Which step is kept: the best by a named rule, and the latest to resume from."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from frbench.callbacks.also import AlsoBest
from frbench.callbacks.monitors import check_monitor, optimised
from frbench.callbacks.rolling import write_whole
from frbench.contracts.checkpoint_format import write_section
from frbench.contracts.errors import UserError
from frbench.data.module import datamodule_of
from frbench.metrics.own import directions
from frbench.report.rule import DEFAULT
from frbench.training.evaluation import MIN_GROUP_ROWS, Evaluated

NEVER = 10**9


def _tables(trainer: Trainer) -> list[str]:
    """Return the tables that validation evaluates, the longest names first."""
    data = datamodule_of(trainer)
    return sorted(data.val_names, key=len, reverse=True) if data is not None else []


class BestCheckpoint(ModelCheckpoint):
    """Keep the checkpoint with the best value of a metric, by the same rule for every method.

    Args:
        monitor: Metric that decides.
        mode: ``min``, ``max``, or ``auto`` for the metric's own direction.
        dirpath: Folder; the run's ``checkpoints`` by default.
        min_group_rows: Rows that a group needs to take part in the minima, gaps and ratios of
            every table; smaller ones are pooled in ``rare_groups_accuracy``. Where fewer than two
            groups have as many, all take part.
        also: Further metrics, each in its own direction, by each of which the best checkpoint is
            kept as ``best-<metric>.ckpt``; they decide nothing else.

    Of epochs with the same value of the metric, the one with the higher balanced accuracy is kept,
    then that with the lower loss, then the later.
    """

    def __init__(
        self,
        monitor: str = DEFAULT,
        mode: Literal["auto", "min", "max"] = "auto",
        dirpath: str | None = None,
        min_group_rows: int = MIN_GROUP_ROWS,
        also: list[str] | None = None,
    ) -> None:
        if min_group_rows < 0:
            raise UserError(
                f"checkpoint.min_group_rows must not be negative, got {min_group_rows}."
            )
        self.min_group_rows = min_group_rows
        self.also = AlsoBest([m for m in dict.fromkeys(also or ()) if m != monitor])
        self._modes: dict[str, str] = {}  # of the further metrics
        self._step: int | None = None  # of the best checkpoint
        self._ties: list[float] = []  # of the best checkpoint
        self._range: list[float] = []  # smallest and largest value of the metric, validations
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=optimised("checkpoint.monitor", monitor, mode),
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def monitors(self, trainer: Trainer) -> list[str]:
        """Return the metrics by which the checkpoint is chosen or training stops."""
        stops = [c for c in trainer.early_stopping_callbacks if c.patience < NEVER]
        return [self.also.writing or str(self.monitor), *(c.monitor for c in stops)]

    def selection(self, trainer: Trainer) -> dict[str, Any]:
        """Say by what rule the checkpoint was chosen, and whether test data had a part in it."""
        monitors = self.monitors(trainer)
        oracle = any(monitor.startswith("test") for monitor in monitors)
        monitor = monitors[0]
        return {
            "monitor": monitor,
            "mode": self._modes.get(monitor, self.mode),
            "oracle": oracle,
            "min_group_rows": self.min_group_rows,
        }

    def steps(self) -> dict[str, int | None]:
        """Return the step of the best checkpoint by each metric, the one that decides first."""
        further = {monitor: found["step"] for monitor, found in self.also.found.items()}
        return {str(self.monitor): self._step, **further}

    def never_moved(self) -> str | None:
        """Say in one line that the metric was the same in every validation, if it was."""
        if len(self._range) < 3 or self._range[2] < 2 or self._range[0] != self._range[1]:
            return None
        value = self._range[0]
        return (
            f"{self.monitor} was {'undefined' if np.isinf(value) else f'{value:.3f}'} in all "
            f"{self._range[2]:.0f} validations, so that it chose nothing: the checkpoint kept is "
            "the one with the best balanced accuracy, then loss, then the latest; choose another "
            "checkpoint.monitor, such as val/worst_class_accuracy or val/balanced_accuracy."
        )

    def check_monitor_top_k(self, trainer: Trainer, current: torch.Tensor | None = None) -> bool:
        """Tell whether this epoch is kept: a better value, or an equal one that wins the tie."""
        if current is None:
            return False
        value = float(current)
        value = value if not np.isnan(value) else -np.inf if self.mode == "max" else np.inf
        low, high, number = self._range or [value, value, 0.0]
        self._range = [min(low, value), max(high, value), number + 1]
        ties = self._tie_breakers(trainer, str(self.monitor))
        better = super().check_monitor_top_k(trainer, current)
        if not better and self.best_model_score is not None:
            equal = value == float(self.best_model_score) and ties >= self._ties
            better = trainer.strategy.reduce_boolean_decision(equal)
        if better:
            self._ties, self._step = ties, trainer.global_step
        return better

    @staticmethod
    def _tie_breakers(trainer: Trainer, monitor: str) -> list[float]:
        """Return balanced accuracy and minus the loss of the table of a metric."""
        table = next((t for t in _tables(trainer) if monitor.startswith(f"{t}/")), "val")
        found = trainer.callback_metrics
        accuracy = found.get(f"{table}/balanced_accuracy", torch.tensor(-np.inf))
        loss = found.get(f"{table}/negative_log_likelihood", torch.tensor(np.inf))
        return [x if not np.isnan(x) else -np.inf for x in (float(accuracy), -float(loss))]

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the rule in every checkpoint, and where its run was started."""
        write_section(
            checkpoint,
            selection=self.selection(trainer),
            started_in=_way_up(Path(str(self.dirpath)).parent),
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the metric before training starts."""
        path = trainer.ckpt_path
        self._read_from = Path(str(path)).parent if path is not None else None
        if isinstance(pl_module, Evaluated):
            pl_module.min_group_rows = self.min_group_rows
        if stage == "fit":
            check_monitor("checkpoint.monitor", str(self.monitor), trainer)
            own = directions(getattr(pl_module, "metrics", ()))
            for monitor in self.also.monitors:
                check_monitor("checkpoint.also", monitor, trainer)
                self._modes[monitor] = optimised("checkpoint.also", monitor, "auto", own)
            write_whole(trainer)
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the network that the run is about, not one that infers attributes."""
        if getattr(pl_module, "identifying", False):
            return
        before = self._range[2:]  # number of validations that were compared
        super().on_validation_end(trainer, pl_module)
        if self._range[2:] != before:
            ties = partial(self._tie_breakers, trainer)
            self.also.compare(trainer, Path(str(self.dirpath)), self._modes, ties)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state with paths relative to the folder, and what breaks ties."""
        state = super().state_dict()
        moved = _moved(state, lambda path: Path(_below(path, state["dirpath"])))
        return moved | {"dirpath": ".", "ties": self._ties, "range": self._range,
                        "step": self._step, "also": self.also.found}  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value so far, also where the run's folder was moved meanwhile."""
        old, here = state_dict["dirpath"], Path(str(self.dirpath))
        kept = bool(state_dict["best_model_path"]) and not (here / "best.ckpt").is_file()
        folder = self._read_from if kept and self._read_from is not None else here
        if folder == here or old == ".":  # absolute in checkpoints before format 3
            moved = _moved(state_dict, lambda path: folder / _below(path, old))
            state_dict = moved | {"dirpath": str(folder)}
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]  # Lightning leaves it out
        self._ties = list(state_dict.get("ties", []))
        self._range = list(state_dict.get("range", []))
        self._step = state_dict.get("step")
        self.also.load(state_dict.get("also", {}), here)


def _below(path: str, folder: str) -> str:
    """Write a path below a folder relative to it."""
    return path if folder == "." else os.path.relpath(path, folder)


def _moved(state: dict[str, Any], move: Callable[[str], Path]) -> dict[str, Any]:
    """Change every path of a ``ModelCheckpoint``'s state, empty ones left as they are."""
    paths = ("best_model_path", "last_model_path", "kth_best_model_path")
    return {
        **state,
        **{key: str(move(state[key])) if state[key] else "" for key in paths},
        "best_k_models": {str(move(path)): v for path, v in state["best_k_models"].items()},
    }


def _way_up(run_dir: Path) -> str | None:
    """Return the way from the run's folder up to the current one; None if it is not above."""
    way = os.path.relpath(Path.cwd(), run_dir)
    return way if set(Path(way).parts) <= {".."} else None


class EarlyStop(EarlyStopping):
    """Stop when a metric has not improved for a number of validations; off by default.

    Args:
        patience: Validations without improvement before stopping; 0 never stops.
        monitor: Metric that decides.
        mode: ``min``, ``max``, or ``auto`` for the metric's own direction.
        min_delta: Least change that counts as an improvement.
    """

    def __init__(
        self,
        patience: int = 0,
        monitor: str = DEFAULT,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience or NEVER,
            check_finite=patience > 0,
            mode=optimised("early_stopping.monitor", monitor, mode),
            check_on_train_epoch_end=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the metric before training starts."""
        if stage == "fit":
            check_monitor("early_stopping.monitor", self.monitor, trainer, self.patience != NEVER)
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait in the stage that the run is about."""
        if not getattr(pl_module, "identifying", False):
            super().on_validation_end(trainer, pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a run as it is that had stopped when it was killed, or was continued."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore how long it has waited; the patience is that of the options."""
        super().load_state_dict({**state_dict, "patience": self.patience})
