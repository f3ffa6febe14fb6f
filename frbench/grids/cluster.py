"""The executor on Ray: one task for each cell, on this machine or on the nodes of a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import frbench
from frbench.contracts.errors import UserError
from frbench.contracts.trust import trusted, trusting
from frbench.grids.cell import commit, failed
from frbench.grids.executors import OnDone, logged
from frbench.grids.grid import Cell
from frbench.grids.outlook import data_files
from frbench.grids.pool import Record, collect
from frbench.grids.queue import Queue
from frbench.report.records import Results
from frbench.support.atomic import no_space
from frbench.support.cores import CORES, available_cores
from frbench.support.files import file_hashes
from frbench.support.lazy import import_extra
from frbench.support.stops import GRACE, listen, listening

#: Where a Ray of this machine alone listens.
LOOPBACK = "127.0.0.2"
#: Beginnings of the errors of a cell that ran out of memory, of the machine or of the GPU.
MEMORY = ("MemoryError", "OutOfMemoryError")
#: Set before Ray starts: nothing is reported to its makers, and a task without GPUs sees none.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}


@dataclass(frozen=True)
class Needs:
    """What each cell is given.

    Attributes:
        cpus: Cores; a fraction lets several cells share one.
        gpus: GPUs; a fraction likewise.
        retries: Times that a cell is begun again whose node or process has died.
    """

    cpus: float = 1
    gpus: float = 0
    retries: int = 3


@dataclass(frozen=True)
class Place:
    """What the driver's process has and a task's must have as well.

    Attributes:
        folder: Current folder, which relative paths begin at.
        environment: Variables that decide the number of threads.
        trust: Names that may be imported.
        software: As :func:`software`.
    """

    folder: Path
    environment: dict[str, str]
    trust: frozenset[str]
    software: dict[str, str | None]

    def enter(self) -> None:
        """Make this process like the driver's."""
        os.chdir(self.folder)
        if str(self.folder) not in sys.path:
            sys.path.append(str(self.folder))
        for name in ("OMP_NUM_THREADS", CORES):  # Ray sets the first one itself
            os.environ.pop(name, None)
        os.environ.update(self.environment)
        if (found := software()) != self.software:
            raise UserError(f"the node has {_words(found)}, not {_words(self.software)}.")


@dataclass(frozen=True)
class Task:
    """A cell on its way to a node, with all that the node may lack.

    Attributes:
        cell: The run.
        folder: Its folder, on a disk that all nodes share.
        results: The results file, which the driver alone writes.
        contents: Name and text of each of the cell's config files.
        watchers: Makers of callbacks.
        place: Where the driver runs.
    """

    cell: Cell
    folder: Path
    results: Path
    contents: tuple[tuple[str, str], ...]
    watchers: Sequence[Callable[[], Any]]
    place: Place


def software() -> dict[str, str | None]:
    """Return what must be the same on all nodes."""
    return {"frbench": frbench.__version__, "commit": commit(), "python": sys.version.split()[0]}


def _words(found: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items() if value)


def run_task(task: Task) -> Record:
    """Run a cell on a node; a checkpoint in its folder is continued."""
    import ray

    with tempfile.TemporaryDirectory() as made, trusting(task.place.trust), listening():
        task.place.enter()
        configs = []
        for number, (name, text) in enumerate(task.contents):
            path = Path(made) / f"{number}-{name}"
            path.write_text(text)
            configs.append(str(path))
        cell = replace(task.cell, configs=tuple(configs))
        record = logged(cell, task.folder, Results(task.results), task.watchers)
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return record | {"node": f"{address} {ray.get_runtime_context().get_node_id()[:8]}"}


def probe(place: Place, marker: Path, files: Sequence[str]) -> tuple[str, dict[str, str | None]]:
    """Look on a node at what the cells will need.

    Returns:
        What is wrong, or nothing; the hash of each data file.
    """
    if not (place.folder.is_dir() and marker.is_file()):
        return f"{place.folder} and {marker.parent} must lie on a disk that all nodes share", {}
    try:
        place.enter()
    except UserError as error:
        return str(error), {}
    return "", file_hashes(files)


def on_ray(
    queue: Queue, on_done: OnDone, address: str, needs: Needs, keep_last: bool = False
) -> None:
    """Run the open cells of a queue as tasks of Ray.

    Args:
        queue: The cells.
        on_done: Called with each cell and its record.
        address: ``local`` starts Ray on this machine alone; ``auto`` or ``HOST:PORT`` uses a
            cluster of which this machine is a node.
        needs: What each cell is given.
        keep_last: Keep the last checkpoint of a finished run, too.

    Raises:
        UserError: If Ray is not installed or not there, no node has what a cell needs, or a node
            has other software or data.
    """
    own = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    environment = own or {CORES: str(max(1, int(needs.cpus)))}
    place = Place(Path.cwd(), environment, trusted(), software())
    with _connected(address) as ray:
        if not _room(ray, needs):
            raise UserError(f"no node has {needs.cpus:g} CPUs and {needs.gpus:g} GPUs for a run.")
        _probe_nodes(ray, queue, place)
        remote = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0)(run_task)
        at_work: dict[Future[Record], Any] = {}

        def submit(cell: Cell) -> Future[Record]:
            texts = tuple((Path(path).name, Path(path).read_text()) for path in cell.configs)
            folder, results = queue.folder(cell).resolve(), queue.results.path.resolve()
            reference = remote.remote(
                Task(cell, folder, results, texts, queue.watchers(cell), place)
            )
            future: Future[Record] = reference.future()
            at_work[future] = reference
            return future

        def judge_one(cell: Cell, future: Future[Record], tries: int) -> Record | None:
            del at_work[future]
            return judge(cell, future, tries, needs.retries)

        try:
            collect(
                queue,
                on_done,
                submit,
                lambda: _room(ray, needs) + queue.ahead,
                keep_last,
                judge_one,
            )
        except KeyboardInterrupt:
            for reference in (left := list(at_work.values())):
                ray.cancel(reference)  # as Ctrl-C does in the task, which writes last.ckpt
            if left:
                ray.wait(left, num_returns=len(left), timeout=GRACE)
            raise


def judge(cell: Cell, future: Future[Record], tries: int, retries: int) -> Record | None:
    """Return the record of a task, or None if it is to be tried again.

    Args:
        cell: The run.
        future: What has become of it.
        tries: How often it has been tried.
        retries: How often it may be tried again after the death of its process or node.

    Raises:
        OSError: If the disk is full: every further run would fail as well.
    """
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

    try:
        record = future.result()
    except RayTaskError as error:  # raised in the task
        cause = error.cause
        if isinstance(cause, OSError) and no_space(cause):
            raise cause from None
        record, again = failed(cell, f"{type(cause).__name__}: {cause}"), False
    except OutOfMemoryError as error:
        record, again = failed(cell, f"OutOfMemoryError: {error}"), tries < 2
    except RayError as error:
        record, again = failed(cell, f"{type(error).__name__}: {error}"), tries <= retries
    else:
        again = tries < 2 and str(record.get("error", "")).startswith(MEMORY)
    return None if again else record | {"attempts": tries}


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Give the package Ray, connected; at the end the connection, or the local Ray, is closed."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray = import_extra("ray", "--on ray needs", "ray")
    options: dict[str, Any] = {"address": address}
    if address == "local":
        options |= {"num_cpus": available_cores(), "include_dashboard": False}
        if sys.platform == "linux":  # elsewhere Ray's default is the loopback interface, too;
            options["_node_ip_address"] = LOOPBACK  # 127.0.0.1 is replaced by a reachable address
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"--on ray:{address}: there is no Ray: {text:.300}") from error
    listen()  # Ray takes SIGTERM
    try:
        yield ray
    finally:
        ray.shutdown()


def _nodes(ray: Any) -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _room(ray: Any, needs: Needs) -> int:
    """Return how many cells the nodes of now can run at once."""
    wanted = {name: need for name, need in (("CPU", needs.cpus), ("GPU", needs.gpus)) if need}
    return sum(
        min(int(node["Resources"].get(name, 0) / need) for name, need in wanted.items())
        for node in _nodes(ray)
    )


def _probe_nodes(ray: Any, queue: Queue, place: Place) -> None:
    """Look at every node before the first cell.

    Raises:
        UserError: Naming a node and what it lacks.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    files = data_files(queue.examples())
    ours = file_hashes(files)
    marker = queue.out.resolve() / f".probe-{os.getpid()}"
    marker.touch()
    remote = ray.remote(num_cpus=0, max_retries=0)(probe)
    try:
        for node in _nodes(ray):
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked = remote.options(scheduling_strategy=here).remote(place, marker, files)
            wrong, theirs = ray.get(asked)
            differs = [name for name in theirs if ours[name] and theirs[name] != ours[name]]
            if differs and not wrong:
                lacks = theirs[differs[0]] is None
                wrong = f"{differs[0]} {'is missing' if lacks else 'is another file'} there"
            if wrong:
                raise UserError(f"node {node['NodeManagerAddress']}: {wrong}.")
    except ray.exceptions.RayError as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"node {node['NodeManagerAddress']} cannot run frbench: {text[-300:]}"
        ) from error
    finally:
        marker.unlink(missing_ok=True)
