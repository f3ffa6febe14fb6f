"""The first network's predictions as attribute."""

from __future__ import annotations

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.group_inference.base import GroupInference, Rows


class Predictions(GroupInference):
    """The class that the first network predicts as attribute: z'_i = argmax_c f_c(x_i).

    A network that relies on a spurious attribute predicts it. Sources: Zhang et al. (Correct-N-
    Contrast), arXiv 2203.01517; Tsirigotis et al. (uLA), arXiv 2310.18555.
    Groups (y, z') are the cells of the first network's confusion matrix.

    Args:
        epochs: Epochs of the first network.
        start: A checkpoint with the first network, instead of the first stage.

    Example:
        >>> logits, y = np.array([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]]), np.array([0, 1])
        >>> rows = Rows(logits, logits, y * 0.5, y, y * 0 - 1)
        >>> Predictions().infer(rows, np.random.default_rng(0))
        array([0, 2])
    """

    def bind(self, sizes: Sizes) -> None:
        """Take as many attribute values as there are classes."""
        self.num_attributes = sizes.num_classes

    def infer(self, rows: Rows, rng: np.random.Generator) -> np.ndarray:
        """Return the predicted class of each row."""
        predicted: np.ndarray = rows.logits.argmax(1)
        return predicted
