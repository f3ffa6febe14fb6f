"""FR-Train's players beside the classifier: D_R, and the draw of all their weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from frbench.contracts.batch import Batch, OncePerBatch, Sizes
from frbench.contracts.errors import UserError
from frbench.penalties.adversary import leaky_mlp
from frbench.training.optimizer import make_optimizer


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
        sees: ``x``, or the classifier's ``features``; None is x for tables and features elsewhere.
        sees_attribute: Whether it sees z.
    """

    def __init__(
        self,
        sizes: Sizes,
        num_features: int,
        hidden: list[int],
        sees: Literal["x", "features"] | None,
        sees_attribute: bool,
    ) -> None:
        super().__init__()
        table = len(sizes.input_shape) == 1 and not sizes.vocab_size
        self.sees_x = sees == "x" or (sees is None and table)
        self.sees_attribute = sees_attribute
        self.num_classes = sizes.num_classes
        self.num_attributes = sizes.num_attributes
        width = math.prod(sizes.input_shape) if self.sees_x else num_features
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


def discriminator_optimizers(
    discriminators: nn.ModuleDict, rates: Mapping[str, tuple[str, str, float]]
) -> list[Optimizer]:
    """Build the optimisers of discriminators, one for all that have the same class.

    Args:
        discriminators: By name.
        rates: Name -> class of ``torch.optim``, the option that names it, learning rate.
    """
    built: dict[str, Optimizer] = {}
    for name, network in discriminators.items():
        cls, option, lr = rates[name]
        one = make_optimizer(cls, [{"params": [*network.parameters()]}], option, lr=lr)
        if cls.lower() in built:
            built[cls.lower()].add_param_group(one.param_groups[0])
        else:
            built[cls.lower()] = one
    return [*built.values()]


def check_shares(lambda_f: float, lambda_r: float, others: float) -> None:
    """Refuse weights of the other players that leave the classifier's own loss none."""
    if 1 - others <= 1e-9:
        raise UserError(
            f"FRTrain weighs the classifier's own loss by 1 - lambda_f - lambda_r, which must "
            f"be positive; lambda_f {lambda_f} and lambda_r {lambda_r} give {1 - others:.6g}. "
            "Lower one of them."
        )


def check_turns(k: int, discriminators: bool) -> None:
    """Refuse iterations without the classifier where nobody else has anything to train."""
    if k > 1 and not discriminators:
        raise UserError(
            f"FRTrain without a discriminator has nothing to train in {k - 1} of {k} iterations; "
            "set k to 1."
        )


def check_bounds(bounds: list[float]) -> None:
    """Refuse bounds of the weights that are not around 1."""
    if len(bounds) != 2 or not bounds[0] <= 1 <= bounds[1]:
        raise UserError(f"FRTrain.weight_bounds must be two numbers around 1, got {bounds}.")


def draw_weights(players: Iterable[nn.Module], std: float) -> None:
    """Draw all linear weights from N(0, std^2), biases 0, player by player.

    The generator is of its own, seeded by the run's seed: what was drawn before has no part.
    """
    generator = torch.Generator().manual_seed(torch.initial_seed())
    for layer in (module for player in players for module in player.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, std, generator=generator)
            nn.init.zeros_(layer.bias)
