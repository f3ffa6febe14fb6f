"""Steps of the data: what edits the training table, and what changes the inputs of all tables."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from frbench.contracts.properties import StepProperties
from frbench.contracts.ranges import CheckedArguments
from frbench.data.table import Table

Encode = Callable[[Any], Any]


class TableStep(CheckedArguments, ABC):
    """A map from training table to training table; subclasses write :meth:`apply`."""

    #: Names of the classes and of the attribute values, for messages; empty until :meth:`bind`.
    names: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    #: Seed of the data set.
    seed: int = 0
    #: What the tests hold :meth:`apply` to.
    properties = StepProperties()

    def bind(self, class_names: tuple[str, ...], attribute_names: tuple[str, ...]) -> None:
        """Learn how the data set calls its classes and attribute values."""
        self.names = (tuple(class_names), tuple(attribute_names))

    @abstractmethod
    def apply(self, table: Table, rng: np.random.Generator, encode: Encode) -> Table:
        """Return the edited table.

        Args:
            table: The training table as the earlier steps left it, with raw inputs.
            rng: The only source of randomness; seeded by the datamodule's ``seed``.
            encode: Turns raw inputs into a numeric array, for steps that need one.
        """

    def report(self) -> str:
        """Say what :meth:`apply` did, for the summary before training; nothing by default."""
        return ""


class Corruption(TableStep):
    """Damages the training table (label noise, poisoning); verified rows stay untouched."""


class Augmentation(TableStep):
    """Replaces or extends the training table (resynthesis, generated pairs)."""


class InputTransform(CheckedArguments, ABC):
    """A map of encoded inputs that is learnt from the training rows and applied to every table.

    Where a :class:`TableStep` changes the training table alone, this also changes what is
    evaluated (``transforms_evaluation``): the rows of validation, test and other files. What it
    has learnt is part of what the data set has learnt, and so of the checkpoint. A subclass writes
    :meth:`learn` and :meth:`transform`.
    """

    transforms_evaluation = True
    #: Whether :meth:`transform` looks at the attribute of a row; outputs then say so.
    reads_attribute = True

    @abstractmethod
    def learn(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, sizes: Any) -> dict[str, Any]:
        """Return what the training rows show, as lists and numbers.

        Args:
            x: Encoded inputs [N, D].
            y: Labels [N].
            z: Attributes, -1 where unknown [N].
            sizes: Sizes of the data set.
        """

    @abstractmethod
    def transform(self, x: np.ndarray, z: np.ndarray, learnt: dict[str, Any]) -> np.ndarray:
        """Return the changed inputs [N, D].

        Args:
            x: Encoded inputs [N, D].
            z: Attributes, -1 where unknown [N].
            learnt: What :meth:`learn` gave.
        """
