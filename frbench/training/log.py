"""What training logs: losses every n steps, group metrics by name every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from frbench.contracts.batch import Batch, Outputs
from frbench.distributed import all_sum, rank, world_size


def is_due(trainer: Any, step: int) -> bool:
    """Whether a step is one of ``log_every_n_steps``, of which 0 means none."""
    return bool(trainer.log_every_n_steps) and step % trainer.log_every_n_steps == 0


class LogSteps(Callback):
    """Logs the terms of a step at every ``log_every_n_steps``-th step."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Log, if this step is due."""
        pl_module.log_step()


#: Batches whose rows are added to the sums together: one sum costs as much as many.
BATCHES = 32


class TrainingLog:
    """Sums over the epoch, per group, and the terms of the latest step.

    The sums are not buffers: DDP would overwrite each process's share with rank 0's. A checkpoint
    holds their total, which rank 0 takes back.

    Args:
        num_groups: Number of (y, z) cells.
    """

    def __init__(self, num_groups: int) -> None:
        # Rows: groups, then samples without attribute; columns: count, correct, sum of losses.
        self.sums = torch.zeros(num_groups + 1, 3, dtype=torch.float64)
        self.terms: dict[str, Tensor] = {}
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []  # group, correct, loss of rows
        self._logged_step = -1

    def to(self, device: torch.device) -> None:
        """Move the sums to the device of training."""
        self.sums = self.sums.to(device)

    def reset(self) -> None:
        """Begin an epoch."""
        self._waiting.clear()
        self.sums.zero_()

    def update(self, out: Outputs, batch: Batch, terms: dict[str, Tensor]) -> None:
        """Add a batch to the epoch's sums and keep its terms."""
        correct = out.logits.argmax(1) == batch.y
        self._waiting.append((batch.group, correct, out.losses.detach()))
        if len(self._waiting) == BATCHES:
            self._add_waiting()
        self.terms = {name: value.detach() for name, value in terms.items()}

    def _add_waiting(self) -> None:
        """Add the rows of the latest batches, in their order, to the sums."""
        if not self._waiting:
            return
        group, correct, losses = (torch.cat(column) for column in zip(*self._waiting, strict=True))
        self._waiting.clear()
        columns = torch.stack([torch.ones_like(losses), correct, losses], 1)
        slot = group % len(self.sums)  # -1, no attribute, is the last row
        self.sums.index_add_(0, slot, columns.double())

    def step_metrics(
        self, step: int, state: dict[str, Tensor], optimizers: Sequence[Optimizer]
    ) -> dict[str, float]:
        """Return the latest terms, averaged over processes (a collective).

        Args:
            step: Number of the step; the same step is not given twice.
            state: Further scalars, which are equal on all processes.
            optimizers: The optimisers, whose learning rates are among the metrics.

        Returns:
            Values by ``train/<name>``; empty if the step has been given before.
        """
        if step == self._logged_step:
            return {}
        self._logged_step = step
        names = list(self.terms)
        means = all_sum(torch.stack([self.terms[n].float() for n in names])) / world_size()
        metrics = dict(zip(names, means.tolist(), strict=True))
        if state:
            values = torch.stack([v.float() for v in state.values()]).tolist()
            metrics |= dict(zip(state, values, strict=True))
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        rates = {f"lr-{i}" if i else "lr": group["lr"] for i, group in enumerate(groups)}
        return {f"train/{name}": value for name, value in {**metrics, **rates}.items()}

    def epoch_metrics(self, group_names: Sequence[str]) -> dict[str, float]:
        """Return accuracy and loss of the epoch's training batches (a collective).

        Args:
            group_names: Names of the groups, by id.

        Returns:
            Values by ``train/<metric>``, overall and of each group.
        """
        self._add_waiting()
        sums = all_sum(self.sums).cpu()
        total = sums.sum(0)
        accuracy = sums[:-1, 1] / sums[:-1, 0]
        losses = sums[:-1, 2] / sums[:-1, 0]
        seen = accuracy[sums[:-1, 0] > 0]
        metrics = {
            "accuracy": float(total[1] / total[0]),
            "mean_loss": float(total[2] / total[0]),
            "worst_group_accuracy": float(seen.min()) if len(seen) else float("nan"),
        }
        for i, name in enumerate(group_names):
            metrics[f"group_accuracy/{name}"] = float(accuracy[i])
            metrics[f"group_loss/{name}"] = float(losses[i])
        return {f"train/{name}": value for name, value in metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch's sums over all processes (a collective)."""
        self._add_waiting()
        return {"sums": all_sum(self.sums).cpu().clone(), "logged_step": self._logged_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the epoch's sums back; rank 0 holds them all."""
        self._waiting.clear()
        self.sums = state["sums"].to(self.sums) * (rank() == 0)
        self._logged_step = state["logged_step"]
