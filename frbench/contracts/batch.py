"""The vocabulary of a training step: what goes in, what comes out, how large things are."""

import weakref
from collections.abc import Callable
from typing import Generic, NamedTuple, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.errors import UserError

T = TypeVar("T")
#: From float32 logits [B, C] and labels [B] to the loss of each row [B].
SampleLosses = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of each row [B].

    Args:
        logits: Float32 [B, C].
        y: Labels [B].
    """
    return F.cross_entropy(logits, y, reduction="none")


#: The continuous attribute of a batch that was made without one.
NOTHING = torch.empty(0)


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
        continuous: A continuous attribute beside its bins z, float, NaN where unknown [B];
            loaders always give it, batches made by hand may leave it out.
    """

    x: Tensor
    y: Tensor
    z: Tensor
    group: Tensor
    weight: Tensor
    clean: Tensor
    index: Tensor  # type: ignore[assignment]  # tuple.index, which nobody calls on a batch
    synthetic: Tensor
    continuous: Tensor = NOTHING

    @classmethod
    def of(
        cls, x: Tensor, y: Tensor, z: Tensor, num_attributes: int, weight: Tensor | None = None
    ) -> Self:
        """Make a batch of real rows that nobody has verified, for a loop of one's own.

        Args:
            x: Inputs [B, ...].
            y: Labels, long in 0..C-1 [B].
            z: Attributes, long in 0..A-1, -1 where unknown [B].
            num_attributes: A.
            weight: Sample weights [B]; ones by default.

        Raises:
            UserError: If the columns differ in length, or labels and attributes are no integers.

        Example:
            >>> import torch
            >>> y, z = torch.tensor([0, 1, 1]), torch.tensor([1, 0, -1])
            >>> Batch.of(torch.zeros(3, 2), y, z, num_attributes=2).group
            tensor([ 1,  2, -1])
        """
        lengths = {"x": len(x), "y": len(y), "z": len(z)}
        lengths |= {} if weight is None else {"weight": len(weight)}
        if len(set(lengths.values())) > 1 or y.ndim != 1 or z.ndim != 1:
            raise UserError(f"Batch.of: x, y and z need one row each, got {lengths}.")
        if any(c.is_floating_point() or c.dtype == torch.bool for c in (y, z)):
            raise UserError(
                f"Batch.of: y and z are codes, got {y.dtype} and {z.dtype}; pass integers (long)."
            )
        y, z = y.long(), z.long()
        group = torch.where(z >= 0, y * num_attributes + z, -1)
        weight = torch.ones(len(y), device=y.device) if weight is None else weight.float()
        no = torch.zeros_like(y, dtype=torch.bool)
        return cls(x, y, z, group, weight, no, torch.arange(len(y), device=y.device), no)


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


class OncePerBatch(Generic[T]):
    """Keeps what follows from a batch alone, where the loader gives the same batch again.

    Full-batch training repeats one batch in each step. Of any other nothing is kept: a batch is
    known by weak references to its columns, and its value is stored when it comes a second time.

    Example:
        >>> import torch
        >>> once, batch = OncePerBatch[Tensor](), Batch(*torch.ones(8, 2))
        >>> first, second, third = (once(batch, lambda b: b.x + b.y) for _ in range(3))
        >>> first is second, second is third
        (False, True)
    """

    def __init__(self) -> None:
        self._seen: tuple[weakref.ref[Tensor], ...] = ()
        self._value: T | None = None

    def __call__(self, batch: Batch, compute: Callable[[Batch], T]) -> T:
        """Return ``compute(batch)``, or what it gave for this very batch."""
        seen = self._seen
        if not seen or any(s() is not c for s, c in zip(seen, batch, strict=True)):
            self._seen, self._value = tuple(weakref.ref(c) for c in batch), None
            return compute(batch)
        if self._value is None:
            self._value = compute(batch)
        return self._value

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Copies and pickles begin anew."""
        return type(self), ()
