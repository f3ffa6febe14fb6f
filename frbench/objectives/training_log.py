"""What training logs: losses every n steps, group metrics by name every epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from frbench.batch import Batch, Outputs
from frbench.distributed import all_sum, rank, world_size

if TYPE_CHECKING:
    from frbench.objectives.base import Objective


def is_due(trainer: Any, step: int) -> bool:
    """Whether a step is one of ``log_every_n_steps``, of which 0 means none."""
    return bool(trainer.log_every_n_steps) and step % trainer.log_every_n_steps == 0


class LogSteps(Callback):
    """Logs the terms of a step at every ``log_every_n_steps``-th step."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Log, if this step is due."""
        pl_module.training_log.after_step()


class TrainingLog:
    """Sums over the epoch, per group, and the terms of the latest step.

    The sums are not buffers: DDP would overwrite each process's share with rank 0's. A checkpoint
    holds their total, which rank 0 takes back.

    Args:
        objective: The module whose training is logged.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = (objective,)  # in a tuple: a module attribute would be a cycle
        groups = objective.sizes.num_groups
        # Rows: groups, then samples without attribute; columns: count, correct, sum of losses.
        self.sums = torch.zeros(groups + 1, 3, dtype=torch.float64)
        self.terms: dict[str, Tensor] = {}
        self._logged_step = -1

    @property
    def objective(self) -> Objective:
        """The module whose training is logged."""
        return self._objective[0]

    def to(self, device: torch.device) -> None:
        """Move the sums to the device of training."""
        self.sums = self.sums.to(device)

    def reset(self) -> None:
        """Begin an epoch."""
        self.sums.zero_()

    @torch.no_grad()
    def update(self, out: Outputs, batch: Batch, terms: dict[str, Tensor]) -> None:
        """Add a batch to the epoch's sums and keep its terms."""
        correct = out.logits.argmax(1) == batch.y
        columns = torch.stack([torch.ones_like(out.losses), correct, out.losses], 1)
        slot = batch.group % len(self.sums)  # -1, no attribute, is the last row
        self.sums.index_add_(0, slot, columns.double())
        self.terms = {name: value.detach() for name, value in terms.items()}

    def after_step(self) -> None:
        """Log the latest terms if this step is due."""
        trainer: Any = self.objective.trainer
        step = trainer.global_step
        if not step or not is_due(trainer, step) or step == self._logged_step:
            return
        self._logged_step = step
        names = list(self.terms)
        means = all_sum(torch.stack([self.terms[n].float() for n in names])) / world_size()
        metrics = dict(zip(names, means.tolist(), strict=True))
        state = self.objective.all_state_to_log()
        if state:
            values = torch.stack([v.float() for v in state.values()]).tolist()
            metrics |= dict(zip(state, values, strict=True))
        rates = {f"lr-{i}" if i else "lr": g["lr"] for i, g in enumerate(self._param_groups())}
        self.emit({f"train/{k}": v for k, v in {**metrics, **rates}.items()}, to_callbacks=False)

    def _param_groups(self) -> list[dict[str, Any]]:
        return [g for o in self.objective.trainer.optimizers for g in o.param_groups]

    def after_epoch(self) -> None:
        """Log accuracy and loss of the epoch's training batches, overall and per group."""
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
        names = getattr(self.objective, "group_names", range(len(accuracy)))
        for i, name in enumerate(names):
            metrics[f"group_accuracy/{name}"] = float(accuracy[i])
            metrics[f"group_loss/{name}"] = float(losses[i])
        self.emit({f"train/{k}": v for k, v in metrics.items()})

    def emit(self, metrics: dict[str, float], to_callbacks: bool = True) -> None:
        """Send metrics to every logger at the current step, and to the callbacks.

        ``LightningModule.log`` would stamp epoch-end metrics with another step than ours and
        halve the speed of small models when called in each step.
        """
        trainer = self.objective.trainer
        if to_callbacks:
            self.objective.log_dict(metrics, logger=False)
        if rank() == 0:
            for logger in trainer.loggers:
                logger.log_metrics(
                    {"epoch": trainer.current_epoch, **metrics}, trainer.global_step
                )

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch's sums over all processes (a collective)."""
        return {"sums": all_sum(self.sums).cpu().clone(), "logged_step": self._logged_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the epoch's sums back; rank 0 holds them all."""
        self.sums = state["sums"].to(self.sums) * (rank() == 0)
        self._logged_step = state["logged_step"]
