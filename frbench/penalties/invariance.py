"""Penalties that ask for the same losses, slopes or outputs in every environment."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import NotNegative
from frbench.distributed import all_mean, all_sum, all_total
from frbench.functional.environments import (
    environment_means,
    irm,
    mean_of_present,
    square,
    vrex,
)
from frbench.penalties.base import Penalty
from frbench.penalties.environments import EnvironmentPenalty, Environments


class IRM(EnvironmentPenalty):
    """Invariant risk minimisation: each environment has the same best scale of the logits.

    With R_e(w) the mean loss of environment e for logits times w, the penalty is the mean over
    environments of (dR_e / dw)^2 at w = 1. The slope has a closed form, the mean of sum_c p_ic
    logit_ic - logit_iy, so no second backward pass is needed. Source: arXiv 1907.02893, IRMv1.

    The paper has weight 1 before a step (``before: 1``) and a large one after it, and divides
    the whole loss by the latter, to which Adam is indifferent. Its risk is a mean over
    environments: combine with GroupDRO, ``eta: 0``, for one over groups.

    Args:
        weight: Factor of the term in the loss.
        environments: Whether an environment is a value of ``z`` or a ``group`` (y, z).
        estimate: squared; or unbiased, the product of the slopes on rows at even and odd places
            of the global batch (DomainBed's), which may be negative.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown environment or estimate.

    Example:
        >>> penalty = IRM()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> logits = torch.tensor([[1.0, -1.0], [0.5, 0.0], [-0.25, 0.75], [2.0, 0.0]])
        >>> y, z = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, logits[:, 0]), batch).item(), 4)
        0.0328
    """

    properties = Properties(weights="invariant", attributes="exchangeable", compares=False)

    def __init__(
        self,
        weight: NotNegative = 1.0,
        environments: Environments = "z",
        estimate: Literal["squared", "unbiased"] = "squared",
        **schedule: Any,
    ) -> None:
        super().__init__(weight, environments, **schedule)
        self.estimate = estimate

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean squared slope."""
        environment = self.environment(batch)
        return irm(out.logits, batch.y, environment, self.count, batch.weight, self.estimate)


class VREx(EnvironmentPenalty):
    """Risk extrapolation: the variance of the mean losses of the environments.

    mean_e (R_e - mean R)^2 over the environments in the global batch. Source: arXiv 2003.00688,
    equation 8 (V-REx).

    Args:
        weight: Factor of the term in the loss.
        environments: Whether an environment is a value of ``z`` or a ``group`` (y, z).
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown environment.

    Example:
        >>> penalty = VREx()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> losses = torch.tensor([1.0, 2.0, 5.0])
        >>> y, z = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
        >>> batch = Batch(losses, y, z, 2 * y + z, torch.ones(3), y > 1, y, y > 1)
        >>> penalty(Outputs(losses, losses, losses), batch).item()  # risks 1.5 and 5
        3.0625
    """

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the variance."""
        return vrex(out.losses, self.environment(batch), self.count, batch.weight)


class InformationBottleneck(EnvironmentPenalty):
    """The variance of the features inside the environments, mean_e mean_d Var_e(f_d).

    Alone it is IB-ERM, beside :class:`IRM` it is IB-IRM. Source: arXiv 2106.06607. The variance
    divides by the number of rows, so that an environment with one row gives 0.

    Args:
        weight: Factor of the term in the loss.
        environments: Whether an environment is a value of ``z`` or a ``group`` (y, z).
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown environment.

    Example:
        >>> penalty = InformationBottleneck()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> features = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [1.0, 2.0]])
        >>> y, z = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
        >>> batch = Batch(features, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> penalty(Outputs(features, features, features[:, 0]), batch).item()
        0.25
    """

    properties = Properties(weights="invariant", attributes="exchangeable", compares=False)

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the mean variance."""
        features = out.features.flatten(1)
        # Nearer the origin, less is cancelled in the difference of the moments.
        features = features - all_mean(features.mean(0))
        mean, present = self.means(features, batch)
        second, _ = self.means(features.square().mean(1), batch)
        return mean_of_present(second - mean.square().mean(1), present)


class PGI(Penalty):
    """Predictive group invariance: the same mean prediction given the label in each environment.

    sum_y sum_(z > 0) KL(p_yz || p_y0), p_yz the mean softmax of the rows of label y and
    attribute z; labels without rows on both sides are left out. Source: Ahmed et al., Systematic
    generalisation with group invariant predictions (ICLR 2021); which side comes first is not
    said there. The environments are those of an inferred attribute (``infer``), or z.

    Args:
        weight: Factor of the term in the loss.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`; the paper's weight rises over ten epochs.

    Example:
        >>> penalty = PGI()
        >>> penalty.bind(Sizes(2, 2, (1,)))
        >>> logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0], [0.0, 2.0]])
        >>> y, z = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> batch = Batch(logits, y, z, 2 * y + z, torch.ones(4), y > 1, y, y > 1)
        >>> round(penalty(Outputs(logits, logits, logits[:, 0]), batch).item(), 4)
        1.0113
    """

    properties = Properties(weights="invariant", attributes=None)  # z = 0 is the reference

    sizes: Sizes

    def bind(self, sizes: Sizes) -> None:
        """Keep the sizes."""
        self.sizes = sizes

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the sum of the divergences."""
        classes, values = self.sizes.num_classes, self.sizes.num_attributes
        mean, present = environment_means(
            out.logits.softmax(1), batch.group, batch.weight, classes * values
        )
        mean = mean.clamp(min=1e-12).view(classes, values, classes)
        present = present.view(classes, values)
        divergence = (mean * (mean.log() - mean[:, :1].log())).sum(2)
        both = present & present[:, :1]
        return torch.where(both, divergence, 0.0)[:, 1:].sum()


class SpectralDecoupling(Penalty):
    """Half the mean squared norm of the logits, (1/2) mean_i sum_c logit_ic^2.

    Source: arXiv 2011.09468. No attribute is used. DomainBed takes the mean over
    classes instead of half their sum, which for two classes is the same.

    Args:
        weight: Factor of the term in the loss.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Example:
        >>> logits = torch.tensor([[1.0, -1.0], [0.5, 0.0], [-0.25, 0.75], [2.0, 0.0]])
        >>> y = torch.tensor([0, 1, 1, 0])
        >>> batch = Batch(logits, y, y, y, torch.ones(4), y > 1, y, y > 1)
        >>> SpectralDecoupling()(Outputs(logits, logits, logits[:, 0]), batch).item()
        0.859375
    """

    properties = Properties(weights="invariant", attributes="unseen", compares=False)

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return half the weighted mean of the squared norms."""
        norms = all_total(batch.weight @ square(out.logits).sum(1))
        return 0.5 * norms / all_sum(batch.weight.sum()).clamp(min=1e-12)
