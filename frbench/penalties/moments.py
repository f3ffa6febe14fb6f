"""Penalties that ask for the same moments of features or gradients in every environment."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative, ProperShare
from frbench.distributed import all_gather
from frbench.functional.environments import square, variance
from frbench.penalties.environments import EnvironmentPenalty, Environments

#: Keeps 0 / 0 of an environment without rows finite.
TINY = 1e-12


class CORAL(EnvironmentPenalty):
    """Differences of means and covariances of the features between environments.

    The mean over pairs of environments of mean_d (m_e - m_f)^2 + mean_dd' (C_e - C_f)^2, m the
    mean and C the covariance (over n - 1) of the features. Source: arXiv 1607.01719, there C
    alone and divided by 4 D^2; with means as in DomainBed. Pairs in which an environment has one
    row are left out, where others give NaN.

    Args:
        weight: Factor of the term in the loss.
        environments: Whether an environment is a value of ``z`` or a ``group`` (y, z).
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown environment.

    Example:
        >>> penalty = CORAL()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> features = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
        >>> y, z = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(features, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> penalty(Outputs(features, features, features[:, 0]), batch).item()
        1.0
    """

    # n - 1 counts rows: an environment needs two, whatever their weights.
    properties = Properties(weights="invariant", copies=None, attributes="exchangeable")

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean over the pairs."""
        features = all_gather(out.features.flatten(1))
        columns = all_gather(torch.stack([self.environment(batch), batch.weight], 1))
        values = torch.arange(self.count, device=features.device)
        member = (columns[:, :1] == values) * columns[:, 1:]
        share = (member / member.sum(0).clamp(min=TINY)).to(features).T  # [E, B]
        enough = (member > 0).sum(0) >= 2
        mean = share @ features
        centred = features - mean[:, None]  # [E, B, D]
        # 1 - sum of squared shares is (n - 1) / n for equal weights.
        rest = (1 - share.square().sum(1)).clamp(min=TINY)[:, None, None]
        covariance = (share[:, :, None] * centred).transpose(1, 2) @ centred / rest
        # The mean of (x_e - x_f)^2 over pairs is 2 n / (n - 1) times the variance of x.
        n = enough.sum()
        terms = variance(mean, enough).mean() + variance(covariance, enough).mean()
        return 2 * n / (n - 1).clamp(min=1) * terms


class Fishr(EnvironmentPenalty):
    """The same variance of the gradients of single rows in every environment.

    mean_e sum (v_e - mean v)^2, v_e the variance over the rows of e of the gradient of the loss
    in the last layer, (p_i - onehot y_i) x [f_i, 1]: a closed form. v_e is a moving average,
    (rate past + (1 - rate) v) / (1 - rate), with gradients through the newest part. Source: arXiv
    2109.02934, equation 4 and its released code. An environment needs two rows in the batch to
    take part.

    Args:
        weight: Factor of the term in the loss.
        environments: Whether an environment is a value of ``z`` or a ``group`` (y, z).
        rate: Share of the past in the moving average, in [0, 1).
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown environment, or a rate out of range.

    Example:
        >>> penalty = Fishr(rate=0.0)
        >>> penalty.num_features = 1
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> features, logits = torch.tensor([[0.0], [1.0], [0.0], [2.0]]), torch.zeros(4, 2)
        >>> y, z = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(features, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> penalty(Outputs(features, logits, logits[:, 0]), batch).item()  # 2 (.09375)^2
        0.017578125
    """

    # An environment needs two rows, whatever their weights.
    properties = Properties(weights="invariant", copies=None, attributes="exchangeable")

    average: Tensor

    def __init__(
        self,
        weight: NotNegative = 1.0,
        environments: Environments = "z",
        rate: ProperShare = 0.95,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, environments, **schedule)
        self.rate = rate

    def bind(self, sizes: Sizes) -> None:
        """Create the moving averages."""
        super().bind(sizes)
        width = sizes.num_classes * (self.num_features + 1)
        self.register_buffer("average", torch.zeros(self.count, width))

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the sum over parameters of the variance over environments."""
        environment = self.environment(batch)
        error = out.logits.softmax(1) - F.one_hot(batch.y, out.logits.shape[1])
        inputs = F.pad(out.features.flatten(1), (0, 1), value=1.0)
        gradients = (error[:, :, None] * inputs[:, None]).flatten(1)
        # Without a gradient: the deviations of all rows from their mean add up to zero, those of
        # one process do not.
        mean = self.means(gradients, batch)[0].detach()
        spread, _ = self.means(square(gradients - mean[environment.clamp(min=0)]), batch)
        values = torch.arange(self.count, device=environment.device)
        enough = (all_gather(environment)[:, None] == values).sum(0) >= 2
        moved = self.rate * self.average + (1 - self.rate) * spread
        self.stage(average=torch.where(enough[:, None], moved, self.average))
        return variance(moved / (1 - self.rate), enough).sum()
