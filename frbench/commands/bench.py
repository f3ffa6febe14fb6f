"""``frbench bench``: run a grid, one line of results per finished run, resumable at any point."""

from __future__ import annotations

import argparse
import contextlib
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from frbench.contracts.errors import UserError
from frbench.grids.executors import OnDone, in_process, start_workers
from frbench.grids.grid import Cell, check_option
from frbench.grids.outlook import estimate, wrong_cells
from frbench.grids.phases import Phases
from frbench.grids.queue import Queue
from frbench.grids.stacks import in_stacks
from frbench.grids.where import check_place, limited, on_cluster, place_options
from frbench.report.records import Results
from frbench.support.atomic import check_writable, replacing
from frbench.support.configs import find_config
from frbench.support.parser import Parser
from frbench.support.stops import answer, as_stop, end_with_parent

EXAMPLES = """\
examples:
  frbench bench demo --jobs 2                     a grid that is shipped with frbench
  frbench bench grid.yaml --stack 16              train 16 runs of one kind as one
  frbench bench grid.yaml --list                  print the cells and stop
  frbench bench grid.yaml --check                 read every option, estimate time and disk
  frbench bench grid.yaml --trainer.max_epochs 1  any option of `frbench fit` overrides the grid's
  frbench bench grid.yaml --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT
  frbench bench grid.yaml --on ray:auto --gpus 0.25          tasks on the nodes of a cluster

Ctrl-C or SIGTERM ends the runs; the same command continues them. Exit status 1: some failed.
"""


def _parser() -> Parser:
    parser = Parser(
        "frbench bench",
        usage="frbench bench GRID.yaml [options] [options of frbench fit]",
        description="Run data x method x settings x seeds; finished runs are skipped, an "
        "interrupted one continues.",
        epilog=EXAMPLES,
    )
    parser.add_argument("grid", help="grid file (YAML), or name of a shipped one")
    parser.add_argument("--out", help="folder of results; default results/<grid's name>")
    parser.add_argument("--jobs", type=int, default=1, help="processes on this machine")
    place_options(parser)
    parser.add_argument(
        "--stack",
        type=int,
        default=1,
        metavar="RUNS",
        help="train up to so many runs of one kind as one, which takes a fraction of their time",
    )
    parser.add_argument("--shard", default="0/1", help="run cells i, i + n, ... as i/n")
    parser.add_argument("--index", type=int, help="run one cell, by its index")
    parser.add_argument(
        "--keep_last", action="store_true", help="keep the last checkpoint of finished runs, too"
    )
    parser.add_argument(
        "--retry_failed", action="store_true", help="run only the runs that have failed"
    )
    parser.add_argument("--list", action="store_true", help="print the cells and stop")
    parser.add_argument(
        "--check",
        action="store_true",
        help="read the options of every run, estimate time and disk, and stop",
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
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
    # A run that starts from another's checkpoint goes where that one goes.
    roots = {cell.key: place for place, cell in enumerate(c for c in cells if c.parent is None)}
    return [cell for cell in cells if roots[cell.root.key] % n == i]


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
            TextColumn("{task.description}", markup=False),
            console=self.console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task = self.bar.add_task("", total=total, completed=done)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar on a terminal; of an error nothing but its own line stays."""
        with self.bar if self.console.is_terminal else contextlib.nullcontext():
            try:
                yield
            except UserError:
                self.bar.live.transient = True
                raise

    def __call__(self, cell: Cell, record: dict[str, Any]) -> None:
        """Show that a cell is done; failures stay on the screen."""
        settings = [f"{key.rpartition('.')[2]} {value}" for key, value in cell.settings.items()]
        name = " ".join([cell.data, cell.method, *settings, f"seed {cell.seed}"])
        failed = record["status"] == "failed"
        if failed:
            line = f"failed: cell {cell.index} ({name}): {record['error']}"
        else:
            line = f"cell {cell.index} {name}: {record['seconds']:.1f} s"
        if not self.console.is_terminal:
            print(line, file=self.console.file)
        elif failed:
            self.bar.print(line, markup=False)
        self.bar.update(self.task, advance=1, description=name)


def _worker_words(args: argparse.Namespace, extra: list[str], queue: Queue) -> list[str]:
    """Return the words of the command that makes a process work on the same queue."""
    words = ["bench", args.grid, f"--worker={queue.results.since}", f"--out={queue.out}"]
    words += [f"--shard={args.shard}", f"--stack={args.stack}", *extra]
    words += ["--retry_failed"] if args.retry_failed else []
    words += [] if args.index is None else [f"--index={args.index}"]
    return words + (["--keep_last"] if args.keep_last else [])


def _end(workers: list[subprocess.Popen[bytes]], number: int) -> None:
    """Pass a signal on to the workers and wait for their end; a further signal kills them."""
    try:
        for worker in workers:
            worker.send_signal(number)
        for worker in workers:
            worker.wait()
    except KeyboardInterrupt:
        for worker in workers:
            worker.kill()


def _list(grid: Phases, cells: list[Cell]) -> int:
    """Print the cells."""
    for cell in cells:
        print(f"{cell.index:5d} {cell.key} {cell.data} {cell.method} seed={cell.seed} "
              f"fold={cell.fold} {cell.settings}")  # fmt: skip
    if grid.final_seeds and len(cells) == len(grid.search):
        print(f"then, when these are done, the chosen settings on seeds {grid.final_seeds}")
    return 0


def _say_choices(grid: Phases, results: Results) -> None:
    """Print what the search has chosen."""
    for rule, cells, remarks in grid.choices(results):
        for line in remarks:
            print(line, file=sys.stderr)
        if cells:
            setting = ", ".join(f"{k}={v}" for k, v in cells[0].settings.items()) or "defaults"
            print(f"{cells[0].data} {cells[0].method}, {rule}: seeds "
                  f"{', '.join(map(str, grid.final_seeds))} run {setting}")  # fmt: skip


def _check(queue: Queue, jobs: int) -> int:
    """Say what is wrong with a grid and what it will take, and run nothing."""
    wrong = wrong_cells(queue.cells)
    for line in wrong:
        print(line)
    heads = queue.results.heads()
    failed = sum(c.key in heads and heads[c.key].status == "failed" for c in queue.cells)
    print(
        f"{len(queue.cells)} runs: {queue.finished()} finished, {failed} failed; "
        f"{'their options are right' if not wrong else f'{len(wrong)} problems'}\n"
        f"{estimate(queue, jobs)}"
    )
    return 2 if wrong else 0


def _work(queue: Queue, on_done: OnDone, args: argparse.Namespace) -> None:
    """Run the open cells in this process."""
    if args.stack > 1:
        in_stacks(queue, on_done, args.keep_last, args.stack)
    else:
        in_process(queue, on_done, args.keep_last)


def _run(queue: Queue, args: argparse.Namespace, extra: list[str]) -> list[int]:
    """Run the open cells; return the status of each process of several that died."""
    workers: list[subprocess.Popen[bytes]] = []
    try:
        progress = Progress(len(queue.cells), queue.finished(), sys.stderr)
        with progress.shown():
            if args.on:
                on_cluster(queue, progress, args, args.keep_last)
            elif args.jobs == 1:
                _work(queue, progress, args)
            else:
                workers = start_workers(_worker_words(args, extra, queue), args.jobs)
                while any(worker.poll() is None for worker in workers):
                    time.sleep(0.5)
                    answer()  # a signal that arrived where Python passes exceptions over
                    progress.bar.update(progress.task, completed=queue.finished())
    except KeyboardInterrupt as error:
        _end(workers, as_stop(error).number)
        raise
    finally:
        for worker in workers:
            cast(IO[bytes], worker.stdin).close()  # which tells it that this process is there
    return [worker.returncode for worker in workers if worker.returncode]


def check_extra(words: list[str], command: str) -> None:
    """Check the words of a command line that go to every run.

    Args:
        words: What the command's own parser has left over.
        command: Its name, for the message.

    Raises:
        UserError: For a word without an option, or an option that the grid sets itself.
    """
    if words and not words[0].startswith("--"):
        raise UserError(f"{words[0]!r} is neither an option of {command} nor one of fit.")
    for word in words:
        check_option(word.removeprefix("--").split("=")[0], "the command line")


def main(argv: list[str]) -> int:
    """Run ``frbench bench``.

    Args:
        argv: Grid file and options; unknown options go to every run.

    Returns:
        0, or 1 if some runs failed.

    Raises:
        UserError: If the grid or an option is wrong, or the folder cannot be written.
    """
    args, extra = _parser().parse_known_args(argv)
    check_extra(extra, "bench")
    args.grid = find_config(args.grid, "frbench bench", "bench")
    # They decide the runs too: a grid tried with fewer epochs has not been run.
    grid = Phases(args.grid, tuple(extra))
    out = Path(args.out or Path("results") / Path(args.grid).stem)
    file = out / "results.jsonl"
    if not (args.list or args.check):
        check_writable(out, "--out")
    cells = grid.cells(Results(file))
    if args.list:
        return _list(grid, cells)
    cells = _choose(cells, args.shard, args.index)
    if args.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {args.jobs}.")
    if args.stack < 1:
        raise UserError(f"--stack must be at least 1, got {args.stack}.")
    check_place(args)
    if args.check:
        return _check(Queue(cells, out, Results(file)), args.jobs)
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
        file.open("a").close()
        if Path(args.grid).resolve() != (out / "grid.yaml").resolve():
            with replacing(out / "grid.yaml") as part:
                shutil.copyfile(args.grid, part)
    except OSError as error:
        raise UserError(
            f"Cannot write to {out} ({error.strerror}); give another --out."
        ) from error
    since = file.stat().st_size if args.worker is None else args.worker
    results = Results(file, since)
    if args.retry_failed:
        tried = {key for key, head in results.heads().items() if head.status == "failed"}
        cells = [cell for cell in cells if cell.key in tried]
    queue = Queue(cells, out, results)
    if args.worker is not None:
        end_with_parent()
        try:
            _work(queue, lambda *_: None, args)
        except KeyboardInterrupt as error:
            return as_stop(error).status
        return 0
    if wrong := wrong_cells([cell for cell in cells if queue.is_open(cell)]):
        more = f" (and {len(wrong) - 1} more: --check lists them)" if wrong[1:] else ""
        raise UserError(f"{wrong[0]}{more}")
    start = time.monotonic()
    try:
        with limited(args.max_hours):
            died = _run(queue, args, extra)
            final = _choose(grid.cells(results), args.shard, args.index)
            if not (died or args.retry_failed) and {c.key for c in final} - {c.key for c in cells}:
                _say_choices(grid, results)
                queue = Queue(final, out, results)
                died = _run(queue, args, extra)
    except KeyboardInterrupt as error:
        print(f"\ninterrupted; the same command continues ({queue.finished()} of "
              f"{len(queue.cells)} done)")  # fmt: skip
        return as_stop(error).status
    failed, done, total = queue.failed(), queue.finished(), len(queue.cells)
    for cell, reason in failed if args.jobs > 1 else ():
        print(f"failed: cell {cell.index} ({cell.data} {cell.method} seed {cell.seed}): "
              f"{reason}", file=sys.stderr)  # fmt: skip
    if died:
        print(f"{len(died)} of {args.jobs} processes died (status "
              f"{', '.join(map(str, died))}); the same command continues",
              file=sys.stderr)  # fmt: skip
    elif elsewhere := total - done - len(failed):
        print(f"{elsewhere} runs are claimed by another process, which will write their results")
    if grid.final_seeds and len(grid.cells(results)) == len(grid.search):
        print("the chosen settings run on the final seeds when the whole search is done: the "
              "same command continues")  # fmt: skip
    minutes, seconds = divmod(math.ceil(time.monotonic() - start), 60)
    print(f"{done} of {total} runs have results in {file} "
          f"({minutes} min {seconds} s); next: frbench report {out}")  # fmt: skip
    return 1 if failed or died else 0
