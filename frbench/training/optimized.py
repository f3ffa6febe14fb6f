"""From the options of an objective to its optimiser and the schedule of its learning rate."""

from __future__ import annotations

from typing import Any, Literal

from frbench.data.module import datamodule_of
from frbench.training.inferred import InferredAttribute
from frbench.training.optimizer import (
    Optimization,
    build_optimizer,
    build_scheduler,
    check_groups,
    counts_steps,
    may_fuse,
)


class Optimized(InferredAttribute):
    """A training step with its optimiser; a subclass has the options as attributes.

    Attributes:
        scheduler_interval: Whether the schedule counts epochs or steps.
    """

    scheduler_interval: Literal["epoch", "step"]

    @property
    def optimization(self) -> Optimization:
        """The options of optimiser and schedule."""
        return Optimization(*(getattr(self, name) for name in Optimization._fields))

    @property
    def schedule_counts(self) -> str:
        """What the schedule counts; one that is given the steps of the run counts these."""
        return "step" if counts_steps(self.optimization) else self.scheduler_interval

    def total_steps(self) -> float:
        """Optimiser steps of the run; infinite if nothing limits it but time.

        Lightning's own estimate makes the loaders before they can take the state of a checkpoint.
        """
        trainer, data = self.trainer, datamodule_of(self.trainer)
        if data is None:
            return float(trainer.estimated_stepping_batches)
        limit, steps = trainer.limit_train_batches, float("inf")
        batches = data.batches_per_epoch
        batches = int(batches * limit) if isinstance(limit, float) else min(batches, limit)
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            steps = trainer.max_epochs * -(-batches // trainer.accumulate_grad_batches)
        return min(steps, trainer.max_steps) if trainer.max_steps >= 0 else steps

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the one optimiser; each may carry its own ``lr``.

        By default the network and the objective's own parameters, then each penalty's.
        """
        penalised = {id(p) for penalty in self.penalties for p in penalty.parameters()}
        own = [p for p in self.parameters() if p.requires_grad and id(p) not in penalised]
        return [{"params": own}, *(g for p in self.penalties for g in p.parameter_groups())]

    def configure_optimizers(self) -> Any:
        """Build the optimiser and the schedule; state is committed after each taken step."""
        groups = self.parameter_groups()
        check_groups(self, groups)
        optimizer = build_optimizer(groups, self.optimization, may_fuse(self._trainer))
        optimizer.register_step_post_hook(self.commit_all)
        scheduler = build_scheduler(optimizer, self.optimization, self.total_steps)
        if scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": self.schedule_counts},
        }
