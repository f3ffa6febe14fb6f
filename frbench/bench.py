"""``frbench bench``: run a grid, one line of results per finished run, resumable at any point."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NoReturn

from frbench import __version__
from frbench.errors import UserError
from frbench.grid import Cell, read_grid

#: Options of every cell: a grid shows one progress bar, not one per run, and a cell is one
#: process on one device (use --jobs and --shard for more).
QUIET = [
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.devices=1",
]


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Read the latest record of each cell; a half-written last line is left out."""
    records = {}
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                record = json.loads(line)
                records[record["cell"]] = record
    return records


def finite(value: Any) -> Any:
    """Write what is not a finite number as null, which JSON has."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append(path: Path, record: dict[str, Any]) -> None:
    """Append one line, whole or not at all, whoever else is writing."""
    line = json.dumps(finite(record), allow_nan=False) + "\n"
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # A writer that was killed in mid-line leaves no line end; ours must start on a new line.
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Hold a cell's lock; gives False where another process holds it. Death releases it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def run_cell(cell: Cell, folder: Path) -> dict[str, Any]:
    """Train, select and test one cell.

    Args:
        cell: The run.
        folder: Its folder; a checkpoint in it is continued.

    Returns:
        The record of the results file; ``status`` is ``ok`` or ``failed``.
    """
    record: dict[str, Any] = {
        "cell": cell.key,
        "data": cell.data,
        "method": cell.method,
        "settings": cell.settings,
        "seed": cell.seed,
        "fold": cell.fold,
    }
    from frbench.cli import finish_loggers

    start = time.monotonic()
    try:
        record |= _train_and_test(cell, folder)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns one into the other
            raise KeyboardInterrupt from None
        record |= {"status": "failed", "error": f"exit status {error.code}"}
    except UserError as error:
        record |= {"status": "failed", "error": str(error)}
    except Exception as error:  # one failed cell must not end a grid of thousands
        traceback.print_exc()
        record |= {"status": "failed", "error": f"{type(error).__name__}: {error}"[:500]}
    finally:
        finish_loggers()
    record["seconds"] = round(time.monotonic() - start, 3)
    return record


def _train_and_test(cell: Cell, folder: Path) -> dict[str, Any]:
    import torch

    from frbench.callbacks import BestCheckpoint
    from frbench.cli import train

    last = folder / "checkpoints" / "last.ckpt"
    words = ["fit", *cell.arguments(), *QUIET, f"--run_dir={folder}"]
    if last.exists():
        words.append(f"--ckpt_path={last}")
    else:  # killed before its first checkpoint: nothing of it can be used
        for leftover in ("metrics.csv", "config.yaml", "checkpoints"):
            path = folder / leftover
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    cli = train(words)
    trainer = cli.trainer
    monitor = next(c for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint))
    best = monitor.best_model_path or str(last)
    metrics: dict[str, float] = {}
    for evaluate in (trainer.validate, trainer.test):
        evaluate(
            cli.model, datamodule=cli.datamodule, ckpt_path=best, verbose=False, weights_only=True
        )
        metrics |= cli.model.last_metrics
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**20
    # As it was at the start: a continued run takes its model from the checkpoint.
    config = (folder / "config.yaml").read_text().replace(str(folder), "<run>")
    return {
        "status": "ok",
        "selection": {
            "monitor": monitor.monitor,
            "mode": monitor.mode,
            "oracle": str(monitor.monitor).startswith("test"),
        },
        "metrics": metrics,
        "warnings": cli.warnings(),
        "steps": trainer.global_step,
        "attribute_as_input": getattr(cli.datamodule, "attribute_as_input", False),
        "config_hash": hashlib.sha256(config.encode()).hexdigest()[:16],
        "data_hash": cli.datamodule.fingerprint(),
        "versions": {
            "frbench": __version__,
            "python": sys.version.split()[0],
            **{name: version(name) for name in ("torch", "pytorch-lightning", "numpy")},
        },
        "peak_memory_mb": round(peak, 1),
    }


def work(cells: list[Cell], out: Path, on_done: Any) -> bool:
    """Run the cells that are neither finished nor claimed by another process.

    Returns:
        Whether every cell run here succeeded.
    """
    results, good = out / "results.jsonl", True
    for cell in cells:
        folder = out / "runs" / cell.key
        with claimed(folder) as mine:
            if not mine:
                continue
            # Read under the lock: another process may have finished the cell meanwhile.
            if read_results(results).get(cell.key, {}).get("status") == "ok":
                on_done(cell, None)
                continue
            with (
                (folder / "log.txt").open("a") as log,
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
            ):
                record = run_cell(cell, folder)
            append(results, record)
            if record["status"] == "ok":
                (folder / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
            good &= record["status"] == "ok"
            on_done(cell, record)
    return good


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see frbench bench --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="frbench bench",
        allow_abbrev=False,
        description="Run data x method x settings x seeds; finished runs are skipped, an "
        "interrupted one continues.",
        epilog="examples: frbench bench grid.yaml --jobs 2;  SLURM array: frbench bench grid.yaml "
        "--shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT;  any option of `frbench fit` may "
        "follow and overrides the grid's: --trainer.max_epochs 1",
    )
    parser.add_argument("grid", help="grid file (YAML)")
    parser.add_argument("--out", help="folder of results; default results/<grid's name>")
    parser.add_argument("--jobs", type=int, default=1, help="processes on this machine")
    parser.add_argument("--shard", default="0/1", help="run cells i, i + n, ... as i/n")
    parser.add_argument("--index", type=int, help="run one cell, by its index")
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def _choose(cells: list[Cell], shard: str, index: int | None) -> list[Cell]:
    if index is not None:
        if not 0 <= index < len(cells):
            raise UserError(f"--index must lie in 0..{len(cells) - 1}, got {index}.")
        return [cells[index]]
    try:
        i, n = (int(part) for part in shard.split("/"))
    except ValueError:
        i, n = -1, 0
    if not 0 <= i < n:
        raise UserError(f"--shard must be i/n with 0 <= i < n, got {shard!r}.")
    return cells[i::n]


class Progress:
    """One bar over the cells; only a plain line per cell where there is no terminal."""

    def __init__(self, total: int, done: int, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        # The stream as it is now: cells redirect stdout and stderr into their logs.
        self.console = Console(file=stream)
        self.bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task = self.bar.add_task("", total=total, completed=done)

    def __call__(self, cell: Cell, record: dict[str, Any] | None) -> None:
        """Show that a cell is done; failures stay on the screen."""
        if record is None:
            return
        name = f"{cell.data} {cell.method} seed {cell.seed}"
        if record["status"] == "failed":
            self.bar.print(f"failed: cell {cell.index} ({name}): {record['error']}", markup=False)
        elif not self.console.is_terminal:
            self.bar.print(f"cell {cell.index} {name}: {record['seconds']:.1f} s", markup=False)
        self.bar.update(self.task, advance=1, description=name)


def _spawn(args: argparse.Namespace, extra: list[str], out: Path) -> list[subprocess.Popen]:
    command = [sys.executable, "-m", "frbench", "bench", args.grid, "--worker", f"--out={out}"]
    command += [f"--shard={args.shard}", *extra]
    command += [] if args.index is None else [f"--index={args.index}"]
    # Side by side, more than one thread each would only fight for the cores.
    threads = str(max(1, (os.cpu_count() or 1) // args.jobs))
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    return [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        for _ in range(args.jobs)
    ]


def main(argv: list[str]) -> int:
    """Run ``frbench bench``.

    Args:
        argv: Grid file and options; unknown options go to every run.

    Returns:
        0 if every cell has a result, 1 if some failed.

    Raises:
        UserError: If the grid or an option is wrong, or the folder cannot be written.
    """
    args, extra = _parser().parse_known_args(argv)
    if extra and not extra[0].startswith("--"):
        raise UserError(f"{extra[0]!r} is neither an option of bench nor one of fit.")
    if any(word.startswith("--trainer.devices") for word in extra):
        raise UserError("A cell of a grid runs on one device; use --jobs or --shard for more.")
    # They decide the runs too: a grid tried with fewer epochs has not been run.
    cells = [replace(cell, extra=tuple(extra)) for cell in read_grid(args.grid)]
    if args.list:
        for cell in cells:
            print(f"{cell.index:5d} {cell.key} {cell.data} {cell.method} seed={cell.seed} "
                  f"fold={cell.fold} {cell.settings}")  # fmt: skip
        return 0
    cells = _choose(cells, args.shard, args.index)
    if args.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {args.jobs}.")
    out = Path(args.out or Path("results") / Path(args.grid).stem)
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
        (out / "results.jsonl").open("a").close()
    except OSError as error:
        raise UserError(
            f"Cannot write to {out} ({error.strerror}); give another --out."
        ) from error
    shutil.copyfile(args.grid, out / "grid.yaml")
    if args.worker:
        return 0 if work(cells, out, lambda *_: None) else 1

    def finished() -> int:
        records = read_results(out / "results.jsonl")
        return sum(records.get(c.key, {}).get("status") == "ok" for c in cells)

    start = time.monotonic()
    workers: list[subprocess.Popen] = []
    try:
        progress = Progress(len(cells), finished(), sys.stderr)
        with progress.bar:
            if args.jobs == 1:
                work(cells, out, progress)
            else:
                workers = _spawn(args, extra, out)
                while any(worker.poll() is None for worker in workers):
                    time.sleep(0.5)
                    progress.bar.update(progress.task, completed=finished())
    except KeyboardInterrupt:
        for worker in workers:
            worker.wait()  # the terminal has sent them the interrupt, too
        print(f"\ninterrupted; the same command continues ({finished()} of {len(cells)} done)")
        return 130
    done = finished()
    minutes, seconds = divmod(math.ceil(time.monotonic() - start), 60)
    print(f"{done} of {len(cells)} runs have results in {out / 'results.jsonl'} "
          f"({minutes} min {seconds} s); next: frbench report {out}")  # fmt: skip
    return 0 if done == len(cells) else 1
