"""FR-Train's players beside the classifier: D_R, and the draw of all their weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frbench.contracts.batch import Batch, OncePerBatch, Sizes
from frbench.penalties.adversary import leaky_mlp


class _Columns(NamedTuple):
    """What D_R sees of rows beside their answers; None is not seen.

    Attributes:
        x: Inputs [B, d]; None for features.
        z: Attribute, 0 where unknown: a number, or one-hot of more than two values [B, ...].
    """

    x: Tensor | None
    z: Tensor | None


class RobustDiscriminator(nn.Module):
    """Tells verified rows from training rows, by (x, z, answer).

    The answer of a training row is the classifier's (of two classes the log-odds); that of a
    verified row is its label, as -1 or 1. Source: arXiv 2002.10234, section 3.

    Args:
        sizes: Of the data.
        num_features: Width of the classifier's features.
        hidden: Widths of the hidden layers.
        sees_x: Whether it sees x, or else the classifier's features.
        sees_attribute: Whether it sees z.
    """

    def __init__(
        self,
        sizes: Sizes,
        num_features: int,
        hidden: list[int],
        sees_x: bool,
        sees_attribute: bool,
    ) -> None:
        super().__init__()
        self.sees_x = sees_x
        self.sees_attribute = sees_attribute
        self.num_classes = sizes.num_classes
        self.num_attributes = sizes.num_attributes
        width = math.prod(sizes.input_shape) if sees_x else num_features
        width += 1 if sizes.num_classes == 2 else sizes.num_classes
        if sees_attribute:
            width += 1 if sizes.num_attributes == 2 else sizes.num_attributes
        self.layers = leaky_mlp(width, hidden, 1)
        self._all = OncePerBatch[tuple[_Columns, Tensor, Tensor, Tensor]]()
        self._training = OncePerBatch[_Columns]()

    def forward(self, answer: Tensor, features: Tensor, batch: Batch) -> Tensor:
        """Return the log-odds that training rows with these answers are verified [B]."""
        return self._odds(answer, features, self._training(batch, self._columns))

    def loss(self, answer: Tensor, features: Tensor, batch: Batch) -> Tensor:
        """Return the mean of its cross-entropies on training rows and on verified rows.

        Both weigh the same, however few the verified rows are.

        Args:
            answer: Answers of the training rows [B, 1 or C].
            features: The classifier's features of all rows [B + M, D].
            batch: Training rows, then verified rows [B + M].
        """
        rows = len(answer)

        def known(batch: Batch) -> tuple[_Columns, Tensor, Tensor, Tensor]:
            y = batch.y[rows:]
            label = y[:, None] if self.num_classes == 2 else F.one_hot(y, self.num_classes)
            sign = torch.ones_like(batch.weight)
            sign[rows:] = -1
            share = torch.full_like(sign, 0.5 / rows)
            share[rows:] = 0.5 / len(y)
            return self._columns(batch), 2.0 * label - 1, sign, share

        columns, labels, sign, share = self._all(batch, known)
        odds = self._odds(torch.cat([answer, labels]), features, columns)
        return F.softplus(sign.to(odds) * odds) @ share.to(odds)

    def _columns(self, batch: Batch) -> _Columns:
        z = None
        if self.sees_attribute:
            known, z = (batch.z >= 0)[:, None], batch.z.clamp(min=0)
            z = z[:, None] if self.num_attributes == 2 else F.one_hot(z, self.num_attributes)
            z = (z * known).float()
        return _Columns(batch.x.flatten(1).float() if self.sees_x else None, z)

    def _odds(self, answer: Tensor, features: Tensor, columns: _Columns) -> Tensor:
        x = features.detach() if columns.x is None else columns.x
        parts = [x, answer] if columns.z is None else [x, answer, columns.z]
        odds: Tensor = self.layers(torch.cat(parts, 1))[:, 0]
        return odds


def draw_weights(players: Iterable[nn.Module], std: float) -> None:
    """Draw all linear weights from N(0, std^2), biases 0, player by player.

    The generator is of its own, seeded by the run's seed: what was drawn before has no part.
    """
    generator = torch.Generator().manual_seed(torch.initial_seed())
    for layer in (module for player in players for module in player.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, std, generator=generator)
            nn.init.zeros_(layer.bias)
