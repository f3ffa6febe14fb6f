"""Scores <g_i, G> of per-sample gradients, by the cheapest exact means a network allows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor, nn

from frbench.contracts.errors import UserError
from frbench.distributed import all_gather, world_size
from frbench.gradients.forward import Recall, directional_losses
from frbench.gradients.layer import Layer, mirror
from frbench.gradients.settings import (
    Conditions,
    batch_statistics,
    explained,
    frozen_statistics,
)
from frbench.gradients.tape import NotCovered, Tape, select, unknown_layer
from frbench.gradients.vectors import Vector, gradient, proved, summed, weighted
from frbench.gradients.written import leaves, written_sum


class GradientSimilarity:
    """Products of per-sample gradients g_i of a batch, over all processes.

    Two back ends give the same numbers. *Layer-local products* (arXiv 2210.00038 has the idea, for
    norms) take each layer's inputs and cotangents from one forward and one reverse pass over
    activations; every chosen parameter must belong to a known layer that is called once, and
    samples must not mix. Before first use a random combination of gradients is compared with
    autograd's, so that what the structure does not show is found; batches 2, 4, 8 and so on are
    compared, too. The choice is made anew when layers are frozen or freed, or a BatchNorm changes
    its mode. *Forward mode* (the derivative of the loss
    vector along G, by dual numbers) takes anything that torch can differentiate so:
    no reentrant checkpointing, no LSTM, no autograd.Function without a jvp.

    Args:
        model: The network whose parameters count.
        losses: Runs the model on a batch and returns per-sample losses [B].
        layers: ``all``, ``last`` (the last linear layer) or names of modules.
        batchnorm: Where BatchNorm trains: ``batch`` differentiates through the batch's statistics
            (forward mode), ``frozen`` runs a pass of its own with running statistics.
        backend: ``auto``, ``layers`` or ``jvp``.
        name: Who asks, for messages.

    Raises:
        UserError: For unknown layers, or where the back end asked for does not exist.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Linear(3, 1)
        >>> engine = GradientSimilarity(net, lambda x: net(x).squeeze(1).square())
        >>> x = torch.randn(4, 3)
        >>> with engine.watch():
        ...     out = engine.losses(x)
        >>> _ = engine.study(out, x)
        >>> member = torch.tensor([0.0, 1, 0, 1])
        >>> torch.allclose(engine.scores(member, 2), engine.gram() @ member, rtol=1e-4)
        True
    """

    def __init__(
        self,
        model: nn.Module,
        losses: Callable[[Any], Tensor],
        layers: str | list[str] = "all",
        batchnorm: Literal["batch", "frozen"] = "batch",
        backend: Literal["auto", "layers", "jvp"] = "auto",
        name: str = "GradientSimilarity",
    ) -> None:
        self.model = model
        self.losses = losses
        self.layers = layers
        self.batchnorm = batchnorm
        self.backend = backend
        self.name = name
        select(model, layers)  # a wrong name must fail before training
        #: Why layer-local products are not used; None while they are.
        self.problem: str | None = None
        self._state: tuple[str | None, ...] | None = None  # what the choice was made for
        self._studied = 0  # batches since then
        self._whole = False  # whether the products are the whole gradient of the losses
        self._proved: set[str] = set()  # parameters whose layers have explained a gradient
        self._said: str | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the batch."""
        self._conditions: Conditions | None = None
        self._tape: Tape | None = None
        self._calls: dict[str, Layer] | None = None
        self._recall: Recall | None = None
        self._graph: Tensor | None = None
        self._batch: Any = None
        self._freezes = False
        self._owners: dict[str, nn.Module] | None = None
        self._chosen: dict[str, nn.Parameter] | None = None

    # ---- a forward pass ---------------------------------------------------------------------
    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Record the forward pass inside."""
        self._begin()
        if self._freezes:  # the weights come from a pass of their own
            yield
            return
        with self._recording() as self._tape:
            yield

    def _begin(self) -> None:
        self.clear()
        self._freezes = self.batchnorm == "frozen" and batch_statistics(self.model) is not None
        self._conditions = Conditions.now(next(self.model.parameters()).device)

    @contextlib.contextmanager
    def _recording(self) -> Iterator[Tape | None]:
        # Anew for each batch: what is trainable may change between two.
        self._owners = select(self.model, self.layers)
        mixing = batch_statistics(self.model)
        if self._state != (state := (*self._owners, mixing)):
            self._state, self._studied, self._proved = state, 0, set()
            self.problem = self._structure(self._owners, mixing)
        if self.problem is not None:
            assert self._conditions is not None
            if self._conditions.autocast is not None:  # linear layers follow torch's own rule then
                yield None
                return
            with Recall(self.model) as self._recall:
                yield None
            return
        with Tape(self._owners) as tape:
            yield tape

    def _structure(self, owners: dict[str, nn.Module], mixing: str | None) -> str | None:
        if self.backend == "jvp":
            return "forward mode was asked for"
        if mixing is not None and self.layers != "last":
            return f"{mixing} normalises with the batch's statistics"
        return unknown_layer(self.model, owners)

    def study(self, losses: Tensor, batch: Any) -> Tensor:
        """Take the losses of the watched pass, and return those that the scores are about.

        Args:
            losses: Per-sample losses with their graph [B].
            batch: What ``losses`` was called with.

        Returns:
            The same losses, or those under running statistics, without graph [B].

        Raises:
            UserError: If ``backend`` is ``layers`` and the network does not allow it.
        """
        if self._conditions is None:  # nobody watched
            self._begin()
            losses = self._rerun(batch)
        elif self._freezes:
            losses = self._rerun(batch)
        self._graph, self._batch = losses, batch
        if self._tape is not None:
            low = self._conditions is not None and self._conditions.autocast is not None
            try:
                calls = self._tape.layers(losses)
                self._studied += 1
                if self._studied & (self._studied - 1) == 0:
                    parameters = self._parameters()
                    self._proved |= proved(calls, losses, parameters, 0.1 if low else 1e-3)
                    chosen = {id(p) for p in parameters.values()}
                    self._whole = self._proved == set(parameters) and leaves(losses) <= chosen
                self._calls = calls
            except NotCovered as reason:
                self.problem = str(reason)
            self._tape = None
        self._announce()
        return losses.detach()

    def _rerun(self, batch: Any) -> Tensor:
        """Run the pass again under its conditions, recorded."""
        assert self._conditions is not None
        frozen = frozen_statistics(self.model) if self._freezes else contextlib.nullcontext()
        with self._conditions.again(), frozen, self._recording() as self._tape:
            return self.losses(batch)

    def _announce(self) -> None:
        if self.problem is None:
            text = "layer-local products"
        elif self.backend == "layers":
            raise UserError(
                f"{self.name} cannot use layer-local products: {self.problem}. Use backend: auto, "
                "or choose layers that allow them (layers: last)."
            )
        else:
            text = f"forward mode ({self.problem})"
        if text != self._said:
            rank_zero_info(f"{self.name}: gradient similarity by {text}.")
            self._said = text

    # ---- products ---------------------------------------------------------------------------
    def _parameters(self) -> dict[str, nn.Parameter]:
        if self._chosen is None:
            owners = self._owners or select(self.model, self.layers)
            found = {
                p: f"{owner}.{name}" if owner else name
                for owner, module in owners.items()
                for name, p in module._parameters.items()
                if p is not None and p.requires_grad
            }
            self._chosen = {name: p for p, name in found.items()}  # a shared parameter once
        return self._chosen

    def gradient(self, losses: Tensor, coef: Tensor) -> Vector:
        """Return sum_i coef_i g_i of this process by parameter; the graph stays.

        Args:
            losses: Per-sample losses with their graph [B].
            coef: Coefficients [B].
        """
        return gradient(losses, coef, self._parameters())

    def weighted_sum(self, losses: Tensor, coef: Tensor) -> Tensor:
        """Return sum_i coef_i l_i of this process.

        Its gradient is written from the recorded inputs and cotangents, without a second reverse
        pass, where that is all of the gradient and as exact: each leaf of the losses' graph is a
        parameter that the layers have explained, and the losses are those of the recorded pass.
        In float16 the cotangents, unlike those of a scaled loss, could underflow: there, and
        everywhere else, it is autograd's.

        Args:
            losses: Per-sample losses of the studied pass, with their graph [B].
            coef: Coefficients, without a graph [B].
        """
        half = self._conditions is not None and self._conditions.autocast == torch.float16
        if self._calls is None or losses is not self._graph or half or not self._whole:
            return coef @ losses
        return written_sum(losses, coef, list(self._calls.values()))

    def zero(self) -> Vector:
        """Return a direction of zeros."""
        return {name: torch.zeros_like(p) for name, p in self._parameters().items()}

    @torch.no_grad()
    def scores(self, member: Tensor, size: int) -> Tensor:
        """Return s_i = <g_i, G> with G = sum_j member_j g_j over all processes.

        Args:
            member: Coefficients of this process's samples, most of them zero [B].
            size: No fewer than the non-zero coefficients on any process.

        Returns:
            Scores of this process's samples [B].
        """
        return self.toward(*reversed(member.topk(min(size, len(member)))))

    @torch.no_grad()
    def toward(self, rows: Tensor, coef: Tensor) -> Tensor:
        """Return s_i = <g_i, G> with G = sum_k coef_k g_rows_k over all processes.

        Args:
            rows: Positions in this process's share, each once [k].
            coef: Their coefficients [k].

        Returns:
            Scores of this process's samples [B].
        """
        assert self._graph is not None, "study a batch first"
        if self._calls is None:
            member = torch.zeros_like(self._graph).index_copy_(0, rows, coef)
            with explained(self.name, self.problem), torch.enable_grad():
                vector = self.gradient(self._graph, member)
            return self._forward(summed(vector))
        pairs: dict[str, Layer] = {}
        sums: dict[str, Layer] = {}
        for name, layer in self._calls.items():
            pairwise = world_size() == 1 and layer.pairwise_is_cheaper(len(rows))
            (pairs if pairwise else sums)[name] = layer
        total = self._along(sums, summed(weighted(
            {name: layer.take(rows) for name, layer in sums.items()}, coef
        )))  # fmt: skip
        for layer in pairs.values():
            total = total + layer.toward(rows, coef.to(layer.d.dtype))
        return total

    @torch.no_grad()
    def along(self, vector: Vector) -> Tensor:
        """Return <g_i, vector> for this process's samples [B].

        Args:
            vector: A direction, as :meth:`gradient` gives it.
        """
        if self._calls is None:
            return self._forward(dict(vector))
        return self._along(self._calls, vector)

    def _along(self, calls: dict[str, Layer], vector: Vector) -> Tensor:
        assert self._graph is not None
        total = torch.zeros_like(self._graph)
        for owner, layer in calls.items():
            prefix = f"{owner}." if owner else ""
            total = total + layer.along({k: vector[prefix + k] for k in layer.trained})
        return total

    def _forward(self, vector: Vector) -> Tensor:
        assert self._conditions is not None
        parameters = self._parameters()
        frozen = frozen_statistics(self.model) if self._freezes else contextlib.nullcontext()
        with explained(self.name, self.problem), frozen:
            return directional_losses(
                self.model, self.losses, self._batch, parameters, vector, self._conditions,
                self._recall or Recall(self.model),
            )  # fmt: skip

    def _layer_local(self, what: str) -> dict[str, Layer]:
        if self._calls is None:
            raise UserError(
                f"{self.name}: {what} needs layer-local products, but {self.problem}. Use "
                "batchnorm: frozen where BatchNorm trains, GroupNorm instead, or layers: last."
            )
        return self._calls

    @torch.no_grad()
    def norms(self) -> Tensor:
        """Return |g_i| of this process's samples [B].

        Raises:
            UserError: Without layer-local products.
        """
        layers = self._layer_local("the norm of single gradients").values()
        return torch.stack([layer.square_norms() for layer in layers]).sum(0).clamp(min=0).sqrt()

    @torch.no_grad()
    def gram(self) -> Tensor:
        """Return <g_i, g_j> for all pairs of the global batch, symmetric [B, B].

        Raises:
            UserError: Without layer-local products.
        """
        calls = list(self._layer_local("the Gram matrix").values())
        n, shared = len(calls[0].d), world_size() > 1
        total = calls[0].d.new_zeros(n, n * world_size())
        for layer in calls:
            every = layer
            if shared:
                every = type(layer)(layer.module, all_gather(layer.a), all_gather(layer.d))
            layer.add_gram(every, total)
        return mirror(all_gather(total))
