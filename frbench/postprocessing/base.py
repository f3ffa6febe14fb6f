"""The contracts of what is fitted after training, and the outputs that it is fitted on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import CheckedArguments
from frbench.group_inference.base import GroupInference, Rows

#: What tells the group of a row when a map is applied, see :class:`GroupMap`.
Attribute = Literal["known", "inferred"] | GroupInference


class HeldOut(NamedTuple):
    """Outputs of a trained network on the rows of a split, in the table's order.

    Attributes:
        features: Output of the backbone, float64 [N, D].
        logits: Logits of the classes, float64 [N, C].
        y: Labels, int [N].
        z: Attributes, -1 where unknown [N].
        num_classes: C.
        num_attributes: A.
        weight: Weights of the last layer as it was trained, float64 [C, D]; None if it is not
            linear in the features.
        bias: Its bias [C].
        names: Names of the groups (y, z), for messages; empty for their numbers.
        earlier: Logits of an earlier checkpoint of the same run [N, C], where one was given.
        true_z: Where z are groups that a map tells from the features: what they stand for, the
            attributes of the data or the groups that an inference found [N].
    """

    features: np.ndarray
    logits: np.ndarray
    y: np.ndarray
    z: np.ndarray
    num_classes: int
    num_attributes: int
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    names: tuple[str, ...] = ()
    earlier: np.ndarray | None = None
    true_z: np.ndarray | None = None

    @property
    def group(self) -> np.ndarray:
        """Cells ``y * A + z``, -1 where z is unknown [N]."""
        return np.where(self.z < 0, -1, self.y * self.num_attributes + self.z)

    @property
    def probabilities(self) -> np.ndarray:
        """Class probabilities [N, C], by the same operation as in evaluation."""
        found: np.ndarray = torch.as_tensor(self.logits).softmax(1).numpy()
        return found

    def take(self, rows: np.ndarray) -> HeldOut:
        """Return some of the rows (a mask, or positions)."""
        return self._replace(
            features=self.features[rows],
            logits=self.logits[rows],
            y=self.y[rows],
            z=self.z[rows],
            earlier=None if self.earlier is None else self.earlier[rows],
            true_z=None if self.true_z is None else self.true_z[rows],
        )

    def name(self, group: int) -> str:
        """Name a group (y, z) for a message."""
        return self.names[group] if self.names else str(group)


class Head(NamedTuple):
    """A refitted last layer, for features as they are.

    Attributes:
        weight: Float64 [C, D].
        bias: Float64 [C].
        report: How it came about, plain values for the record.
    """

    weight: np.ndarray
    bias: np.ndarray
    report: dict[str, Any]


class Postprocessor(CheckedArguments, ABC):
    """Base of methods that are fitted after training, on outputs of held-out rows.

    A method is one of two kinds: a :class:`LastLayer` replaces the last layer of the network, an
    :class:`OutputMap` stays behind it. Both know arrays alone;
    :mod:`frbench.training.postprocess` runs the network and writes the checkpoint.
    """

    #: Split that it is fitted on, unless told otherwise.
    fits_on: ClassVar[Literal["val", "train"]] = "val"
    #: Columns of the held-out rows that it looks at, beside the outputs.
    needs: ClassVar[tuple[str, ...]] = ("y", "z")
    #: Whether it takes all rows of the split and makes its own choices on parts of them; of others
    #: a half fits and only the other half selects.
    uses_all: ClassVar[bool] = False
    #: Whether a decision depends on the attribute of its row; outputs then say so.
    reads_attribute = False

    @abstractmethod
    def fit(self, rows: HeldOut) -> Any:
        """Fit on outputs of held-out rows; the two kinds say what comes of it."""


class LastLayer(Postprocessor):
    """Base class of methods that replace a network's last layer, features unchanged."""

    @abstractmethod
    def fit(self, rows: HeldOut) -> Head:
        """Fit the last layer.

        Args:
            rows: Outputs of the network on held-out rows.
        """


class OutputMap(Postprocessor, nn.Module):
    """Base class of maps from outputs to decisions or to other scores.

    A map is an argument of the objective: its specification and its buffers are in the checkpoint,
    so that whatever loads the checkpoint applies it. A subclass creates its buffers in
    :meth:`bind`, writes them in :meth:`fit`, and overrides :meth:`decide`, :meth:`scores` or
    both. Score metrics use what :meth:`scores` gives; counts of predictions what
    :meth:`decide` gives.
    """

    #: Whether the map reads the features; else it is given an empty tensor [B, 0].
    uses_features = False
    #: Seed of randomised decisions.
    seed = 0

    def bind(self, sizes: Sizes, num_features: int) -> None:
        """Create the buffers; called once, in the objective's constructor.

        Args:
            sizes: Sizes of the data.
            num_features: D.
        """

    @abstractmethod
    def fit(self, rows: HeldOut) -> dict[str, Any]:
        """Write the buffers.

        Args:
            rows: Outputs of the network on held-out rows.

        Returns:
            How it came about, plain values for the record.
        """

    def scores(self, logits: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """Return the logits that score metrics and probabilities come from [B, C].

        Args:
            logits: Logits of the network [B, C].
            features: Output of the backbone [B, D].
            z: Attributes, -1 where unknown [B].
        """
        return logits

    def decide(self, probabilities: Tensor, features: Tensor, z: Tensor) -> Tensor | None:
        """Return the probability of each decision [B, C]; None if the largest score decides.

        Args:
            probabilities: Class probabilities, float64 [B, C].
            features: Output of the backbone [B, D].
            z: Attributes, -1 where unknown [B].
        """
        return None


class GroupMap(OutputMap):
    """Base of maps that treat groups of rows differently.

    A group is a value of the attribute where that is known when the map is applied. Where it is
    not, groups are told from the features by a softmax regression, in which all groups weigh the
    same and which :meth:`fit_groups` fits on the held-out rows; the map is then fitted for the
    groups as the regression tells them, so that it does on the held-out rows what it will do on
    others. Rows of unknown group keep the network's decision.

    Args:
        attribute: What tells the group of a row when the map is applied: the attribute itself
            (known), a regression of it on the features (inferred), or a regression of the groups
            that an inference of :mod:`frbench.group_inference` finds among the held-out rows,
            which needs no attribute at all.
        seed: Seed of randomised decisions.
    """

    #: Whether it is for two classes.
    binary = True
    #: Whether the regression of the groups may leave one empty.
    allows_empty = False
    reads_attribute = True
    attribute_weight: Tensor

    def __init__(self, attribute: Attribute = "known", seed: int = 0) -> None:
        super().__init__()
        self.attribute = attribute
        self.seed = seed
        self.reads_attribute = attribute == "known"
        self.uses_features = not self.reads_attribute

    def bind(self, sizes: Sizes, num_features: int) -> None:
        """Check the number of classes and make room for the regression of the groups."""
        if self.binary and sizes.num_classes != 2:
            raise UserError(
                f"{type(self).__name__} is for two classes; the data has {sizes.num_classes}."
            )
        self.num_classes, self.num_attributes = sizes.num_classes, sizes.num_attributes
        if isinstance(self.attribute, GroupInference):
            self.attribute.bind(sizes)
            self.num_attributes = self.attribute.num_attributes
        if self.attribute != "known":
            shape = (self.num_attributes, num_features + 1)
            self.register_buffer("attribute_weight", torch.zeros(shape, dtype=torch.float64))

    def fit_groups(self, rows: HeldOut) -> HeldOut:
        """Find the group of each held-out row, as it is found when the map is applied.

        Args:
            rows: The held-out rows.

        Returns:
            The rows of known group, which is their ``z``; ``true_z`` is what it stands for, where
            it is inferred.

        Raises:
            UserError: If there are no rows of a group.
        """
        if isinstance(self.attribute, GroupInference):
            losses = -np.log(rows.probabilities[np.arange(len(rows.y)), rows.y].clip(1e-300))
            seen = rows.z if self.attribute.sees_attribute else np.full_like(rows.z, -1)
            z = self.attribute.infer(
                Rows(rows.features.astype(np.float32), rows.logits, losses, rows.y, seen),
                np.random.default_rng([self.seed, 33]),
            )
            rows = rows._replace(z=z, num_attributes=self.num_attributes, names=())
        known = rows.take(rows.z >= 0)
        self._check_all_there(known)
        if self.attribute == "known":
            return known
        from frbench.postprocessing.linear import class_weights, minimise

        equal = class_weights(known.z)  # else a rare group may never be told
        zeros = np.zeros((self.num_attributes, known.features.shape[1]))
        weight, bias = minimise(known.features, known.z, equal, zeros, zeros[:, 0], 1e-4)
        self.attribute_weight.copy_(torch.as_tensor(np.concatenate([weight, bias[:, None]], 1)))
        known = known._replace(z=self.groups_of(known), true_z=known.z)
        if not self.allows_empty:
            self._check_all_there(known)
        return known

    def _check_all_there(self, rows: HeldOut) -> None:
        if len(absent := np.setdiff1d(np.arange(self.num_attributes), rows.z)):
            whose = "" if rows.true_z is None else ", as the features tell it"
            raise UserError(
                f"{type(self).__name__} has no held-out rows of the attribute value {absent[0]}"
                f"{whose}; use a larger held-out split."
            )

    def groups(self, features: Tensor, z: Tensor) -> Tensor:
        """Return the group that each row is treated as, -1 where unknown [B]."""
        if self.attribute == "known":
            return z
        found = features.double() @ self.attribute_weight[:, :-1].T + self.attribute_weight[:, -1]
        return found.argmax(1)

    def groups_of(self, rows: HeldOut) -> np.ndarray:
        """Return :meth:`groups` of held-out rows [N]."""
        features, z = torch.as_tensor(rows.features), torch.as_tensor(rows.z)
        found: np.ndarray = self.groups(features, z).numpy()
        return found

    def names_of(self, rows: HeldOut) -> list[str]:
        """Return names of the groups, for messages and the record."""
        if not rows.names:
            return [str(a) for a in range(rows.num_attributes)]
        return [rows.names[a].partition(",")[2] for a in range(rows.num_attributes)]


def decided(
    postprocess: OutputMap, logits: Tensor, features: Tensor, z: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Apply a map to outputs of a network.

    Args:
        postprocess: The map.
        logits: Logits [B, C].
        features: Output of the backbone [B, D].
        z: Attributes, -1 where unknown [B].

    Returns:
        Logits [B, C], and the probability of each decision [B, C]; None if the largest decides.
    """
    features = features if postprocess.uses_features else logits[:, :0]
    logits = postprocess.scores(logits, features, z)
    return logits, postprocess.decide(logits.double().softmax(1), features, z)


def draw(shares: Tensor, index: Tensor, seed: int) -> Tensor:
    """Draw decisions; a row's draw depends on its place in the table and the seed alone.

    Args:
        shares: Probability of each decision, float64 [B, C].
        index: Place of each row in its table [B].
        seed: Any integer.

    Returns:
        Codes of classes [B]: the same for any batch size, order of rows, and number of devices.

    Example:
        >>> half = torch.full((10_000, 2), 0.5, dtype=torch.float64)
        >>> drawn = draw(half, torch.arange(10_000), 0)
        >>> bool(abs(drawn.double().mean() - 0.5) < 0.02), draw(half[:2], torch.arange(2), 0).shape
        (True, torch.Size([2]))
    """
    # SplitMix64 in wrapping int64; a logical shift is an arithmetic one and a mask.
    key = index.long() * -7046029254386353131 + (seed * 2654435769 + 1442695040888963407) % 2**62
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        key = (key ^ ((key >> shift) & (2 ** (64 - shift) - 1))) * factor
    key = key ^ ((key >> 31) & (2**33 - 1))
    uniform = ((key >> 11) & (2**53 - 1)).double() / 2**53
    return (uniform[:, None] >= shares.cumsum(1)[:, :-1]).sum(1)
