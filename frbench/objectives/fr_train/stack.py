"""Networks of one shape evaluated side by side, each with parameters of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frbench.contracts.errors import UserError
from frbench.networks.base import Network
from frbench.networks.mlp import OneLogit

#: Modules without parameters that act on each number alone.
_ELEMENTWISE = (
    nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU, nn.SiLU, nn.Softplus,
)  # fmt: skip


def _layers(module: nn.Module) -> list[Any]:
    """List the layers of a chain in the order in which they are applied."""
    if isinstance(module, Network):
        return [*_layers(module.backbone), *_layers(module.head)]
    if isinstance(module, nn.Sequential):
        return [layer for part in module for layer in _layers(part)]
    if isinstance(module, nn.Identity | nn.Flatten) or (
        isinstance(module, nn.Dropout) and module.p == 0
    ):
        return []
    if type(module) in (nn.Linear, OneLogit) or isinstance(module, _ELEMENTWISE):
        return [module]
    raise UserError(
        f"{type(module).__name__} cannot be stacked: only chains of linear layers and elementwise "
        "functions can; train these runs one by one."
    )


class Stack:
    """R chains of linear layers and elementwise functions, as batched products.

    Samples are columns, so that elementwise work and products run along contiguous memory. The
    runs share no number: the gradient of a sum over runs is each run's own.

    Args:
        modules: R networks or chains of equal shape; their parameters are copied.

    Raises:
        UserError: For a layer of another kind, or chains of different shapes.

    Attributes:
        parameters: Weights [R, out, in] and biases [R, out, 1], leaves.

    Example:
        >>> nets = [nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)) for _ in range(4)]
        >>> x = torch.randn(5, 2)
        >>> both = Stack(nets)(x.T.expand(4, 2, 5))
        >>> both.shape, torch.allclose(both[2].T, nets[2](x), atol=1e-6)
        (torch.Size([4, 1, 5]), True)
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._chains = [_layers(module) for module in modules]
        if len({tuple(map(str, chain)) for chain in self._chains}) > 1:
            raise UserError("Networks of different shapes cannot be stacked; sweep them apart.")
        self.parameters: list[Tensor] = []
        self._steps: list[tuple[Tensor, Tensor | None] | nn.Module] = []
        for layers in zip(*self._chains, strict=True):
            if not isinstance(layers[0], nn.Linear):
                self._steps.append(layers[0])
                continue
            weight = torch.stack([layer.weight.detach() for layer in layers]).requires_grad_()
            bias = None
            if layers[0].bias is not None:
                bias = torch.stack([layer.bias.detach()[:, None] for layer in layers])
                bias.requires_grad_()
            self.parameters += [weight] if bias is None else [weight, bias]
            self._steps.append((weight, bias))

    def __call__(self, x: Tensor) -> Tensor:
        """Map inputs [R, in, N] to outputs [R, out, N]."""
        for step in self._steps:
            if not isinstance(step, tuple):
                x = step(x)
            elif step[1] is None:
                x = torch.bmm(step[0], x)
            else:
                x = torch.baddbmm(step[1], step[0], x)
        return x

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy each run's parameters into its modules."""
        for step, layers in zip(self._steps, zip(*self._chains, strict=True), strict=True):
            if isinstance(step, tuple):
                for run, layer in enumerate(layers):
                    layer.weight.copy_(step[0][run])
                    if step[1] is not None:
                        layer.bias.copy_(step[1][run, :, 0])
