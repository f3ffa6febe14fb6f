"""Options of the training commands, read before Lightning's parser sees them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer

from frbench.callbacks import BestCheckpoint, EarlyStop, RollingCheckpoint, SanityCheck
from frbench.contracts.errors import UserError
from frbench.contracts.spec import init_parameters
from frbench.contracts.trust import foreign_modules
from frbench.data.module import GroupDataModule
from frbench.objectives import Objective
from frbench.runs.catalogue import exported, import_all
from frbench.support.configs import find_config
from frbench.support.yaml_files import read_yaml
from frbench.training.checks import FREE_ON_RESUME

#: Options whose values a checkpoint holds.
STORED = ("--model", "--data", "--metrics", "--ckpt_path", "--init_from")


def option_values(argv: list[str], option: str) -> list[str]:
    """List the values of an option, given as ``--option value`` or ``--option=value``."""
    values = []
    for i, word in enumerate(argv):
        if word == option and i + 1 < len(argv):
            values.append(argv[i + 1])
        elif word.startswith(f"{option}="):
            values.append(word.split("=", 1)[1])
    return values


def command_to_continue(argv: Sequence[str], checkpoint: str | Path, run: dict[str, Any]) -> str:
    """Return the command that continues a run, quoted for a shell.

    Args:
        argv: The words of the run that ended, ``fit`` first; ``--trust`` is not among them.
        checkpoint: The file to continue from.
        run: Its description (:func:`frbench.runs.checkpoint.read_description`).

    Returns:
        The words that the checkpoint does not hold, its path, and ``--trust`` for every module
        of the user's own that it names.

    Example:
        >>> words = ["fit", "--data", "Digits", "--trainer.max_epochs", "9", "--run_dir=my runs"]
        >>> run = {"model": {"class_path": "mine.Own"}, "data": None}
        >>> command_to_continue(words, "my runs/last.ckpt", run)  # doctest: +NORMALIZE_WHITESPACE
        "frbench fit --trainer.max_epochs 9 '--run_dir=my runs'
        --ckpt_path 'my runs/last.ckpt' --trust mine"
    """
    words = ["frbench", argv[0]]
    for option in _with_values(argv[1:]):
        parts = option[0].split("=")[0].removesuffix("+").split(".")
        if parts[0] not in STORED or (parts[0] == "--data" and parts[-1] in FREE_ON_RESUME):
            words += option
    words += ["--ckpt_path", os.path.relpath(checkpoint)]
    named = [{"class_path": path} for path in run.get("metrics") or []]
    for module in foreign_modules([run["model"], run["data"], named]):
        words += ["--trust", module]
    return shlex.join(words)


def _with_values(argv: Sequence[str]) -> Iterator[list[str]]:
    """Yield each option with its value."""
    words = list(argv)
    while words:
        size = 1 + ("=" not in words[0] and len(words) > 1 and not words[1].startswith("--"))
        yield words[:size]
        del words[:size]


def check_configs(argv: list[str]) -> list[str]:
    """Return the words with each shipped configuration's name replaced by its path.

    Raises:
        UserError: For a file that is missing or no YAML, which the parser would not name.
    """
    argv = list(argv)
    for i, word in enumerate(argv):
        option, equals, name = word.partition("=")
        if i > 0 and argv[i - 1] == "--config":
            argv[i] = path = find_config(word, "--config")
        elif option == "--config" and equals:
            path = find_config(name, "--config")
            argv[i] = f"--config={path}"
        else:
            continue
        if not isinstance(read_yaml(path, "--config"), dict):
            raise UserError(
                f"--config: {path} must map options to values, as `data: Digits` does."
            )
    return argv


@cache
def known_options() -> tuple[str, ...]:
    """List the options of the command, those of frbench's data sets and objectives included."""
    classes = {
        "trainer": Trainer,
        "checkpoint": BestCheckpoint,
        "rolling": RollingCheckpoint,
        "early_stopping": EarlyStop,
        "sanity": SanityCheck,
    }
    fixed = ["data", "model", "config", "run_dir", "ckpt_path", "init_from", "seed_everything"]
    named = [("model", n) for n in init_parameters(Objective)]
    named += [("data", n) for n in init_parameters(GroupDataModule)]
    named += [(key, n) for key, cls in classes.items() for n in signature(cls).parameters]
    for kind in ("model", "data"):
        named += [
            (kind, n) for name in exported(kind) for n in init_parameters(import_all()[name])
        ]
    return (*fixed, *(f"{key}.{name}" for key, name in dict.fromkeys(named)))
