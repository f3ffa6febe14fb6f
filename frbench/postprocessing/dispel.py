"""DFR on rows that are mixed with any row of their class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frbench.contracts.ranges import Share, checked
from frbench.postprocessing.dfr import DFR


@checked
@dataclass(frozen=True)
class DISPEL(DFR):
    """Group-balanced last layers on mixed rows (DISPEL; read in SpuCo).

    As :class:`DFR`, but in each draw a row x of the balanced rows becomes, with probability
    ``alpha``, s x + (1 - s) x', where x' is a random held-out row of its class. s = 1 is DFR.

    Args:
        redraws: Balanced draws that are averaged.
        strengths: Values of C to choose from.
        seed: Seed of halves, draws and mixing.
        alpha: Probability of mixing a row.
        s: Share of the balanced row.

    Raises:
        UserError: As :class:`DFR`.

    Example:
        >>> DISPEL(s=0.8).alpha
        1.0
    """

    alpha: Share = 1.0
    s: Share = 0.9

    def _inputs(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray, redraw: int) -> np.ndarray:
        """Return the inputs of the rows of one draw, some of them mixed."""
        drawn: np.ndarray = x[rows]
        if self.s == 1 or self.alpha == 0:
            return drawn
        rng = np.random.default_rng([self.seed, 25, redraw])
        mixed = rng.random(len(rows)) < self.alpha
        other = np.empty(len(rows), np.int64)
        for label in np.unique(y[rows]):
            here = y[rows] == label
            other[here] = rng.choice(np.flatnonzero(y == label), here.sum())
        share = np.where(mixed, self.s, 1.0)[:, None]
        result: np.ndarray = share * drawn + (1 - share) * x[other]
        return result
