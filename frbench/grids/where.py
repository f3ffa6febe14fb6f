"""Options of commands that run cells: where, with how much of the machines, for how long."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from frbench.contracts.errors import UserError
from frbench.grids.executors import OnDone
from frbench.grids.queue import Queue
from frbench.support.parser import number


def _address(text: str) -> str:
    kind, _, address = text.partition(":")
    if kind != "ray" or not address or address.startswith("//"):
        raise argparse.ArgumentTypeError(
            f"give ray:local, ray:auto or ray:HOST:PORT, got {text[:60]!r}"
        )
    return address


def place_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--on", type=_address, metavar="ray:WHERE",
        help="run on Ray: ray:local (this machine), ray:auto or ray:HOST:PORT (a cluster of which "
        "this machine is a node)")  # fmt: skip
    add("--cpus", type=number(0.01, 1e4), default=1, help="cores of a run on Ray (%(default)s)")
    add("--gpus", type=number(0, 1e3), default=0,
        help="GPUs of a run on Ray, 0.25 say (%(default)s)")  # fmt: skip
    add("--retries", type=number(0, 1000, whole=True), default=3,
        help="times that a run on Ray begins again when its node dies (%(default)s)")  # fmt: skip
    add("--max_hours", type=number(0, 1e5),
        help="end after so many hours as by SIGTERM: what runs writes its checkpoint")  # fmt: skip


def check_place(args: argparse.Namespace) -> None:
    """Check that the place where cells are run ignores none of the options.

    Raises:
        UserError: Naming an option that it would ignore.
    """
    given = vars(args)
    if args.on and (wrong := [name for name in ("stack", "jobs") if given.get(name, 1) > 1]):
        raise UserError(f"--on makes each run a task of Ray: leave --{wrong[0]} out, or --on.")
    for name, default in (("cpus", 1), ("gpus", 0), ("retries", 3)):
        if not args.on and given[name] != default:
            raise UserError(f"--{name} is for runs on Ray: give --on ray:WHERE as well.")


def on_cluster(
    queue: Queue, on_done: OnDone, args: argparse.Namespace, keep_last: bool = False
) -> None:
    """Run a queue where the options say."""
    from frbench.grids.cluster import Needs, on_ray

    on_ray(queue, on_done, args.on, Needs(args.cpus, args.gpus, args.retries), keep_last)


@contextlib.contextmanager
def limited(hours: float | None) -> Iterator[None]:
    """End what runs inside, as by SIGTERM, when its time is over."""
    if hours is None:
        yield
        return
    timer = threading.Timer(hours * 3600, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
