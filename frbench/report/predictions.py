"""Predictions that runs keep: scores of every row of the evaluated tables; imports no torch."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from frbench.contracts.errors import UserError
from frbench.support.atomic import replacing

#: Name of the file in the folder of a run.
FILE = "predictions.npz"
#: Columns of a table that a file may leave out.
OPTIONAL = ("index", "decision")
#: Types of codes, the narrowest first.
CODES = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)


def log_scores(logits: np.ndarray) -> np.ndarray:
    r"""Return the logarithms of the class probabilities in half precision.

    :math:`\log p_c = s_c - \log \sum_k e^{s_k}`, rounded such that the class of the largest logit
    is the first of the largest score: predictions are those of the logits.

    Args:
        logits: Logits s [N, C].

    Returns:
        Natural logarithms, float16, never below -65504 [N, C].

    Example:
        >>> scores = log_scores(np.array([[0.0, 1e-6], [3.0, 0.0]]))
        >>> scores.argmax(1).tolist(), np.exp(scores[1].astype(float)).round(3).tolist()
        ([1, 0], [0.953, 0.047])
    """
    logits = np.nan_to_num(logits).astype(np.float64)
    best = logits.argmax(1)
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    scores: np.ndarray = log_p.clip(np.finfo(np.float16).min).astype(np.float16)
    largest = np.take_along_axis(scores, best[:, None], 1)
    tied = (scores == largest) & (np.arange(scores.shape[1]) < best[:, None])
    scores[tied] = np.nextafter(scores[tied], np.float16(-np.inf))
    return scores


@dataclass(frozen=True)
class Predictions:
    """What a run says of the rows of one table.

    Attributes:
        scores: Natural logarithms of the class probabilities, float16 [N, C].
        y: Labels [N].
        z: Attributes, -1 where unknown [N].
        index: Place of each row in the table, ascending [N].
        rows: Hash of the table; rows of one place are the same where it is.
        decisions: Decisions of a postprocessor; None if the largest score decides [N].
    """

    scores: np.ndarray
    y: np.ndarray
    z: np.ndarray
    index: np.ndarray
    rows: str = ""
    decisions: np.ndarray | None = None

    @property
    def decision(self) -> np.ndarray:
        """The predicted classes [N]."""
        found: np.ndarray = self.scores.argmax(1) if self.decisions is None else self.decisions
        return found

    @property
    def probabilities(self) -> np.ndarray:
        """Class probabilities, whose sum is 1, float64 [N, C]."""
        p: np.ndarray = np.exp(self.scores.astype(np.float64))
        p /= p.sum(1, keepdims=True)
        return p


@dataclass(frozen=True)
class KeptPredictions:
    """What a run says of the tables that it was evaluated on.

    Attributes:
        tables: Predictions by name of the table: ``val``, ``test``, ``test/<name>``.
        class_names: Names of the classes.
        attribute_names: Names of the attribute's values.
        train_counts: Training rows of each group [C, A].
    """

    tables: Mapping[str, Predictions]
    class_names: Sequence[str]
    attribute_names: Sequence[str]
    train_counts: np.ndarray

    def write(self, path: Path) -> None:
        """Write a compressed file of numpy, whole or not at all; equal content, equal bytes."""
        arrays = {
            "class_names": np.array(self.class_names, dtype=np.str_),
            "attribute_names": np.array(self.attribute_names, dtype=np.str_),
            "train_counts": np.asarray(self.train_counts),
        }
        for name, table in self.tables.items():
            arrays[f"{name}/scores"] = table.scores
            arrays[f"{name}/rows"] = np.array(table.rows)
            codes = {"y": table.y, "z": table.z}
            if not np.array_equal(table.index, np.arange(len(table.y))):
                codes["index"] = table.index
            if table.decisions is not None:
                codes["decision"] = table.decisions
            arrays |= {f"{name}/{key}": _narrow(values) for key, values in codes.items()}
        with replacing(path) as part:
            np.savez_compressed(part, **arrays)  # type: ignore[arg-type]


def _narrow(codes: np.ndarray) -> np.ndarray:
    """Give integers the narrowest type that holds them."""
    low, high = (int(codes.min()), int(codes.max())) if len(codes) else (0, 0)
    fits = (t for t in CODES if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return codes.astype(next(fits))


def read_predictions(path: Path, only: Sequence[str] | None = None) -> KeptPredictions:
    """Read a file of :meth:`KeptPredictions.write`.

    Args:
        path: The file.
        only: Names of the tables to read; all by default. Those that are absent are left out.

    Raises:
        UserError: If the file is missing or is not of this form.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            names = [key.removesuffix("/scores") for key in file.files if key.endswith("/scores")]
            tables = {name: _table(file, name) for name in names if only is None or name in only}
            return KeptPredictions(
                tables,
                file["class_names"].tolist(),
                file["attribute_names"].tolist(),
                file["train_counts"],
            )
    except FileNotFoundError:
        raise UserError(
            f"There is no {path}: the run has kept no predictions; run it again with "
            "`keep_predictions: true` in the grid."
        ) from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(f"{path} holds no predictions that can be read: {error}.") from error


def _table(file: Mapping[str, np.ndarray], name: str) -> Predictions:
    y, z = (file[f"{name}/{key}"].astype(np.int64) for key in ("y", "z"))
    index, decisions = (file.get(f"{name}/{key}") for key in OPTIONAL)
    return Predictions(
        file[f"{name}/scores"],
        y,
        z,
        np.arange(len(y)) if index is None else index.astype(np.int64),
        str(file[f"{name}/rows"]),
        None if decisions is None else decisions.astype(np.int64),
    )
