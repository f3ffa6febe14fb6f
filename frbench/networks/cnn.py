"""Convolutional networks for images of 8 to 64 pixels."""

from __future__ import annotations

from torch import nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Share
from frbench.networks.base import Network, check_image


class SmallCNN(Network):
    """Blocks of convolution, ReLU and 2x2 max-pooling, then dense ReLU layers.

    The small network of arXiv 2406.17433 (Appendix D) is ``channels: [6, 9, 12, 12, 9], kernels:
    [4, 3, 2, 2, 2], dense: 2``: its six channel numbers for five blocks are read as input and
    outputs; widths of its dense layers are not given.

    Args:
        channels: Channels of each block; every block halves height and width.
        features: Width D of the dense layers.
        dropout: Dropout rate after each dense layer, in [0, 1).
        kernels: Side of each block's kernel, padded by half of it; 3 by default.
        dense: Number of dense layers.

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
        self,
        channels: list[Count] | None = None,
        features: Count = 64,
        dropout: Share = 0.0,
        kernels: list[Count] | None = None,
        dense: Count = 1,
    ) -> None:
        super().__init__()
        self.channels = [16, 32] if channels is None else channels
        self.features = features
        self.dropout = dropout
        self.kernels = [3] * len(self.channels) if kernels is None else kernels
        self.dense = dense
        if len(self.kernels) != len(self.channels):
            raise UserError(
                f"SmallCNN needs one kernel for each of its {len(self.channels)} blocks, got "
                f"{self.kernels}."
            )

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the convolutional blocks and D."""
        check_image(sizes, "SmallCNN")
        width, height, columns = sizes.input_shape
        layers: list[nn.Module] = []
        for next_width, kernel in zip(self.channels, self.kernels, strict=True):
            pad = kernel // 2
            layers += [nn.Conv2d(width, next_width, kernel, padding=pad), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            grown = 2 * pad - kernel + 1
            width, height, columns = next_width, (height + grown) // 2, (columns + grown) // 2
        if not height or not columns:
            raise UserError(
                f"SmallCNN: {len(self.channels)} blocks halve images of shape "
                f"{sizes.input_shape} to nothing; give fewer channels."
            )
        shape = width * height * columns, self.features, self.dense
        return nn.Sequential(*layers, *_dense(*shape, self.dropout, False)), self.features


class VGG(Network):
    """3x3 convolutions with ReLU, halved by strides, then dense layers with batch norm.

    The network of arXiv 2406.17433 (Appendix D) for CelebA is ``channels: [64, 64, 128, 128,
    128, 256, 256, 256, 512, 512, 512], strides: [1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]``.

    Args:
        channels: Channels of each convolution.
        strides: Stride of each convolution.
        features: Width D of the two dense layers.
        dropout: Dropout rate after each dense layer, in [0, 1).
        batch_norm: Whether dense layers are normalised; on several devices one then needs
            ``trainer.sync_batchnorm``.

    Raises:
        UserError: If inputs are not images, or channels and strides do not fit.

    Example:
        >>> import torch
        >>> net = VGG(channels=[4, 8], strides=[1, 2], features=8)
        >>> net.bind(Sizes(2, 2, (3, 12, 8)))
        >>> [tuple(t.shape) for t in net(torch.zeros(5, 3, 12, 8))]
        [(5, 8), (5, 2)]
    """

    def __init__(
        self,
        channels: list[Count] | None = None,
        strides: list[Count] | None = None,
        features: Count = 64,
        dropout: Share = 0.0,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.channels = [8, 8, 16, 16, 32, 32] if channels is None else channels
        self.strides = [1, 1, 2, 1, 2, 1] if strides is None else strides
        self.features = features
        self.dropout = dropout
        self.batch_norm = batch_norm
        if len(self.channels) != len(self.strides) or not self.channels:
            raise UserError(
                f"VGG needs one stride for each of its convolutions, got channels "
                f"{self.channels} and strides {self.strides}."
            )

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the convolutions with the dense layers, and D."""
        check_image(sizes, "VGG")
        width, height, columns = sizes.input_shape
        layers: list[nn.Module] = []
        for next_width, stride in zip(self.channels, self.strides, strict=True):
            layers += [nn.Conv2d(width, next_width, 3, stride, padding=1), nn.ReLU()]
            width, height, columns = next_width, -(-height // stride), -(-columns // stride)
        shape = width * height * columns, self.features, 2
        dense = _dense(*shape, self.dropout, self.batch_norm)
        return nn.Sequential(*layers, *dense), self.features


def _dense(
    width: int, features: int, count: int, dropout: float, batch_norm: bool
) -> list[nn.Module]:
    """Flatten, then dense ReLU layers."""
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(count):
        layers.append(nn.Linear(width, features))
        if batch_norm:
            layers.append(nn.BatchNorm1d(features))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = features
    return layers
