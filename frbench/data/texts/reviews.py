"""Amazon reviews: helpfulness confounded with the spelling of five words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Share
from frbench.data.reading import read_table
from frbench.data.splits import Fractions, SplitPolicy
from frbench.data.table import Table
from frbench.data.tasks.structural import Correlation
from frbench.data.texts.text_table import TextInputs, rows_of

if TYPE_CHECKING:
    import pandas as pd


class AmazonReviews(TextInputs):
    """Reviews whose helpfulness is confounded with the spelling of five words.

    T is whether a review got a helpful vote. A hidden coin U replaces T with probability
    ``flip``: that is the label Y. Z copies U with probability ``strength`` and is a coin else;
    the words and, the, you, my, they end in xxxx where Z = 0 and in yyyy where Z = 1. So text
    causes Y, U causes Y and Z: the causal, purely spurious task (graph ``b``). With half of T
    positive the correlation of Y and Z is ``flip * strength``. Source: arXiv 2406.17433,
    Appendix D (its own text leaves the exact formula of Z open).

    Test tables: ``test/P``; ``test/Q``, an exact sample of the jointly balanced distribution;
    ``test/P0``, strength 0; and ``test/shift=..`` for each of the ``shifts``. A negative strength
    copies 1 - U. Splits are of reviews, stratified on T; each review occurs at most once.

    Args:
        train_on: Distribution of the training rows.
        strength: Strength under P, in [-1, 1].
        flip: Share of labels that U sets, in [0, 1].
        shifts: Strengths of the further test tables.
        fractions: Shares of train, val and test.
        path: File of reviews, one JSON object a line, with ``reviewText`` and ``helpful``
            ([up, total]) or ``vote``, the two forms in which the data was published.
        **kwargs: As for :class:`TextInputs`.

    Raises:
        UserError: For a share or strength out of range, or a file without these fields.
    """

    class_names = ("no votes", "helpful votes")
    attribute_names = ("xxxx", "yyyy")
    _MARKED = re.compile(r"\b(and|the|you|my|they)\b", re.IGNORECASE)

    def __init__(
        self,
        train_on: Literal["P", "Q", "P0"] = "P",
        strength: Correlation = 0.8,
        flip: Share = 0.4,
        shifts: list[Correlation] | None = None,
        fractions: Fractions = (0.6, 0.2, 0.2),
        path: str = "amazon/reviews_Musical_Instruments_5.json",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.train_on = train_on
        self.strength = strength
        self.flip = flip
        self.shifts = [-0.8, -0.4, 0.4] if shifts is None else shifts
        self.fractions = fractions
        self.path = path

    @property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Two classes, two values, L tokens."""
        return Sizes(2, 2, (self.max_length,), self.vocab_size)

    @property
    def files(self) -> list[str]:
        """The reviews."""
        return [self.path]

    @property
    def family_names(self) -> list[str]:
        """The test tables that differ in the strength only, P and P0 among them."""
        return ["test/P", "test/P0", *(f"test/shift={strength:g}" for strength in self.shifts)]

    def tables(self) -> dict[str, Table]:
        """Split the reviews and draw labels and factors; each table has a stream of its own."""
        text, voted = self._read()
        policy = SplitPolicy("fraction", self.fractions, seed=self.seed)
        part, _ = policy.assign(voted, np.zeros_like(voted))
        wanted = {"P": (self.strength, False), "Q": (self.strength, True), "P0": (0.0, False)}
        draws = [("train", 0, *wanted[self.train_on]), ("val", 1, *wanted["P"])]
        draws += [(f"test/{name}", 2, *wanted[name]) for name in wanted]
        draws += [(f"test/shift={strength:g}", 2, strength, False) for strength in self.shifts]
        tables = {}
        for stream, (name, split, strength, balanced) in enumerate(draws):
            rng = np.random.default_rng([self.seed, 21, stream])
            rows = np.flatnonzero(part == split)
            keep, y, z = confounded(voted[rows], strength, self.flip, balanced, rng)
            marked = [
                self._mark(text[row], value) for row, value in zip(rows[keep], z, strict=True)
            ]
            tables[name] = Table(_frame(marked), y, z)
        self.notes.append(f"{voted.mean():.3f} of {len(voted)} reviews have a helpful vote")
        self.notes.extend(self._length_notes(tables["train"].x))
        return tables

    def _read(self) -> tuple[list[str], np.ndarray]:
        frame = read_table(self.path)
        if "reviewText" not in frame or not {"helpful", "vote"} & set(frame.columns):
            raise UserError(
                f"{self.path} has no fields reviewText and helpful (or vote); it has: "
                f"{', '.join(frame.columns)}."
            )
        if "vote" in frame:
            voted = frame["vote"].notna()
        else:
            voted = frame["helpful"].map(lambda votes: votes[0] > 0)
        return [text for (text,) in rows_of(frame[["reviewText"]])], voted.to_numpy(np.int64)

    def _mark(self, text: str, z: int) -> str:
        return self._MARKED.sub(rf"\1{self.attribute_names[z]}", text)


def _frame(texts: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"text": pd.Series(texts, dtype=object)})


def confounded(
    t: np.ndarray, strength: float, flip: float, balanced: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels and factors by a hidden coin, P or its jointly balanced version Q.

    U ~ Bern(1/2); Y = U with probability flip, else T; Z = U (1 - U for a negative strength) with
    probability |strength|, else Bern(1/2). Q keeps a row with probability proportional to
    P(y) P(z) / P(y, z), all of them exact for the given share of T.

    Args:
        t: Labels before confounding, 0 or 1 [N].
        strength: In [-1, 1].
        flip: In [0, 1].
        balanced: Whether to draw from Q.
        rng: Source of randomness.

    Returns:
        Positions that are kept [M], and their y and z [M].

    Example:
        >>> t = np.arange(20_000) % 2
        >>> for balanced in (False, True):
        ...     keep, y, z = confounded(t, 1.0, 0.5, balanced, np.random.default_rng(0))
        ...     print(np.corrcoef(y, z)[0, 1].round(1))
        0.5
        0.0
    """
    n, u = len(t), rng.integers(0, 2, len(t))
    y = np.where(rng.random(n) < flip, u, t)
    copied = u if strength >= 0 else 1 - u
    z = np.where(rng.random(n) < abs(strength), copied, rng.integers(0, 2, n))
    if not balanced:
        return np.arange(n), y, z
    share = np.array([1 - t.mean(), t.mean()])
    p_y_u = flip * np.eye(2) + (1 - flip) * share  # row u
    p_z_u = abs(strength) * np.eye(2)[:: 1 if strength >= 0 else -1] + (1 - abs(strength)) / 2
    cells = np.einsum("uy,uz->yz", p_y_u, p_z_u) / 2
    ratio = np.outer(cells.sum(1), cells.sum(0)) / np.where(cells > 0, cells, np.inf)
    keep = np.flatnonzero(rng.random(n) < (ratio / ratio.max())[y, z])
    return keep, y[keep], z[keep]
