"""CPU time of the imports: commands beside what they cannot do without.

    python benchmarks/imports.py [--rounds 7] [--only WORD]

Each row is one process of its own; the rounds are interleaved. The time is the processor's in
user mode, so that other work on the machine disturbs it less; the ratio is that of a row to its
floor, within one round.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

#: Ends the process before the first step.
FIRST_STEP = """
import os
from pytorch_lightning import Callback

class Stop(Callback):
    def on_train_batch_start(self, *args):
        os._exit(0)
"""
FIT = ["-m", "frbench", "fit", "--trainer.accelerator=cpu", "--trainer.callbacks+=first_step.Stop"]
LIGHTNING = ["-c", "import pytorch_lightning"]
NOTHING = ["-c", "pass"]
#: Row -> (words of Python, words of its floor).
ROWS = {
    "fit, to the first step": ([*FIT, "--data=Digits", "--run_dir={run}"], LIGHTNING),
    "fit --help": (["-m", "frbench", "fit", "--help"], LIGHTNING),
    "--help": (["-m", "frbench", "--help"], NOTHING),
    "report --help": (["-m", "frbench", "report", "--help"], NOTHING),
    "bench demo --list": (["-m", "frbench", "bench", "demo", "--list"], NOTHING),
    "import frbench.metrics": (["-c", "import frbench.metrics"], NOTHING),
}


def seconds(words: list[str]) -> float:
    """CPU seconds in user mode of one process."""
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    error = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, error.decode()
    return used.ru_utime


def main() -> None:
    """Print one row per command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="rows whose name holds this word")
    args = parser.parse_args()
    rows = {name: row for name, row in ROWS.items() if args.only in name}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    root = Path(__file__).parents[1]
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("first_step.py").write_text(FIRST_STEP)
        for number in range(args.rounds + 1):  # the first one writes and reads compiled files
            floors = {tuple(floor): seconds(floor) for _, floor in rows.values()}
            for name, (words, floor) in rows.items():
                words = [word.format(run=f"run{number}") for word in words]
                measured[name].append((seconds(words), floors[tuple(floor)]))
        os.chdir("/")
    print(f"{'row':24s} CPU s: min median max    ratio to its floor: min median max")
    for name, pairs in measured.items():
        own = sorted(mine for mine, _ in pairs[1:])
        ratios = sorted(mine / floor for mine, floor in pairs[1:])
        cells = [f"{f(v):6.2f}" for v in (own, ratios) for f in (min, statistics.median, max)]
        print(f"{name:24s} {' '.join(cells)}")


if __name__ == "__main__":
    main()
