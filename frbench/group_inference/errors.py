"""Just train twice."""

from __future__ import annotations

from typing import Literal

import numpy as np

from frbench.contracts.ranges import NotNegative
from frbench.group_inference.base import GroupInference, Rows, StageLength


class Errors(GroupInference):
    """JTT: rows that the first network gets wrong count more in the second stage.

    z'_i = 1 where argmax_c f_c(x_i) != y_i; such rows have the weight lambda, the others 1, scaled
    to a mean of one. Source: Liu et al., arXiv 2107.09044, Algorithm 1. The errors are those of
    all rows in evaluation mode without random transforms. The released code appends the errors
    ``lambda`` times to the table, which counts them lambda + 1 times.

    Args:
        epochs: Epochs of the first network (the paper's T), or their share of the run.
        upweight: lambda; 1 is ERM.
        via: Whether the loss is weighed or errors are drawn more often; the paper does the latter.
        start: A checkpoint with the first network, instead of the first stage.

    Example:
        >>> logits, y = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([0, 1, 1])
        >>> rows = Rows(logits, logits, y * 0.5, y, np.full(3, -1))
        >>> jtt = Errors(upweight=20.0)
        >>> z = jtt.infer(rows, np.random.default_rng(0))
        >>> z, jtt.weights(z, rows)
        (array([0, 1, 0]), array([ 1., 20.,  1.]))
    """

    def __init__(
        self,
        epochs: StageLength = 1,
        upweight: NotNegative = 20.0,
        via: Literal["weight", "sample"] = "sample",
        start: str | None = None,
    ) -> None:
        super().__init__(epochs, start)
        self.upweight = upweight
        self.via = via

    def infer(self, rows: Rows, rng: np.random.Generator) -> np.ndarray:
        """Return 1 for the rows that the network gets wrong."""
        wrong: np.ndarray = rows.logits.argmax(1) != rows.y
        return wrong.astype(np.int64)

    def weights(self, z: np.ndarray, rows: Rows) -> np.ndarray | None:
        """Return lambda for the errors and 1 for the others; None where all weights are equal."""
        if self.upweight == 1 or len(np.unique(z)) == 1:
            return None
        return np.where(z == 1, self.upweight, 1.0)
