"""Commands that each run in a process of their own and start in no time: forks of one process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from paths import ROOT


class Command:
    """A command that runs in a process of the zygote's."""

    def __init__(
        self,
        zygote: subprocess.Popen,
        cwd: Path,
        argv: tuple[str, ...],
        environment: dict[str, str],
    ) -> None:
        self.zygote = zygote
        told = {"cwd": str(cwd), "argv": argv, "environment": environment}
        zygote.stdin.write(json.dumps(told) + "\n")
        zygote.stdin.flush()
        self.pid = int(zygote.stdout.readline())
        self.status: int | None = None
        self._waiter = threading.Thread(target=self._wait)
        self._waiter.start()

    def _wait(self) -> None:
        self.status = int(self.zygote.stdout.readline())

    def signal_when(self, condition, number: int) -> bool:
        """Send a signal once something holds, and wait; False if the process ended before."""
        sent = False
        while self.status is None and not sent:
            if sent := condition():
                os.kill(self.pid, number)
            time.sleep(0.001)
        self._waiter.join()
        return sent

    def kill_when(self, condition) -> bool:
        """Kill the process once something holds; False if it ended before."""
        self.signal_when(condition, signal.SIGKILL)
        return self.status == signal.SIGKILL

    def end(self) -> int:
        """Wait; returns the exit status."""
        self._waiter.join()
        return os.waitstatus_to_exitcode(self.status)


@pytest.fixture(scope="module")
def command():
    """Start a command in a folder; one at a time."""
    zygote = subprocess.Popen(
        [sys.executable, ROOT / "tests/support/zygote.py"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield lambda cwd, *argv, **environment: Command(zygote, cwd, argv, environment)
    zygote.stdin.close()
    assert zygote.wait(timeout=60) == 0
    zygote.stdout.close()


def log_of(folder: Path) -> str:
    return (folder / "command.log").read_text()[-3000:]
