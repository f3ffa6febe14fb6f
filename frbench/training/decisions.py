"""What a trained module decides: its scores, and the decisions of a map behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from frbench.postprocessing.base import OutputMap, decided, draw
from frbench.training.lean import LeanModule


class Outcome(NamedTuple):
    """What a module says of a batch.

    Attributes:
        logits: Logits of the classes [B, C].
        shares: Probability of each decision, float64 [B, C]; None if the largest logit decides.
        decision: Decisions, drawn where they are randomised, long [B]; None in the same case.
    """

    logits: Tensor
    shares: Tensor | None = None
    decision: Tensor | None = None


@contextlib.contextmanager
def features_of(network: nn.Module) -> Iterator[list[Tensor]]:
    """Keep the features that a network computes while the context is open, one a forward.

    Args:
        network: Gives features and logits.
    """
    seen: list[Tensor] = []
    handle = network.register_forward_hook(lambda _, __, out: seen.append(out[0]))
    try:
        yield seen
    finally:
        handle.remove()


class Deciding(LeanModule):
    """A module whose predictions may be those of a map that was fitted after training."""

    network: nn.Module
    #: The map, if there is one.
    postprocess: OutputMap | None
    #: Whether randomised decisions are counted by their probabilities, not drawn.
    expected_decisions = False

    def __init__(self) -> None:
        super().__init__()
        self.postprocess = None

    def outcome(self, x: Tensor, z: Tensor, index: Tensor) -> Outcome:
        """Return logits and decisions of a batch.

        Args:
            x: Inputs [B, ...].
            z: Attributes, -1 where unknown [B]; looked at by maps that say so.
            index: Place of each row in its table, by which decisions are drawn [B].
        """
        if self.postprocess is None:
            return Outcome(self(x))
        with features_of(self.network) as seen:
            logits = self(x).float()
        logits, shares = decided(self.postprocess, logits, seen[-1], z)
        if shares is None:
            return Outcome(logits)
        return Outcome(logits, shares, draw(shares, index, self.postprocess.seed))
