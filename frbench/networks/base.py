"""The base of every network: a backbone, a linear head, built once the sizes are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import CheckedArguments, Count
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
    #: Whether its weights are not drawn at random but come from a file.
    pretrained = False
    #: Whether token ids must be those of a tokenizer, not of the words of the training rows.
    needs_tokenizer = False

    backbone: nn.Module
    head: nn.Module
    num_features: int

    @staticmethod
    def wrap(module: nn.Module, num_features: int) -> Network:
        """Make a network of any module that gives features; see :class:`Wrapped`."""
        return Wrapped(module, num_features)

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


class Wrapped(Network):
    """A module of the user's own that gives features, with a linear head.

    Args:
        module: Maps x [B, ...] to features [B, D]. To be rebuilt from a checkpoint, it is an
            object of a class in a file, which keeps the arguments of its constructor under their
            own names.
        num_features: D.

    Raises:
        UserError: If it gives something else than features [B, D].

    Example:
        >>> import torch
        >>> network = Network.wrap(nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU()), 4)
        >>> network.bind(Sizes(3, 2, (2, 3)))
        >>> [tuple(t.shape) for t in network(torch.zeros(5, 2, 3))]
        [(5, 4), (5, 3)]
    """

    def __init__(self, module: nn.Module, num_features: Count) -> None:
        super().__init__()
        # Not as a part of this one, which it is as the backbone: its tensors have one name.
        object.__setattr__(self, "module", module)
        self.num_features = num_features

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the module, after a try on two inputs of zeros."""
        module: nn.Module = vars(self)["module"]
        what = f"Wrapped.module: {type(module).__name__}"
        training = module.training
        try:
            with torch.no_grad():
                features = module.eval()(torch.zeros(2, *sizes.input_shape))
        except Exception as error:  # of the user's own code
            shape = list(sizes.input_shape)
            raise UserError(
                f"{what} does not take inputs of shape {shape} "
                f"({type(error).__name__}: {' '.join(str(error).split()):.200})."
            ) from error
        finally:
            module.train(training)
        given = list(getattr(features, "shape", []))
        if given != [2, self.num_features]:
            raise UserError(
                f"{what} gives {given or type(features).__name__} for 2 rows, not features "
                f"[2, {self.num_features}]; flatten them, or correct num_features."
            )
        return module, self.num_features


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
