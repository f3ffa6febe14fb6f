"""The ``frbench`` command: dispatches to one module per command, each imported when used."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from frbench import __version__
from frbench.contracts.errors import UserError
from frbench.contracts.text import one_line
from frbench.contracts.trust import named_by_user, split_trust, trusting
from frbench.support.stops import as_stop, listening
from frbench.support.system import mismatch, system_error

USAGE = """\
usage: frbench COMMAND [options]

train and evaluate (options of Lightning's command line)
  fit        train:              frbench fit --data Digits --model GroupDRO
  validate   evaluate on val:    frbench validate --data Digits --ckpt_path runs/.../best.ckpt
  test       evaluate on test:   frbench test --ckpt_path runs/.../best.ckpt [new.csv]
  predict    score a file:       frbench predict --ckpt_path runs/.../best.ckpt new.csv
  export     write a model as one file for torch or ONNX:      frbench export --to torch best.ckpt
  card       write a model card, evaluated with intervals:     frbench card best.ckpt
  postprocess  fit a last layer or decisions on held-out rows:  frbench postprocess --method AFR
  dfr        the same of one method:                        frbench dfr --ckpt_path ...
  features   run a fixed network once over a data set:    frbench features --network Timm
  gan        train a generator and make pairs that differ in the attribute:  frbench gan --help

compare
  bench      run a grid of data x method x settings x seeds:  frbench bench GRID.yaml
  tune       search for settings with Optuna:                 frbench tune STUDY.yaml
  report     select, aggregate over seeds, print and plot:    frbench report RESULTS

inspect
  graph      which mitigation a causal graph justifies, and why:  frbench graph TASK.yaml
  data       what data is here, what is missing, group tables
  audit      fairness metrics of any model's predictions:     frbench audit FILE.csv --y ...
  methods    all methods, with axis, labels that they read, and source
  alpha      share of the smallest group from private answers:  frbench alpha COUNT COUNT ...

--trust MODULE: import classes of this module that a checkpoint names (docs/security.md)
`frbench COMMAND --help` explains a command. Exit status: 0 done, 1 a run failed, 2 wrong input,
130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP (the last line says how to continue).
"""

#: Command -> module of :mod:`frbench.commands` whose ``main(argv)`` runs it.
COMMANDS = {
    "fit": "fit",
    "validate": "fit",
    "test": "fit",
    "predict": "predict",
    "export": "export",
    "card": "card",
    "postprocess": "postprocess",
    "dfr": "dfr",
    "features": "features",
    "gan": "gan",
    "bench": "bench",
    "tune": "tune",
    "report": "report",
    "graph": "graph",
    "data": "data",
    "audit": "audit",
    "methods": "methods",
    "alpha": "alpha",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        print(f"frbench {__version__}")
        return 0
    # Before torch: threads that wait for one another sleep, where they would keep a core busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A user's own classes are found by import path, but after installed packages: a file
    # rich.py in the current folder must not take the place of the package rich.
    if sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        argv, trust = split_trust(argv)
        with listening(), trusting({*trust, *named_by_user(argv)}):
            return run(argv)
    except UserError as error:
        return refuse(str(error))
    except KeyboardInterrupt as error:
        print(f"frbench: interrupted{'; ' if str(error) else ''}{error}", file=sys.stderr)
        return as_stop(error).status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RuntimeError, AttributeError, ImportError) as error:
        if (line := mismatch(error)) is None:
            raise
        return refuse(line)
    except (OSError, MemoryError) as error:
        if (found := system_error(error)) is None:
            raise
        line, status = found
        refuse(line)
        return status


def refuse(message: str) -> int:
    """Print what is wrong on one line and return the exit status."""
    print(f"frbench: error: {one_line(message)}", file=sys.stderr)
    return 2


def run(argv: list[str]) -> int:
    """Run a command and return its exit status.

    Raises:
        UserError: For wrong input.
    """
    if argv[0] not in COMMANDS:
        raise UserError(f"unknown command {argv[0]!r}; commands: {', '.join(COMMANDS)}.")
    command = import_module(f"frbench.commands.{COMMANDS[argv[0]]}")
    status: int = command.main(argv if COMMANDS[argv[0]] == "fit" else argv[1:])
    return status


if __name__ == "__main__":
    sys.exit(main())
