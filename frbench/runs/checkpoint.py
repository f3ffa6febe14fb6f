"""Reading checkpoints: weights only, and a whole method from a file alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from frbench.contracts.checkpoint_format import read_section
from frbench.contracts.errors import UserError
from frbench.contracts.spec import from_spec

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


def load(path: str | Path) -> Objective:
    """Rebuild a trained objective from its checkpoint alone.

    Args:
        path: A checkpoint of ``frbench fit``, or of a Trainer fitting an Objective.

    Returns:
        The objective with its network, penalties and state, in evaluation mode, on the CPU.

    Raises:
        UserError: If the file is missing, not a checkpoint of frbench, or its class cannot be
            imported.
    """
    checkpoint = read_checkpoint(path)
    with explained(path):
        objective = from_spec(read_section(checkpoint)["model"])
        objective.load_state_dict(checkpoint["state_dict"])
    result: Objective = objective.eval()
    return result


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
