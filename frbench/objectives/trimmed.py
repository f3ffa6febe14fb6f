"""Training that drops the largest losses."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import ProperShare
from frbench.distributed import all_gather, world_size
from frbench.training.objective import Objective


class Trimmed(Objective):
    """Mean of the smallest losses: rows with the largest are taken for wrong labels.

    Of the B rows of the global batch the round(drop B) with the largest losses are left out; the
    risk is the weighted mean loss of the others. Source: iterative trimmed loss minimisation,
    arXiv 1810.11874, on batches.

    Args:
        drop: Share of each batch that is left out, in [0, 1).

    Raises:
        UserError: If drop is out of range.

    Example:
        >>> import torch
        >>> from frbench.networks import MLP
        >>> model = Trimmed(2, 2, [1], network=MLP(hidden=[]), drop=0.5)
        >>> zeros = torch.zeros(4, dtype=torch.long)
        >>> no = zeros > 0
        >>> batch = Batch(zeros[:, None], zeros, zeros, zeros, torch.ones(4), no, zeros, no)
        >>> losses = torch.tensor([1.0, 9.0, 2.0, 8.0])
        >>> model.risk(Outputs(torch.zeros(4, 1), torch.zeros(4, 2), losses), batch).item()
        1.5
    """

    # Rows are counted, not weights.
    properties = Properties(copies=None, erm=({"drop": 0.0},), one_group={"drop": 0.0})

    def __init__(self, *args: Any, drop: ProperShare = 0.1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.drop = drop

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean weighted loss of the rows that are kept."""
        losses = all_gather(out.losses.detach())
        kept = max(1, len(losses) - round(self.drop * len(losses)))
        # Equal losses at the threshold are all kept, whichever process holds them.
        largest = losses.kthvalue(kept).values
        keep = out.losses.detach() <= largest
        return world_size() * (batch.weight * out.losses * keep).sum() / (losses <= largest).sum()
