"""What layers saw in a forward pass: inputs by hooks, outputs as edges of the graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frbench.contracts.errors import UserError
from frbench.gradients.layer import Layer
from frbench.gradients.layers import LAYERS, kind


class NotCovered(Exception):
    """Layer-local products cannot give these gradients; the text says why."""


def select(model: nn.Module, layers: str | list[str]) -> dict[str, nn.Module]:
    """Return the modules that hold the chosen trainable parameters, by name.

    Args:
        model: The network.
        layers: ``all``, ``last`` (the last linear layer), or names of modules of the network.

    Raises:
        UserError: If a name is not a module with trainable parameters.
    """
    owners = {
        name: module
        for name, module in model.named_modules()
        if any(p is not None and p.requires_grad for p in module._parameters.values())
    }
    if layers == "all":
        return owners
    if layers == "last":
        linear = [name for name, module in owners.items() if isinstance(module, nn.Linear)]
        if not linear:
            raise UserError("layers: last needs a trainable linear layer; name the layers.")
        return {linear[-1]: owners[linear[-1]]}
    names = [layers] if isinstance(layers, str) else layers
    chosen: dict[str, nn.Module] = {}
    for wanted in names:
        below = {n: m for n, m in owners.items() if f"{n}.".startswith(f"{wanted}.")}
        if not below:
            raise UserError(
                f"layers: the network has no trainable layer {wanted!r}; give all, last, or "
                f"names among {', '.join(owners)}."
            )
        chosen |= below
    return {name: module for name, module in owners.items() if name in chosen}


def unknown_layer(model: nn.Module, owners: dict[str, nn.Module]) -> str | None:
    """Say what about the modules alone rules layer-local products out; None if nothing does."""
    seen: dict[int, str] = {}
    for name, module in model.named_modules():
        for short, parameter in module.named_parameters(recurse=False):
            full = f"{name}.{short}" if name else short
            if name in owners and id(parameter) in seen:
                return f"{full} and {seen[id(parameter)]} are one parameter"
            seen[id(parameter)] = full
    for name, module in owners.items():
        if kind(module) is None:
            options = " with these options" if type(module) in LAYERS else ""
            return f"{type(module).__name__}{options} ({name or 'the network'}) is not known"
    return None


class Tape:
    """Records the calls of chosen modules while it is entered.

    Outputs are kept as gradient edges: an in-place activation would change the tensor.

    Args:
        owners: The modules, by name.
    """

    def __init__(self, owners: dict[str, nn.Module]) -> None:
        self.owners = owners
        self._calls: dict[str, list[tuple[Tensor, Any]]] = {name: [] for name in owners}
        self._handles: list[Any] = []

    def __enter__(self) -> Tape:
        for name, module in self.owners.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        calls = self._calls[name]

        def keep(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
            if out.requires_grad and args:
                edge = torch.autograd.graph.get_gradient_edge(out)
                calls.append((args[0].detach(), edge))

        return keep

    def layers(self, losses: Tensor) -> dict[str, Layer]:
        """Return each module's input and cotangent, by name.

        Args:
            losses: Per-sample losses of the recorded pass, with their graph [B].

        Raises:
            NotCovered: If a module was not called exactly once, with the samples in front.
        """
        for name, calls in self._calls.items():
            if len(calls) != 1:
                raise NotCovered(f"{name} was called {len(calls)} times")
            if calls[0][0].shape[:1] != losses.shape:
                raise NotCovered(f"{name} does not get the samples as its first dimension")
        edges = [calls[0][1] for calls in self._calls.values()]
        cotangents = torch.autograd.grad(losses.sum(), edges, retain_graph=True, allow_unused=True)
        found: dict[str, Layer] = {}
        for (name, calls), d in zip(self._calls.items(), cotangents, strict=True):
            if d is None:
                raise NotCovered(f"the losses do not depend on {name}")
            if d.shape[:1] != losses.shape:
                raise NotCovered(f"{name} does not give the samples as its first dimension")
            module = self.owners[name]  # of a known type: unknown_layer has looked
            found[name] = LAYERS[type(module)](module, calls[0][0], d)
        return found
