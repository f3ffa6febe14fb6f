"""Last layers that are refitted on held-out or training rows by softmax regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import (
    Count,
    NotNegative,
    NotNegativeInt,
    OpenShare,
    Positive,
    checked,
)
from frbench.postprocessing.base import Head, HeldOut, LastLayer
from frbench.postprocessing.linear import (
    check_classes,
    class_weights,
    descend,
    log_softmax,
    loss_and_gradient,
    minimise,
)

Balance = Literal["none", "class", "group"]


def strata(name: str, rows: HeldOut, balance: Balance) -> tuple[HeldOut, np.ndarray]:
    """Return the rows that a balance can use, and the values that it makes equally frequent.

    Raises:
        UserError: If a class has no rows.
    """
    if balance == "group":
        rows = rows.take(rows.z >= 0)
    check_classes(name, rows.y, rows.num_classes)
    if balance == "none":
        return rows, np.zeros(len(rows.y), np.int64)
    return rows, rows.group if balance == "group" else rows.y


def trained_layer(name: str, rows: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """Return the last layer as it was trained.

    Raises:
        UserError: If there is none.
    """
    if rows.weight is None or rows.bias is None:
        raise UserError(f"{name} starts from the trained last layer, and the rows come with none.")
    return rows.weight, rows.bias


@checked
@dataclass(frozen=True)
class LLR(LastLayer):
    """Last-layer retraining: softmax regression on held-out features (arXiv 2309.08534).

    min sum_i w_i l_i + decay |theta|^2 on standardised features, from a layer of zeros: the
    optimum of the convex loss, which the paper approaches by stochastic steps. ``balance: class``
    is class-balanced retraining (CB-LLR), ``group`` uses the attribute of the held-out rows.

    Args:
        balance: What is equally frequent: none, class, or group.
        via: Whether rows are weighed, or the larger classes or groups lose rows at random.
        decay: Strength of the quadratic penalty on standardised features.
        keep: Whether the penalty is on the difference to the trained layer, where the search
            starts, rather than on the weights themselves.
        seed: Seed of the subset.

    Raises:
        UserError: If a class has no held-out rows.

    Example:
        >>> y, z = np.array([0, 0, 0, 1]), np.zeros(4, int)
        >>> rows = HeldOut(np.array([[0.0], [0.0], [1.0], [1.0]]), np.zeros((4, 2)), y, z, 2, 1)
        >>> head = LLR(balance="class", decay=1e-9).fit(rows)
        >>> odds = np.exp(head.weight[1] + head.bias[1] - head.weight[0] - head.bias[0])
        >>> float(odds[0].round(3))
        3.0
    """

    balance: Balance = "none"
    via: Literal["weight", "subset"] = "weight"
    decay: NotNegative = 1e-4
    keep: bool = False
    seed: NotNegativeInt = 0

    def fit(self, rows: HeldOut) -> Head:
        """Fit the last layer."""
        name = type(self).__name__
        rows, stratum = strata(name, rows, self.balance)
        if self.via == "subset":
            rng = np.random.default_rng([self.seed, 23])
            members = [np.flatnonzero(stratum == s) for s in np.unique(stratum)]
            size = min(map(len, members))
            chosen = np.sort(np.concatenate([rng.choice(m, size, replace=False) for m in members]))
            rows, stratum = rows.take(chosen), stratum[chosen]
        weight = np.zeros((rows.num_classes, rows.features.shape[1]))
        bias = np.zeros(rows.num_classes)
        if self.keep:
            weight, bias = trained_layer(name, rows)
        weights = class_weights(stratum)
        found = minimise(rows.features, rows.y, weights, weight, bias, self.decay)
        loss, *_ = loss_and_gradient(rows.features, rows.y, weights, *found)
        return Head(*found, {"loss": loss, "rows_used": len(rows.y)})


@checked
@dataclass(frozen=True)
class VanillaCRT(LLR):
    """A new last layer on the training rows as they are: :class:`LLR` on the training split.

    The control of :class:`CRT` in arXiv 2302.12254 (SubpopBench).

    Args:
        balance: As of :class:`LLR`.
        via: As of :class:`LLR`.
        decay: As of :class:`LLR`.
        keep: As of :class:`LLR`.
        seed: As of :class:`LLR`.

    Example:
        >>> y = np.array([0, 0, 0, 1])
        >>> rows = HeldOut(np.zeros((4, 1)), np.zeros((4, 2)), y, np.zeros(4, int), 2, 1)
        >>> bias = VanillaCRT(decay=0).fit(rows).bias  # of features that say nothing
        >>> round(float(np.exp(bias[1] - bias[0])), 3)  # one to three, as in the rows
        0.333
    """

    fits_on: ClassVar[Literal["val", "train"]] = "train"


@checked
@dataclass(frozen=True)
class CRT(VanillaCRT):
    """Classifier retraining on a balanced draw of the training rows (arXiv 1910.09217).

    The larger groups (or classes, as in the paper) lose rows at random, once; the backbone is the
    trained one, and the last layer begins anew.

    Args:
        balance: What is equally frequent: class (the paper), or group (SubpopBench).
        via: As of :class:`LLR`.
        decay: As of :class:`LLR`.
        keep: As of :class:`LLR`.
        seed: As of :class:`LLR`.

    Example:
        >>> y = np.array([0, 0, 0, 1])
        >>> rows = HeldOut(np.zeros((4, 1)), np.zeros((4, 2)), y, np.zeros(4, int), 2, 1)
        >>> head = CRT(decay=0).fit(rows)  # one row of each group
        >>> head.report["rows_used"], round(float(np.exp(head.bias[1] - head.bias[0])), 3)
        (2, 1.0)
    """

    balance: Balance = "group"
    via: Literal["weight", "subset"] = "subset"


@checked
@dataclass(frozen=True)
class ReweightCRT(VanillaCRT):
    """Classifier retraining on training rows with balancing weights (arXiv 1910.09217).

    Args:
        balance: What is equally frequent: class or group.
        via: As of :class:`LLR`.
        decay: As of :class:`LLR`.
        keep: As of :class:`LLR`.
        seed: As of :class:`LLR`.

    Example:
        >>> y = np.array([0, 0, 0, 1])
        >>> rows = HeldOut(np.zeros((4, 1)), np.zeros((4, 2)), y, np.zeros(4, int), 2, 1)
        >>> head = ReweightCRT(decay=0).fit(rows)  # all rows, groups of equal weight
        >>> head.report["rows_used"], round(float(np.exp(head.bias[1] - head.bias[0])), 3)
        (4, 1.0)
    """

    balance: Balance = "group"


@checked
@dataclass(frozen=True)
class AFR(LastLayer):
    """Automatic feature reweighting (Qiu et al., arXiv 2306.11074): no attribute is needed.

    Held-out rows that the model finds hard get large weights, w_i proportional to
    exp(-gamma p_i(y_i)), of sum one; from the trained layer theta_0, gradient descent takes
    ``steps`` steps on sum_i w_i l_i + decay |theta - theta_0|^2. The paper keeps 20 % of the
    training rows for it; here it is fitted on validation rows unless told otherwise.

    Args:
        gamma: How much hard rows are preferred; 0 for not at all.
        decay: Strength of the pull to the trained layer.
        steps: Steps of gradient descent.
        lr: Step size.
        clip: Largest norm of a gradient; null for no limit.
        balance: Whether the weights also make classes equally heavy.

    Raises:
        UserError: If a class has no held-out rows, or the trained layer is not linear.

    Example:
        >>> logits = np.array([[1, -1], [0.5, 0], [-0.25, 0.75], [2, 0]])
        >>> rows = HeldOut(np.eye(4), logits, np.array([0, 1, 1, 0]), np.zeros(4, int), 2, 1)
        >>> AFR(gamma=4).weights(rows).round(6).tolist()
        [0.088447, 0.662112, 0.160993, 0.088447]
    """

    needs: ClassVar[tuple[str, ...]] = ("y",)

    gamma: NotNegative = 4.0
    decay: NotNegative = 0.0
    steps: NotNegativeInt = 500
    lr: Positive = 0.01
    clip: Positive | None = 1.0
    balance: bool = False

    def weights(self, rows: HeldOut) -> np.ndarray:
        """Return the weights of the rows, of sum one [N]."""
        right = rows.probabilities[np.arange(len(rows.y)), rows.y]
        weight = np.exp(-self.gamma * right)
        if self.balance:
            weight *= class_weights(rows.y)
        found: np.ndarray = weight / weight.sum()
        return found

    def fit(self, rows: HeldOut) -> Head:
        """Descend from the trained layer."""
        name = type(self).__name__
        rows, _ = strata(name, rows, "none")
        start = trained_layer(name, rows)
        weights = self.weights(rows)
        before, *_ = loss_and_gradient(rows.features, rows.y, weights, *start)
        found = descend(
            rows.features, rows.y, weights, *start, self.decay, self.steps, self.lr, self.clip
        )
        after, *_ = loss_and_gradient(rows.features, rows.y, weights, *found)
        effective = float(1 / (weights**2).sum())
        return Head(*found, {"loss_before": before, "loss": after, "effective_rows": effective})


@checked
@dataclass(frozen=True)
class SELF(LastLayer):
    """Selective last-layer finetuning (LaBonte et al., arXiv 2309.08534).

    Needs few labels and no attribute. The labels of ``rows`` held-out rows are used, equally many
    of each class: those with the largest disagreement KL(p || p') between the model and another
    one, or with the largest loss. The trained layer then takes ``steps`` steps of gradient descent
    on their mean loss.

    Args:
        by: The other model: earlier (the checkpoint of ``--earlier``), dropout (the same layer on
            features with dropped entries), or loss (misclassification: labels are looked at).
        rows: Number of rows to use.
        dropout: Share of the features that is dropped.
        steps: Steps of gradient descent.
        lr: Step size.
        seed: Seed of the dropout.

    Raises:
        UserError: If a class has no held-out rows, the trained layer is not linear, or the earlier
            checkpoint was not given.

    Example:
        >>> logits = np.array([[2, 0], [0.2, 0], [0, 3.0], [0.5, 0]])
        >>> x, layer = logits[:, :1], (np.array([[1.0], [0.0]]), np.zeros(2))
        >>> rows = HeldOut(x, logits, np.array([0, 0, 1, 1]), np.zeros(4, int), 2, 1, *layer)
        >>> method = SELF(by="loss", rows=2, steps=1, lr=1.0)
        >>> method.disagreement(rows).round(3).tolist()  # rows 1 and 3: the largest of each class
        [0.127, 0.598, 0.049, 0.974]
        >>> head = method.fit(rows)  # one step on their mean loss
        >>> head.report["rows_used"], head.weight.round(4).tolist()
        (2, [[0.8894], [0.1106]])
    """

    needs: ClassVar[tuple[str, ...]] = ("y",)

    by: Literal["earlier", "dropout", "loss"] = "dropout"
    rows: Count = 100
    dropout: OpenShare = 0.5
    steps: NotNegativeInt = 250
    lr: Positive = 0.01
    seed: NotNegativeInt = 0

    def disagreement(self, rows: HeldOut) -> np.ndarray:
        """Return by how much the other model disagrees on each row [N]."""
        log_p = log_softmax(rows.logits)
        if self.by == "loss":
            found: np.ndarray = -log_p[np.arange(len(rows.y)), rows.y]
            return found
        if self.by == "earlier":
            if rows.earlier is None:
                raise UserError("SELF.by: earlier needs an earlier checkpoint; give --earlier.")
            other = log_softmax(rows.earlier)
        else:
            weight, bias = trained_layer("SELF", rows)
            rng = np.random.default_rng([self.seed, 24])
            kept = rng.random(rows.features.shape) >= self.dropout
            other = log_softmax(rows.features * kept / (1 - self.dropout) @ weight.T + bias)
        found = (np.exp(log_p) * (log_p - other)).sum(1)
        return found

    def fit(self, rows: HeldOut) -> Head:
        """Finetune the trained layer on the selected rows."""
        given, _ = strata("SELF", rows, "none")
        start = trained_layer("SELF", given)
        size = -(-self.rows // given.num_classes)
        order = np.argsort(-self.disagreement(given), kind="stable")
        chosen = np.sort(
            np.concatenate([order[given.y[order] == c][:size] for c in range(given.num_classes)])
        )
        few = given.take(chosen)
        weights = class_weights(few.y)
        found = descend(few.features, few.y, weights, *start, 0.0, self.steps, self.lr)
        loss, *_ = loss_and_gradient(few.features, few.y, weights, *found)
        return Head(*found, {"loss": loss, "rows_used": len(chosen)})
