"""One cell of a grid: train, select, test, and say what came out."""

from __future__ import annotations

import contextlib
import hashlib
import resource
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import frbench
from frbench.contracts.errors import UserError
from frbench.contracts.text import one_line
from frbench.grids.grid import Cell
from frbench.grids.memory import free_earlier_runs
from frbench.report.predictions import FILE
from frbench.report.records import Results
from frbench.support.atomic import no_space
from frbench.support.files import file_hashes
from frbench.support.stops import interruptible

if TYPE_CHECKING:
    from frbench.runs.cli import FrbenchCLI

#: Options of every cell: a grid shows one progress bar, not one per run, and a cell is one
#: process on one device (use --jobs and --shard for more).
QUIET = [
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.devices=1",
]

#: What the record of a run that trains nothing has of the run that it starts from.
OF_THE_TRAINING = (
    "directions", "steps", "training", "effective_sample_size", "attribute_as_input",
    "config_hash", "data_files", "groups",
)  # fmt: skip


class Pruned(Exception):
    """Ends a run of a search that is not worth its time; the message says where."""


def run_cell(
    cell: Cell, folder: Path, results: Results, watchers: Sequence[Callable[[], Any]] = ()
) -> dict[str, Any]:
    """Train, select and test one cell; or fit behind the checkpoint of another, and test.

    Args:
        cell: The run.
        folder: Its folder, beside those of the others; a checkpoint in it is continued.
        results: Records of the grid.
        watchers: Makers of further callbacks, which decide nothing but whether it goes on.

    Returns:
        The record of the results file; ``status`` is ``ok``, ``failed`` or ``pruned``.
    """
    free_earlier_runs()

    def run() -> dict[str, Any]:
        if cell.parent is None:
            return _train_and_test(cell, folder, watchers)
        return _behind(cell, folder, results)

    return recorded(cell, run)


def recorded(cell: Cell, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do something for a cell; return its record, which says what went wrong if anything did.

    Args:
        cell: The cell.
        run: Returns what the record says beside the names of the cell.
    """
    from frbench.runs.cli import finish_loggers

    record = _names(cell)
    start = time.monotonic()
    try:
        with interruptible(lambda: ""):
            record |= run()
    except SystemExit as error:
        record |= {"status": "failed", "error": f"exit status {error.code}"}
    except UserError as error:
        record |= {"status": "failed", "error": str(error)}
    except Pruned as error:
        record |= {"status": "pruned", "error": str(error)}
    except OSError as error:
        if no_space(error):  # every further run would fail as well
            raise
        record |= _crashed(error)
    except Exception as error:  # one failed cell must not end a grid of thousands
        record |= _crashed(error)
    finally:
        finish_loggers()
    before = record.pop("seconds_before", 0.0)
    record["seconds"] = round(before + time.monotonic() - start, 3)
    return record


def _names(cell: Cell) -> dict[str, Any]:
    return {
        "cell": cell.key,
        "data": cell.data,
        "method": cell.method,
        "settings": cell.settings,
        "seed": cell.seed,
        "fold": cell.fold,
        **({"phases": cell.phases} if cell.phases else {}),
    }


def failed(cell: Cell, error: str) -> dict[str, Any]:
    """Return the record of a cell whose process could not write one."""
    return _names(cell) | {"status": "failed", "error": one_line(error)[:500], "seconds": 0.0}


def _crashed(error: Exception) -> dict[str, str]:
    """Log an error with its traceback, and return what the record says of it."""
    traceback.print_exc()
    return {"status": "failed", "error": f"{type(error).__name__}: {error}"[:500]}


def _train_and_test(
    cell: Cell, folder: Path, watchers: Sequence[Callable[[], Any]]
) -> dict[str, Any]:
    from frbench.callbacks import RollingCheckpoint
    from frbench.runs.cli import train

    last = folder / "checkpoints" / "last.ckpt"
    words = fit_words(cell, folder)
    if last.exists() and (folder / "config.yaml").exists():
        words.append(f"--ckpt_path={last}")
    else:
        clear(folder)
    reset_peak()
    cli = train(words, [make() for make in watchers])
    rolling = next(c for c in cli.trainer.checkpoint_callbacks if isinstance(c, RollingCheckpoint))
    return tested(cell, cli, cli.trainer, folder, cli.trainer.global_step, rolling.seconds_before)


def fit_words(cell: Cell, folder: Path) -> list[str]:
    """Return the words of ``frbench fit`` that train a cell in its folder."""
    return ["fit", *cell.arguments(), *QUIET, f"--run_dir={folder}"]


def clear(folder: Path) -> None:
    """Remove what a run has left that was killed before its first checkpoint."""
    for leftover in ("metrics.csv", "config.yaml", "checkpoints", "wandb_id"):
        path = folder / leftover
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def tested(
    cell: Cell,
    cli: FrbenchCLI,
    fitted: Any,
    folder: Path,
    steps: int,
    seconds_before: float,
) -> dict[str, Any]:
    """Evaluate the selected checkpoint of a trained cell, and return what its record says.

    Args:
        cell: The cell.
        cli: Its command line, with model, data and a trainer for the evaluation.
        fitted: The trainer that has trained it, with its callbacks.
        folder: Its folder.
        steps: Optimiser steps it has taken.
        seconds_before: Seconds that earlier sessions took.
    """
    from frbench.callbacks import BestCheckpoint
    from frbench.data.balance import effective_sample_size
    from frbench.data.describe import group_table, remarks
    from frbench.data.fingerprint import fingerprint
    from frbench.metrics.own import directions
    from frbench.runs.attributes import attributes_read, trains_as_erm
    from frbench.runs.environment import environment
    from frbench.runs.evaluation import evaluated

    monitor = next(c for c in fitted.checkpoint_callbacks if isinstance(c, BestCheckpoint))
    checkpoints = folder / "checkpoints"
    best = monitor.best_model_path or checkpoints / "last.ckpt"

    def metrics_of(path: Any, keep: Path | None = None) -> dict[str, float]:
        parts = cli.trainer, cli.model, cli.datamodule
        return evaluated(*parts, keep, ckpt_path=str(path), weights_only=True)

    selected = _selected(monitor.steps(), lambda name: metrics_of(checkpoints / name))
    metrics = metrics_of(best, _kept_in(cell, folder))  # last: the model is then this one
    cli.model.data_module = cli.datamodule
    # As it was at the start: a continued run takes its model from the checkpoint.
    config = (folder / "config.yaml").read_text().replace(str(folder), "<run>")
    return {
        "status": "ok",
        "selection": monitor.selection(fitted),
        "metrics": metrics,
        **selected,
        **({"directions": directions(cli.metrics)} if cli.metrics else {}),
        "warnings": cli.warnings(),
        "steps": steps,
        "seconds_before": seconds_before,
        "training": {
            "balance": cli.datamodule.balance,
            "train_on": getattr(cli.datamodule, "train_on", None),
            "infer": type(cli.model.infer).__name__ if cli.model.infer else None,
            "inferred": cli.model.inferred_groups(),
            "mixing": type(cli.model.mixing).__name__ if cli.model.mixing else None,
            "erm": trains_as_erm(cli.model, cli.datamodule),
            "penalties": {
                name: float(penalty.weight)
                for name, penalty in zip(cli.model.penalty_names, cli.model.penalties, strict=True)
            },
        },
        "effective_sample_size": round(effective_sample_size(cli.datamodule.training.weight), 1),
        "attribute_as_input": cli.datamodule.attribute_as_input,
        "attribute_use": cli.model.attribute_use or "none",
        "attributes": attributes_read(cli.model, cli.datamodule, monitor.monitors(fitted)),
        "config_hash": hashlib.sha256(config.encode()).hexdigest()[:16],
        "data_hash": fingerprint(cli.datamodule),
        "data_files": file_hashes(cli.datamodule.files),
        "groups": {**group_table(cli.datamodule), "notes": remarks(cli.datamodule)},
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
        "peak_memory_mb": round(_peak_mb(), 1),
    }


def _selected(
    steps: dict[str, int | None], metrics_of: Callable[[str], dict[str, float]]
) -> dict[str, Any]:
    """Return what a record says of the checkpoints by further metrics.

    Args:
        steps: The step of the best checkpoint by each metric, the one of the record first.
        metrics_of: Given the name of a checkpoint's file, evaluates it.

    Returns:
        Nothing if there are none. Else under ``selected`` for each metric the step and, where it
        is another one than the record's, the metrics.
    """
    from frbench.callbacks.also import file_of

    (first, own), *further = steps.items()
    if not further:
        return {}
    known: dict[int | None, dict[str, Any]] = {own: {}}
    selected = {first: {"step": own}}
    for monitor, step in further:
        if step not in known:
            known[step] = {"metrics": metrics_of(file_of(monitor))}
        selected[monitor] = {"step": step, **known[step]}
    return {"selected": selected}


def _behind(cell: Cell, folder: Path, results: Results) -> dict[str, Any]:
    from frbench.data.fingerprint import fingerprint
    from frbench.runs.attributes import attributes_behind
    from frbench.runs.checkpoint import read_description
    from frbench.runs.environment import environment
    from frbench.runs.postprocess import evaluate_tables, fit_behind, request_of

    assert cell.parent is not None
    before = folder.parent / cell.parent.key / "checkpoints"
    if not (before / "best.ckpt").is_file():
        raise UserError(
            f"{cell.parent.method}, seed {cell.parent.seed}, after which it comes, has no "
            "checkpoint: it has failed, or is of another shard that has not run."
        )
    reset_peak()
    request, out = request_of(cell.options), folder / "checkpoints" / "best.ckpt"
    trained = results.heads()[cell.parent.key].record() or {}

    def metrics_of(name: str) -> dict[str, float]:
        model, data, _ = fit_behind(before / name, out.with_name(name), request, before)
        return evaluate_tables(model, data)[0]

    steps = {monitor: found["step"] for monitor, found in trained.get("selected", {}).items()}
    selected = _selected(steps, metrics_of) if steps else {}
    model, data, fitted = fit_behind(before / "best.ckpt", out, request, before)
    metrics, warnings = evaluate_tables(model, data, _kept_in(cell, folder))
    kept = {k: trained[k] for k in OF_THE_TRAINING if k in trained}
    return {
        **kept,
        "status": "ok",
        "selection": read_description(out)["selection"],
        "metrics": metrics,
        **selected,
        "warnings": warnings,
        "attribute_use": model.attribute_use or "none",
        "attributes": attributes_behind(trained, request.method),
        "after": cell.parent.key,
        "postprocess": fitted,
        "data_hash": fingerprint(data),
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
        "peak_memory_mb": round(_peak_mb(), 1),
    }


def _kept_in(cell: Cell, folder: Path) -> Path | None:
    """Return the file for the predictions of a cell that keeps them; an old one is removed."""
    path = folder / FILE
    path.unlink(missing_ok=True)
    return path if cell.keep_predictions else None


def commit() -> str | None:
    """Return the commit of the working tree that frbench runs from, ``+`` for uncommitted changes.

    None where frbench was installed without one.
    """
    root = Path(frbench.__file__).parents[1]
    if not (root / ".git").exists():  # else git would look for one further up
        return None
    words = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--dirty=+"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
        return done.stdout.strip()
    return None


def reset_peak() -> None:
    """Start measuring peak memory anew, so that a cell does not report an earlier one's."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # Linux alone, and not in every container
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """Peak memory of the GPU where there is one, else of this process, in MB."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
