"""Which step is kept: the best by a named rule, and the latest to resume from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from frbench.callbacks.rolling import write_whole
from frbench.contracts.checkpoint_format import write_section
from frbench.contracts.errors import UserError
from frbench.data.module import datamodule_of
from frbench.metrics import evaluate, higher_is_better, metric_names, split_key
from frbench.metrics.names import NO_METRICS
from frbench.metrics.own import CountMetric, directions
from frbench.training.evaluation import MIN_GROUP_ROWS, Evaluated

DEFAULT_RULE = "val/worst_group_accuracy"
NEVER = 10**9


def optimised(
    option: str, monitor: str, mode: str, own: Mapping[str, int] = NO_METRICS
) -> Literal["min", "max"]:
    """Give ``max`` or ``min`` for a metric, unless the user said which.

    Args:
        option: What names the metric, for the message.
        monitor: The metric, with its table.
        mode: ``min``, ``max`` or ``auto``.
        own: Directions of the user's own metrics, by name.

    Raises:
        UserError: If the metric is unknown or has no direction; the message names the option.
    """
    if mode == "auto":
        metric = split_key(monitor, own)[1]
        if own.get(metric) == 0:
            raise UserError(
                f"{option}.monitor: {metric} does not say which direction is better; mark it with "
                f"@frbench.metrics.metric(higher_is_better=...), or set {option}.mode."
            )
        try:
            return "max" if higher_is_better(monitor, own) else "min"
        except UserError as error:
            raise UserError(f"{option}.monitor: {error}") from error
    return "max" if mode == "max" else "min"


def check_monitor(option: str, monitor: str, trainer: Trainer, decides: bool = True) -> None:
    """Refuse to select on what validation does not evaluate.

    Args:
        option: What names the metric, for the message.
        monitor: The metric, with its table.
        trainer: The trainer, which knows the data and the user's own metrics.
        decides: Whether anything depends on it; then it must have a value on these rows.

    Raises:
        UserError: If ``monitor`` is a test metric and the data does not allow selecting on it,
            or if there is no such table or metric, or no value of it; the message names the
            option.
    """
    data = datamodule_of(trainer)
    if data is None:
        return
    option += ".monitor"
    own = getattr(trainer.lightning_module, "metrics", ())
    names = [*metric_names(data.class_names, data.attribute_names, rare=True), *directions(own)]
    table, metric = next(
        ((name, monitor[len(name) + 1 :]) for name in data.val_names
         if monitor.startswith(f"{name}/")), (None, ""),
    )  # fmt: skip
    if monitor.startswith("test") and not data.test_while_training:
        raise UserError(
            f"{option}: {monitor} would select on test data. If that is wanted (an oracle), say "
            "so with --data.test_while_training true; results are then marked."
        )
    if table is None:
        raise UserError(
            f"{option}: no table of this data set gives {monitor}; metrics start with "
            f"{' or '.join(name + '/' for name in data.val_names)}."
        )
    if metric not in names:
        near = difflib.get_close_matches(metric, names, n=3, cutoff=0) or names
        raise UserError(
            f"{option}: {table} has no metric {metric}; did you mean {' or '.join(near)}?"
        )
    if decides and np.isnan(_any_value(data, data.splits[table], own)[metric]):
        raise UserError(
            f"{option}: {metric} has no value on {table}, which lacks rows that it is about; "
            "choose another metric, or another split."
        )


def _any_value(data: Any, table: Any, own: Sequence[CountMetric]) -> dict[str, float]:
    """Evaluate a table in which each group that has rows is predicted as each class once.

    A metric that has no value here has none for any predictions.
    """
    y, z = np.unique([table.y, table.z], axis=1)
    guess = np.tile(np.arange(data.num_classes), len(y))
    found: dict[str, float] = evaluate(
        np.repeat(y, data.num_classes),
        guess,
        np.repeat(z, data.num_classes),
        scores=np.eye(data.num_classes)[guess],
        class_names=data.class_names,
        attribute_names=data.attribute_names,
        train_counts=data.train_counts,
        metrics=own,
    )
    # It depends on the predictions' table alone whether there are rare groups.
    return {"rare_groups_accuracy": 0.0, **found}


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

    Of epochs with the same value of the metric, the one with the higher balanced accuracy is kept,
    then that with the lower loss, then the later.
    """

    def __init__(
        self,
        monitor: str = DEFAULT_RULE,
        mode: Literal["auto", "min", "max"] = "auto",
        dirpath: str | None = None,
        min_group_rows: int = MIN_GROUP_ROWS,
    ) -> None:
        if min_group_rows < 0:
            raise UserError(
                f"checkpoint.min_group_rows must not be negative, got {min_group_rows}."
            )
        self.min_group_rows = min_group_rows
        self._ties: list[float] = []  # of the best checkpoint
        self._range: list[float] = []  # smallest and largest value of the metric, validations
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode=optimised("checkpoint", monitor, mode),
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def selection(self, trainer: Trainer) -> dict[str, Any]:
        """Say by what rule the checkpoint was chosen, and whether test data had a part in it."""
        stops = [c for c in trainer.early_stopping_callbacks if c.patience < NEVER]
        monitors = [str(self.monitor), *(c.monitor for c in stops)]
        oracle = any(monitor.startswith("test") for monitor in monitors)
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "oracle": oracle,
            "min_group_rows": self.min_group_rows,
        }

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
        ties = self._tie_breakers(trainer)
        better = super().check_monitor_top_k(trainer, current)
        if not better and self.best_model_score is not None:
            equal = value == float(self.best_model_score) and ties >= self._ties
            better = trainer.strategy.reduce_boolean_decision(equal)
        if better:
            self._ties = ties
        return better

    def _tie_breakers(self, trainer: Trainer) -> list[float]:
        """Return balanced accuracy and minus the loss of the table of the metric."""
        table = next((t for t in _tables(trainer) if str(self.monitor).startswith(f"{t}/")), "val")
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
            check_monitor("checkpoint", str(self.monitor), trainer)
            write_whole(trainer)
        super().setup(trainer, pl_module, stage)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the network that the run is about, not one that infers attributes."""
        if not getattr(pl_module, "identifying", False):
            super().on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return Lightning's state with paths relative to the folder, and what breaks ties."""
        state = super().state_dict()
        moved = _moved(state, lambda path: Path(_below(path, state["dirpath"])))
        return moved | {"dirpath": ".", "ties": self._ties, "range": self._range}

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
        monitor: str = DEFAULT_RULE,
        mode: Literal["auto", "min", "max"] = "auto",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience or NEVER,
            check_finite=patience > 0,
            mode=optimised("early_stopping", monitor, mode),
            check_on_train_epoch_end=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the metric before training starts."""
        if stage == "fit":
            check_monitor("early_stopping", self.monitor, trainer, self.patience != NEVER)
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
