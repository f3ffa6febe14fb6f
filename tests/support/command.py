"""The command line in this process, and what it leaves behind; shared by tests."""

import csv
from pathlib import Path

from frbench.__main__ import main

#: A small embedded data set.
SMALL = ("--data=Digits", "--data.n=400", "--data.n_eval=400")
QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


def run(*words: str | Path) -> None:
    """Run a command that must succeed."""
    assert main([str(word) for word in words]) == 0


def fit(*words: str | Path) -> None:
    """Train on the small data set; later words override."""
    run("fit", *SMALL, *QUICK, *words)


def evaluate(command: str, checkpoint: Path, *words: str | Path) -> None:
    """Run validate, test or predict on the small data set."""
    run(command, *SMALL, *QUICK[1:], f"--ckpt_path={checkpoint}", *words)


def rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(path: Path, name: str) -> list[float]:
    """Read the values of a column, leaving empty cells out."""
    return [float(row[name]) for row in rows(path) if row.get(name)]
