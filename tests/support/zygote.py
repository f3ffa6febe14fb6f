"""Runs frbench commands, each in a process of its own that starts in no time.

A line of stdin is {"cwd": folder, "argv": words, "environment": variables}; answered by the
process's id, and by its wait status when it has ended. The process is a fork of this one, which
has everything imported: some twenty starts of Python in a test would take minutes.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from types import SimpleNamespace
from typing import IO

import torch

from frbench.__main__ import main
from frbench.grids import executors
from frbench.runs.catalogue import import_all

import_all()  # the imports that take seconds


class Forked:
    """What `frbench bench --jobs` uses of subprocess.Popen, by a fork instead of a new Python."""

    ends: list[IO[bytes]] = []  # of the pipes to earlier ones, which Popen closes

    def __init__(self, words: list[str], env: dict, stdin: int, stdout: int) -> None:
        assert words[:3] == [sys.executable, "-m", "frbench"]
        assert (stdin, stdout) == (subprocess.PIPE, subprocess.DEVNULL)
        ours, end = os.pipe()
        self.stdin = os.fdopen(end, "wb")
        self.ends.append(self.stdin)
        self.returncode: int | None = None
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            for end in self.ends:
                end.close()
            os.dup2(ours, 0)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.stderr = os.fdopen(2, "w")
            os.environ.update(env)
            os._exit(guarded(words[3:]))
        os.close(ours)

    def poll(self) -> int | None:
        if self.returncode is None and (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(found[1])
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(cwd: str, argv: list[str], environment: dict[str, str]) -> int:
    os.chdir(cwd)
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    log = os.open("command.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    executors.subprocess = SimpleNamespace(
        Popen=Forked, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL, run=subprocess.run
    )
    return guarded(argv)


def guarded(argv: list[str]) -> int:
    try:
        return main(argv)
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        if not (pid := os.fork()):
            os._exit(run(**json.loads(line)))
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)
