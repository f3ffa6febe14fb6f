"""Attributes that are unknown in training."""

from __future__ import annotations

import numpy as np

from frbench.group_inference.base import GroupInference, Rows


class Classes(GroupInference):
    """One attribute value for all rows: the groups that training sees are the classes.

    z'_i = 0. This is the protocol "attributes unknown in training" of Yang et al., arXiv
    2302.12254, for any objective. There is no first stage.

    Example:
        >>> one = np.zeros((3, 2))
        >>> rows = Rows(one, one, one[:, 0], np.array([0, 1, 1]), np.array([-1, -1, -1]))
        >>> Classes().infer(rows, np.random.default_rng(0))
        array([0, 0, 0])
    """

    num_attributes = 1
    needs_outputs = False

    def __init__(self) -> None:
        super().__init__(epochs=0)

    def infer(self, rows: Rows, rng: np.random.Generator) -> np.ndarray:
        """Return 0 for each row."""
        return np.zeros(len(rows.y), np.int64)
