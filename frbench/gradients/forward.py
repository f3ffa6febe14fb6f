"""One forward-mode pass: how every sample's loss changes along a direction."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual

from frbench.gradients.settings import Conditions, forward_mode


class _Losses(nn.Module):
    """A function of a model's parameters, for ``functional_call``."""

    def __init__(self, model: nn.Module, losses: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.losses = losses

    def forward(self, batch: Any) -> Tensor:
        """Return the per-sample losses [B]."""
        return self.losses(batch)


class Recall:
    """The outputs of linear layers in a pass that forward mode repeats: a third of its products.

    Args:
        model: The network; what it computes while this is entered is kept.
    """

    def __init__(self, model: nn.Module) -> None:
        # A hook may return another output, and would change that again.
        layers = (m for m in model.modules() if type(m) is nn.Linear and not m._forward_hooks)
        self._calls: dict[nn.Module, deque[tuple[Tensor, int]]] = {m: deque() for m in layers}
        self._handles: list[Any] = []

    def __enter__(self) -> Recall:
        self._handles = [m.register_forward_hook(self._keep) for m in self._calls]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _keep(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        self._calls[module].append((out.detach(), out._version))

    def take(self, module: nn.Module) -> Tensor | None:
        """Return the output of the module's next call, None where it is unknown or was changed."""
        if not self._calls.get(module):
            return None
        out, version = self._calls[module].popleft()
        return out if out._version == version else None


def _lean(layer: nn.Linear, recall: Recall) -> Callable[[Tensor], Tensor]:
    """Return a linear layer's forward that adds the parts of its tangent in place.

    torch's own rule holds four matrices of the output's size beside input and output, and passes
    over them four times: on a multilayer perceptron, the peak of memory.
    """

    def forward(x: Tensor) -> Tensor:
        (x, dx), (w, dw) = unpack_dual(x), unpack_dual(layer.weight)
        b, db = (None, None) if layer.bias is None else unpack_dual(layer.bias)
        out = recall.take(layer)
        out = F.linear(x, w, b) if out is None else out
        if dx is not None:
            tangent = F.linear(dx, w, db)
            if dw is not None:
                tangent.view(-1, tangent.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]), dw.T)
        elif dw is not None:
            tangent = F.linear(x, dw, db)
        elif db is not None:
            tangent = db.expand_as(out)
        else:
            return out
        dual: Tensor = make_dual(out, tangent)
        return dual

    return forward


@contextlib.contextmanager
def _lean_layers(modules: list[nn.Module], recall: Recall) -> Iterator[None]:
    """Exchange the forwards of linear layers."""
    layers = [m for m in modules if type(m) is nn.Linear and "forward" not in m.__dict__]
    try:
        for layer in layers:
            layer.__dict__["forward"] = _lean(layer, recall)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def directional_losses(
    model: nn.Module,
    losses: Callable[[Any], Tensor],
    batch: Any,
    parameters: dict[str, nn.Parameter],
    vector: dict[str, Tensor],
    conditions: Conditions,
    recall: Recall,
) -> Tensor:
    """Return <g_i, vector> for every sample by one pass of dual numbers.

    Args:
        model: The network.
        losses: Runs it on a batch and returns per-sample losses [B].
        batch: The batch.
        parameters: The parameters that count, by their names in the model.
        vector: A direction, by the same names; emptied, so that what the caller does not hold
            takes no memory during the pass.
        conditions: Random state and autocast of the pass that is differentiated.
        recall: What that pass computed; used up.

    Returns:
        Directional derivatives, without a graph [B].
    """
    holder = _Losses(model, losses)
    # Of length one: in float16, products with the gradient of many samples overflow.
    length = torch.stack([g.norm() for g in vector.values()]).norm()
    length = length.clamp(min=torch.finfo(length.dtype).tiny)
    autocast = conditions.autocast is not None
    modules = list(model.modules())  # one walk: on small networks, walks are felt
    # Under autocast, torch casts inside of its own rule.
    lean = contextlib.nullcontext() if autocast else _lean_layers(modules, recall)
    fit = forward_mode(modules, autocast)
    with torch.no_grad(), conditions.again(), fit, lean, dual_level():
        # Detached: otherwise the tangent would carry a reverse tape as large as the network's.
        point = {
            f"model.{k}": make_dual(p.detach(), (vector.pop(k) / length).to(p.dtype))
            for k, p in parameters.items()
        }
        value = torch.func.functional_call(holder, point, (batch,))
        slopes = unpack_dual(value).tangent
        return torch.zeros_like(value) if slopes is None else slopes * length
