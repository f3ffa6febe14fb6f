"""Intrinsic reweighting: samples count by how much their gradients serve the worst-off share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import PositiveShare
from frbench.data.loader import GroupLoader
from frbench.data.module import GroupDataModule, datamodule_of
from frbench.distributed import all_gather, all_sum, rank, world_size
from frbench.gradients import GradientSimilarity
from frbench.gradients.vectors import summed
from frbench.training.checks import check_whole_parameters
from frbench.training.objective import Objective
from frbench.training.table_pass import evaluation_mode, table_batches

#: Expected members of S below which the worst share of a batch is mostly chance: at 8 of them
#: about four in five belong to the worst share of the table.
MIN_MEMBERS = 8


class IRW(Objective):
    """Minimise sum_i w_i l_i / sum_i w_i with weights that serve the worst alpha share.

    With S the alpha share of largest losses and G = sum_{j in S} g_j its gradient, w_i =
    max(0, <g_i, G>): a sample with a large loss and no gradient counts nothing. No attribute is
    used. Source: arXiv 2411.03068, sections 4.2 and 4.3. The paper leaves normalisation, layers,
    rounding and BatchNorm open; the defaults here are this project's.

    ``batch.weight`` v_i stands for copies of a sample: S covers the share alpha of sum v.

    Args:
        alpha: Share of the worst-off, a lower bound on the smallest group's, in (0, 1].
        scheme: ``local`` takes S from each global batch; ``global`` from the whole table at the
            start of each epoch, with the network in evaluation mode, and keeps the weights.
        via: For global: ``weight`` the losses or ``sample`` rows in proportion.
        layers: Parameters that g_i is taken of: ``all``, ``last`` (the last linear layer; an
            approximation), or names of the network's modules.
        normalise: ``sum1`` as above; ``max1`` divides w by its maximum, ``none`` leaves it, both
            with the mean over the batch instead of the quotient.
        similarity: ``dot`` or ``cosine``, <g_i, G> / (|g_i| |G|).
        rounding: How alpha times the number of samples becomes one: ceil, floor or round; at
            least 1.
        batchnorm: Where BatchNorm trains, take g_i through the ``batch`` statistics, or in a pass
            of its own with ``frozen`` running statistics. The global scheme always has the latter.
        backend: ``auto``, or insist on ``layers`` or ``jvp``.

    Raises:
        UserError: For a value out of range, options that exclude each other, or unknown layers.

    Example:
        >>> from frbench.networks import MLP
        >>> model = IRW(2, 2, [3], network=MLP(hidden=[4]), alpha=0.5)
        >>> x, y, z = torch.randn(6, 3), torch.arange(6) % 2, torch.zeros(6, dtype=torch.long)
        >>> batch = Batch(x, y, z, 2 * y + z, torch.ones(6), z > 0, torch.arange(6), z > 0)
        >>> model.sample_weights(model.outputs(batch), batch).shape
        torch.Size([6])
    """

    # Weights are copies, and alpha times their number is rounded: their scale matters.
    properties = Properties(weights=None, copies="absolute")
    combines = ("infer",)  # the gradients of single samples are those of hard labels
    stackable = False
    why_alone = "the products of single samples' gradients are recorded within the step"

    effective_share: Tensor

    def __init__(
        self,
        *args: Any,
        alpha: PositiveShare = 0.2,
        scheme: Literal["local", "global"] = "local",
        via: Literal["weight", "sample"] = "weight",
        layers: list[str] | str = "all",
        normalise: Literal["sum1", "none", "max1"] = "sum1",
        similarity: Literal["dot", "cosine"] = "dot",
        rounding: Literal["ceil", "floor", "round"] = "ceil",
        batchnorm: Literal["batch", "frozen"] = "batch",
        backend: Literal["auto", "layers", "jvp"] = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        if scheme == "local" and via != "weight":
            raise UserError(f"{name}.via: sample draws whole epochs; it needs scheme: global.")
        if similarity == "cosine" and (scheme == "global" or backend == "jvp"):
            raise UserError(
                f"{name}.similarity: cosine needs the norms of single gradients, which scheme: "
                "global and backend: jvp do not give; use dot."
            )
        self.alpha = alpha
        self.scheme = scheme
        self.via = self.epoch_weights_via = via
        self.layers = layers
        self.normalise = normalise
        self.similarity = similarity
        self.rounding = rounding
        self.batchnorm = batchnorm
        self.backend = backend
        # Whether all weights of a batch are one: then S has a known number of members.
        self._plain_weights = False
        self.register_buffer("effective_share", torch.ones(()))
        self.engine = GradientSimilarity(
            self.network, self._losses, layers, batchnorm, backend, name
        )

    def _losses(self, batch: Batch) -> Tensor:  # a method: copies of the model get their own
        return self.outputs(batch).losses

    # ---- set-up -----------------------------------------------------------------------------
    def setup(self, stage: str) -> None:
        """Learn whether the training rows have weights.

        Raises:
            UserError: For a compiled network, or a strategy that shards parameters.
        """
        super().setup(stage)
        name = type(self).__name__
        check_whole_parameters(
            name, self.trainer.strategy, "takes the products of single samples' gradients"
        )
        compiled = (
            hasattr(m, "_orig_mod") or getattr(m, "_compiled_call_impl", None) is not None
            for m in self.network.modules()
        )
        if any(compiled) or self._compiler_ctx is not None:
            raise UserError(
                f"{type(self).__name__} records single layers, which a compiled network hides, "
                "and forward mode would silently run it uncompiled: do not compile it."
            )
        data = datamodule_of(self.trainer)
        if stage == "fit":
            self._plain_weights = (
                data is not None
                and not data.rows_per_group
                and (data.effective_via != "weight" or bool((data.training.weight == 1).all()))
            )

    def cautions(self, train: GroupDataModule | None) -> dict[str, str]:
        """Warn where the worst share of a batch is too few samples to mean anything."""
        if train is None:
            return {}
        members = self.alpha * train.rows_per_batch
        if self.scheme == "global" or members >= MIN_MEMBERS:
            return {}
        need = int(np.ceil(MIN_MEMBERS / self.alpha))
        return {
            "small_worst_set": f"the worst {self.alpha:g} of a batch of {train.rows_per_batch} is "
            f"{members:.1f} rows, under {MIN_MEMBERS}: many of them are not in the worst share of "
            f"the table; raise data.batch_size to {need}, or use scheme: global."
        }

    # ---- the worst share --------------------------------------------------------------------
    def worst(self, losses: Tensor, mass: Tensor) -> Tensor:
        """Return how much of each sample belongs to the worst share.

        Args:
            losses: All losses [n].
            mass: Their weights [n]; ones mean that members have 1 and the others 0.

        Returns:
            Between 0 and ``mass``, in total alpha times its sum, rounded [n].
        """
        mass = mass.double()
        order = losses.argsort(descending=True, stable=True)
        ordered = mass[order]
        left = self._round(self.alpha * mass.sum()) - (ordered.cumsum(0) - ordered)
        member = torch.minimum(left.clamp(min=0), ordered)
        return torch.empty_like(member).scatter_(0, order, member).to(losses.dtype)

    def _round(self, share: Any) -> Any:
        """Round alpha times a number of samples, a number or a tensor, to 1 or more."""
        functions: Any = torch if isinstance(share, Tensor) else math
        # A hair of tolerance: .1 times 30 is a little more than 3 in binary.
        if self.rounding == "ceil":
            share = functions.ceil(share - 1e-9)
        elif self.rounding == "floor":
            share = functions.floor(share + 1e-9)
        else:
            share = round(share) if functions is math else share.round()
        return share.clamp(min=1) if isinstance(share, Tensor) else max(1, share)

    def training_outputs(self, batch: Batch) -> Outputs:
        """Run the network, recorded for the gradients' products."""
        if self.scheme == "global":
            return self.outputs(batch)
        with self.engine.watch():
            return self.outputs(batch)

    def sample_weights(self, out: Outputs, batch: Batch) -> Tensor:
        """Return w_i before normalisation for this process's samples [B / W]."""
        weights = self._studied_weights(out, batch)
        self.engine.clear()
        return weights

    def _studied_weights(self, out: Outputs, batch: Batch) -> Tensor:
        """Return the same, and leave the batch's products with the engine."""
        losses = self.engine.study(out.losses, batch)
        with torch.no_grad():
            return self._weights(losses, batch.weight)

    def _weights(self, losses: Tensor, mass: Tensor) -> Tensor:
        everyone = all_gather(losses)
        size = len(losses)
        if self._plain_weights:  # the size of S is known without looking
            size = self._round(self.alpha * len(everyone))
            rows = everyone.topk(size).indices
            coef = torch.ones_like(rows, dtype=losses.dtype)
            worst = torch.zeros_like(everyone).index_copy_(0, rows, coef)
        else:
            worst = self.worst(everyone, all_gather(mass))
        if not self._plain_weights or world_size() > 1:
            coef, rows = worst.chunk(world_size())[rank()].topk(min(size, len(losses)))
        scores = self.engine.toward(rows, coef)
        if self.similarity == "cosine":
            # |G| is the same for all of the batch; <G, G> = sum over S of the scores.
            norm = all_sum(coef @ scores[rows]).clamp(min=0).sqrt()
            scores = scores / (self.engine.norms() * norm).clamp(min=1e-30)
        return scores.clamp(min=0)

    def risk(self, out: Outputs, batch: Batch) -> Tensor:
        """Return sum_i v_i w_i l_i / sum_i v_i w_i over the global batch."""
        if self.scheme == "global":  # the loader has put w into the weights or the sampler
            return (batch.weight * out.losses).mean()
        weights = self._studied_weights(out, batch)
        applied = batch.weight * weights
        wide = applied.double()  # squares of weights, fourth powers of gradients, underflow
        total, squares = all_sum(torch.stack([wide.sum(), wide @ wide]))
        count = len(applied) * world_size()
        self.stage(effective_share=(total * total / (squares * count)).nan_to_num(0.0))
        tiny = torch.finfo(applied.dtype).tiny
        if self.normalise == "sum1":
            # Divided first: where losses are huge, weights are their squares. The sum is zero
            # only where G is: there, the loss and its gradient are zero.
            coef = (wide * (world_size() / total.clamp(min=tiny))).to(applied.dtype)
        elif self.normalise == "max1":
            largest = all_gather(weights).max().clamp(min=tiny)
            coef = applied / largest / len(applied)
        else:
            coef = applied / len(applied)
        risk = self.engine.weighted_sum(out.losses, coef)
        self.engine.clear()
        return risk

    def state_to_log(self) -> dict[str, Tensor]:
        """Return the effective number of samples, (sum w)^2 / sum w^2, as a share of the batch."""
        return {} if self.scheme == "global" else {"effective_share": self.effective_share}

    # ---- the global scheme ------------------------------------------------------------------
    def on_epoch_weights(self, train: Any) -> np.ndarray | None:
        """Return the weights of all training rows for the coming epoch (global scheme)."""
        if self.scheme == "local":
            return None
        if train is None:
            raise UserError("IRW.scheme: global visits the training table: fit a datamodule.")
        with evaluation_mode(self.network):
            mass = torch.as_tensor(train.training.weight, device=self.device)
            scores = self._table_scores(train, mass)
        weights = scores.clamp(min=0)
        total = mass @ weights
        if not total.isfinite():
            raise UserError(
                "IRW: the losses of the training rows or their gradients are not finite, so the "
                "network has diverged; lower model.lr."
            )
        if total == 0:  # a stationary point of the worst share: nothing to prefer
            return np.ones(len(weights))
        if self.normalise == "sum1":
            weights = weights * mass.sum() / total
        elif self.normalise == "max1":
            weights = weights / weights.max()
        return weights.cpu().numpy()

    def _table_scores(self, train: Any, mass: Tensor) -> Tensor:
        """Return <g_i, G> of every training row, G over the worst share of the table [N]."""
        losses = torch.zeros(len(mass), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for batch in self._pass_over(train):
                losses[batch.index] = self.outputs(batch).losses.double()
        losses = all_sum(losses)
        member = self.worst(losses, mass)
        total: dict[str, Tensor] | None = None
        for batch in self._pass_over(train, member.nonzero().flatten().cpu().numpy()):
            part = self.engine.gradient(self.outputs(batch).losses, member[batch.index])
            total = part if total is None else {k: total[k] + g for k, g in part.items()}
        if total is None:  # this process has no row of S
            total = self.engine.zero()
        total = summed(total)
        scores = torch.zeros_like(losses)
        for batch in self._pass_over(train):
            with self.engine.watch():
                out = self.outputs(batch)
            self.engine.study(out.losses, batch)
            scores[batch.index] = self.engine.along(total).double()
        self.engine.clear()
        return all_sum(scores)

    def _pass_over(self, train: Any, rows: np.ndarray | None = None) -> Iterator[Batch]:
        """Visit this process's share of the training rows."""
        loader = cast(GroupLoader, self.trainer.train_dataloader)
        # No more rows per process than in training, unless they are small: passes keep graphs.
        size = loader.batch_size // world_size()
        return table_batches(self, max(size, 1024) if train.is_small else size, rows)
