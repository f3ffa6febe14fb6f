"""The base of every penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import CheckedArguments, NotNegative, NotNegativeInt
from frbench.contracts.state import Staged


class NetworkRun(NamedTuple):
    """What a penalty with ``sees_network`` is handed: the network, for inputs of its own.

    Attributes:
        outputs: From inputs [n, ...] to features [n, D] and logits [n, C], float32, in the
            precision and the mode of the training step.
        head: From features [n, D] to logits [n, C], the same.
        rng: Random numbers of this step, the same on every process.
    """

    outputs: Callable[[Tensor], tuple[Tensor, Tensor]]
    head: Callable[[Tensor], Tensor]
    rng: np.random.Generator


class Penalty(CheckedArguments, Staged, ABC):
    """A term added to the risk; subclasses write :meth:`forward`.

    The batch that :meth:`forward` sees is this process's share. A penalty that compares samples
    gathers the global batch (:func:`frbench.distributed.all_gather`). State is a buffer, changed
    through :meth:`stage` alone.

    The factor of the term may follow a schedule over the steps t that the optimiser has taken (a
    step that mixed precision skips does not count): ``before`` for t < start, then a straight
    line that reaches ``weight`` after ``ramp`` further steps.

    Args:
        weight: Factor of the term in the loss.
        start: Steps before the factor leaves ``before``.
        before: Factor in these steps.
        ramp: Steps from ``before`` to ``weight``; 0 is a jump.
        reset_optimizer: Whether the optimiser's moving averages are cleared after ``start`` steps,
            when the loss changes its scale. It costs one synchronisation with the device a step.

    Raises:
        UserError: If a weight or a number of steps is negative or not finite.
    """

    #: Whether it may train in a stack (:mod:`frbench.stacks`), and what keeps it from that.
    stackable = True
    why_alone = ""
    #: What the tests hold :meth:`forward` to.
    properties = Properties(weights="invariant", attributes="exchangeable")
    #: Whether it looks at ``batch.continuous``, and not at z.
    sees_continuous = False
    #: Whether :meth:`forward` has a third argument, a :class:`NetworkRun`.
    sees_network = False
    #: Steps taken, where there is a schedule.
    taken: Tensor

    def __init__(
        self,
        weight: NotNegative = 1.0,
        start: NotNegativeInt = 0,
        before: NotNegative = 0.0,
        ramp: NotNegativeInt = 0,
        reset_optimizer: bool = False,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.start = start
        self.before = before
        self.ramp = ramp
        self.reset_optimizer = reset_optimizer
        if self.is_scheduled:
            self.register_buffer("taken", torch.zeros((), dtype=torch.long))

    @property
    def is_scheduled(self) -> bool:
        """Whether the factor of the term changes while training."""
        return self.start > 0 or self.ramp > 0

    def factor(self) -> float | Tensor:
        """Return the factor of the term in this step, which counts once it is taken."""
        if not self.is_scheduled:
            return self.weight
        self.stage(taken=self.taken + 1)
        after = self.taken - self.start + (self.ramp == 0)
        share = (after / max(self.ramp, 1)).clamp(0, 1)
        return self.before * (1 - share) + self.weight * share

    @property
    def starts_anew(self) -> bool:
        """Whether the optimiser is to forget its moving averages now."""
        return self.reset_optimizer and self.is_scheduled and int(self.taken) == self.start

    #: Number of features D of the network; known when :meth:`bind` is called.
    num_features: int

    def bind(self, sizes: Sizes) -> None:
        """Create what depends on the sizes; called once, in the objective's constructor."""

    def bind_data(self, data: Any) -> None:
        """Read what depends on the training rows from the datamodule, before fitting.

        Raises:
            UserError: If it looks at a continuous attribute and there is none.
        """
        if self.sees_continuous and np.isnan(data.training.table.continuous).all():
            raise UserError(
                f"{type(self).__name__}.attribute: the training rows of {type(data).__name__} "
                "have no continuous attribute; set data.continuous to an attribute column of "
                "numbers, and leave out steps that draw rows anew."
            )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the penalty's own parameters for the one optimiser."""
        parameters = [p for p in nn.Module.parameters(self) if p.requires_grad]
        return [{"params": parameters}] if parameters else []

    def state_to_log(self) -> dict[str, Tensor]:
        """Scalars that describe the penalty's state, logged under its name."""
        return {}

    @abstractmethod
    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the term before its weight, a scalar."""
