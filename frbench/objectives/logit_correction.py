"""Logit correction."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, NotNegativeInt, PositiveShare, ProperShare, Share
from frbench.distributed import all_gather, all_sum
from frbench.objectives.lff import exaggerated
from frbench.training.objective import Objective


def hashed(*numbers: Tensor) -> Tensor:
    """Return a number in [0, 1) for each combination of integers, the same on every process.

    Args:
        numbers: Integer tensors, broadcast against one another.

    Example:
        >>> u = hashed(torch.arange(10_000), torch.tensor(3))
        >>> round(u.mean().item(), 2), round(u.var().item() * 12, 1), bool(u.max() < 1)
        (0.5, 1.0, True)
    """
    mixed: Tensor = torch.zeros((), dtype=torch.long, device=numbers[0].device)
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B9) & 0xFFFFFFFF
        for shift in (16, 15):
            mixed = ((mixed ^ (mixed >> shift)) * 0x45D9F3B) & 0xFFFFFFFF
        mixed = mixed ^ (mixed >> 16)
    return mixed.double() / 2**32


def mixed(rows: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """Combine rows of this process with rows of the global batch [B / W, D].

    Args:
        rows: This process's rows [B / W, D].
        partner: Positions in the global batch [B / W].
        share: Share of the row itself, a scalar.
    """
    return all_gather(rows)[partner].lerp(rows, share.to(rows.dtype))


class LogitCorrection(Objective):
    """Logits are corrected by how often a biased network's guess goes with each class.

    The biased network minimises :func:`~frbench.objectives.lff.exaggerated`; a_i is the class that
    it predicts for row i. P_ca is the moving average, over rows with y = c and this guess, of the
    probability that the biased network gives to c, divided by its sum over c. The other network
    minimises the cross-entropy of l_c + log(P_(c, a_i)^eta + 1e-4), for x_i mixed with a row of
    the same class that the biased network gets wrong (of any row of the class, if there is none),
    x_i with a share drawn from U(1 - 2 tau, 1 - tau); P is mixed in the same shares. tau rises to
    ``mix_limit`` as exp(-5 (1 - t / ramp)^2) over ``ramp`` steps. Source: Liu et al., arXiv
    2212.01433, by its released code, where P moves row by row; here it moves once for the n rows
    of a cell in a batch, by 1 - decay^n towards their mean, which does not depend on their order.
    Predictions come from the second network. No attribute is used.

    Partners and shares are drawn by a hash of rows and step, hence the same on any number of
    processes.

    Args:
        q: Exponent of the biased network's loss, in (0, 1].
        eta: Strength of the correction; 0 leaves the logits as they are.
        at: Whether inputs are mixed, features, or nothing; token ids need features or nothing.
        mix_limit: Largest tau, in [0, 0.5].
        ramp: Steps until tau has its largest value; 0 begins with it.
        decay: Share of P's averages that a new row leaves, in [0, 1).
        biased_lr: Learning rate of the biased network; None takes a tenth of ``lr``.

    Raises:
        UserError: If a value is out of range, or inputs cannot be mixed.
    """

    # Rows are partners and are counted one by one.
    properties = Properties(copies=None)
    combines = ("infer",)  # it mixes rows itself
    prior: Tensor
    steps: Tensor

    def __init__(
        self,
        *args: Any,
        q: PositiveShare = 0.7,
        eta: NotNegative = 1.0,
        at: Literal["inputs", "features", "nothing"] = "inputs",
        mix_limit: Share = 0.5,
        ramp: NotNegativeInt = 0,
        decay: ProperShare = 0.995,
        biased_lr: NotNegative | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if mix_limit > 0.5:
            raise UserError(f"LogitCorrection.mix_limit must be at most 0.5, got {mix_limit}.")
        if self.vocab_size and at == "inputs":
            raise UserError("LogitCorrection.at: token ids cannot be mixed; set it to features.")
        self.q = q
        self.eta = eta
        self.at = at
        self.mix_limit = mix_limit
        self.ramp = ramp
        self.decay = decay
        self.biased_lr = biased_lr
        self.biased = self.network.twin()
        self.register_buffer("prior", torch.zeros(self.num_classes, self.num_classes))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give the biased network a group, and so a rate, of its own."""
        biased = list(self.biased.parameters())
        own = {id(p) for p in biased}
        first, *rest = super().parameter_groups()
        first["params"] = [p for p in first["params"] if id(p) not in own]
        rate = self.lr / 10 if self.biased_lr is None else self.biased_lr
        return [first, *rest, {"params": [p for p in biased if p.requires_grad], "lr": rate}]

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the sum of both networks' losses; they share no parameter."""
        biased = self.companion_outputs(self.biased, batch)
        with torch.no_grad():
            guess, prior = self._estimates(biased.logits.softmax(1), batch)
            correction = prior.T[guess]
            partner, share = self._partners(guess, batch)
        self.stage(steps=self.steps + 1)
        logits = out.logits
        if self.at != "nothing":
            correction = mixed(correction, partner, share)
            if self.at == "features":
                logits = self.network.head(mixed(out.features.flatten(1), partner, share)).float()
            else:
                flat = mixed(batch.x.flatten(1), partner, share).view_as(batch.x)
                logits = self.companion_outputs(self.network, batch._replace(x=flat)).logits
        losses = F.cross_entropy(
            logits + (correction**self.eta + 1e-4).log(), batch.y, reduction="none"
        )
        return (batch.weight * (losses + exaggerated(biased.losses, self.q, "weighted"))).mean()

    def _estimates(self, probability: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Move the averages; return guesses [B / W] and P, whose columns have sum one [C, C]."""
        guess, classes = probability.argmax(1), self.num_classes
        own = probability.gather(1, batch.y[:, None])[:, 0]
        sums = own.new_zeros(classes * classes, 2)
        columns = torch.stack([own, torch.ones_like(own)], 1)
        total, count = all_sum(sums.index_add(0, batch.y * classes + guess, columns)).unbind(1)
        mean = (total / count.clamp(min=1)).view(classes, classes)
        kept = torch.where(self.prior == 0, 0.0, self.decay) ** count.view(classes, classes)
        prior = mean.lerp(self.prior, kept)
        self.stage(prior=prior)
        return guess, prior / prior.sum(0).clamp(min=1e-4)

    def _partners(self, guess: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draw a row of the same class for each row, and the share of the row [B / W]."""
        y, index, wrong = (all_gather(c) for c in (batch.y, batch.index, guess != batch.y))
        same = batch.y[:, None] == y
        minority = same & wrong
        allowed = torch.where(minority.any(1, keepdim=True), minority, same)
        score = hashed(self.steps, batch.index[:, None], index)
        partner = torch.where(allowed, score, -1.0).argmax(1)
        rise = 1 - (self.steps / max(self.ramp, 1) + (self.ramp == 0)).clamp(max=1)
        tau = self.mix_limit * torch.exp(-5 * rise.square())
        return partner, 1 - tau * (2 - hashed(self.steps, self.steps.new_tensor(7)))
