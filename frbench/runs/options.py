"""Options of the training commands, read before Lightning's parser sees them."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import yaml
from pytorch_lightning import Trainer

from frbench.callbacks import BestCheckpoint, EarlyStop, RollingCheckpoint, SanityCheck
from frbench.contracts.errors import UserError
from frbench.support.configs import find_config


def option_values(argv: list[str], option: str) -> list[str]:
    """List the values of an option, given as ``--option value`` or ``--option=value``."""
    values = []
    for i, word in enumerate(argv):
        if word == option and i + 1 < len(argv):
            values.append(argv[i + 1])
        elif word.startswith(f"{option}="):
            values.append(word.split("=", 1)[1])
    return values


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
        try:
            content = yaml.safe_load(Path(path).read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"--config: {path} is not valid YAML: {reason}") from error
        if not isinstance(content, dict):
            raise UserError(
                f"--config: {path} must map options to values, as `data: Digits` does."
            )
    return argv


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
