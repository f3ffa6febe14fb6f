"""The base of every network: a backbone, a linear head, built once the sizes are known."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from frbench.batch import Sizes


class Network(nn.Module, ABC):
    """A backbone and a linear head; subclasses write :meth:`build`.

    Attributes:
        backbone: x [B, ...] -> features [B, D].
        head: features [B, D] -> logits [B, C].
        num_features: D.
    """

    backbone: nn.Module
    head: nn.Module
    num_features: int

    @abstractmethod
    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the backbone and its number of features D."""

    def bind(self, sizes: Sizes) -> None:
        """Create the layers; called once, in the objective's constructor.

        Raises:
            ValueError: If the network belongs to another objective already.
        """
        if hasattr(self, "head"):
            raise ValueError("A network belongs to one objective; give each a new one.")
        self.backbone, num_features = self.build(sizes)
        self.num_features = num_features
        self.head = nn.Linear(num_features, sizes.num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [B, D] and logits [B, C]."""
        features = self.backbone(x)
        return features, self.head(features)
