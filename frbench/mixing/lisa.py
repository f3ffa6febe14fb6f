"""Selective augmentation."""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import Tensor

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import NotNegative, Share
from frbench.mixing.base import At, Mixing, Named
from frbench.mixing.cutmix import CutMix, paste


def partners(
    fixed: np.ndarray, free: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw for each row, uniformly, another with the same ``fixed`` and another ``free`` value.

    Args:
        fixed: What partners have in common, -1 where unknown [B].
        free: What they differ in, -1 where unknown [B].
        rng: Source of the draws.

    Returns:
        Positions of the partners [B]; a row without one is its own, which the second array says.

    Example:
        >>> y, z = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0])
        >>> partners(y, z, np.random.default_rng(0))
        (array([2, 0, 0, 3]), array([False, False, False,  True]))
    """
    known = (fixed >= 0) & (free >= 0)
    order = np.lexsort([free, fixed])
    order = order[known[order]]  # rows of one value of `fixed` are a block, its cells within it
    width = free.max(initial=0) + 1
    cell = fixed * width + free
    block_start = np.searchsorted(fixed[order], fixed, "left")
    block = np.searchsorted(fixed[order], fixed, "right") - block_start
    cell_start = np.searchsorted(cell[order], cell, "left")
    own = np.searchsorted(cell[order], cell, "right") - cell_start
    allowed = np.where(known, block - own, 0)
    drawn = block_start + (rng.random(len(fixed)) * allowed).astype(np.int64)
    drawn += np.where(drawn >= cell_start, own, 0)  # behind the row's own cell
    alone = allowed == 0
    found = order[np.where(alone, 0, drawn)] if len(order) else drawn
    return np.where(alone, np.arange(len(fixed)), found), alone


class LISA(Mixing):
    """LISA: combine rows of one class across attributes, or of one attribute across classes.

    With probability ``p_sel`` a batch is mixed within labels (same y, other z), else within
    domains (same z, other y). Each row has a partner drawn uniformly among those allowed, and a
    share t_i ~ Beta(alpha, alpha) of its own (one for the batch with cutmix). A row without
    partner, and one of unknown z, stays as it is. Source: Yao et al., arXiv 2201.00299.
    The released code draws batches of four groups of equal size; ``data.balance: joint``
    with ``data.marginals: uniform`` does the same here.

    Args:
        alpha: Parameter of the Beta distribution; 0 is t = 1, which is ERM.
        p_sel: Probability of mixing within labels.
        how: ``mixup``, or ``cutmix`` for images.
        at: Whether inputs are combined or the backbone's features.
        label: As for :class:`~frbench.mixing.Mixup`.

    Raises:
        UserError: For cutmix of features or of inputs that are no images.

    Example:
        >>> y, z = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
        >>> LISA(p_sel=1.0).pairs(y, z, np.random.default_rng(0))[0]
        array([1, 0, 3, 2])
        >>> LISA(p_sel=0.0).pairs(y, z, np.random.default_rng(0))[0]
        array([2, 3, 0, 1])
    """

    sees_attribute = True

    def __init__(
        self,
        alpha: NotNegative = 2.0,
        p_sel: Share = 0.5,
        how: Literal["mixup", "cutmix"] = "mixup",
        at: At = "inputs",
        label: Named = "first",
    ) -> None:
        super().__init__(at, label)
        self.alpha = alpha
        self.p_sel = p_sel
        self.how = how
        if how == "cutmix":
            self.stackable, self.why_alone = CutMix.stackable, CutMix.why_alone
        if how == "cutmix" and at == "features":
            raise UserError("LISA.how: cutmix pastes parts of images; set LISA.at to inputs.")

    def bind(self, sizes: Sizes) -> None:
        """Check that such inputs can be combined."""
        super().bind(sizes)
        if self.how == "cutmix" and len(sizes.input_shape) != 3:
            raise UserError(
                "LISA.how: cutmix needs images [channels, height, width], got inputs of shape "
                f"{sizes.input_shape}; use mixup."
            )

    def pairs(
        self, y: np.ndarray, z: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw the strategy, partners and shares."""
        within_labels = rng.random() < self.p_sel
        partner, alone = partners(*((y, z) if within_labels else (z, y)), rng)
        size = 1 if self.how == "cutmix" else len(y)
        share = rng.beta(self.alpha, self.alpha, size) if self.alpha else np.ones(size)
        return partner, np.where(alone, 1.0, share)

    def combine(
        self, x: Tensor, other: Tensor, share: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, np.ndarray]:
        """Average the rows, or paste a box."""
        if self.how == "mixup":
            return super().combine(x, other, share, rng)
        mixed, pasted = paste(x, other, np.full(len(share), share.min()), rng)
        return mixed, np.where(share == 1, 1.0, pasted)
