"""Per-sample gradients of one layer, used before they exist.

For a layer whose output is linear in its parameters, out = f(a; theta), the gradient of loss l_i
is a function of the input a_i and the cotangent d_i = dl_i / d out_i alone, so that for any theta'
<g_i, theta'> = <d_i, f(a_i; theta')>. Products with a given vector, weighted sums and pairwise
products follow without a B x P matrix.

Costs are multiply-adds of a dense layer with inputs of q and outputs of p numbers at L places
(tokens, pixels). The idea of choosing per layer between pairwise products of inputs and outputs
and the gradient itself is the mixed ghost clipping of arXiv 2210.00038, there for norms.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

#: Numbers that the pairs of one block of samples may take: above it the temporary matrices, not
#: the Gram matrix, would be the peak of memory, and they would leave the cache.
BLOCK = 2**16


def mirror(total: Tensor) -> Tensor:
    """Copy what is above the diagonal below it, in place and in blocks."""
    size = max(1, BLOCK // len(total))
    for start in range(0, len(total), size):
        end = start + size
        own = total[start:end, start:end]
        own.copy_(own.triu() + own.triu(1).T)
        total[end:, start:end] = total[start:end, end:].T
    return total


class Layer(ABC):
    """One call of one layer: its input, the cotangent of its output, its trainable parameters.

    Args:
        module: The layer.
        a: Its input [B, ...].
        d: Gradient of the sum of the losses with respect to its output [B, ...].
    """

    def __init__(self, module: nn.Module, a: Tensor, d: Tensor) -> None:
        # Sums over samples and parameters are taken in float32 at least, whatever autocast did.
        dtype = torch.promote_types(d.dtype, torch.float32)
        self.module: Any = module
        self.a = a.to(dtype) if a.is_floating_point() else a
        self.d = d.to(dtype)

    def take(self, rows: Tensor) -> Layer:
        """Return the same for some rows."""
        return self.of(self.a.index_select(0, rows), self.d.index_select(0, rows))

    def of(self, a: Tensor, d: Tensor) -> Layer:
        """Return a call of the same layer with other sides, of types as these have.

        Args:
            a: The input [B, ...].
            d: The cotangent [B, ...].
        """
        other = object.__new__(type(self))
        vars(other).update(vars(self), a=a, d=d)
        return other

    @staticmethod
    def supports(module: Any) -> bool:
        """Whether the module's options are those that the formulas hold for."""
        return True

    @abstractmethod
    def weighted(self, coef: Tensor) -> dict[str, Tensor]:
        """Return sum_i coef_i g_i, by parameter name."""

    @abstractmethod
    def along(self, vector: dict[str, Tensor]) -> Tensor:
        """Return <g_i, vector> [B]."""

    @abstractmethod
    def square_norms(self) -> Tensor:
        """Return |g_i|^2 [B]."""

    @abstractmethod
    def _per_sample(self) -> Tensor:
        """Instantiate the gradients [B, P]."""

    @cached_property
    def trains(self) -> tuple[bool, bool]:
        """Whether weight and bias are trained."""
        return "weight" in self.trained, "bias" in self.trained

    @cached_property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by their names in the module."""
        found = ((name, getattr(self.module, name, None)) for name in ("weight", "bias"))
        return {name: p for name, p in found if p is not None and p.requires_grad}

    def pairwise_is_cheaper(self, rows: int) -> bool:
        """Whether products with ``rows`` samples cost less than with their summed gradient."""
        return False

    # ---- pairs ------------------------------------------------------------------------------
    def toward(self, rows: Tensor, coef: Tensor) -> Tensor:
        """Return <g_i, sum_j coef_j g_rows_j> from products of pairs [B].

        Args:
            rows: Positions of the members of the sum [k].
            coef: Their coefficients [k].
        """
        return self.gram(self.take(rows)) @ coef

    def _costs(self) -> tuple[float, float, float]:
        """Return multiply-adds of a pair without gradients, of a gradient, of two multiplied."""
        return math.inf, 0, 0

    def _sides(self) -> tuple[Tensor, Tensor]:
        """Return inputs and cotangents with samples as their second dimension."""
        raise NotImplementedError

    def _pairs(self, u: Tensor, d: Tensor, v: Tensor, e: Tensor) -> Tensor:
        """Return <g_i, g'_j> of samples with sides u, d and others with v, e [b, b']."""
        raise NotImplementedError

    def gram(self, other: Layer) -> Tensor:
        """Return <g_i, g'_j> for the rows of this and of the other call [B, B']."""
        total = self.d.new_zeros(len(self.d), len(other.d))
        self.add_gram(other, total)
        return mirror(total) if other is self else total

    def add_gram(self, other: Layer, total: Tensor) -> None:
        """Add <g_i, g'_j> to a matrix, by the cheaper of two exact ways.

        Args:
            other: Another call of the layer, or this one.
            total: The matrix [B, B']. Where ``other`` is this call, its part below the diagonal
                is not valid afterwards: :func:`mirror` it.
        """
        n, m, same = len(self.d), len(other.d), other is self
        pair, gradient, product = self._costs()
        if n * m * pair >= (n if same else n + m) * gradient + n * m * product:
            mine = self._per_sample()
            total.addmm_(mine, (mine if same else other._per_sample()).T)
            return
        u, d = self._sides()
        v, e = (u, d) if same else other._sides()
        size = max(1, BLOCK // (m * len(u) ** 2))
        for start in range(0, n, size):
            rows, columns = slice(start, start + size), slice(start if same else 0, None)
            total[rows, columns] += self._pairs(
                u[:, rows], d[:, rows], v[:, columns], e[:, columns]
            )
