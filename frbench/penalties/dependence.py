"""Penalties on the dependence of the score on the attribute."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, NotNegativeInt, Positive
from frbench.distributed import all_gather, all_sum, all_total
from frbench.functional.environments import membership
from frbench.penalties.environments import continuous_rows
from frbench.penalties.scores import ScorePenalty

#: What the score is to be independent of: z, or the continuous attribute of the data.
Attribute = Literal["z", "continuous"]
#: Keeps 0 / 0 of an attribute value without rows, and the slope of a root at zero, finite.
TINY = 1e-12


class _Dependence(ScorePenalty):
    """A penalty that compares the scores of all rows in the global batch."""

    def numbers(self, score: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gathered scores, continuous attributes, and shares of the rows [B] each."""
        value, weight = continuous_rows(batch)
        columns = all_gather(torch.stack([score, value.to(score), weight.to(score)], 1))
        score, value, weight = columns.unbind(1)
        return score, value, weight / weight.sum().clamp(min=TINY)

    def rows(self, score: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the gathered scores [B], and the share of each row in each z [B, A].

        Shares sum to one over rows and attribute values.
        """
        columns = all_gather(torch.stack([score, batch.z, batch.weight], 1))
        score, z, weight = columns.unbind(1)
        member = membership(z, weight, self.sizes.num_attributes)
        return score, member / member.sum().clamp(min=TINY)


class HSIC(_Dependence):
    """Hilbert-Schmidt independence criterion of score and attribute, tr(K H L H) / (B - 1)^2.

    K_ij = exp(-(h_i - h_j)^2 / sigma) on the scores, L_ij = 1 for equal attribute values and
    exp(-1) for others, H = I - 1/B; with weights, H subtracts weighted means. Source: Gretton et
    al. (2005), equation 9; as a penalty arXiv 2306.09468, whose L takes the code of z for a
    number, which is the same for two values. Of a continuous attribute v, L_ij = exp(-(v_i -
    v_j)^2).

    Args:
        weight: Factor of the term in the loss.
        sigma: Scale of the kernel on the scores.
        attribute: z; or continuous, ``data.continuous``, which has deviation 1.
        positive_class: Label that the score is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: If sigma is not positive, or there is no such class.

    Example:
        >>> penalty = HSIC()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 5)
        0.01284
    """

    # B is a number of rows, whatever their weights.
    properties = Properties(weights="invariant", copies=None, attributes="exchangeable")

    def __init__(
        self,
        weight: NotNegative = 1.0,
        sigma: Positive = 1.0,
        positive_class: NotNegativeInt = 1,
        attribute: Attribute = "z",
        **schedule: Any,
    ) -> None:
        super().__init__(weight, positive_class, **schedule)
        self.sigma = sigma
        self.attribute = attribute
        self.sees_continuous = attribute == "continuous"

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the criterion."""
        score = self.log_odds(out).sigmoid()
        if self.sees_continuous:
            score, value, share = self.numbers(score, batch)
            same = torch.exp(-(value[:, None] - value).square())
            mean = same @ share
            centred = (same - mean[:, None] - mean + mean @ share) * share[:, None] * share
            known = (share > 0).sum().to(score)
            factor = (known / (known - 1).clamp(min=1)).square()
            return factor * (centred * self.kernel(score)).sum()
        score, share = self.rows(score, batch)
        # L is exp(-1) plus (1 - exp(-1)) times the indicator of equal values; constants cancel.
        centred = share - share.sum(1, keepdim=True) * share.sum(0)
        known = (share > 0).sum().to(score)
        factor = (1 - math.exp(-1)) * (known / (known - 1).clamp(min=1)).square()
        return factor * (centred * (self.kernel(score) @ centred)).sum()

    def kernel(self, score: Tensor) -> Tensor:
        """Return K [B, B]."""
        # -(h_i - h_j)^2 / sigma as one product of rank three: few passes over B^2 numbers.
        square, one = score.square() * (-1 / self.sigma), torch.ones_like(score)
        left = torch.stack([score * (2 / self.sigma), square, one], 1)
        return torch.exp(left @ torch.stack([score, one, square]))


class Covariance(ScorePenalty):
    """Absolute covariance of attribute and log-odds, abs(mean((z - mean z) d)).

    d is the log-odds of ``positive_class``. Of more than two attribute values, half the sum over
    values a of that with 1[z = a], which is the same for two. A continuous attribute is taken as
    it is. Source: arXiv 1507.05259, equation 2, there as a constraint.

    Args:
        weight: Factor of the term in the loss.
        positive_class: Label that the score is about.
        attribute: z; or continuous, ``data.continuous``, which has deviation 1.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: If there is no such class.

    Example:
        >>> penalty = Covariance()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 4)
        0.3466
    """

    def __init__(
        self,
        weight: NotNegative = 1.0,
        positive_class: NotNegativeInt = 1,
        attribute: Attribute = "z",
        **schedule: Any,
    ) -> None:
        super().__init__(weight, positive_class, **schedule)
        self.attribute = attribute
        self.sees_continuous = attribute == "continuous"

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return half the sum of the absolute covariances."""
        factor = self.centred(batch)
        if out.logits.shape[1] == 2:  # the signs of the log-odds in the factors of the logits
            factor = (factor[:, None] * self.signs[:, None]).flatten(0, 1)
            covariance = out.logits.flatten() @ factor.to(out.logits)
        else:
            covariance = self.log_odds(out) @ factor.to(out.logits)
        return all_total(covariance).abs().sum()

    @torch.no_grad()
    def centred(self, batch: Batch) -> Tensor:
        """Return what a row's log-odds is multiplied by in each covariance [B / W, A or 1]."""
        if self.sees_continuous:
            value, weight = continuous_rows(batch)
            sums = all_sum(torch.stack([weight, weight * value], 1).sum(0))
            total = sums[0].clamp(min=TINY)
            return (weight * (value - sums[1] / total) / total)[:, None]
        member = membership(batch.z, batch.weight, self.sizes.num_attributes)
        mass = all_sum(member.sum(0))
        total = mass.sum().clamp(min=TINY)
        own = member.sum(1, keepdim=True)
        return torch.addcmul(member, own, mass / total, value=-1) * (0.5 / total)


class Wasserstein(_Dependence):
    """Wasserstein-1 distance between the scores of attribute values.

    The integral of abs(F_z(t) - F_z'(t)) over the scores t, with F_z the weighted distribution
    function of the scores h_i of z: exact, by sorting. The mean over the pairs of values that
    have rows. Source: arXiv 1907.12059, between pairs instead of to their barycentre.

    Args:
        weight: Factor of the term in the loss.
        positive_class: Label that the score is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: If there is no such class.

    Example:
        >>> penalty = Wasserstein()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> h = torch.tensor([0.9, 0.4, 0.6, 0.2])
        >>> logits = torch.stack([torch.zeros(4), h.logit()], 1)
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, h), batch).item(), 4)
        0.25
    """

    pairs: Tensor

    def bind(self, sizes: Sizes) -> None:
        """List the pairs of attribute values."""
        super().bind(sizes)
        pairs = torch.tensor([*combinations(range(sizes.num_attributes), 2)], dtype=torch.long)
        self.register_buffer(
            "pairs", pairs.view(-1, 2).T.contiguous(), persistent=False
        )  # [2, pairs]

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean distance over the pairs."""
        score, share = self.rows(self.log_odds(out).sigmoid(), batch)
        mass = share.sum(0)
        ordered, order = score.sort()
        distribution = (share / mass.clamp(min=TINY))[order].cumsum(0)[:-1]
        first, second = self.pairs
        distances = ordered.diff() @ (distribution[:, first] - distribution[:, second]).abs()
        there = (mass[first] > 0) & (mass[second] > 0)
        mean: Tensor = (distances * there).sum() / there.sum().clamp(min=1)
        return mean


def correlation(joint: Tensor, measure: Literal["chi2", "hgr"]) -> Tensor:
    """Dependence of two discrete variables, from Q = P(s, z) / sqrt(P(s) P(z)).

    Args:
        joint: Joint probabilities [S, A], of sum one.
        measure: chi2, the sum of Q^2 minus 1; hgr, the second singular value of Q, which is the
            maximal correlation of functions of s and z. For two values of z, hgr^2 is chi2.

    Example:
        >>> joint = torch.tensor([[0.3, 0.2], [0.1, 0.4]])
        >>> round(correlation(joint, "hgr").item(), 4)
        0.4082
    """
    margins = joint.sum(1, keepdim=True) * joint.sum(0)
    q = joint * (margins + TINY**2).rsqrt()
    if measure == "chi2":
        return (q.square().sum() - joint.sum().detach()).clamp(min=0)
    # The first eigenvalue of Q'Q is one, with the vector sqrt(P(z)).
    root = joint.sum(0).clamp(min=0).sqrt()
    centred = q.T @ q - torch.outer(root, root)
    largest: Tensor = torch.linalg.eigvalsh(centred)[-1]
    return largest.clamp(min=TINY).sqrt()


class HGR(_Dependence):
    """Maximal (Hirschfeld-Gebelein-Renyi) correlation of score and attribute, or its chi^2 bound.

    The density of the scores h_i of each z is smoothed by a Gaussian kernel and read at 50
    points of [0, 1]; each row has mass one on the grid, so P(z) is exact. Of the joint
    table see :func:`correlation`. Source: arXiv 1911.04929.

    Args:
        weight: Factor of the term in the loss.
        measure: chi2, smooth, and at least hgr^2 (the paper's penalty); hgr.
        bandwidth: Standard deviation of the kernel, in units of the score.
        positive_class: Label that the score is about.
        attribute: z; or continuous, ``data.continuous``, smoothed like the score on 50 points
            within three deviations, of which ``bandwidth`` is the same share.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: If the bandwidth is not positive, or there is no such class.

    Example:
        >>> penalty = HGR(measure="hgr", bandwidth=0.01)
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> logits = torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 9.0]])
        >>> y, z = torch.tensor([1, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, logits[:, 0]), batch).item(), 3)
        1.0
    """

    grid: Tensor

    def __init__(
        self,
        weight: NotNegative = 1.0,
        measure: Literal["chi2", "hgr"] = "chi2",
        bandwidth: Positive = 0.1,
        positive_class: NotNegativeInt = 1,
        attribute: Attribute = "z",
        **schedule: Any,
    ) -> None:
        super().__init__(weight, positive_class, **schedule)
        self.measure = measure
        self.bandwidth = bandwidth
        self.attribute = attribute
        self.sees_continuous = attribute == "continuous"
        self.register_buffer("grid", torch.linspace(0, 1, 50), persistent=False)

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the correlation."""
        score = self.log_odds(out).sigmoid()
        if self.sees_continuous:
            score, value, weight = self.numbers(score, batch)
            share = self.smoothed(((value + 3) / 6).clamp(0, 1)) * weight[:, None]
        else:
            score, share = self.rows(score, batch)
        return correlation(self.smoothed(score).T @ share, self.measure)

    def smoothed(self, value: Tensor) -> Tensor:
        """Return the mass of each row at each point of the grid, of sum one [B, 50]."""
        distance = (value[:, None] - self.grid) / self.bandwidth
        return (-0.5 * distance.square()).softmax(1)
