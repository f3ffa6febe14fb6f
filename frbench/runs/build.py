"""Data sets built from words of the command line, or from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frbench.contracts.checkpoint_format import read_section
from frbench.contracts.errors import UserError
from frbench.data.module import GroupDataModule
from frbench.runs.catalogue import import_all
from frbench.runs.checkpoint import load, read_checkpoint, restore
from frbench.runs.words import built_of
from frbench.support.yaml_files import read_yaml
from frbench.training.threads import use_threads

if TYPE_CHECKING:
    from frbench.objectives import Objective


def build(argv: list[str], stored: dict[str, Any] | None = None) -> GroupDataModule:
    """Build the data set of ``--data NAME --data.OPTION VALUE`` words.

    Args:
        argv: The words.
        stored: A data set as plain data, whose options the words override.

    Raises:
        UserError: If the data set or one of its options does not exist.
    """
    result: GroupDataModule = built(GroupDataModule, "data", argv, stored)
    return result


def built(kind: Any, role: str, argv: Sequence[str], stored: dict[str, Any] | None = None) -> Any:
    """Build an object of any class of frbench, see :func:`frbench.runs.words.built_of`."""
    import_all()
    return built_of(kind, role, argv, stored)


def build_named(data: str, options: Sequence[str]) -> GroupDataModule:
    """Build a data set from its name, or from a YAML file as ``frbench fit --config`` takes it.

    Args:
        data: The name of a data set, or a YAML file with an entry ``data``.
        options: ``--data.OPTION VALUE`` words.

    Raises:
        UserError: If there is no such file or data set, or an option is wrong.
    """
    entry = _entry(data) if data.endswith((".yaml", ".yml")) else data
    return build([f"--data={entry}", *options])


def _entry(path: str) -> str:
    content = read_yaml(path, "--data")
    if not isinstance(content, dict) or "data" not in content:
        raise UserError(f"--data: {path} has no entry `data`; see configs/data for examples.")
    entry = content["data"]
    return entry if isinstance(entry, str) else json.dumps(entry)


def checkpoint_data(checkpoint: dict[str, Any], path: Path, extra: list[str]) -> GroupDataModule:
    """Build the data set that a checkpoint was trained on.

    Args:
        checkpoint: What :func:`frbench.runs.checkpoint.read_checkpoint` gives.
        path: Its file, for messages.
        extra: ``--data.OPTION VALUE`` words that override the stored options.

    Raises:
        UserError: If the checkpoint does not say what it was trained on, or an option is wrong.
    """
    stored = read_section(checkpoint)["data"]
    if stored is None:
        raise UserError(
            f"{path} does not say what data it was trained on; use the functions of "
            "frbench.training.postprocess in Python."
        )
    data = build(extra, stored)
    restore(data, read_section(checkpoint), path)
    return data


def load_with(path: Path, options: Sequence[str], threads: int | None = None) -> Objective:
    """Load a model whose data set has some options changed, to evaluate it.

    Args:
        path: Its checkpoint.
        options: ``--data.OPTION VALUE`` words.
        threads: Number of threads that the user gave, if any.

    Raises:
        UserError: As :func:`frbench.load`, or if an option is wrong.
    """
    model = load(path)
    if options or model.data_module is None:  # without options: says what is missing
        model.data_module = checkpoint_data(read_checkpoint(path), path, list(options))
    use_threads(model, model.encoding.eval_batch_size, threads)
    return model
