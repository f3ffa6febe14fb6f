"""Where a run writes: its folder is chosen once, for all its processes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from frbench.contracts.errors import UserError
from frbench.support.atomic import check_writable


def folder_of(checkpoint: str | Path) -> Path:
    """Return the folder of the run that wrote a checkpoint."""
    parent = Path(checkpoint).parent
    return parent.parent if parent.name == "checkpoints" else parent


def choose_run_dir(config: Any, subcommand: str, begins: bool = True) -> str:
    """Give the folder of a run: as asked, that of the checkpoint, or the next free number.

    Processes that Lightning starts for further devices take the first process's choice. A number
    is claimed by making its folder, so that runs started side by side get one each. A run that
    begins here is refused a folder that holds another.
    """
    if "FRBENCH_RUN_DIR" in os.environ and os.environ.get("LOCAL_RANK", "0") != "0":
        return os.environ["FRBENCH_RUN_DIR"]
    folder: str | None = config.run_dir
    if folder is None and config.get("ckpt_path"):
        folder = str(folder_of(Path(config.ckpt_path).resolve()))
    check_writable(folder or "runs", "--run_dir")
    if folder is None:
        name = f"{config.data.class_path.split('.')[-1]}-{config.model.class_path.split('.')[-1]}"
        root = Path("runs") / name
        taken = [int(p.name) for p in root.glob("*") if p.name.isdigit()]
        number = max(taken, default=-1) + 1
        while getattr(rank_zero_only, "rank", 0) == 0:
            try:
                (root / str(number)).mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
        folder = str(root / str(number))
    elif (
        subcommand == "fit"
        and begins
        and not config.get("ckpt_path")
        and any((Path(folder) / n).exists() for n in ("config.yaml", "metrics.csv", "checkpoints"))
    ):
        last = Path(folder) / "checkpoints" / "last.ckpt"
        remedy = (
            f"Continue it with --ckpt_path {last}, or choose"
            if last.is_file()
            else "Remove it, or choose"
        )
        raise UserError(f"--run_dir {folder} already holds a run. {remedy} another folder.")
    os.environ["FRBENCH_RUN_DIR"] = folder
    return folder


def give_back() -> None:
    """Remove the folder that a run has claimed, unless something was written into it."""
    path = Path(os.environ.get("FRBENCH_RUN_DIR", ""))
    if len(path.parts) != 3 or path.parts[0] != "runs":
        return  # not a numbered folder of ours
    with contextlib.suppress(OSError):  # rmdir refuses a folder that holds something
        for part in (path, path.parent, path.parent.parent):
            part.rmdir()
