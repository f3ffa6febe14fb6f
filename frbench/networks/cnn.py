"""A small convolutional network for images of 8 to 64 pixels."""

from __future__ import annotations

from torch import nn

from frbench.batch import Sizes
from frbench.errors import UserError
from frbench.networks.base import Network


class SmallCNN(Network):
    """Blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then one dense ReLU layer.

    Args:
        channels: Channels of each block; every block halves height and width.
        features: Width D of the dense layer.
        dropout: Dropout rate before the head, in [0, 1).

    Raises:
        UserError: If inputs are not images [channels, height, width], or too small to halve.

    Example:
        >>> import torch
        >>> net = SmallCNN(channels=[4], features=8)
        >>> net.bind(Sizes(2, 2, (1, 8, 8)))
        >>> net(torch.zeros(3, 1, 8, 8))[1].shape
        torch.Size([3, 2])
    """

    def __init__(
        self, channels: list[int] | None = None, features: int = 64, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels = [16, 32] if channels is None else channels
        self.features = features
        self.dropout = dropout
        if min([features, *self.channels]) < 1:
            raise UserError(f"SmallCNN needs positive widths, got {self.channels}, {features}.")

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the convolutional blocks and D."""
        if len(sizes.input_shape) != 3:
            raise UserError(
                f"SmallCNN needs images [channels, height, width], got inputs of shape "
                f"{sizes.input_shape}; use --model.network MLP."
            )
        width, height, columns = sizes.input_shape
        layers: list[nn.Module] = []
        for next_width in self.channels:
            layers += [nn.Conv2d(width, next_width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            width, height, columns = next_width, height // 2, columns // 2
        if not height or not columns:
            raise UserError(
                f"SmallCNN: {len(self.channels)} blocks halve images of shape "
                f"{sizes.input_shape} to nothing; give fewer channels."
            )
        layers += [nn.Flatten(), nn.Linear(width * height * columns, self.features), nn.ReLU()]
        if self.dropout:
            layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers), self.features
