"""Schedules of the learning rate that torch has no single class for."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupCosine(LRScheduler):
    r"""Raise the rate linearly, then lower it along half a cosine, step by step.

    With T steps, of which :math:`w = \lceil \text{warmup} \cdot T \rceil` are the warm-up, step t
    has the rate :math:`(t + 1) / w` of the base rate for :math:`t < w`, and after it
    :math:`f + (1 - f) (1 + \cos(\pi (t - w) / (T - w))) / 2`, f being ``final`` (SGDR, arXiv
    1608.03983, equation 5, without restarts).

    Args:
        optimizer: Each of its parameter groups keeps its own base rate.
        total_steps: T; the steps of the run, unless ``model.scheduler_options`` say otherwise.
        warmup: Share of the steps, in [0, 1).
        final: Share of the base rate that is left at the end, in [0, 1].
        last_epoch: Step to begin after, as in torch.

    Raises:
        ValueError: If a share or the number of steps is out of range.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = WarmupCosine(optimizer, total_steps=6, warmup=0.3)
        >>> rates = []
        >>> for _ in range(7):
        ...     rates.append(round(schedule.get_last_lr()[0], 3))
        ...     optimizer.step()
        ...     schedule.step()
        >>> rates
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup: float = 0.05,
        final: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if total_steps < 1 or not 0 <= warmup < 1 or not 0 <= final <= 1:
            raise ValueError(
                "it needs total_steps from 1 on, warmup in [0, 1) and final in [0, 1], got "
                f"{total_steps}, {warmup} and {final}"
            )
        self.total_steps = total_steps
        self.warmup = warmup
        self.final = final
        super().__init__(optimizer, last_epoch)

    def factor(self, step: int) -> float:
        """Share of the base rate in a step, counted from 0."""
        rising = math.ceil(self.warmup * self.total_steps)
        if step < rising:
            return (step + 1) / rising
        done = min((step - rising) / (self.total_steps - rising), 1.0)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each parameter group."""
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the position; a continued run that is longer has other steps."""
        own = ("total_steps", "warmup", "final")
        return {key: value for key, value in super().state_dict().items() if key not in own}
