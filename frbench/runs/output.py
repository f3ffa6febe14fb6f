"""What an evaluation prints and writes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frbench.callbacks import BestCheckpoint
from frbench.contracts.text import printable
from frbench.contracts.trust import foreign_modules
from frbench.metrics import Evaluation
from frbench.metrics.positive import about_positive, named_classes
from frbench.runs import wandb as wandb_run
from frbench.runs.checkpoint import read_description
from frbench.runs.wandb import is_wandb
from frbench.support.atomic import replacing
from frbench.support.sheet import Sheet, show


def write_new(folder: Path, stem: str, record: dict[str, Any]) -> Path:
    """Write a JSON file under the first free name ``stem.json``, ``stem-2.json``, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        try:
            with replacing(path, new=True) as part:
                part.write_text(json.dumps(record, indent=1))
        except FileExistsError:
            number += 1
        else:
            return path


def print_best(callbacks: Sequence[Any]) -> None:
    """Say which checkpoint of a run is the best, and the command that tests it."""
    for callback in callbacks:
        if not isinstance(callback, BestCheckpoint) or not callback.best_model_path:
            continue
        best = os.path.relpath(callback.best_model_path)
        print(f"best by {callback.monitor}, {callback.best_model_score:.3f}: {best}")
        if line := callback.never_moved():
            print(f"warning: {line}")
        run = read_description(best)
        trust = [f" --trust {module}" for module in foreign_modules([run["model"], run["data"]])]
        print(f"next: frbench test --ckpt_path {shlex.quote(best)}{''.join(trust)}")


def log_final_table(loggers: list[Any], found: Evaluation, tables: list[str]) -> None:
    """Send one row per metric, one column per evaluated table, to loggers that take tables."""
    rows = [[name, *(found[table].get(name) for table in tables)] for name in found[tables[0]]]
    for logger in loggers:
        if hasattr(logger, "log_table"):
            logger.log_table("final", columns=["metric", *tables], data=rows)


def print_metrics(found: Evaluation, tables: list[str]) -> None:
    """Print one row per metric, one column per evaluated table, as many as fit side by side."""
    tables = [*tables, *(name for name in found if name == "test/family" and name not in tables)]
    names = dict.fromkeys(name for table in tables for name in found[table])
    rows = [[name, *(found[table].get(name) for table in tables)] for name in names]
    sheet = Sheet("", ["metric", *tables], rows, digits=4)
    parts = [*sheet.parts(shutil.get_terminal_size().columns)]
    if line := about_positive(named_classes(names)):
        parts.append(Sheet(lines=[printable(line)]))
    show(parts)


def settle_loggers(config: Any) -> None:
    """Make every logger without a folder of its own write into the run's."""
    given = config.trainer.logger
    if given is False:
        return
    loggers = [] if given is None or given is True else given
    loggers = loggers if isinstance(loggers, list) else [loggers]
    for logger in loggers:
        if logger.init_args.get("save_dir", "elsewhere") in (None, "."):
            logger.init_args.save_dir = config.run_dir
        if is_wandb(logger):
            wandb_run.keep_id(logger, Path(config.run_dir))
    config.trainer.logger = loggers or None
