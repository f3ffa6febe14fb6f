"""The base of mixing: which rows of the global batch are combined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs, SampleLosses, Sizes, cross_entropy
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import CheckedArguments
from frbench.distributed import all_gather, rank

#: Where rows are combined: the inputs, or the features of the backbone.
At = Literal["inputs", "features"]
#: Whose label, attribute, group and weight a combined row has.
Named = Literal["first", "larger"]


def sent(array: np.ndarray, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return an array as a tensor of a device, which the host does not wait for.

    Args:
        array: Numbers; they must stay as they are.
        device: Where they are needed.
        dtype: Type of the tensor; that of the array by default.
    """
    tensor = torch.as_tensor(array) if dtype is None else torch.as_tensor(array, dtype=dtype)
    return tensor.to(device, non_blocking=True)


class Mixing(CheckedArguments, ABC):
    """Combines each row of a training batch with another one of the global batch.

    x~_i = t_i x_i + (1 - t_i) x_p(i) with the loss t_i l(x~_i, y_i) + (1 - t_i) l(x~_i, y_p(i)).
    Label, attribute, group and weight stay those of row i, or become those of the row with the
    larger share; every objective and penalty whose value is a function of the losses takes part.
    Subclasses write :meth:`pairs`.

    A mixing knows a function from a batch to outputs and one from features to logits, never the
    method. It keeps its constructor arguments under their own names and has no state.

    Args:
        at: Whether inputs are combined or the backbone's features; token ids need features.
        label: Whether label, attribute, group and weight are those of the row itself (first, as
            in the papers) or of the one with the larger share.
    """

    #: Whether it may train in a stack (:mod:`frbench.stacks`), and what keeps it from that.
    stackable = True
    why_alone = ""
    #: Whether :meth:`pairs` looks at the attribute.
    sees_attribute = False

    def __init__(self, at: At = "inputs", label: Named = "first") -> None:
        self.at = at
        self.label = label

    def bind(self, sizes: Sizes) -> None:
        """Check that such inputs can be combined; called once, in the objective's constructor.

        Raises:
            UserError: If inputs are token ids and ``at`` is inputs.
        """
        if sizes.vocab_size and self.at == "inputs":
            raise UserError(
                f"{type(self).__name__}.at: token ids cannot be mixed; set it to features."
            )

    @abstractmethod
    def pairs(
        self, y: np.ndarray, z: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose the partners of the global batch.

        Args:
            y: Labels [B].
            z: Attributes as training sees them, -1 where unknown [B].
            rng: The only source of randomness, the same on every process.

        Returns:
            Position of each row's partner [B], and the share t of the row itself, in [0, 1] [B].
        """

    def combine(
        self, x: Tensor, other: Tensor, share: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, np.ndarray]:
        """Combine rows with their partners.

        Args:
            x: Inputs or features of this process's rows [B / W, ...].
            other: Those of their partners [B / W, ...].
            share: Shares t [B / W].
            rng: As for :meth:`pairs`, which has drawn from it before.

        Returns:
            The combined rows, and the shares that hold for them.
        """
        t = sent(share, x.device, x.dtype)
        return other.lerp(x, t.view(-1, *[1] * (x.ndim - 1))), share

    def outputs(
        self,
        batch: Batch,
        run: Callable[[Batch], Outputs],
        head: Callable[[Tensor], Tensor],
        rng: np.random.Generator,
        losses: SampleLosses = cross_entropy,
        labels: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[Outputs, Batch]:
        """Run the network on combined rows.

        With ``labels`` the host waits for nothing that the device computes.

        Args:
            batch: This process's rows.
            run: From a batch to the outputs of the network.
            head: From features to logits.
            rng: The same on every process.
            losses: From logits and labels to the loss of each row.
            labels: y and z of the global batch, as training sees them [B]; None gathers them.

        Returns:
            Outputs with the losses of both labels, and the batch with the inputs that gave them.
        """
        if labels is None:
            labels = all_gather(batch.y).cpu().numpy(), all_gather(batch.z).cpu().numpy()
        partner, share = self.pairs(*labels, rng)
        mine = slice(rank() * len(batch.y), (rank() + 1) * len(batch.y))
        place = sent(partner[mine], batch.y.device)
        other_y = sent(labels[0][partner[mine]], batch.y.device)
        return self.outputs_of(batch, (place, other_y, share[mine]), run, head, rng, losses)

    def outputs_of(
        self,
        batch: Batch,
        drawn: tuple[Tensor, Tensor, Any],
        run: Callable[[Batch], Outputs],
        head: Callable[[Tensor], Tensor],
        rng: Any,
        losses: SampleLosses = cross_entropy,
    ) -> tuple[Outputs, Batch]:
        """Run the network on rows that are combined with given partners.

        Args:
            batch: This process's rows.
            drawn: Positions of their partners in the global batch, the labels of these, and the
                shares t [B / W].
            run: From a batch to the outputs of the network.
            head: From features to logits.
            rng: As for :meth:`combine`; None in a stack, where batches of several runs are
                combined at once.
            losses: From logits and labels to the loss of each row.

        Returns:
            As :meth:`outputs`.
        """
        place, other_y, share = drawn
        if self.at == "features":
            out = run(batch)
            others = all_gather(out.features)[place]
            features, share = self.combine(out.features, others, share, rng)
            logits = head(features).float()
            out = Outputs(features, logits, losses(logits, batch.y))
        else:
            x, share = self.combine(batch.x, all_gather(batch.x)[place], share, rng)
            batch = batch._replace(x=x)
            out = run(batch)
        other = losses(out.logits, other_y)
        own = sent(share, other.device, other.dtype)
        if self.label == "larger":
            less = own < 0.5
            batch = batch._replace(**{
                name: torch.where(less, all_gather(column)[place], column)
                for name in ("y", "z", "group", "weight")
                for column in [getattr(batch, name)]
            })  # fmt: skip
        return out._replace(losses=other.lerp(out.losses, own)), batch
