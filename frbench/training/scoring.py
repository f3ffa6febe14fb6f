"""A trained model on rows of other files: probabilities, decisions and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from frbench.contracts.errors import UserError
from frbench.data.learnt import CHUNK, NewRows
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.training.evaluation import Evaluated


class Decision(NamedTuple):
    """How probabilities of two classes become predictions; by default the larger one wins.

    Attributes:
        threshold: Least probability of the second class that selects it, in [0, 1].
        top_k: Number of rows, those of the largest probability, that are selected.
        selection_rate: Share of the rows that are selected, in [0, 1].
    """

    threshold: float | None = None
    top_k: int | None = None
    selection_rate: float | None = None

    @property
    def chosen(self) -> dict[str, float]:
        """The options that were given, as records hold them."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    @property
    def needs_all(self) -> bool:
        """Whether the prediction of one row depends on the others."""
        return self.top_k is not None or self.selection_rate is not None

    def check(self, num_classes: int) -> None:
        """Check the options.

        Raises:
            UserError: If two are given, one is out of range, or there are more than two classes.
        """
        if len(self.chosen) > 1:
            raise UserError("Give one of --threshold, --top_k and --selection_rate, not several.")
        if self.chosen and num_classes != 2:
            raise UserError(
                f"--{next(iter(self.chosen))} selects the second of two classes; this model has "
                f"{num_classes}."
            )
        for name in ("threshold", "selection_rate"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                raise UserError(f"--{name} must lie in [0, 1], got {value}.")
        if self.top_k is not None and self.top_k < 0:
            raise UserError(f"--top_k must not be negative, got {self.top_k}.")

    def predict(self, probabilities: np.ndarray) -> np.ndarray:
        """Turn probabilities [N, C] into codes of classes [N]; the first of equal rows first.

        Example:
            >>> p = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
            >>> Decision(threshold=0.3).predict(p).tolist(), Decision(top_k=1).predict(p).tolist()
            ([1, 0, 1], [0, 0, 1])
        """
        if self.threshold is not None:
            return (probabilities[:, 1] >= self.threshold).astype(np.int64)
        if not self.needs_all:
            result: np.ndarray = probabilities.argmax(1)
            return result
        n = len(probabilities)
        k = round(n * self.selection_rate) if self.selection_rate is not None else self.top_k
        selected = np.argsort(-probabilities[:, 1], kind="stable")[:k]
        codes = np.zeros(n, np.int64)
        codes[selected] = 1
        return codes


class Scoring(Evaluated):
    """A module with the data set it was trained on, which encodes new rows for it."""

    #: The data set of the checkpoint; :func:`frbench.load` sets it.
    data_module: GroupDataModule | None = None
    #: Whether the decision reads the attribute of a row; outputs then say so.
    reads_attribute = False

    @property
    def encoding(self) -> GroupDataModule:
        """The data set that encodes new rows.

        Raises:
            UserError: If the model has none: it does not come from a checkpoint that names one.
        """
        if self.data_module is None:
            raise UserError(
                "This model does not know how its inputs are encoded: load it by frbench.load "
                "from a checkpoint that names its data set."
            )
        return self.data_module

    @property
    def classes_(self) -> np.ndarray:
        """Names of the classes in the order of the probabilities [C]."""
        return np.array(self.encoding.class_names, dtype=object)

    @property
    def attribute_use(self) -> str:
        """Say whether a decision depends on the attribute of its row, empty if it does not."""
        if self.reads_attribute:
            return f"{type(self).__name__} reads the attribute of each row to decide"
        if self.encoding.attribute_as_input:
            return "the attribute is among the inputs of the model"
        return ""

    def chunk_size(self) -> int:
        """Rows of a part of a file: whole batches of evaluation."""
        batch_size = self.encoding.eval_batch_size
        return max(1, CHUNK // batch_size) * batch_size

    @torch.inference_mode()
    def table_logits(self, table: Table) -> Tensor:
        """Run the network over rows in their order, in the batches of evaluation [N, C].

        Args:
            table: Rows as the data set's tables hold them; labels are not looked at.
        """
        self.eval()
        loader = self.encoding.table_loader(table, "new")
        parts = [self(batch.x.to(self.device)).float().cpu() for batch in loader]
        return torch.cat(parts) if parts else torch.zeros(0, self.num_classes)

    def score(self, source: Any) -> Iterator[tuple[NewRows, np.ndarray]]:
        """Score another file, or rows in memory, part by part.

        Args:
            source: A file or folder, a DataFrame, an array of inputs, or a list of texts.

        Yields:
            Rows and their class probabilities [N, C].
        """
        for part in self.encoding.new_parts(source, self.chunk_size()):
            rows = self.encoding.new_rows(part)
            n = len(rows.x)
            table = Table(rows.x, np.zeros(n, np.int64), np.full(n, -1))
            yield rows, self.table_logits(table).softmax(1).numpy()

    def predict_proba(self, source: Any) -> np.ndarray:
        """Return class probabilities [N, C] in the order of ``classes_``; see :meth:`score`."""
        parts = [probabilities for _, probabilities in self.score(source)]
        return np.concatenate(parts) if parts else np.zeros((0, self.num_classes))

    def predict(self, source: Any) -> np.ndarray:
        """Return the names of the predicted classes [N]; see :meth:`score`."""
        predicted: np.ndarray = self.classes_[self.predict_proba(source).argmax(1)]
        return predicted

    @torch.inference_mode()
    def evaluate(self, source: Any) -> dict[str, float]:
        """Return every group metric of labelled rows, as ``frbench test`` computes them.

        Args:
            source: As for :meth:`score`, with labels; attributes may be missing.
        """
        data = self.encoding
        counts = self.evaluator(data, exact=True)
        for part in data.new_parts(source, self.chunk_size()):
            table, _ = data.labelled(data.new_rows(part))
            self.eval()
            for batch in data.table_loader(table, "new") if len(table) else ():
                counts.update(self(batch.x.to(self.device)).cpu(), batch.y, batch.z)
        found: dict[str, float] = counts.compute()
        return found
