"""A trained model on rows of other files: probabilities, decisions and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from frbench.contracts.errors import UserError
from frbench.data.learnt import CHUNK, NewRows
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.training.decisions import Outcome
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
    def decision_use(self) -> str:
        """Say whether the rule of decision looks at the attribute, empty if it does not."""
        transforms = [] if self.data_module is None else self.data_module.transforms or []
        deciding = [p for p in (self, self.postprocess, *transforms) if p is not None]
        reading = [type(part).__name__ for part in deciding if part.reads_attribute]
        return f"{reading[0]} reads the attribute of each row to decide" if reading else ""

    @property
    def attribute_use(self) -> str:
        """Say whether a decision depends on the attribute of its row, empty if it does not."""
        if self.decision_use:
            return self.decision_use
        if self.encoding.attribute_as_input:
            return "the attribute is among the inputs of the model"
        return ""

    def chunk_size(self) -> int:
        """Rows of a part of a file: whole batches of evaluation."""
        batch_size = self.encoding.eval_batch_size
        return max(1, CHUNK // batch_size) * batch_size

    @torch.inference_mode()
    def table_outcome(self, table: Table, places: np.ndarray | None = None) -> Outcome:
        """Run the model over rows in their order, in the batches of evaluation.

        Args:
            table: Rows as the data set's tables hold them; labels are not looked at.
            places: Place of each row in its file or table, by which decisions are drawn; by
                default that in ``table`` [N].
        """
        self.eval()
        order = torch.arange(len(table)) if places is None else torch.as_tensor(places)
        parts = []
        for batch in self.encoding.table_loader(table, "new"):
            x, z, at = (c.to(self.device) for c in (batch.x, batch.z, order[batch.index]))
            logits, *decided = self.outcome(x, z, at)
            parts.append([logits.float().cpu(), *(d if d is None else d.cpu() for d in decided)])
        if not parts:
            return Outcome(torch.zeros(0, self.num_classes))
        columns = zip(*parts, strict=True)
        return Outcome(*(None if c[0] is None else torch.cat(c) for c in columns))  # type: ignore[arg-type]

    def score(self, source: Any) -> Iterator[Scored]:
        """Score another file, or rows in memory, part by part.

        Args:
            source: A file or folder, a DataFrame, an array of inputs, or a list of texts.

        Yields:
            Rows with their class probabilities and decisions.
        """
        first = 0
        for part in self.encoding.new_parts(source, self.chunk_size()):
            rows = self.encoding.new_rows(part)
            n = len(rows.x)
            z = np.full(n, -1)
            if self.decision_use and rows.z is not None:
                z = self.encoding.name_codes(rows.z, "attribute").clip(min=-1)
            found = self.table_outcome(
                Table(rows.x, np.zeros(n, np.int64), z), first + np.arange(n)
            )
            yield Scored(rows, *in_numpy(found))
            first += n

    def predict_proba(self, source: Any) -> np.ndarray:
        """Return class probabilities [N, C] in the order of ``classes_``; see :meth:`score`."""
        parts = [part.probabilities for part in self.score(source)]
        return np.concatenate(parts) if parts else np.zeros((0, self.num_classes))

    def predict(self, source: Any) -> np.ndarray:
        """Return the names of the predicted classes [N]; see :meth:`score`."""
        parts = [part.codes for part in self.score(source)]
        predicted: np.ndarray = self.classes_[np.concatenate(parts) if parts else []]
        return predicted

    @torch.inference_mode()
    def evaluate(self, source: Any) -> dict[str, float]:
        """Return every group metric of labelled rows, as ``frbench test`` computes them.

        Args:
            source: As for :meth:`score`, with labels; attributes may be missing.
        """
        data = self.encoding
        counts = self.evaluator(data, exact=True)
        first = 0
        for part in data.new_parts(source, self.chunk_size()):
            table, kept = data.labelled(data.new_rows(part))
            logits, *decided = self.table_outcome(table, first + np.flatnonzero(kept))
            y, z = torch.as_tensor(table.y), torch.as_tensor(table.z)
            decision = decided[not self.expected_decisions]
            # In the batches of evaluation: the sums of scores are then the same to the last bit.
            for at in torch.arange(len(y)).split(self.encoding.eval_batch_size):
                counts.update(logits[at], y[at], z[at], None if decision is None else decision[at])
            first += len(kept)
        found: dict[str, float] = counts.compute()
        return found


class Scored(NamedTuple):
    """Rows of a file with what a model says of them.

    Attributes:
        rows: The rows.
        probabilities: Class probabilities [N, C].
        codes: Predicted classes [N].
        shares: Probability of each decision [N, C]; None if the largest probability decides.
    """

    rows: NewRows
    probabilities: np.ndarray
    codes: np.ndarray
    shares: np.ndarray | None


def in_numpy(found: Outcome) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return probabilities, predicted classes, and probabilities of decisions if there are any."""
    probabilities = found.logits.softmax(1).numpy()
    codes = probabilities.argmax(1) if found.decision is None else found.decision.numpy()
    return probabilities, codes, None if found.shares is None else found.shares.numpy()
