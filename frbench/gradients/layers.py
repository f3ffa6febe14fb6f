"""The layers whose per-sample gradients have known products."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frbench.gradients.dense import Dense
from frbench.gradients.layer import Layer


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

    def _costs(self) -> tuple[float, float, float]:
        """Count pairs of tokens against rows of the table."""
        places, width = self.a[0].numel(), self.module.embedding_dim
        table = self.module.num_embeddings * width
        return places**2 * width, table, table

    def _sides(self) -> tuple[Tensor, Tensor]:
        """Return the rows looked up [L, B] and the cotangents there [L, B, width]."""
        a = self.a.flatten(1)
        return a.T, self.d.reshape(*a.shape, -1).transpose(0, 1)

    def _pairs(self, u: Tensor, d: Tensor, v: Tensor, e: Tensor) -> Tensor:
        """Sum products of cotangents where the same row was looked up."""
        products = d.flatten(0, 1) @ e.flatten(0, 1).T
        products *= u.flatten()[:, None] == v.flatten()
        return products.view(*u.shape, *v.shape).sum((0, 2))

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
