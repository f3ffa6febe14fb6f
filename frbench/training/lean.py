"""What Lightning and torch do in every step and no run of frbench needs."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.profilers import PassThroughProfiler
from torch.optim import Optimizer

#: Hooks of a callback that Lightning calls for each batch.
BATCH_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_test_batch_start",
    "on_test_batch_end",
)

_NOTHING = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Measures nothing, like Lightning's default, which opens a new context for each hook."""

    def profile(self, action_name: str) -> Any:
        """Return a context that does nothing."""
        return _NOTHING


def spare(trainer: Any) -> None:
    """Switch off what costs time in each step and has no effect.

    Lightning's default profiler is replaced; a profiler that the user chose stays. A callback's
    hooks that its class does not implement become None, which Lightning does not call.

    Adam asks in each step whether there is a GPU. Lightning makes torch answer through NVML, so
    that asking does not initialise CUDA, and without a driver each answer takes 0.1 ms. Where
    there is no GPU, the CUDA runtime gives the same answer in a microsecond and initialises
    nothing.

    Args:
        trainer: The trainer.
    """
    if type(trainer.profiler) is PassThroughProfiler:
        trainer.profiler = NoProfiler()
    for callback in trainer.callbacks:
        for name in BATCH_HOOKS:
            if getattr(type(callback), name) is getattr(Callback, name):
                setattr(callback, name, None)
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


class LeanModule(LightningModule):
    """A LightningModule whose two operations of each step take less time."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a plain attribute without looking for parameters.

        Lightning notes the name of each hook in an attribute of the module, 40 times in a step.
        """
        if (value is None or type(value) is str) and name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Drop all gradients, as ``optimizer.zero_grad()`` does."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
