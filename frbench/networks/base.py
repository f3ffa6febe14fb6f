"""The base of every network: a backbone, a linear head, built once the sizes are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor, nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import CheckedArguments
from frbench.contracts.spec import init_parameters


class Network(CheckedArguments, nn.Module, ABC):
    """A backbone and a linear head; subclasses write :meth:`build`.

    Attributes:
        backbone: x [B, ...] -> features [B, D].
        head: features [B, D] -> logits [B, C].
        num_features: D.
    """

    #: Whether inputs are token ids.
    reads_text = False
    #: Token id that it takes for padding; None if it asks the tokenizer, or reads no text.
    padding: int | None = None

    backbone: nn.Module
    head: nn.Module
    num_features: int

    @abstractmethod
    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the backbone and its number of features D."""

    def bind(self, sizes: Sizes) -> None:
        """Create the layers; called once, in the objective's constructor.

        Raises:
            UserError: If the network is for text and the data is not, or the reverse.
            ValueError: If the network belongs to another objective already.
        """
        if hasattr(self, "head"):
            raise ValueError("A network belongs to one objective; give each a new one.")
        if self.reads_text != bool(sizes.vocab_size):
            has, remedy = ("text", "BagOfWords") if sizes.vocab_size else ("no text", "MLP")
            raise UserError(
                f"The data has {has}, which {type(self).__name__} does not read; use "
                f"--model.network {remedy}."
            )
        self._sizes = sizes
        self.backbone, num_features = self.build(sizes)
        self.num_features = num_features
        self.head = nn.Linear(num_features, sizes.num_classes)
        # Lightning trains in the modes that it finds: loaded encoders come in evaluation mode,
        # frozen backbones must be put into it.
        self.train()

    def twin(self) -> Self:
        """Return another network of the same class and arguments, with weights drawn anew."""
        names = init_parameters(type(self))
        other = type(self)(**{name: getattr(self, name) for name in names})
        other.bind(self._sizes)
        return other

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [B, D] and logits [B, C]."""
        features = self.backbone(x)
        return features, self.head(features)


def check_image(sizes: Sizes, owner: str) -> None:
    """Refuse inputs that are no images.

    Raises:
        UserError: Unless the shape of an input is [channels, height, width].
    """
    if len(sizes.input_shape) != 3:
        raise UserError(
            f"{owner} needs images [channels, height, width], got inputs of shape "
            f"{sizes.input_shape}; use --model.network MLP."
        )
