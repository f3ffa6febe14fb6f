"""What an evaluation prints and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from frbench.data.module import GroupDataModule


def write_new(folder: Path, stem: str, record: dict[str, Any]) -> Path:
    """Write a JSON file under the first free name ``stem.json``, ``stem-2.json``, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    number = 2
    while path.exists():
        path = folder / f"{stem}-{number}.json"
        number += 1
    path.write_text(json.dumps(record, indent=1))
    return path


def write_predictions(parts: Any, data: GroupDataModule, folder: Path, trainer: Any) -> None:
    """Write row, label, attribute, prediction and probabilities of each test table as CSV."""
    import pandas as pd
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    rank = f"-rank{trainer.global_rank}" if trainer.world_size > 1 else ""
    for name, batches in zip(data.test_names, parts, strict=True):
        columns = {k: torch.cat([b[k] for b in batches]).numpy() for k in batches[0]}
        probabilities = columns.pop("probabilities")
        frame = pd.DataFrame(columns).rename(columns={"index": "row"})
        frame["pred"] = probabilities.argmax(1)
        for i, label in enumerate(data.class_names):
            frame[f"p({label})"] = probabilities[:, i]
        path = folder / f"predictions-{name.replace('/', '-')}{rank}.csv"
        frame.to_csv(path, index=False)
        print(f"written to {path}")


def log_final_table(loggers: list[Any], metrics: dict[str, float], tables: list[str]) -> None:
    """Send one row per metric, one column per evaluated table, to loggers that take tables."""
    start = f"{tables[0]}/"
    names = [key.removeprefix(start) for key in metrics if key.startswith(start)]
    rows = [[name, *(metrics.get(f"{table}/{name}") for table in tables)] for name in names]
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_table("final", columns=["metric", *tables], data=rows)


def print_metrics(metrics: dict[str, float], tables: list[str]) -> None:
    """Print one row per metric, one column per evaluated table."""
    from rich.console import Console
    from rich.table import Table as RichTable

    further = dict.fromkeys("/".join(key.split("/")[:2]) for key in metrics)
    tables = [*tables, *(t for t in further if t == "test/family" and t not in tables)]
    keys = [(t, key.removeprefix(f"{t}/")) for t in tables for key in metrics
            if key.startswith(f"{t}/")]  # fmt: skip
    view = RichTable()
    view.add_column("metric", no_wrap=True)
    for table in tables:
        view.add_column(table)
    for name in dict.fromkeys(name for _, name in keys):
        values = [metrics.get(f"{table}/{name}") for table in tables]
        view.add_row(name, *("" if value is None else f"{value:.4f}" for value in values))
    Console().print(view)
