"""The errors of a run as they can be shown: rows of its worst groups, figures for loggers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.report.errors import ERRORS, confident_errors
from frbench.report.predictions import KeptPredictions
from frbench.runs.wandb import is_wandb
from frbench.support.atomic import write_text

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule

#: Pixels of a picture at most, columns of a row, letters of a value.
PIXELS, COLUMNS, LETTERS = 96, 16, 400


def write_errors(kept: KeptPredictions, data: GroupDataModule, least: int, folder: Path) -> None:
    """Write the surest errors of the worst group of each test table, with the rows themselves.

    Args:
        kept: Predictions on the tables.
        data: Their rows.
        least: Rows that a group needs to be looked at.
        folder: Where ``errors.json`` is written.
    """
    out = {}
    for name in data.test_names:
        if (table := kept.tables.get(name)) is None:
            continue
        p, decision = table.probabilities, table.decision
        found = confident_errors(p, decision, table.y, table.z, least)
        if found is None:
            continue
        (y, z), rows = found
        own = (table.y == y) & (table.z == z)
        shown = [shown_row(data.splits[name].x, int(table.index[i])) for i in rows]
        out[name] = {
            "y": y,
            "z": z,
            "accuracy": float((decision[own] == y).mean()),
            "columns": shown[0].pop("columns", []),
            "rows": [
                {
                    "index": int(table.index[i]),
                    "decision": int(decision[i]),
                    "probability": round(float(p[i, decision[i]]), 6),
                    **{key: value for key, value in row.items() if key != "columns"},
                }
                for i, row in zip(rows, shown, strict=True)
            ],
        }
    write_text(folder / ERRORS, json.dumps(out))


def shown_row(x: Any, row: int) -> dict[str, Any]:
    """Return a row of raw inputs as a page can show it.

    Args:
        x: Inputs of a table: a DataFrame, or anything that an array of rows indexes.
        row: The row.

    Returns:
        ``image``, a PNG in base64; or ``columns``, names, and ``values``, texts.

    Example:
        >>> shown_row(np.array([[0.5, 2.0]]), 0)
        {'columns': ['x0', 'x1'], 'values': ['0.5', '2']}
    """
    if hasattr(x, "iloc"):
        return {
            "columns": [str(name) for name in x.columns[:COLUMNS]],
            "values": [_text(value) for value in x.iloc[row, :COLUMNS]],
        }
    values = np.asarray(x[np.array([row])])[0]
    if values.ndim == 1:
        values = values[:COLUMNS]
        return {"columns": [f"x{i}" for i in range(len(values))], "values": [*map(_text, values)]}
    return {"image": base64.b64encode(_png(values)).decode()}


def _text(value: Any) -> str:
    number = isinstance(value, float | np.floating)
    text = f"{value:.6g}" if number else str(value)
    return text if len(text) <= LETTERS else f"{text[:LETTERS]} ..."


def _png(values: np.ndarray) -> bytes:
    """Write an image [channels, height, width] or [height, width], bytes or in [0, 1]."""
    from PIL import Image

    if values.dtype != np.uint8:
        values = (255 * np.clip(values, 0, 1)).round().astype(np.uint8)
    if values.ndim == 3:
        values = values[0] if len(values) == 1 else np.moveaxis(values[:3], 0, 2)
    image = Image.fromarray(values)
    image.thumbnail((PIXELS, PIXELS))
    stream = BytesIO()
    image.save(stream, format="png")
    return stream.getvalue()


def log_figures(loggers: Iterable[Any], kept: KeptPredictions, step: int) -> None:
    """Send the figures of the errors on each table to W&B and TensorBoard.

    Args:
        loggers: Those of the trainer; others take no figures.
        kept: Predictions on the tables.
        step: Optimiser step of the model.
    """
    takers = figure_loggers(loggers)
    if not takers:
        return
    from frbench.report.error_plots import error_figures

    for table in kept.tables:
        for title, figure in error_figures(kept, table):
            name = f"errors/{table.replace('/', ' ')} {title.lower()}"
            for logger in takers:
                if is_wandb(logger):
                    import wandb

                    logger.experiment.log({name: wandb.Image(figure)})
                else:
                    logger.experiment.add_figure(name, figure, step)


def figure_loggers(loggers: Iterable[Any]) -> list[Any]:
    """Return the loggers that take figures."""
    from pytorch_lightning.loggers import TensorBoardLogger

    return [one for one in loggers if is_wandb(one) or isinstance(one, TensorBoardLogger)]
