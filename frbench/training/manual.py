"""The base of methods with several optimisers that step in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from frbench.contracts.batch import Batch
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import NotNegative
from frbench.distributed import all_sum, world_size
from frbench.training.checks import check_whole_parameters
from frbench.training.log import is_due
from frbench.training.objective import Objective
from frbench.training.optimizer import build_optimizer, build_scheduler, check_groups


class StepSchedule(Callback):
    """Steps the schedule where Lightning does for one optimiser: before checkpoints are saved."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Step it after each batch, or after the last one of an epoch."""
        pl_module.advance_schedule("step")
        if batch_idx + 1 >= trainer.num_training_batches:
            pl_module.advance_schedule("epoch")


class ManualObjective(Objective):
    """An objective whose :meth:`training_step` calls :meth:`step` itself.

    One batch is one iteration, and one step of ``max_steps``, whichever optimisers move in it.
    The model's optimiser (``optimizer``, ``lr``, ...) is the first; a subclass adds others.
    Gradients are taken of the stepped parameters alone, and averaged over processes by us: no
    network needs freezing, and a parameter without a part in a loss does not upset DDP.

    Args:
        clip_norm: Largest norm of the model's gradient; 0 does not clip.

    Raises:
        UserError: If clip_norm is negative.
    """

    stackable = False
    why_alone = "several optimisers step in turn"
    combines = ()

    def __init__(self, *args: Any, clip_norm: NotNegative = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clip_norm = clip_norm
        self.automatic_optimization = False

    def other_optimizers(self) -> list[Optimizer]:
        """Build the optimisers beside the model's; their parameters are in no group of it."""
        return []

    def step(self, losses: Sequence[Tensor], optimizers: Sequence[int], counts: bool) -> None:
        """Move the parameters of some optimisers down the sum of some losses.

        Args:
            losses: Scalars, scaled as in :meth:`risk`.
            optimizers: Their positions, 0 is the model's.
            counts: Whether this is the one step of the iteration that Lightning counts.
        """
        self.move(self.gradients(losses, optimizers), optimizers, counts)

    def gradients(
        self, losses: Sequence[Tensor], optimizers: Sequence[int], keep: bool = False
    ) -> list[Tensor]:
        """Return the gradient of the sum of some losses, averaged over processes.

        Args:
            losses: Scalars, scaled as in :meth:`risk`.
            optimizers: Positions of the optimisers whose parameters it is by, in their order.
            keep: Whether the graph is needed once more.
        """
        parameters = [p for i in optimizers for p in self._owned[i]]
        found = torch.autograd.grad(losses, parameters, retain_graph=keep, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g
                 for g, p in zip(found, parameters, strict=True)]  # fmt: skip
        if world_size() == 1:
            return parts
        flat = all_sum(torch.cat([part.flatten() for part in parts])) / world_size()
        split = flat.split([p.numel() for p in parameters])
        return [s.view_as(p) for s, p in zip(split, parameters, strict=True)]

    def move(self, gradients: Sequence[Tensor], optimizers: Sequence[int], counts: bool) -> None:
        """Step some optimisers by these gradients.

        Args:
            gradients: Of their parameters, in the order of :meth:`gradients`.
            optimizers: Their positions.
            counts: Whether this is the one step of the iteration that Lightning counts.
        """
        parameters = [p for i in optimizers for p in self._owned[i]]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.clip_norm and optimizers[0] == 0:
            torch.nn.utils.clip_grad_norm_(self._owned[0], self.clip_norm)
        for position, i in enumerate(optimizers):
            if counts and position == 0:
                self._counted[i].step()
            else:
                self._raw[i].step()

    def log_is_due(self) -> bool:
        """Whether this iteration will be logged."""
        trainer: Any = self.trainer
        return bool(trainer.loggers) and is_due(trainer, trainer.global_step + 1)

    def advance_schedule(self, interval: str) -> None:
        """Step the schedule if it counts these intervals."""
        if self.schedule_counts == interval:
            self.lr_schedulers().step()  # type: ignore[union-attr]

    # ---- Lightning --------------------------------------------------------------------------
    def on_train_start(self) -> None:
        """Keep both faces of each optimiser: Lightning's counts its steps, torch's does not."""
        super().on_train_start()
        self._raw = self._as_list(self.optimizers(use_pl_optimizer=False))
        self._counted = self._as_list(self.optimizers(use_pl_optimizer=True))
        self._owned = [[p for g in o.param_groups for p in g["params"]] for o in self._raw]

    @staticmethod
    def _as_list(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    def configure_callbacks(self) -> list[Callback]:
        """Refuse what Lightning would do to the gradients of one optimiser."""
        name = type(self).__name__
        if self.trainer.accumulate_grad_batches > 1:
            raise UserError(
                f"{name} steps in every batch, so gradients cannot be accumulated over several; "
                "set trainer.accumulate_grad_batches to 1 and raise data.batch_size."
            )
        if self.trainer.gradient_clip_val:
            raise UserError(
                f"trainer.gradient_clip_val does not know {name}'s several optimisers; use "
                "model.clip_norm, for the classifier's gradient."
            )
        if str(self.trainer.precision).startswith("16"):
            raise UserError(
                f"{name} steps several optimisers in turn, which 16-mixed cannot scale; use "
                "trainer.precision: bf16-mixed or 32-true."
            )
        check_whole_parameters(name, self.trainer.strategy, "averages gradients itself")
        schedule = [] if self.scheduler is None else [StepSchedule()]
        return [*schedule, *super().configure_callbacks()]

    def configure_optimizers(self) -> Any:
        """Build all optimisers, the model's first; each commits proposed state when it steps."""
        others = self.other_optimizers()
        groups = self.parameter_groups()
        check_groups(self, [*groups, *(group for other in others for group in other.param_groups)])
        optimizer = build_optimizer(groups, self.optimization)
        for each in (optimizer, *others):
            each.register_step_post_hook(self.commit_all)
        scheduler = build_scheduler(optimizer, self.optimization, self.total_steps)
        schedules = [] if scheduler is None else [scheduler]
        return [optimizer, *others], schedules
