"""The base of group inference: which attribute training takes a row for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import CheckedArguments, NotNegativeInt, OpenShare


class Rows(NamedTuple):
    """The training table at the end of the first stage, in its order.

    Attributes:
        features: Features of the network in evaluation mode, float32 [N, D].
        logits: Its logits [N, C].
        losses: Its cross-entropies [N].
        y: Labels [N].
        z: Attributes, -1 where unknown; all -1 unless the inference says that it uses them [N].
    """

    features: np.ndarray
    logits: np.ndarray
    losses: np.ndarray
    y: np.ndarray
    z: np.ndarray


#: Length of a first stage: epochs, or a share of the run.
StageLength = NotNegativeInt | OpenShare


class GroupInference(CheckedArguments, ABC):
    """Gives each training row an attribute z' that training sees instead of z.

    The first ``epochs`` epochs train the network under :meth:`risk`, without penalties and mixing.
    Then the network runs once over the training table, in evaluation mode and without random
    transforms, and :meth:`infer` gives z'. The second stage trains the objective with z' from the
    initial weights on, and counts epochs and steps from zero. Metrics, logs and the names of
    groups keep the data's z.

    An inference knows arrays, :class:`~frbench.Batch` and :class:`~frbench.Outputs` alone. It
    keeps its constructor arguments under their own names and has no state.

    Args:
        epochs: Length of the first stage: an integer, or a share of the run that ends by
            ``trainer.max_epochs`` or ``max_steps``, rounded to whole epochs, at least one.
        start: A checkpoint with the same network, whose weights stand for the first stage. It is
            read when training starts.

    Raises:
        UserError: If a first stage is needed and there is none.
    """

    #: Number of values of z', A'; :meth:`bind` may change it.
    num_attributes = 2
    #: Whether the second stage begins with the initial weights, or with those of the first.
    begin_anew = True
    #: Whether :meth:`weights` go into the weights of the losses or into the sampler.
    via: Literal["sample", "weight"] = "weight"
    #: Whether :meth:`infer` looks at what a network gives; without it there is no first stage.
    needs_outputs = True
    #: Whether :meth:`infer` gets the known attributes.
    sees_attribute = False
    #: Whether :meth:`membership` gives probabilities, for objectives that ``take_membership``.
    soft = False

    def __init__(self, epochs: StageLength = 1, start: str | None = None) -> None:
        if self.needs_outputs and not epochs and start is None:
            raise UserError(
                f"{type(self).__name__}.epochs: the first stage needs at least one epoch, or the "
                "checkpoint of a trained network as start."
            )
        self.epochs = epochs
        self.start = start

    def length(self, whole: float) -> int:
        """Return the epochs of the first stage.

        Args:
            whole: Epochs of the run.
        """
        if self.start is not None:
            return 0
        epochs = self.epochs
        return epochs if isinstance(epochs, int) else max(1, round(epochs * whole))

    def bind(self, sizes: Sizes) -> None:
        """Set what depends on the sizes; called once, in the objective's constructor."""

    def check(self, z: np.ndarray) -> None:
        """Refuse a table that nothing can be inferred on; called before training.

        Args:
            z: Known attributes of the training rows [N].
        """

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the loss of the first stage, ERM's by default; rules as for an objective's."""
        return (batch.weight * out.losses).mean()

    @abstractmethod
    def infer(self, rows: Rows, rng: np.random.Generator) -> np.ndarray:
        """Return z' of each training row, -1 where unknown, int [N].

        Args:
            rows: The training table and what the network gives.
            rng: The only source of randomness, the same on every process.
        """

    def weights(self, z: np.ndarray, rows: Rows) -> np.ndarray | None:
        """Return weights of the rows in the second stage, or None; only their ratios count [N].

        They multiply those of the training distribution and of the objective.

        Args:
            z: What :meth:`infer` gave [N].
            rows: What it was given.
        """
        return None

    def membership(self, z: np.ndarray, rows: Rows) -> np.ndarray:
        """Return P(z' = a) of each row, where ``soft``; 0 for all a where unknown [N, A'].

        Args:
            z: What :meth:`infer` gave [N].
            rows: What it was given.
        """
        return np.asarray(z[:, None] == np.arange(self.num_attributes), dtype=np.float64)
