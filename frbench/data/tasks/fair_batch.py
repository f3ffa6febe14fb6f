"""FairBatch's synthetic data: the released arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.ranges import ProperShare
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.data.tasks.two_gaussians import released


class FairBatchSynthetic(GroupDataModule):
    """FairBatch's synthetic data: two features, an attribute that is the third input.

    2,000 training and 1,000 test rows, ``fairbatch/*.npy`` of the data folder; class 1 is the
    label 1 of the arrays, class 0 their -1. They have no validation rows, and the released code
    selects nothing. Source: arXiv 2012.01696, section 4.1, and its released code.

    Args:
        val_share: Share of the training rows, drawn by the seed, that are validation rows
            instead. With 0 all 2,000 rows train, as in the released code, and validation shows
            the same rows: it then says nothing about other rows, and must not select.
        **kwargs: Arguments of :class:`~frbench.data.module.GroupDataModule`.

    Raises:
        UserError: For a share out of range, or a missing file.

    Example:
        >>> FairBatchSynthetic(val_share=0.25).sizes.input_shape
        (3,)
    """

    class_names = ("0", "1")
    attribute_names = ("0", "1")
    sizes = Sizes(2, 2, (3,))

    def __init__(self, val_share: ProperShare = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val_share = val_share

    def tables(self) -> dict[str, Table]:
        """Return the released rows, with validation rows taken out of the training rows."""
        train, test = (self._read(name) for name in ("train", "test"))
        if not self.val_share:
            return {"train": train, "val": train, "test": test}
        order = np.random.default_rng([self.seed, 0]).permutation(len(train))
        cut = max(1, round(self.val_share * len(train)))
        val, rest = np.sort(order[:cut]), np.sort(order[cut:])
        return {"train": train.take(rest), "val": train.take(val), "test": test}

    @staticmethod
    def _read(split: str) -> Table:
        x, y, z = (released(f"fairbatch/{name}_{split}") for name in ("xz", "y", "z"))
        return Table(x, y > 0, z)
