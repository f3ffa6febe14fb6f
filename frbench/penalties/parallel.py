"""A penalty on each of several crossed attributes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative
from frbench.contracts.text import factors
from frbench.penalties.base import Penalty
from frbench.penalties.scores import Gap


class Parallel(Penalty):
    """The largest value of a penalty over the single attributes of a crossed one.

    Where z crosses several attributes (``data.attribute: [sex, race]``), any penalty alone is the
    intersectional constraint, about the cells f&black, f&white and so on. This is the parallel
    one: max_k of the penalty of attribute k alone, whatever the others are. The distinction is
    that of arXiv 2409.16965. Of an attribute that is not crossed it is the penalty itself.

    Args:
        weight: Factor of the term in the loss.
        penalty: The penalty of one attribute, by default :class:`Gap`; its weight and schedule
            are not used, and it has no state or network of its own.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: If the penalty keeps a state, has parameters or runs the network, or is used
            with an inferred attribute.

    Example:
        >>> penalty = Parallel()
        >>> penalty.bind(Sizes(2, 4, (1,)))
        >>> penalty.codes = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])  # by bind_data
        >>> h = torch.tensor([0.9, 0.5, 0.5, 0.3])  # means by attribute: .7, .4 and .7, .4
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> z, y = torch.arange(4), torch.zeros(4, dtype=torch.long)
        >>> batch = Batch(logits, y, z, z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 4)
        0.3
    """

    properties = Properties(weights="invariant", attributes="exchangeable")  # of the default
    codes: Tensor
    sizes: Sizes

    def __init__(
        self, weight: NotNegative = 1.0, penalty: Penalty | None = None, **schedule: Any
    ) -> None:
        super().__init__(weight, **schedule)
        self.penalty = Gap() if penalty is None else penalty

    def bind(self, sizes: Sizes) -> None:
        """Bind the penalty; a single attribute has no more values than the crossed one."""
        self.sizes = sizes
        inner = self.penalty
        if hasattr(self, "num_features"):
            inner.num_features = self.num_features
        inner.bind(sizes)
        self.stackable, self.why_alone = inner.stackable, inner.why_alone
        if inner.sees_network or inner.sees_continuous or inner.state_dict():
            raise UserError(
                f"Parallel.penalty: {type(inner).__name__} has a state or a network of its own, "
                "or no discrete attribute; use another penalty, such as Gap or Violation."
            )
        one = torch.arange(sizes.num_attributes)[None]
        self.register_buffer("codes", one, persistent=False)  # [K, A]

    def bind_data(self, data: Any) -> None:
        """Read which single attributes the crossed one is made of."""
        self.penalty.bind_data(data)
        found = factors(data.attribute_names)
        if found and len(data.attribute_names) != self.sizes.num_attributes:
            raise UserError(
                "Parallel splits the crossed attribute of the data, and model.infer gives another "
                "one; leave one of them out."
            )
        if found:
            self.codes = torch.tensor(found, device=self.codes.device)

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the largest value."""
        values = []
        for codes in self.codes.unbind(0):
            z = torch.where(batch.z < 0, -1, codes[batch.z])
            group = torch.where(z < 0, -1, batch.y * self.sizes.num_attributes + z)
            values.append(self.penalty(out, batch._replace(z=z, group=group)))
        return torch.stack(values).amax(0)
