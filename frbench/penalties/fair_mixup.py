"""The change of the score along a path between rows of different attribute values."""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, NotNegativeInt
from frbench.distributed import all_gather, all_total, rank, world_size
from frbench.functional.environments import membership
from frbench.functional.fairness import Target
from frbench.penalties.base import NetworkRun
from frbench.penalties.scores import ScorePenalty

#: A prime: rows are put in an order by (a index + b) modulo it, with a and b drawn in each step.
PRIME = 2**31 - 1


class FairMixup(ScorePenalty):
    """Slope of the mean score on the path between attribute values.

    abs(E <grad h(x_t), x_1 - x_0>) with x_t = x_0 + t (x_1 - x_0) for pairs of a row of each
    value, one t ~ U(0, 1) in a step, and h = P(y = positive_class). The integral over t of what
    is inside abs() is the difference of the mean scores, :class:`Gap` of two values. Of more
    values, the mean over the pairs of values that have rows. Source: arXiv 2103.06503, equations
    6 and 9; its batches have as many rows of each value.

    Rows are paired in a random order such that each weighs in its pairs what it weighs among the
    rows of its value, whatever their numbers are. A value without rows in the batch is left out;
    rows of unknown attribute take no part. The network runs once more, on as many rows, in the
    mode of training: batch normalisation sees them too.

    Args:
        weight: Factor of the term in the loss.
        target: demographic_parity; equal_opportunity pairs rows with ``y = positive_class``;
            equalized_odds pairs rows of equal label, and is the sum over labels.
        at: Whether the path leads through inputs, or through the backbone's features (the paper's
            manifold form); token ids need features.
        positive_class: Label that the score and equal_opportunity are about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown target or place, no such class, or a path through token ids.

    Example:
        >>> import numpy as np
        >>> penalty = FairMixup()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> def network(x):  # its score is the input itself
        ...     return x, torch.cat([torch.zeros_like(x), x.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(h[:, None], y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> run = NetworkRun(network, lambda x: network(x)[1], np.random.default_rng(0))
        >>> round(penalty(Outputs(*network(batch.x), h), batch, run).item(), 4)
        0.25
    """

    properties = Properties(weights="invariant", copies=None, attributes="exchangeable")
    sees_network = True
    stackable = False
    why_alone = "it differentiates the network by its inputs"
    pairs: Tensor

    def __init__(
        self,
        weight: NotNegative = 1.0,
        target: Target = "demographic_parity",
        at: Literal["inputs", "features"] = "inputs",
        positive_class: NotNegativeInt = 1,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, positive_class, **schedule)
        self.target = target
        self.at = at

    def bind(self, sizes: Sizes) -> None:
        """List the pairs of cells."""
        super().bind(sizes)
        if sizes.vocab_size and self.at == "inputs":
            raise UserError(
                "FairMixup.at: there is no path between token ids; set it to features."
            )
        labels = {
            "demographic_parity": [0],
            "equal_opportunity": [self.positive_class],
            "equalized_odds": [*range(sizes.num_classes)],
        }[self.target]
        values = sizes.num_attributes
        pairs = [
            (y * values + a, y * values + b)
            for y in labels
            for a, b in combinations(range(values), 2)
        ]
        self.num_strata = len(labels)
        listed = torch.tensor(pairs, dtype=torch.long).view(-1, 2)
        self.register_buffer("pairs", listed.T.contiguous(), persistent=False)  # [2, K]

    def forward(self, out: Outputs, batch: Batch, run: NetworkRun) -> Tensor:  # type: ignore[override]
        """Return the mean slope, summed over the labels of the target."""
        points = out.features if self.at == "features" else batch.x
        start, end, share, present = self._coupled(out, batch, all_gather(points), run)
        with torch.enable_grad():
            path = start.lerp(end, float(run.rng.random()))
            path = path if path.requires_grad else path.requires_grad_()
            logits = run.head(path) if self.at == "features" else run.outputs(path)[1]
            score = self.log_odds(out._replace(logits=logits)).sigmoid()
            (gradient,) = torch.autograd.grad(score.sum(), path, create_graph=True)
            slope = (gradient * (end - start)).flatten(1).sum(1)
        slopes = all_total((share * slope.view_as(share)).sum(1)).abs() * present
        each = (slopes.view(self.num_strata, -1), present.view(self.num_strata, -1))
        result: Tensor = (each[0].sum(1) / each[1].sum(1).clamp(min=1)).sum()
        return result

    def _coupled(
        self, out: Outputs, batch: Batch, rows: Tensor, run: NetworkRun
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pair the rows of the global batch; each process takes a share of the pairs.

        With F_z the distribution function of the rows of z in the random order, a pair is an
        interval between two neighbouring values of F_a and F_b, and its share the length.

        Args:
            out: Outputs of this process's rows.
            batch: These rows.
            rows: Inputs or features of the global batch [B, ...].
            run: For the order.

        Returns:
            Beginning and end of each path [K B / W, ...], their shares [K, B / W], and which of
            the K pairs of cells have rows [K].
        """
        a, b = (int(number) for number in run.rng.integers(1, PRIME, 2))
        order = all_gather((batch.index * a + b) % PRIME).argsort(stable=True)
        cells, values = int(self.sizes.num_groups), self.sizes.num_attributes
        cell = batch.z if self.target == "demographic_parity" else batch.group
        with torch.no_grad():
            score = self.log_odds(out).sigmoid()
            columns = all_gather(torch.stack([score, cell.to(score), batch.weight.to(score)], 1))
            score, cell, weight = columns[order].unbind(1)
            count = values if self.target == "demographic_parity" else cells
            member = membership(cell, weight, count)
            mass = member.sum(0)
            share = member / mass.clamp(min=1e-12)
            above = share.cumsum(0).T[self.pairs].contiguous()  # F_a and F_b [2, K, B]
            own = (member > 0).T[self.pairs]
            # Each row ends one interval; those of other cells end empty ones.
            ends = torch.where(own[0], above[0], torch.where(own[1], above[1], 1.0)).sort(1)[0]
            begins = torch.nn.functional.pad(ends, (1, 0))[:, :-1]
            middle = ((begins + ends) / 2).contiguous()
            place = torch.stack([torch.searchsorted(f, middle) for f in above.unbind(0)])
            place = order[place.clamp(max=len(order) - 1)]
            # Towards the value of larger mean score: names of values then mean nothing.
            mean = (share.T @ score)[self.pairs]
            swap = mean[0] > mean[1]
            place = torch.where(swap[:, None], place.flip(0), place)
            present = (mass > 0)[self.pairs].all(0)
            mine, length = (
                c.chunk(world_size(), -1)[rank()].contiguous() for c in (place, ends - begins)
            )
        start, end = (rows[p.flatten()] for p in mine.unbind(0))
        return start, end, length, present.to(length)
