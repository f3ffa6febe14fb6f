"""The vocabulary of a training step: what goes in, what comes out, how large things are."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """One batch of samples; every field is always present.

    Attributes:
        x: Inputs, float (or long token ids) [B, ...].
        y: Labels, long in 0..C-1 [B].
        z: Attributes (sensitive, protected, spurious), long in 0..A-1, -1 where unknown [B].
        group: Cell ids ``y * A + z``, -1 where z is unknown [B].
        weight: Sample weights of mean one over the training table, float [B].
        clean: Whether the sample is verified, bool [B].
        index: Row in the split's table, long [B].
        synthetic: Whether the sample was generated, bool [B].
    """

    x: Tensor
    y: Tensor
    z: Tensor
    group: Tensor
    weight: Tensor
    clean: Tensor
    index: Tensor  # type: ignore[assignment]  # tuple.index, which nobody calls on a batch
    synthetic: Tensor


class Outputs(NamedTuple):
    """What a network gives for a batch.

    Attributes:
        features: Output of the backbone [B, D].
        logits: Output of the head [B, C].
        losses: Cross-entropy of each sample, unreduced, before weights, float32 [B].
    """

    features: Tensor
    logits: Tensor
    losses: Tensor


class Sizes(NamedTuple):
    """What a model must know about a data set before it can be built.

    Attributes:
        num_classes: C.
        num_attributes: A; the number of groups is C * A.
        input_shape: Shape of one input without the batch dimension.
        vocab_size: Number of token ids of a text input, 0 for anything else.
    """

    num_classes: int
    num_attributes: int
    input_shape: tuple[int, ...]
    vocab_size: int = 0

    @property
    def num_groups(self) -> int:
        """Number of (y, z) cells, C * A."""
        return self.num_classes * self.num_attributes
