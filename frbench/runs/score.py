"""Files scored and evaluated by a checkpoint, and what is written of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.data.categorical import texts
from frbench.metrics import Evaluation, evaluate
from frbench.runs.environment import environment
from frbench.support.atomic import replacing, write_text
from frbench.training.objective import Objective
from frbench.training.scoring import Decision, in_numpy

if TYPE_CHECKING:
    import pandas as pd

#: Columns that are written beside those of the file.
OUTPUT = ("prediction", "y", "z")


def write_scores(
    model: Objective,
    source: Path,
    out: Path,
    keep: Sequence[str] | None = None,
    decision: Decision | None = None,
) -> dict[str, Any]:
    """Score every row of a file, in its order, and write a table and a record beside it.

    Args:
        model: What :func:`frbench.load` gives.
        source: The file, or a folder of images.
        out: Table to write: kept columns, ``prediction``, ``p(<class>)``, and names ``y``, ``z``
            where the file has labels and attributes.
        keep: Columns of the file to copy; ``["all"]`` copies every one; None those that are
            neither inputs nor labels.
        decision: How probabilities become predictions.

    Returns:
        The record.

    Raises:
        UserError: If the file or a column is missing.
    """
    decision = decision or Decision()
    _check(model, decision)
    predicted: np.ndarray | None = None
    if decision.needs_all:  # the scores of all rows first, then the table
        predicted = decision.predict(model.predict_proba(str(source)))
    unseen, empty = Counter[str](), Counter[str]()
    attributes = set(model.encoding.attribute_names)
    rows_done, unknown, without, new = 0, 0, 0, 0
    with replacing(out) as part, part.open("w", newline="", encoding="utf-8") as file:
        for rows, probabilities, codes, shares in model.score(str(source)):
            n = len(probabilities)
            if predicted is not None:
                codes = predicted[rows_done : rows_done + n]
            elif decision.chosen:
                codes = decision.predict(probabilities)
            frame = _kept(model, rows, keep)
            labels = {"y": rows.y, "z": rows.z}
            columns = {"prediction": model.classes_[codes]}
            columns |= _probabilities(model, probabilities)
            columns |= _shares(model, shares)
            columns |= {k: v for k, v in labels.items() if v is not None}
            frame = frame.assign(**columns)
            frame.to_csv(file, index=False, header=not rows_done, lineterminator="\n")
            unseen.update(model.encoding.unseen(rows.x))
            if hasattr(rows.x, "isna"):
                empty.update({str(k): int(n) for k, n in rows.x.isna().sum().items() if n})
            if rows.z is not None:
                new += sum(name is not None and name not in attributes for name in rows.z)
            if rows.y is not None:
                known = np.isin(rows.y[rows.y != None], model.classes_)  # noqa: E711
                unknown += int((~known).sum())
            if model.decision_use:
                without += n if rows.z is None else sum(name is None for name in rows.z)
            rows_done += n
    if not rows_done:
        raise UserError(f"{source} has no rows.")
    return _write_record(
        model,
        out,
        decision,
        rows=rows_done,
        values_unseen_in_training=dict(unseen),
        empty_cells=dict(empty),
        attributes_unseen_in_training=new,
        labels_unknown_to_the_model=unknown,
        decided_without_attribute=without,
    )


def _write_record(model: Objective, out: Path, decision: Decision, **more: Any) -> dict[str, Any]:
    """Write beside a table how it was made."""
    record = {
        "classes": model.classes_.tolist(),
        "decision": decision.chosen or rule_of(model),
        "attribute_use": model.attribute_use or "none",
        **more,
        **environment(),
    }
    write_text(out.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
    return record


def write_split(model: Objective, name: str, out: Path, decision: Decision | None = None) -> None:
    """Write the predictions on one of the data set's own tables, and a record beside them.

    The column ``row`` is the position in the table, ``file_row`` that in the file which the data
    set was divided from, from 0, where there is one such file.

    Args:
        model: What :func:`frbench.load` gives.
        name: Name of the table.
        out: Table to write.
        decision: How probabilities become predictions.
    """
    import pandas as pd

    decision = decision or Decision()
    _check(model, decision)
    data = model.encoding
    table = data.splits[name]
    probabilities, codes, shares = in_numpy(model.table_outcome(table))
    attributes = np.array([*data.attribute_names, None], dtype=object)
    columns = {
        "row": np.arange(len(table)),
        "prediction": model.classes_[
            decision.predict(probabilities) if decision.chosen else codes
        ],
        **_probabilities(model, probabilities),
        **_shares(model, shares),
        "y": model.classes_[table.y],
        "z": attributes[table.z],
    }
    meaning = {"row": f"position in the table {name}, from 0"}
    if len(data.files) == 1 and isinstance(table.x, pd.DataFrame):
        columns = {"row": columns.pop("row"), "file_row": table.x.index.to_numpy(), **columns}
        file = Path(data.files[0]).name
        meaning["file_row"] = f"position in {file}, from 0, the header not counted"
    with replacing(out) as part:
        pd.DataFrame(columns).to_csv(part, index=False)
    _write_record(model, out, decision, rows=len(table), columns=meaning)


def _check(model: Objective, decision: Decision) -> None:
    """Check a decision; a model with a map decides by it alone."""
    decision.check(model.num_classes)
    if decision.chosen and model.postprocess is not None:
        raise UserError(
            f"--{next(iter(decision.chosen))}: this checkpoint decides by "
            f"{type(model.postprocess).__name__}; use the checkpoint it was made from."
        )


def rule_of(model: Objective) -> str:
    """Say what turns probabilities into predictions, where no option does."""
    return "largest probability" if model.postprocess is None else type(model.postprocess).__name__


def _shares(model: Objective, shares: np.ndarray | None) -> dict[str, np.ndarray]:
    """Columns of the probabilities of decisions, which are what a randomised map is."""
    if shares is None:
        return {}
    return {f"decides({name})": shares[:, i] for i, name in enumerate(model.classes_)}


def _probabilities(model: Objective, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    return {f"p({name})": probabilities[:, i] for i, name in enumerate(model.classes_)}


def _kept(model: Objective, rows: Any, keep: Sequence[str] | None) -> pd.DataFrame:
    """Columns of the file that are copied."""
    import pandas as pd

    frame = rows.columns
    if frame is None:
        return pd.DataFrame(index=range(len(rows.x)))
    roles = model.encoding.label_columns
    names = [str(name) for name in frame.columns]
    if keep is None:
        inputs = set(rows.x.columns) if hasattr(rows.x, "columns") else set()
        chosen = [name for name in names if name not in inputs | roles]
    elif list(keep) == ["all"]:
        chosen = [name for name in names if name not in roles & set(OUTPUT)]
    else:
        chosen = list(keep)
        if absent := [name for name in chosen if name not in names]:
            raise UserError(
                f"--keep: there is no column {absent[0]!r}; the columns are: {', '.join(names)}."
            )
    scores = [f"{what}({name})" for what in ("p", "decides") for name in model.classes_]
    written = {*OUTPUT, *scores}
    if clash := [name for name in chosen if name in written]:
        raise UserError(
            f"The column {clash[0]!r} of the file has the name of one that is written; rename it, "
            "or choose others by --keep."
        )
    kept: pd.DataFrame = frame[chosen]
    return kept


def evaluate_file(
    model: Objective,
    source: Path,
    attributes: Sequence[str] = (),
    decision: Decision | None = None,
) -> Evaluation:
    """Evaluate all labelled rows of a file.

    Args:
        model: What :func:`frbench.load` gives.
        source: The file.
        attributes: Columns of the file to report on, each alone and all crossed, whether or not
            the model was trained with them; by default the attribute of the training.
        decision: How probabilities become predictions.

    Raises:
        UserError: If the file lacks labels or a column.
    """
    decision = decision or Decision()
    _check(model, decision)
    if not attributes and not decision.chosen:
        return Evaluation({"test": model.evaluate(str(source))})
    names = list(model.encoding.class_names)
    times = 1
    y, z, scores, frames, codes, weights = [], [], [], [], [], []
    for rows, probabilities, decided, shares in model.score(str(source)):
        table, kept = model.encoding.labelled(rows)
        if model.expected_decisions and shares is not None:
            times = len(names)  # a row once for each decision, weighed by its probability
            decided = np.tile(np.arange(times), len(decided))
            weights.append(shares[kept].ravel())
        y.append(table.y.repeat(times))
        z.append(table.z.repeat(times))
        scores.append(probabilities[kept].repeat(times, 0))
        codes.append(decided.reshape(-1, times)[kept].ravel())
        frames.append(_columns(rows.columns, attributes)[kept].repeat(times, 0))
    labels, probability = np.concatenate(y), np.concatenate(scores)
    predicted = decision.predict(probability) if decision.chosen else np.concatenate(codes)
    given = np.concatenate(frames)
    weight = np.concatenate(weights) if weights else None

    def table_of(values: Any, known: Any = None) -> dict[str, float]:
        score = probability[:, 1] if len(names) == 2 else probability
        found: dict[str, float] = evaluate(
            labels,
            predicted,
            values,
            score,
            weight,
            class_names=names,
            attribute_names=known,
            min_group_rows=times * model.min_group_rows,
        )
        return found

    if not attributes:
        known = list(model.encoding.attribute_names)
        return Evaluation({"test": table_of(np.concatenate(z), known)})
    views = [[name] for name in attributes] + ([list(attributes)] if len(attributes) > 1 else [])
    evaluation = Evaluation()
    for view in views:
        columns = {name: given[:, list(attributes).index(name)] for name in view}
        codes, values = zip(*(_codes(column) for column in columns.values()), strict=True)
        single = len(view) == 1
        evaluation[f"test by {'&'.join(view)}"] = table_of(
            codes[0] if single else dict(zip(view, codes, strict=True)),
            values[0] if single else list(values),
        )
    return evaluation


def _columns(frame: pd.DataFrame | None, names: Sequence[str]) -> np.ndarray:
    if not names:
        return np.empty((0 if frame is None else len(frame), 0), dtype=object)
    if frame is None or (absent := [name for name in names if name not in frame.columns]):
        raise UserError(f"--attributes: the file has no column {(absent or names)[0]!r}.")
    return np.stack([texts(frame[name]) for name in names], axis=1)


def _codes(column: np.ndarray) -> tuple[np.ndarray, list[str]]:
    names = sorted({value for value in column if value is not None})
    place = {name: i for i, name in enumerate(names)}
    return np.array([place.get(value, -1) for value in column]), names
