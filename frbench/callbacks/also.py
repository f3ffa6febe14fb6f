"""The best checkpoints by further rules, beside the one that a run is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Trainer


def file_of(monitor: str) -> str:
    """Name the checkpoint of a further metric.

    Example:
        >>> file_of("val/accuracy")
        'best-val-accuracy.ckpt'
    """
    return f"best-{re.sub(r'[^A-Za-z0-9_=,.]+', '-', monitor)}.ckpt"


class AlsoBest:
    """Keeps the best checkpoint by each of several metrics.

    Attributes:
        monitors: The metrics.
        writing: The metric whose checkpoint is being written, or None.
        found: For each metric the step of its checkpoint, and what a better one must exceed.
    """

    def __init__(self, monitors: Sequence[str]) -> None:
        self.monitors = tuple(monitors)
        self.writing: str | None = None
        self.found: dict[str, dict[str, Any]] = {}

    def compare(
        self,
        trainer: Trainer,
        folder: Path,
        modes: Mapping[str, str],
        ties: Callable[[str], list[float]],
    ) -> None:
        """Write the checkpoints of the metrics that this validation is the best by.

        Args:
            trainer: The trainer, whose metrics are those of a validation.
            folder: Where checkpoints are.
            modes: ``min`` or ``max`` for each metric.
            ties: Gives what decides between equal values of a metric, larger is better.
        """
        for monitor in self.monitors:
            if (current := trainer.callback_metrics.get(monitor)) is None:
                continue
            value = float(current) * (1 if modes[monitor] == "max" else -1)
            score = [-np.inf if np.isnan(value) else value, *ties(monitor)]
            better = monitor not in self.found or score >= self.found[monitor]["score"]
            if trainer.strategy.reduce_boolean_decision(better):
                self.found[monitor] = {"step": trainer.global_step, "score": score}
                self.writing = monitor
                try:
                    trainer.save_checkpoint(folder / file_of(monitor))
                finally:
                    self.writing = None

    def load(self, state: dict[str, dict[str, Any]], folder: Path) -> None:
        """Restore what was found; of a checkpoint that is not there, nothing is.

        Args:
            state: :attr:`found` of the checkpoint that is continued.
            folder: Where checkpoints are.
        """
        here = (monitor for monitor in self.monitors if (folder / file_of(monitor)).is_file())
        self.found = {monitor: state[monitor] for monitor in here if monitor in state}
