"""The base of every penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import CheckedArguments, NotNegative
from frbench.contracts.state import Staged


class Penalty(CheckedArguments, Staged, ABC):
    """A term added to the risk; subclasses write :meth:`forward`.

    The batch that :meth:`forward` sees is this process's share. A penalty that compares samples
    gathers the global batch (:func:`frbench.distributed.all_gather`). State is a buffer, changed
    through :meth:`stage` alone.

    Args:
        weight: Factor of the term in the loss.

    Raises:
        UserError: If the weight is negative or not finite.
    """

    #: What the tests hold :meth:`forward` to.
    properties = Properties(weights="invariant", attributes="exchangeable")

    def __init__(self, weight: NotNegative = 1.0) -> None:
        super().__init__()
        self.weight = weight

    #: Number of features D of the network; known when :meth:`bind` is called.
    num_features: int

    def bind(self, sizes: Sizes) -> None:
        """Create what depends on the sizes; called once, in the objective's constructor."""

    def bind_data(self, data: Any) -> None:
        """Read what depends on the training rows from the datamodule, before fitting."""

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
