"""An ensemble of prototype layers that differ from each other."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frbench.contracts.batch import Sizes
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt, Positive
from frbench.postprocessing.base import HeldOut, OutputMap
from frbench.postprocessing.heads import strata


class DPE(OutputMap):
    """Diversified prototypical ensemble (To et al., arXiv 2505.23027).

    Layers are trained one after another, each on a new balanced subset of the held-out rows. Layer
    k has one prototype p_kc a class, and logits -scale |s_k| ||f/|f| - p_kc/|p_kc|||. Its loss is
    the cross-entropy, plus ``decorrelation`` / (1 + .05 k) times |mean_c mean_{j<k} cov(p_kc,
    p_jc)|, plus ``decay`` times the mean of |p|^2. The probabilities are the mean of the layers'
    softmaxes, of the same scale as in training.

    Args:
        heads: Number of layers.
        epochs: Passes over each layer's subset.
        lr: Learning rate of Adam.
        batch_size: Rows of a step.
        scale: Factor of the distances.
        decorrelation: Weight of the covariance with earlier prototypes.
        decay: Weight of the mean squared norm of prototypes.
        balance: Whether each subset has equally many rows of each class, or of each group (y, z).
        seed: Seed of subsets, order and initial prototypes.

    Raises:
        UserError: If a class has no held-out rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.repeat([0, 1], 50)
        >>> x = np.stack([np.cos(y + 0.1 * rng.normal(size=100)), np.sin(y)], 1)
        >>> method = DPE(heads=2, epochs=5)
        >>> method.bind(Sizes(2, 1, (1,)), 2)
        >>> method.fit(HeldOut(x, np.zeros((100, 2)), y, y * 0, 2, 1))["rows_of_a_layer"]
        100
        >>> scores = method.scores(torch.zeros(100, 2), torch.as_tensor(x), torch.zeros(100))
        >>> bool((scores.argmax(1).numpy() == y).all())
        True
    """

    uses_features = True
    prototypes: Tensor
    factor: Tensor
    needs: ClassVar[tuple[str, ...]] = ("y", "z")

    def __init__(
        self,
        heads: Count = 15,
        epochs: Count = 20,
        lr: Positive = 1e-2,
        batch_size: Count = 256,
        scale: Positive = 30.0,
        decorrelation: NotNegative = 5e5,
        decay: NotNegative = 1e-3,
        balance: Literal["class", "group"] = "class",
        seed: NotNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.scale = scale
        self.decorrelation = decorrelation
        self.decay = decay
        self.balance = balance
        self.seed = seed

    def bind(self, sizes: Sizes, num_features: int) -> None:
        """Create the buffers."""
        shape = self.heads, sizes.num_classes, num_features
        self.register_buffer("prototypes", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("factor", torch.ones(self.heads, dtype=torch.float64))

    def fit(self, rows: HeldOut) -> dict[str, Any]:
        """Train the layers."""
        rows, stratum = strata("DPE", rows, self.balance)
        features = F.normalize(torch.as_tensor(rows.features), dim=1)
        y = torch.as_tensor(rows.y)
        members = [np.flatnonzero(stratum == s) for s in np.unique(stratum)]
        size = min(map(len, members))
        losses = []
        for k in range(self.heads):
            rng = np.random.default_rng([self.seed, 26, k])
            chosen = np.concatenate([rng.choice(m, size, replace=False) for m in members])
            start = rng.normal(size=self.prototypes.shape[1:]) * 0.01
            prototype = torch.tensor(start, requires_grad=True)
            factor = torch.ones((), dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.Adam([prototype, factor], lr=self.lr)
            loss = torch.zeros(())
            for _ in range(self.epochs):
                for part in np.array_split(
                    rng.permutation(chosen), -(-len(chosen) // self.batch_size)
                ):
                    at = torch.as_tensor(part)
                    logits = self._logits(features[at], prototype[None], factor[None])[0]
                    loss = F.cross_entropy(logits, y[at]) + self.decay * prototype.square().mean()
                    if k:
                        strength = self.decorrelation / (1 + 0.05 * k)
                        loss = loss + strength * self._covariance(prototype, k)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            self.prototypes[k] = prototype.detach()
            self.factor[k] = factor.detach()
            losses.append(float(loss.detach()))
        return {"rows_of_a_layer": size * len(members), "last_losses": losses}

    def _covariance(self, prototype: Tensor, k: int) -> Tensor:
        """Mean covariance of the k-th layer's prototypes with those of the earlier layers."""
        own = prototype - prototype.mean(1, keepdim=True)
        other = self.prototypes[:k] - self.prototypes[:k].mean(2, keepdim=True)
        return (own * other).mean(2).mean().abs()

    def _logits(self, features: Tensor, prototypes: Tensor, factor: Tensor) -> Tensor:
        """Logits of layers [K, B, C] for features of norm one [B, D]."""
        p = F.normalize(prototypes, dim=2)
        squared = 2 - 2 * torch.einsum("bd,kcd->kbc", features, p)
        distance = squared.clamp(min=1e-12).sqrt()
        return -self.scale * factor.abs()[:, None, None] * distance

    def scores(self, logits: Tensor, features: Tensor, z: Tensor) -> Tensor:
        """Return the logarithm of the mean softmax, which is a logit as good as any."""
        normal = F.normalize(features.double(), dim=1)
        each = self._logits(normal, self.prototypes, self.factor).log_softmax(2)
        return torch.sub(each.logsumexp(0), float(np.log(self.heads))).float()
