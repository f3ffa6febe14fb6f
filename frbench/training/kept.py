"""What a module says of the rows that it is evaluated on, kept for later."""

from __future__ import annotations

import torch
from torch import Tensor

from frbench.contracts.batch import Batch
from frbench.data.module import GroupDataModule
from frbench.distributed import all_sum
from frbench.report.predictions import Predictions, log_scores
from frbench.training.decisions import Outcome


class Kept:
    """Collects the outputs of evaluation; see :attr:`Evaluated.kept`."""

    def __init__(self) -> None:
        self._batches: dict[str, list[dict[str, Tensor]]] = {}

    def add(self, table: str, batch: Batch, found: Outcome) -> None:
        """Add a batch of a table.

        Args:
            table: Name of the table.
            batch: Its rows.
            found: What the module says of them.
        """
        columns = {"index": batch.index, "y": batch.y, "z": batch.z}
        columns |= {"logits": found.logits.detach().float()}
        if found.decision is not None:
            columns["decisions"] = found.decision
        self._batches.setdefault(table, []).append(columns)

    def tables(self, data: GroupDataModule) -> dict[str, Predictions]:
        """Return the predictions of each table in its order, a collective.

        Args:
            data: The data set that was evaluated.
        """
        return {name: self._table(data, name) for name in self._batches}

    def _table(self, data: GroupDataModule, name: str) -> Predictions:
        parts = self._batches[name]
        found = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        here, n = found["index"], len(data.splits[name])
        found["seen"] = torch.ones_like(here)

        def gathered(column: Tensor) -> Tensor:
            """Put the rows of all processes into their places."""
            whole = column.new_zeros(n, *column.shape[1:])
            whole[here] = column
            return all_sum(whole)

        rows = {key: gathered(column).cpu().numpy() for key, column in found.items()}
        index = rows.pop("seen").nonzero()[0]
        rows = {key: column[index] for key, column in rows.items()}
        places = data.places.get(name)
        return Predictions(
            log_scores(rows["logits"]),
            rows["y"],
            rows["z"],
            index if places is None else places[index],
            data.contents[name]["columns"][""],
            rows.get("decisions"),
        )
