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

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv1d_weight, conv2d_weight


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
        return type(self)(self.module, self.a[rows], self.d[rows])

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
    def gram(self, other: Layer) -> Tensor:
        """Return <g_i, g'_j> for the rows of this and of the other call [B, B']."""

    @abstractmethod
    def square_norms(self) -> Tensor:
        """Return |g_i|^2 [B]."""

    @abstractmethod
    def _per_sample(self) -> Tensor:
        """Instantiate the gradients [B, P]."""

    def _instantiated(self, other: Layer) -> Tensor:
        """Return the products by way of the gradients themselves."""
        mine = self._per_sample()
        return mine @ (mine if other is self else other._per_sample()).T

    def pairwise_is_cheaper(self, rows: int) -> bool:
        """Whether products with ``rows`` samples cost less than with their summed gradient."""
        return False

    @property
    def trains(self) -> tuple[bool, bool]:
        """Whether weight and bias are trained."""
        weight, bias = getattr(self.module, "weight", None), getattr(self.module, "bias", None)
        return (weight is not None and weight.requires_grad,
                bias is not None and bias.requires_grad)  # fmt: skip


class Dense(Layer):
    """Linear, Conv1d or Conv2d."""

    @staticmethod
    def supports(module: Any) -> bool:
        """Whether padding, if any, is a number of zeros."""
        return isinstance(module, nn.Linear) or (
            module.padding_mode == "zeros" and not isinstance(module.padding, str)
        )

    @property
    def _conv(self) -> dict[str, Any]:
        m = self.module
        return {"stride": m.stride, "padding": m.padding, "dilation": m.dilation}

    @property
    def _groups(self) -> int:
        return getattr(self.module, "groups", 1)

    def _sizes(self) -> tuple[int, int, int]:
        """Return places L, inputs q and outputs p of each place (of one group)."""
        p, *rest = self.module.weight.shape
        q = torch.Size(rest).numel()
        return self.d[0].numel() // p, q, p

    def _columns(self) -> tuple[Tensor, Tensor]:
        """Return inputs [B, L, q] and cotangents [B, L, p] of every place."""
        m, n = self.module, len(self.d)
        if isinstance(m, nn.Linear):
            return self.a.reshape(n, -1, m.in_features), self.d.reshape(n, -1, m.out_features)
        a, options = self.a, self._conv
        kernel = m.kernel_size
        if isinstance(m, nn.Conv1d):
            a, kernel = a.unsqueeze(2), (1, *kernel)
            options = {k: (int(k != "padding"), *v) for k, v in options.items()}
        u = F.unfold(a, kernel, **options).transpose(1, 2)
        return u, self.d.flatten(2).transpose(1, 2)

    def weighted(self, coef: Tensor) -> dict[str, Tensor]:
        """Sum over samples and places."""
        m, grads = self.module, {}
        d = self.d * coef.view(-1, *[1] * (self.d.ndim - 1))
        weight, bias = self.trains
        if isinstance(m, nn.Linear):
            flat = d.reshape(-1, m.out_features)
            if weight:
                grads["weight"] = flat.T @ self.a.reshape(-1, m.in_features)
            if bias:
                grads["bias"] = flat.sum(0)
            return grads
        if weight:
            gradient: Callable[..., Tensor] = (
                conv1d_weight if isinstance(m, nn.Conv1d) else conv2d_weight
            )
            grads["weight"] = gradient(
                self.a, m.weight.shape, d, **self._conv, groups=self._groups
            )
        if bias:
            grads["bias"] = d.flatten(2).sum((0, 2))
        return grads

    def along(self, vector: dict[str, Tensor]) -> Tensor:
        """Apply the layer with other parameters."""
        m, bias = self.module, vector.get("bias")
        if "weight" in vector:
            if isinstance(m, nn.Linear):
                out = F.linear(self.a, vector["weight"], bias)
            else:
                conv = F.conv1d if isinstance(m, nn.Conv1d) else F.conv2d
                out = conv(self.a, vector["weight"], bias, **self._conv, groups=self._groups)
            return (out * self.d).flatten(1).sum(1)
        assert bias is not None  # a layer without trained parameters is not recorded
        return self._per_sample_bias() @ bias

    def _per_sample_bias(self) -> Tensor:
        if isinstance(self.module, nn.Linear):
            return self.d.reshape(len(self.d), -1, self.module.out_features).sum(1)
        return self.d.flatten(2).sum(2)

    def _per_sample(self) -> Tensor:
        """Instantiate the gradients [B, P]."""
        weight, bias = self.trains
        parts = []
        if weight:
            u, d = (side.transpose(1, 2) for side in self._columns())  # [B, groups * ., L]
            n, places = len(u), u.shape[2]
            u, d = (side.reshape(n * self._groups, -1, places) for side in (u, d))
            # In three dimensions: matmul of four copies, at twice the time.
            parts.append(torch.bmm(d, u.transpose(1, 2)).view(n, -1))
        if bias:
            parts.append(self._per_sample_bias())
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _ghost(self, other: Dense) -> Tensor:
        """Return sum over places l, m of (u_il . u_jm + [bias]) (d_il . d_jm) [B, B']."""
        weight, bias = self.trains
        (u, d), (v, e) = self._columns(), other._columns()
        inputs = u.flatten(0, 1) @ v.flatten(0, 1).T if weight else u.new_zeros(())
        products = (inputs + 1 if bias else inputs) * (d.flatten(0, 1) @ e.flatten(0, 1).T)
        if u.shape[1] == v.shape[1] == 1:
            return products
        return products.view(len(u), u.shape[1], len(v), v.shape[1]).sum((1, 3))

    def gram(self, other: Layer) -> Tensor:
        """Pair samples by the cheaper of two exact ways."""
        assert isinstance(other, Dense)
        (places, q, p), n, m = self._sizes(), len(self.d), len(other.d)
        ghost = n * m * places**2 * (p + q)
        if self._groups == 1 and ghost < (n + m) * places * p * q + n * m * p * q:
            return self._ghost(other)
        return self._instantiated(other)

    def square_norms(self) -> Tensor:
        """Pair each sample with itself."""
        places, q, p = self._sizes()
        if self._groups > 1 or places * (p + q) > p * q:
            return self._per_sample().square().sum(1)
        weight, bias = self.trains
        u, d = self._columns()
        inputs = u @ u.transpose(1, 2) if weight else u.new_zeros(())
        products = (inputs + 1 if bias else inputs) * (d @ d.transpose(1, 2))
        return products.sum((1, 2))

    def pairwise_is_cheaper(self, rows: int) -> bool:
        """Compare multiply-adds."""
        places, q, p = self._sizes()
        n = len(self.d)
        pairs = n * rows * places**2 * (p + q)
        return self._groups == 1 and pairs < (n + rows) * places * p * q


class Flat(Layer):
    """A layer with few parameters: its gradients are instantiated."""

    @abstractmethod
    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients by parameter name [B, ...]."""

    def _per_sample(self) -> Tensor:
        return torch.cat([g.flatten(1) for g in self.gradients().values()], 1)

    def weighted(self, coef: Tensor) -> dict[str, Tensor]:
        """Combine the instantiated gradients."""
        return {k: torch.tensordot(coef, g, 1) for k, g in self.gradients().items()}

    def along(self, vector: dict[str, Tensor]) -> Tensor:
        """Multiply the instantiated gradients."""
        return torch.stack(
            [g.flatten(1) @ vector[k].flatten() for k, g in self.gradients().items()]
        ).sum(0)

    def gram(self, other: Layer) -> Tensor:
        """Multiply the instantiated gradients."""
        return self._instantiated(other)

    def square_norms(self) -> Tensor:
        """Square the instantiated gradients."""
        return self._per_sample().square().sum(1)


class Norm(Flat):
    """Scale and shift of BatchNorm with frozen statistics, GroupNorm or LayerNorm."""

    def gradients(self) -> dict[str, Tensor]:
        """Multiply cotangents by the normalised input, and by one."""
        m, a = self.module, self.a
        if isinstance(m, nn.LayerNorm):
            normal = F.layer_norm(a, m.normalized_shape, None, None, m.eps)
            over = tuple(range(1, a.ndim - len(m.normalized_shape)))
        else:
            if isinstance(m, nn.GroupNorm):
                normal = F.group_norm(a, m.num_groups, None, None, m.eps)
            else:
                normal = F.batch_norm(a, m.running_mean, m.running_var, eps=m.eps)
            over = tuple(range(2, a.ndim))
        weight, bias = self.trains
        grads = {}
        if weight:
            grads["weight"] = (self.d * normal).sum(over) if over else self.d * normal
        if bias:
            grads["bias"] = self.d.sum(over) if over else self.d
        return grads


class Lookup(Layer):
    """Embedding: the gradient of a row is the sum of the cotangents where it was looked up."""

    def __init__(self, module: nn.Module, a: Tensor, d: Tensor) -> None:
        super().__init__(module, a, d)
        if self.module.padding_idx is not None:
            self.d = self.d * (a != self.module.padding_idx).unsqueeze(-1)

    @staticmethod
    def supports(module: Any) -> bool:
        """Whether rows are looked up as they are."""
        return module.max_norm is None and not (module.scale_grad_by_freq or module.sparse)

    def weighted(self, coef: Tensor) -> dict[str, Tensor]:
        """Add cotangents to the rows looked up."""
        d = self.d * coef.view(-1, *[1] * (self.d.ndim - 1))
        total = torch.zeros_like(self.module.weight, dtype=d.dtype)
        return {"weight": total.index_add_(0, self.a.flatten(), d.flatten(0, -2))}

    def _per_sample(self) -> Tensor:
        """Instantiate the gradients [B, P]."""
        n, rows = len(self.a), self.module.num_embeddings
        place = self.a.flatten(1) + torch.arange(n, device=self.a.device)[:, None] * rows
        total = self.d.new_zeros(n * rows, self.module.embedding_dim)
        return total.index_add_(0, place.flatten(), self.d.flatten(0, -2)).view(n, -1)

    def along(self, vector: dict[str, Tensor]) -> Tensor:
        """Look up in the other table."""
        return (vector["weight"][self.a] * self.d).flatten(1).sum(1)

    def gram(self, other: Layer) -> Tensor:
        """Pair samples by the cheaper of two exact ways."""
        a, b = self.a.flatten(1), other.a.flatten(1)
        n, m, rows = len(a), len(b), self.module.num_embeddings
        if (n + m + n * m) * rows < n * m * a.shape[1] * b.shape[1]:
            return self._instantiated(other)
        # Cotangents where the same row was looked up.
        d, e = self.d.reshape(*a.shape, -1), other.d.reshape(*b.shape, -1)
        same = a.flatten()[:, None] == b.flatten()
        products = same * (d.flatten(0, 1) @ e.flatten(0, 1).T)
        return products.view(*a.shape, *b.shape).sum((1, 3))

    def square_norms(self) -> Tensor:
        """Pair each sample with itself."""
        a = self.a.flatten(1)
        d = self.d.reshape(*a.shape, -1)
        same = a[:, :, None] == a[:, None, :]
        return (same * (d @ d.transpose(1, 2))).sum((1, 2))


#: Exact types: a subclass may compute something else (timm's BatchNormAct2d does).
LAYERS: dict[type[nn.Module], type[Layer]] = {
    nn.Linear: Dense,
    nn.Conv1d: Dense,
    nn.Conv2d: Dense,
    nn.BatchNorm1d: Norm,
    nn.BatchNorm2d: Norm,
    nn.SyncBatchNorm: Norm,
    nn.GroupNorm: Norm,
    nn.LayerNorm: Norm,
    nn.Embedding: Lookup,
}


def kind(module: nn.Module) -> type[Layer] | None:
    """Return how a module's gradients are computed, None if they cannot be."""
    cls = LAYERS.get(type(module))
    # Weight normalisation, pruning and the like keep the type and exchange the parameters.
    plain = {name for name, _ in module.named_parameters(recurse=False)} <= {"weight", "bias"}
    return cls if cls is not None and plain and cls.supports(module) else None
