"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Share
from frbench.networks.base import Network, check_image


class ViT(Network):
    """Transformer over image patches (arXiv 2010.11929), for images of 8 to 64 pixels.

    Patches are embedded linearly, learned positions added, and the tokens of the last of
    ``depth`` pre-norm blocks averaged: h <- h + A(LN(h)), h <- h + MLP(LN(h)). Attention is
    written out, not fused: fused kernels have no forward-mode derivative, which some objectives
    need.

    Args:
        patch: Side of a patch in pixels; must divide height and width.
        features: Width D of the tokens, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads.
        dropout: Dropout rate of attention's and the MLP's output, in [0, 1).

    Raises:
        UserError: If inputs are not images that the patch divides, or sizes do not fit.

    Example:
        >>> net = ViT(patch=4, features=16, depth=1)
        >>> net.bind(Sizes(2, 2, (3, 12, 8)))
        >>> [tuple(t.shape) for t in net(torch.zeros(5, 3, 12, 8))]
        [(5, 16), (5, 2)]
    """

    def __init__(
        self,
        patch: Count = 4,
        features: Count = 64,
        depth: Count = 4,
        heads: Count = 4,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.features = features
        self.depth = depth
        self.heads = heads
        self.dropout = dropout
        if features % heads:
            raise UserError(
                f"ViT.features must be a multiple of heads, got {features} and {heads}."
            )

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return patch embedding and blocks, and D."""
        check_image(sizes, "ViT")
        channels, height, columns = sizes.input_shape
        if height % self.patch or columns % self.patch:
            raise UserError(
                f"ViT.patch must divide the sides of the image, got {self.patch} for "
                f"{height}x{columns}."
            )
        tokens = height * columns // self.patch**2
        blocks = [_Block(self.features, self.heads, self.dropout) for _ in range(self.depth)]
        embed = _Embed(channels, self.patch, tokens, self.features)
        return nn.Sequential(embed, *blocks, nn.LayerNorm(self.features), _Mean()), self.features


class _Embed(nn.Module):
    """Patches to tokens [B, T, D], with learned positions."""

    def __init__(self, channels: int, patch: int, tokens: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.project(x).flatten(2).transpose(1, 2) + self.position
        return result


class _Block(nn.Module):
    """Self-attention and a two-layer MLP, each with layer norm before and a skip around."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        heads = self.to_qkv(self.norm(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.drop(self.out(mixed))
        result: Tensor = x + self.mlp(x)
        return result


class _Mean(nn.Module):
    """Mean over tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)
