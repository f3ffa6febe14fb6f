"""At the end of a test: what a linear probe reads from the features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer

from frbench.contracts.errors import UserError
from frbench.data.fetch import TensorTable
from frbench.data.loader import EvalLoader
from frbench.data.module import datamodule_of
from frbench.distributed import rank
from frbench.metrics import Evaluation, encoding


class EncodingProbe(Callback):
    """Adds the encoding of z, and of every further factor of the data, to the test metrics.

    Keys are ``<table>/encoding/<factor>``, with ``encoding_chance``, ``encoding_low`` and
    ``encoding_high`` beside it; see :func:`frbench.metrics.encoding`. On the command line:
    ``--trainer.callbacks+=EncodingProbe``.

    Args:
        tables: Test tables whose rows are probed; None takes those named P0 and Q, or all
            if there are none.
        balanced: Weigh rows so that the factor is independent of the label; on P0 and Q it is.
        max_rows: At most this many rows of a table, drawn by the seed 0.
    """

    def __init__(
        self, tables: list[str] | None = None, balanced: bool = True, max_rows: int = 4000
    ) -> None:
        self.tables = tables
        self.balanced = balanced
        self.max_rows = max_rows

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check the names before anything runs.

        Raises:
            UserError: If there is no such test table.
        """
        data = datamodule_of(trainer)
        if data is None or self.tables is None:
            return
        if unknown := [name for name in self.tables if name not in data.test_names]:
            raise UserError(
                f"EncodingProbe.tables: no test table {unknown[0]!r}; there are "
                f"{', '.join(data.test_names)}."
            )

    def chosen(self, names: list[str]) -> list[str]:
        """Return the tables to probe."""
        if self.tables is not None:
            return self.tables
        return [name for name in names if name in ("test/P0", "test/Q")] or names

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Fit the probes; the first process does it, on whole tables, and none waits."""
        data = datamodule_of(trainer)
        if data is None or rank() != 0:
            return
        found: dict[str, dict[str, float]] = {}
        for name in self.chosen(data.test_names):
            table = data.splits[name]
            rows = np.arange(len(table))
            if len(rows) > self.max_rows:
                rows = np.sort(np.random.default_rng(0).choice(rows, self.max_rows, False))
            features = self._features(pl_module, data, table.take(rows))
            for factor, codes in data.factors(name).items():
                y = table.y[rows] if self.balanced else None
                result = encoding(features, codes[rows], y)
                metrics = found.setdefault(name, {})
                metrics[f"encoding/{factor}"] = result.accuracy
                for part in ("chance", "low", "high"):
                    metrics[f"encoding_{part}/{factor}"] = getattr(result, part)
        for name, metrics in found.items():
            pl_module.evaluation[name] |= metrics
        pl_module.emit(Evaluation(found).flat(), to_callbacks=False)

    @staticmethod
    def _features(pl_module: Any, data: Any, table: Any) -> np.ndarray:
        encoded = TensorTable(
            table.replace(x=data.encode(table.x)), table.weight, data.num_attributes, data.prepare
        )
        parts = []
        with torch.no_grad():
            for batch in EvalLoader(encoded, 1024):
                features = pl_module.network(batch.x.to(pl_module.device))[0]
                parts.append(features.float().flatten(1).cpu().numpy())
        return np.concatenate(parts)
