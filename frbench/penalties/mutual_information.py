"""Mutual information between prediction and attribute, smooth in the logits."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.ranges import NotNegative, NotNegativeInt, Positive, check_class
from frbench.distributed import all_total
from frbench.functional.fairness import Target
from frbench.penalties.base import Penalty

Normaliser = Literal["none", "label", "attribute", "prediction", "min"]


def _entropy(p: Tensor) -> Tensor:
    """Entropy in nats of a table of probabilities; a cell of 0 has gradient 0."""
    result: Tensor = torch.special.entr(p.clamp(min=1e-30)).sum()
    return result


def joint_table(
    probabilities: Tensor, batch: Batch, sizes: Sizes, target: Target, positive_class: int = 1
) -> Tensor:
    """Weighted share of each (stratum, attribute, predicted class) in the global batch.

    Args:
        probabilities: Of each class, of this process's rows [B, C].
        batch: These rows; those of unknown attribute are left out.
        sizes: C and A.
        target: demographic_parity has one stratum, equal_opportunity that of the rows with
            ``y = positive_class``, equalized_odds one for each label.
        positive_class: The favourable label.

    Returns:
        Shares of sum one [S, A, C], with gradients for this process's rows; all zero if no row
        is left.
    """
    slots = sizes.num_groups + 1
    sums = probabilities.new_zeros(slots, sizes.num_classes)
    weight = batch.weight.to(probabilities.dtype)
    sums = sums.index_add(0, batch.group % slots, weight[:, None] * probabilities)
    table = all_total(sums)[:-1].view(sizes.num_classes, sizes.num_attributes, sizes.num_classes)
    if target == "demographic_parity":
        table = table.sum(0, keepdim=True)
    elif target == "equal_opportunity":
        table = table[positive_class : positive_class + 1]
    return table / table.sum().clamp(min=1e-30)


def conditional_information(table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """I(Yhat; Z | S), H(Z | S) and H(Yhat | S) in nats.

    I = H(S, Z) + H(S, Yhat) - H(S, Z, Yhat) - H(S).

    Args:
        table: Joint probabilities [S, A, C].

    Example:
        >>> table = torch.tensor([[[0.5, 0.0], [0.0, 0.5]]])
        >>> [round(float(v), 4) for v in conditional_information(table)]
        [0.6931, 0.6931, 0.6931]
    """
    stratum = _entropy(table.sum((1, 2)))
    attribute = _entropy(table.sum(2)) - stratum
    prediction = _entropy(table.sum(1)) - stratum
    return attribute + prediction + stratum - _entropy(table), attribute, prediction


def normalised(
    information: Tensor,
    attribute: Tensor,
    prediction: Tensor,
    label_entropy: Tensor,
    normaliser: Normaliser,
) -> Tensor:
    """Divide I by the chosen entropy; where I has no room, it is 0 and stays so.

    Args:
        information: I(Yhat; Z | S), of any shape; as the next two.
        attribute: H(Z | S).
        prediction: H(Yhat | S).
        label_entropy: H(Y) of the training rows.
        normaliser: Which entropy, as for :class:`MutualInformation`.
    """
    entropy = {
        "none": None,
        "label": label_entropy,
        "attribute": attribute,
        "prediction": prediction,
        "min": torch.minimum(attribute, prediction),
    }[normaliser]
    # I is at most either entropy; where that is nil, so is what is to be removed.
    return information if entropy is None else information / entropy.clamp(min=1e-4)


class MutualInformation(Penalty):
    """Mutual information of prediction and attribute, of the mean class probabilities per z.

    With q_i = softmax(beta * logits_i) (for two classes sigmoid(beta (l_1 - l_0))) and weights
    w_i of sum one over the global batch: p(z, c) = sum_i w_i 1[z_i = z] q_ic and
    I = sum_zc p(z, c) log(p(z, c) / (p(z) p(c))), in nats. Source: the smooth measure of an
    imbalance study of FR-Train (arXiv 2002.10234), there with beta 20 and two classes.

    equal_opportunity takes the rows with ``y = positive_class`` alone; equalized_odds gives
    I(Yhat; Z | Y). Rows of unknown attribute are left out.

    Args:
        weight: Factor of the term in the loss; positive makes predictions independent of z.
        target: demographic_parity, equal_opportunity or equalized_odds.
        beta: Steepness; 1 is the model's own probability, 20 nearly its decision, whose gradient
            vanishes for rows more than 0.3 away from it.
        normaliser: Divides I by the entropy of the label (of the training rows, a constant: the
            same as another weight), of the attribute, of the prediction, or by the smaller of
            the last two; entropies are conditional as I is. none leaves I as it is.
        positive_class: Label that equal_opportunity is about.
        schedule: ``start``, ``before``, ``ramp`` and ``reset_optimizer`` of
            :class:`~frbench.penalties.Penalty`.

    Raises:
        UserError: For an unknown target or normaliser, beta <= 0, or no such class.

    Example:
        >>> from frbench.data import TwoGaussians
        >>> penalty = MutualInformation(weight=2.0)
        >>> data = TwoGaussians(n=40, batch_size=40)
        >>> penalty.bind(data.sizes)
        >>> batch = next(iter(data.train_dataloader()))
        >>> logits = torch.nn.functional.one_hot(batch.z).float() * 50  # predicts z itself
        >>> value = penalty(Outputs(logits, logits, logits[:, 0]), batch)
        >>> p = batch.z.float().mean()
        >>> torch.allclose(value, -(p * p.log() + (1 - p) * (1 - p).log()))
        True
    """

    label_entropy: Tensor

    def __init__(
        self,
        weight: NotNegative = 1.0,
        target: Target = "demographic_parity",
        beta: Positive = 1.0,
        normaliser: Normaliser = "none",
        positive_class: NotNegativeInt = 1,
        **schedule: Any,
    ) -> None:
        super().__init__(weight, **schedule)
        self.target = target
        self.beta = beta
        self.normaliser = normaliser
        self.positive_class = positive_class
        # Read from the data at the start of fitting, hence not part of the checkpoint.
        self.register_buffer("label_entropy", torch.ones(()), persistent=False)

    def bind(self, sizes: Sizes) -> None:
        """Keep the sizes."""
        check_class(self, self.positive_class, sizes.num_classes)
        self.sizes = sizes

    def bind_data(self, data: Any) -> None:
        """Read the entropy of the training labels."""
        counts = torch.as_tensor(data.training.table.y).bincount().double()
        self.label_entropy.fill_(_entropy(counts / counts.sum()))

    def forward(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the (normalised) mutual information."""
        probabilities = (self.beta * out.logits).softmax(1)
        table = joint_table(probabilities, batch, self.sizes, self.target, self.positive_class)
        information, attribute, prediction = conditional_information(table)
        return normalised(information, attribute, prediction, self.label_entropy, self.normaliser)
