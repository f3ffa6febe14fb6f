"""Intrinsic reweighting after outliers have left."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from frbench.contracts.errors import UserError
from frbench.contracts.properties import Properties
from frbench.contracts.ranges import Interval, Positive, PositiveShare
from frbench.data.module import datamodule_of
from frbench.distributed import all_gather, rank, world_size
from frbench.gradients.density import noise_of
from frbench.gradients.layer import BLOCK
from frbench.gradients.settings import batch_statistics
from frbench.objectives.irw import IRW


class IRWO(IRW):
    """IRW after outliers have left: samples with few neighbours in gradient space.

    The distances |g_i - g_j| of the global batch give DBSCAN's noise label; what is noise gets
    weight zero and no place in S. If fewer than the worst share would remain, all stay. Source:
    arXiv 2411.03068, section 5. The paper names no radius; by default it follows the batch: the
    ``quantile`` of the distances to the ``min_samples``-th nearest sample (itself included), so
    that at most a share 1 - quantile is removed. Neighbours are rows, whatever their weights:
    a row that the sampler draws ``min_samples`` times into a batch is no outlier there.

    Where BatchNorm trains, gradients are taken under running statistics (``batchnorm: frozen``):
    through the batch's statistics, pairwise products would cost one reverse pass per sample.

    Args:
        min_samples: DBSCAN's, itself included, at least 2 (with 1 nothing is noise).
        eps: DBSCAN's radius, in the unit of the gradients; None for the quantile.
        quantile: As above, in (0, 1].

    Raises:
        UserError: For values out of range, scheme: global, or batchnorm: batch where BatchNorm
            trains.
    """

    # Neighbours are rows, whatever their weights.
    properties = Properties(weights=None, copies=None)

    removed_share: Tensor

    def __init__(
        self,
        *args: Any,
        min_samples: Annotated[int, Interval(2)] = 5,
        eps: Positive | None = None,
        quantile: PositiveShare = 0.99,
        batchnorm: Literal["batch", "frozen"] = "frozen",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, batchnorm=batchnorm, **kwargs)
        if self.scheme == "global" or self.backend == "jvp":
            raise UserError(
                "IRWO compares the gradients of a batch pair by pair: it needs scheme: local and "
                "backend: auto or layers."
            )
        mixing = batch_statistics(self.network)
        if mixing is not None and batchnorm == "batch" and self.layers != "last":
            raise UserError(
                f"IRWO.batchnorm: batch, but {mixing} normalises with the batch's statistics, so "
                "that pairs of gradients have no cheap exact product; use frozen, or GroupNorm."
            )
        self.min_samples = min_samples
        self.eps = eps
        self.quantile = quantile
        self.register_buffer("removed_share", torch.zeros(()))

    def setup(self, stage: str) -> None:
        """Check that a batch can be dense.

        Raises:
            UserError: If it has fewer than ``min_samples`` rows: all would be noise, and stay.
        """
        super().setup(stage)
        data = datamodule_of(self.trainer)
        if stage == "fit" and data is not None and data.batch_size < self.min_samples:
            raise UserError(
                f"IRWO.min_samples: {self.min_samples} neighbours do not fit into a batch of "
                f"{data.batch_size}, so no sample would ever be removed; lower it, or raise "
                "data.batch_size."
            )

    def noise(self, gram: Tensor) -> Tensor:
        """Mark outliers of a batch.

        Args:
            gram: Products <g_i, g_j> [B, B].

        Returns:
            DBSCAN's noise label, bool [B].
        """
        size, square = max(1, BLOCK // len(gram)), gram.diag()
        # In blocks of rows, twice: a matrix of distances would be as large as that of products.
        blocks = [slice(start, start + size) for start in range(0, len(gram), size)]

        def distances(rows: slice) -> Tensor:
            part = (square[rows, None] + square).sub_(gram[rows], alpha=2).clamp_(min=0).sqrt_()
            part[:, rows].fill_diagonal_(0)
            return part

        eps: Any = self.eps
        if eps is None:
            place = min(self.min_samples, len(gram))
            nearest = [distances(rows).kthvalue(place, dim=1).values for rows in blocks]
            eps = torch.cat(nearest).quantile(self.quantile)
        return noise_of(torch.cat([distances(rows) <= eps for rows in blocks]), self.min_samples)

    def _weights(self, losses: Tensor, mass: Tensor) -> Tensor:
        gram = self.engine.gram()
        everyone, mass = all_gather(losses), all_gather(mass)
        keep = ~self.noise(gram)
        enough = (mass * keep).sum() >= self.alpha * mass.sum()
        keep = keep | ~enough
        self.stage(removed_share=1 - keep.float().mean())
        member = self.worst(everyone, mass * keep)
        scores = gram @ member.to(gram.dtype)
        if self.similarity == "cosine":
            norm = (member * scores).sum().clamp(min=0).sqrt()
            scores = scores / (gram.diag().clamp(min=0).sqrt() * norm).clamp(min=1e-30)
        return (scores.clamp(min=0) * keep).chunk(world_size())[rank()]

    def state_to_log(self) -> dict[str, Tensor]:
        """Return the share of the latest batch that was removed, and what IRW logs."""
        return {**super().state_to_log(), "removed_share": self.removed_share}
