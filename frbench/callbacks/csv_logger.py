"""A CSV logger that appends, and that a resumed run continues without gaps or repeats."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from frbench.support.atomic import replacing


class CSVLogger(Logger):
    """Write metrics to ``<folder>/metrics.csv``, one row per call.

    A column that appears later is added to the header and left empty above.

    Args:
        folder: The run's folder.

    Attributes:
        at: Step and epoch of every further row, for a run that another trainer has trained than
            the one that evaluates it; None takes the trainer's.
    """

    at: tuple[int, int] | None = None

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder
        self._columns: list[str] = []
        self.rows = 0

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.folder) / "metrics.csv"

    @property
    def name(self) -> str:
        """Name of the run."""
        return Path(self.folder).name

    @property
    def version(self) -> str:
        """No version of its own: a run has a folder of its own."""
        return ""

    @property
    def log_dir(self) -> str:
        """The run's folder."""
        return self.folder

    @property
    def save_dir(self) -> str:
        """The run's folder."""
        return self.folder

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kw: Any) -> None:
        """Nothing: the configuration is saved as ``config.yaml``."""

    def _read(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            self._columns = list(reader.fieldnames or [])
            # A row that a killed process left half written lacks its last columns.
            return [row for row in reader if None not in row.values()]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        self.rows = len(rows)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row."""
        row = {"step": step, **metrics}
        if self.at is not None:
            row |= dict(zip(("step", "epoch"), self.at, strict=True))
        if any(key not in self._columns for key in row):
            kept = self._read()
            self._columns += [key for key in row if key not in self._columns]
            self._rewrite(kept)
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)
        self.rows += 1

    @rank_zero_only
    def truncate(self, rows: int) -> None:
        """Keep the first rows: what had been logged when the checkpoint was written."""
        kept = self._read()[:rows]
        if self._columns:
            self._rewrite(kept)
