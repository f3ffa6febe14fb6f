"""Reading checkpoints: weights only, and a whole method from a file alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from frbench import objectives
from frbench.contracts.checkpoint_format import read_section
from frbench.contracts.errors import UserError
from frbench.contracts.spec import from_spec
from frbench.contracts.trust import trusting
from frbench.data.module import GroupDataModule
from frbench.runs.folder import folder_of

if TYPE_CHECKING:
    from frbench.objectives import Objective


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of frbench, weights only.

    Raises:
        UserError: If the file is missing, not a checkpoint, or not of frbench.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged or foreign file
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged, or something else than weights."
        ) from error
    if not isinstance(checkpoint, dict) or "model" not in read_section(checkpoint, path=path):
        raise UserError(f"{path} was not written by frbench; train with `frbench fit`.")
    return checkpoint


def read_description(path: str | Path) -> dict[str, Any]:
    """Read what a checkpoint says of its method and data; a file is read once.

    Raises:
        UserError: As :func:`read_checkpoint`.
    """
    path = Path(path)
    return _description(path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=1)
def _description(path: Path, written: int) -> dict[str, Any]:
    return read_section(read_checkpoint(path))


def start_from(objective: Objective, path: str | Path) -> None:
    """Give a new objective the weights of a trained network; nothing else of it is taken.

    Args:
        objective: What is to be trained.
        path: A checkpoint of frbench.

    Raises:
        UserError: As :func:`read_checkpoint`, or if the networks have not the same tensors.
    """
    state = read_checkpoint(path)["state_dict"]
    theirs = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    ours = objective.network.state_dict()
    wrong = [
        f"{name} has shape {list(theirs[name].shape)}, the network's {list(ours[name].shape)}"
        for name in ours
        if name in theirs and theirs[name].shape != ours[name].shape
    ]
    wrong += [f"it lacks {name}" for name in ours if name not in theirs]
    wrong += [f"it has {name}, which the network lacks" for name in theirs if name not in ours]
    if wrong:
        raise UserError(
            f"--init_from: {path} is not of this network: {wrong[0]} ({len(wrong)} differences); "
            "give the same --model.network, and data of the same sizes."
        )
    objective.network.load_state_dict(theirs)


def restore(data: GroupDataModule, section: dict[str, Any], path: str | Path) -> None:
    """Let a data set encode by what a checkpoint has learnt, and find its files.

    Args:
        data: The data set, just built.
        section: The checkpoint's section.
        path: Its file. A relative path of the data is tried from the current folder, then from
            the folder in which the run was started, then from the run's.

    Raises:
        UserError: If the data set is of another kind, or has names that the checkpoint lacks.
    """
    run_dir = folder_of(path)
    started = [run_dir / section["started_in"]] if section.get("started_in") else []
    data.folders = [Path(), *started, run_dir]
    learnt = section.get("learnt")
    if not learnt or "class_names" not in learnt:
        _say_earlier(path, Path(path).resolve())
        learnt = {**data.learn(), **learnt} if learnt else None
    if learnt:
        data.restore(learnt)


@lru_cache(maxsize=16)
def _say_earlier(shown: str | Path, path: Path) -> None:
    """Say once for each file that it does not hold what was learnt."""
    print(
        f"{shown} was written by an earlier frbench: its encoder is learnt again from the "
        "training data.",
        file=sys.stderr,
    )


def load(path: str | Path, trust: Sequence[str] = ()) -> Objective:
    """Rebuild a trained objective from its checkpoint alone.

    Args:
        path: A checkpoint of ``frbench fit``, or of a Trainer fitting an Objective.
        trust: Modules, or classes, of your own that it may name: importing them runs their code.

    Returns:
        The objective with its network, penalties and state, in evaluation mode, on the CPU. Its
        ``predict``, ``predict_proba`` and ``evaluate`` take new rows as the user has them.

    Raises:
        UserError: If the file is missing, not a checkpoint of frbench, or its class cannot be
            imported.
    """
    checkpoint = read_checkpoint(path)
    with explained(path):
        with trusting(trust):
            objective = from_spec(read_section(checkpoint)["model"], objectives.Objective)
        objective.load_state_dict(checkpoint["state_dict"])
        selection = read_section(checkpoint).get("selection") or {}
        objective.min_group_rows = selection.get("min_group_rows", objective.min_group_rows)
    section = read_section(checkpoint)
    if section.get("data"):
        with trusting(trust):
            objective.data_module = _data(section, path)
    result: Objective = objective.eval()
    return result


def _data(section: dict[str, Any], path: str | Path) -> GroupDataModule | None:
    """Build the data set of a checkpoint; weights can be used without one that is gone."""
    try:
        data: GroupDataModule = from_spec(section["data"], GroupDataModule)
        restore(data, section, path)
    except (UserError, TypeError):
        return None
    return data


@contextlib.contextmanager
def explained(path: str | Path | None) -> Iterator[None]:
    """Say in one line that a checkpoint does not fit the code that is to take it."""
    try:
        yield
    except (RuntimeError, TypeError) as error:
        text = " ".join(str(error).split())
        if path is None or not ("state_dict" in text or "unexpected keyword" in text):
            raise
        raise UserError(
            f"{path} does not fit its class as it is now ({text[:300]}); use the version of "
            "frbench, and of your own classes, that wrote it."
        ) from error
