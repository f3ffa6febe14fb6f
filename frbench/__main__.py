"""The ``frbench`` command: dispatches to one module per command, each imported when used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from frbench import __version__
from frbench.errors import UserError

USAGE = """\
usage: frbench COMMAND [options]

train and evaluate (options of Lightning's command line)
  fit        train:              frbench fit --data Digits --model GroupDRO
  validate   evaluate on val:    frbench validate --data Digits --ckpt_path runs/.../best.ckpt
  test       evaluate on test:   frbench test --data Digits --ckpt_path runs/.../best.ckpt
  predict    write predictions:  frbench predict --data Digits --ckpt_path runs/.../best.ckpt
  dfr        refit the last layer on group-balanced held-out rows:  frbench dfr --ckpt_path ...
  gan        train a generator and make pairs that differ in the attribute:  frbench gan --help

compare
  bench      run a grid of data x method x settings x seeds:  frbench bench GRID.yaml
  report     select, aggregate over seeds, print and plot:    frbench report RESULTS

inspect
  graph      which mitigation a causal graph justifies, and why:  frbench graph TASK.yaml
  data       what data is here, what is missing, group tables
  audit      fairness metrics of any model's predictions:     frbench audit FILE.csv --y ...
  alpha      share of the smallest group from private answers:  frbench alpha COUNT COUNT ...

`frbench COMMAND --help` explains a command. Exit status: 0 done, 1 a run failed, 2 wrong input,
130 interrupted (continue where the message says).
"""


def _train(argv: list[str]) -> int:
    from frbench.progress import loading

    with loading():
        from frbench.cli import run
    return run(argv)


def _dfr(argv: list[str]) -> int:
    from frbench.dfr import main as dfr

    return dfr(argv[1:])


def _bench(argv: list[str]) -> int:
    from frbench.bench import main as bench

    return bench(argv[1:])


def _report(argv: list[str]) -> int:
    from frbench.report import main as report

    return report(argv[1:])


def _data(argv: list[str]) -> int:
    from frbench.data.inspect import main as data

    return data(argv[1:])


def _graph(argv: list[str]) -> int:
    from frbench.causal.command import main as graph

    return graph(argv[1:])


def _audit(argv: list[str]) -> int:
    from frbench.audit import main as audit

    return audit(argv[1:])


def _gan(argv: list[str]) -> int:
    from frbench.gan.command import main as gan

    return gan(argv[1:])


def _alpha(argv: list[str]) -> int:
    from frbench.alpha import main as alpha

    return alpha(argv[1:])


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "fit": _train,
    "validate": _train,
    "test": _train,
    "predict": _train,
    "dfr": _dfr,
    "bench": _bench,
    "report": _report,
    "data": _data,
    "audit": _audit,
    "graph": _graph,
    "alpha": _alpha,
    "gan": _gan,
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
    if sys.path[0] != os.getcwd():
        sys.path.insert(0, os.getcwd())  # a user's own classes are found by import path
    try:
        if argv[0] not in COMMANDS:
            raise UserError(f"unknown command {argv[0]!r}; commands: {', '.join(COMMANDS)}.")
        return COMMANDS[argv[0]](argv)
    except UserError as error:
        print(f"frbench: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"frbench: interrupted{'; ' if str(error) else ''}{error}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
