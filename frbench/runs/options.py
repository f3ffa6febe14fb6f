"""Options of the training commands, read before Lightning's parser sees them."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import yaml
from pytorch_lightning import Trainer

from frbench.callbacks import BestCheckpoint, EarlyStop, RollingCheckpoint, SanityCheck
from frbench.contracts.errors import UserError


def option_values(argv: list[str], option: str) -> list[str]:
    """List the values of an option, given as ``--option value`` or ``--option=value``."""
    values = []
    for i, word in enumerate(argv):
        if word == option and i + 1 < len(argv):
            values.append(argv[i + 1])
        elif word.startswith(f"{option}="):
            values.append(word.split("=", 1)[1])
    return values


def check_configs(argv: list[str]) -> None:
    """Refuse a configuration file that is missing or no YAML; the parser would not name it."""
    for path in option_values(argv, "--config"):
        if not Path(path).is_file():
            raise UserError(f"--config: there is no file {path}.")
        try:
            content = yaml.safe_load(Path(path).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"--config: {path} is not valid YAML: {reason}") from error
        if not isinstance(content, dict):
            raise UserError(
                f"--config: {path} must map options to values, as `data: Digits` does."
            )


def known_options() -> list[str]:
    """List the options that do not depend on the chosen classes."""
    classes = {
        "trainer": Trainer,
        "checkpoint": BestCheckpoint,
        "rolling": RollingCheckpoint,
        "early_stopping": EarlyStop,
        "sanity": SanityCheck,
    }
    fixed = ["data", "model", "config", "run_dir", "ckpt_path", "seed_everything"]
    return fixed + [
        f"{key}.{name}" for key, cls in classes.items() for name in signature(cls).parameters
    ]
