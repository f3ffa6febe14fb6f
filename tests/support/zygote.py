"""Runs frbench commands, each in a process of its own that starts in no time.

A line of stdin is {"cwd": folder, "argv": words}; answered by the process's id, and by its wait
status when it has ended. The process is a fork of this one, which has everything imported: some
twenty starts of Python in a test would take minutes.
"""

import json
import os
import sys
import traceback

import torch

from frbench.__main__ import main
from frbench.runs.catalogue import import_all

import_all()  # the imports that take seconds


def run(cwd: str, argv: list[str]) -> int:
    os.chdir(cwd)
    log = os.open("command.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
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
