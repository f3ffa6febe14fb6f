"""Networks that predict the attribute, and the penalty that trains against one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt, Positive, check_class
from frbench.distributed import all_sum, world_size
from frbench.functional import environment_means, mean_of_present
from frbench.functional.environments import square
from frbench.functional.fairness import Target
from frbench.penalties.base import Penalty
from frbench.penalties.dependence import Attribute
from frbench.penalties.environments import continuous_rows

Sees = Literal["logits", "probabilities", "features"]
#: Logits beyond it are cut for those who learn from them. In float32 a probability is 1 from a
#: log-odds of 18 on, and the steps of a discriminator grow with products of its inputs: those of
#: logits of 1e15 would overflow in the third, where the classifier's own do not.
LARGEST_ANSWER = 1e3


def leaky_mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    """Build linear layers with LeakyReLU (slope 0.2) between them."""
    layers: list[nn.Module] = []
    for width, next_width in pairwise([inputs, *hidden]):
        layers += [nn.Linear(width, next_width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear([inputs, *hidden][-1], outputs))


def margin(logits: Tensor) -> Tensor:
    """Log-odds l_1 - l_0 of two classes [B, 1]; the logits of more [B, C]; cut at +-1000."""
    return cut(logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits)


def cut(answer: Tensor) -> Tensor:
    """Bound logits by :data:`LARGEST_ANSWER`; what is beyond has no gradient."""
    return answer.clamp(-LARGEST_ANSWER, LARGEST_ANSWER)


def global_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over the global batch, scaled by W for gradients that DDP averages."""
    mean = values @ weight.to(values) / all_sum(weight.sum()).clamp(min=1e-12)
    return mean if (w := world_size()) == 1 else w * mean


class Attributes(NamedTuple):
    """What a discriminator is to predict.

    Attributes:
        z: Attribute, 0 where unknown; float if there are two or it is continuous, else long [B].
        mask: Which rows count, 1 or 0 [B].
    """

    z: Tensor
    mask: Tensor


class Discriminator(nn.Module):
    """Predicts z from what a classifier gives, and from y for conditional targets.

    Args:
        num_inputs: Columns it sees.
        sizes: C and A; two attribute values have one logit.
        target: equal_opportunity looks at the rows with ``y = positive_class`` alone;
            equalized_odds sees y, one-hot.
        positive_class: Label that equal_opportunity is about.
        hidden: Widths of the hidden layers.
    """

    def __init__(
        self, num_inputs: int, sizes: Sizes, target: Target, positive_class: int, hidden: list[int]
    ) -> None:
        super().__init__()
        self.target = target
        self.positive_class = positive_class
        self.num_classes = sizes.num_classes
        inputs = num_inputs + (sizes.num_classes if target == "equalized_odds" else 0)
        self.binary = sizes.num_attributes == 2
        self.layers = leaky_mlp(inputs, hidden, 1 if self.binary else sizes.num_attributes)

    def forward(self, seen: Tensor, y: Tensor) -> Tensor:
        """Return logits of z [B, A], one column for two values."""
        if self.target == "equalized_odds":
            seen = torch.cat([seen, F.one_hot(y, self.num_classes).to(seen.dtype)], 1)
        result: Tensor = self.layers(seen)
        return result

    def attributes(self, batch: Batch) -> Attributes:
        """Return what it is to predict of a batch."""
        mask = (batch.z >= 0) & self.counts(batch)
        z = batch.z.clamp(min=0)
        return Attributes(z.float() if self.binary else z, mask.float())

    def counts(self, batch: Batch) -> Tensor:
        """Return which rows the target is about [B]."""
        if self.target == "equal_opportunity":
            return batch.y == self.positive_class
        return torch.ones_like(batch.y, dtype=torch.bool)

    def losses(self, seen: Tensor, y: Tensor, attributes: Attributes) -> Tensor:
        """Return the cross-entropy of each row, those that do not count included [B]."""
        logits = self(seen, y)
        if self.binary:
            odds = logits[:, 0]
            return F.binary_cross_entropy_with_logits(
                odds, attributes.z.to(odds), reduction="none"
            )
        return F.cross_entropy(logits, attributes.z, reduction="none")

    def entropy(self, seen: Tensor, y: Tensor) -> Tensor:
        """Return the entropy of its answer, in nats; its parameters have no gradient [B]."""
        parts = {k: v.detach() for k, v in self.named_parameters()}
        logits: Tensor = functional_call(self, parts, (seen, y))
        if self.binary:
            odds = logits[:, 0]
            return F.softplus(odds) - odds * odds.sigmoid()
        log = logits.log_softmax(1)
        return -(log.exp() * log).sum(1)


class Regressor(Discriminator):
    """Predicts a continuous attribute, by the squared error; sees what a discriminator sees."""

    def attributes(self, batch: Batch) -> Attributes:
        """Return what it is to predict of a batch."""
        value, weight = continuous_rows(batch)
        mask = (weight > 0) & self.counts(batch)
        return Attributes(value, mask.float())

    def losses(self, seen: Tensor, y: Tensor, attributes: Attributes) -> Tensor:
        """Return the squared error of each row, those that do not count included [B]."""
        answer = self(seen, y)[:, 0]
        return square(answer - attributes.z.to(answer))


def reversed_gradient(value: Tensor) -> Tensor:
    """Return the value itself, exactly; its gradient changes sign."""
    return 2 * value.detach() - value


class Adversary(Penalty):
    """An adversary predicts z from the model's output; the model learns to defeat it.

    The term is the adversary's mean cross-entropy over the global batch, with weights w_i, and
    the gradient that reaches the model is reversed: min over the adversary, max over the model,
    in one step of one optimiser. Source: gradient reversal, arXiv 1409.7495; as a fairness
    constraint on predictions arXiv 1801.07593, on features arXiv 1707.00075.

    One Adam with a group for the adversary equals two Adams stepped together. The adversary's
    own gradient carries ``weight``, too, to which Adam is indifferent. For several adversary
    steps per model step, or optimisers of two kinds, use FRTrain.

    Args:
        weight: Factor of the term in the loss.
        target: demographic_parity; equal_opportunity looks at the rows with
            ``y = positive_class`` alone; equalized_odds shows y to the adversary.
        sees: logits (of two classes the log-odds; cut at +-1000), probabilities, or features.
        hidden: Widths of the adversary's hidden layers; empty is a linear model.
        lr: Its learning rate; None takes the objective's.
        positive_class: Label that equal_opportunity is about.
        loss: cross_entropy; l1, 1 - the probability that the adversary gives to z
            (arXiv 1802.06309, with ``balance: cell``).
        balance: none, a mean over rows; class, a mean over labels of the means over their rows
            (DomainBed's CDANN); cell, over attribute values or, for equalized_odds, groups.
        entropy: Factor, before ``weight``, of - the mean entropy of the adversary's answer, which
            the model alone learns from: it is to leave the adversary unsure (arXiv 1812.10352,
            equation 5).
        attribute: z; or continuous: the adversary predicts ``data.continuous``, of deviation 1,
            and its loss is the squared error.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown target, input, loss or balance, a width below one, lr <= 0, no
            such class, or an option of discrete attributes with a continuous one.

    Example:
        >>> from frbench.networks import MLP
        >>> from frbench.objectives import ERM
        >>> model = ERM(2, 2, [5], network=MLP(hidden=[8]), penalties=[Adversary(lr=0.01)])
        >>> [group.get("lr") for group in model.parameter_groups()]
        [None, 0.01]
    """

    properties = Properties(weights="invariant", attributes=None)  # it has logits for single z

    def __init__(
        self,
        weight: NotNegative = 1.0,
        target: Target = "demographic_parity",
        sees: Sees = "logits",
        hidden: list[Count] | None = None,
        lr: Positive | None = None,
        positive_class: NotNegativeInt = 1,
        loss: Literal["cross_entropy", "l1"] = "cross_entropy",
        balance: Literal["none", "class", "cell"] = "none",
        entropy: NotNegative = 0.0,
        attribute: Attribute = "z",
        **schedule: Any,
    ) -> None:
        super().__init__(weight, **schedule)
        self.target = target
        self.sees = sees
        self.hidden = [32] if hidden is None else hidden
        self.lr = lr
        self.positive_class = positive_class
        self.loss = loss
        self.balance = balance
        self.entropy = entropy
        self.attribute = attribute
        self.sees_continuous = attribute == "continuous"
        if self.sees_continuous and (loss != "cross_entropy" or entropy or balance == "cell"):
            raise UserError(
                "Adversary.attribute: continuous has no loss: l1, entropy or balance: cell, which "
                "are about values of z; leave them out."
            )

    def bind(self, sizes: Sizes) -> None:
        """Create the adversary."""
        self.num_groups = sizes.num_groups
        check_class(self, self.positive_class, sizes.num_classes)
        odds = 1 if sizes.num_classes == 2 else sizes.num_classes
        width = {"logits": odds, "probabilities": sizes.num_classes, "features": self.num_features}
        kind = Regressor if self.sees_continuous else Discriminator
        given = sizes._replace(num_attributes=2) if self.sees_continuous else sizes  # one output
        self.network = kind(width[self.sees], given, self.target, self.positive_class, self.hidden)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """One group, with the adversary's rate."""
        rate = {} if self.lr is None else {"lr": self.lr}
        return [group | rate for group in super().parameter_groups()]

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the adversary's mean loss; its gradient towards the model is reversed."""
        seen = {
            "logits": lambda: margin(out.logits),
            "probabilities": lambda: out.logits.softmax(1),
            "features": lambda: out.features.flatten(1),
        }[self.sees]()
        attributes = self.network.attributes(batch)
        losses = self.network.losses(reversed_gradient(seen), batch.y, attributes)
        if self.loss == "l1":
            losses = -torch.expm1(-losses)
        value = self._mean(losses, attributes, batch)
        if self.entropy:
            unsure = self._mean(self.network.entropy(seen, batch.y), attributes, batch)
            value = value - self.entropy * unsure
        return value

    def _mean(self, losses: Tensor, attributes: Attributes, batch: Batch) -> Tensor:
        """Return the mean over the global batch that ``balance`` names."""
        if self.balance == "none":
            return global_mean(losses, attributes.mask * batch.weight)
        cell = batch.group if self.target == "equalized_odds" else batch.z
        cell = torch.where(attributes.mask > 0, batch.y if self.balance == "class" else cell, -1)
        return mean_of_present(*environment_means(losses, cell, batch.weight, self.num_groups))
