"""Methods fitted behind a checkpoint: from a file to a file, and their test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from frbench.callbacks import SanityCheck
from frbench.contracts.errors import UserError
from frbench.contracts.spec import to_spec
from frbench.postprocessing import HeldOut, Postprocessor
from frbench.postprocessing.split import Split, split_for
from frbench.runs.build import built, checkpoint_data
from frbench.runs.checkpoint import load, read_checkpoint
from frbench.runs.evaluation import evaluated
from frbench.support.atomic import replacing
from frbench.training.postprocess import (
    changed_checkpoint,
    check_method,
    outputs,
    postprocess,
)
from frbench.training.threads import use_threads

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule
    from frbench.objectives import Objective


class Request(NamedTuple):
    """What to fit, and on which rows.

    Attributes:
        method: The method.
        split: Name of the split to fit on; None for the method's own.
        share: Share of it that fits, the rest selects; None for the method's default.
        seed: Seed of the division.
        data: ``--data.OPTION VALUE`` words that override the checkpoint's.
        earlier: An earlier checkpoint of the same run, for methods that compare with it.
        key: Name of the record in the checkpoint.
    """

    method: Postprocessor
    split: str | None = None
    share: float | None = None
    seed: int = 0
    data: Sequence[str] = ()
    earlier: Path | None = None
    key: str = "postprocess"


def build_method(words: Sequence[str]) -> Postprocessor:
    """Build a method from ``--method NAME --method.OPTION VALUE`` words.

    Raises:
        UserError: If there is no such method, or an option is wrong.

    Example:
        >>> build_method(["--method=AFR", "--method.gamma=10"]).gamma
        10.0
    """
    result: Postprocessor = built(Postprocessor, "method", words)
    return result


def request_of(options: dict[str, Any]) -> Request:
    """Read the options of a grid's method that comes after another.

    Args:
        options: ``postprocess`` (the class), ``postprocess.<option>``, ``split`` and ``share``.

    Raises:
        UserError: If there is no such method, or an option is wrong.
    """
    words = [f"--method={options['postprocess']}"]
    for key, value in options.items():
        if key.startswith("postprocess."):
            text = value if isinstance(value, str) else json.dumps(value)
            words.append(f"--method.{key.removeprefix('postprocess.')}={text}")
    split, share = options.get("split"), options.get("share")
    check_split(split, share)
    return Request(build_method(words), split, share)


def check_split(split: Any, share: Any, dashes: str = "") -> None:
    """Check the names of the rows that a method is fitted on.

    Args:
        split: Name of the split, or None.
        share: Share of it, or None.
        dashes: What stands before the names of the options.

    Raises:
        UserError: If one of them is none of those there are.
    """
    if split not in (None, "val", "train", "held_out"):
        raise UserError(f"{dashes}split must be val, train or held_out, got {split!r}.")
    if share is not None and not (isinstance(share, int | float) and 0 < share <= 1):
        raise UserError(f"{dashes}share must be a number in (0, 1], got {share!r}.")


def fit_behind(
    path: Path, out: Path, request: Request, cache: Path | None = None
) -> tuple[Objective, GroupDataModule, dict[str, Any]]:
    """Fit a method behind a checkpoint and write another checkpoint.

    Args:
        path: The checkpoint.
        out: File to write.
        request: What to fit.
        cache: Folder in which the outputs of the network are kept for the next method.

    Returns:
        The model, its data, and the record. The validation rows of the data are those left to
        select by.
    """
    checkpoint = read_checkpoint(path)
    data = checkpoint_data(checkpoint, path, list(request.data))
    data.setup("fit")
    objective = load(path)
    use_threads(objective, data.eval_batch_size)
    check_method(request.method, objective)
    split = split_for(request.method, request.split, request.share, request.seed)
    if split.name not in data.splits:
        raise UserError(
            f"split held_out: the run of {path} has trained on all its rows; train with "
            "--data.held_out=0.2 to have some left."
        )
    rows = _cached(path, objective, data, split.name, cache)
    if request.earlier is not None:
        rows = rows._replace(earlier=outputs(load(request.earlier), data, split.name).logits)
    record = postprocess(objective, rows, request.method, split)
    _leave_to_select(data, request.method, split, rows.group)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        torch.save(changed_checkpoint(checkpoint, objective, request.key, record), part)
    return objective, data, record


def _leave_to_select(
    data: GroupDataModule, method: Postprocessor, split: Split, group: np.ndarray
) -> None:
    """Let validation be of the rows that the method was not fitted on."""
    if split.name != "val" or method.uses_all:
        return
    left = np.flatnonzero(~split.fitting(group))
    if len(left):
        assert data.contents["val"]["rows"] == len(group)  # hashed before it is cut
        data.places["val"] = left
        data.splits["val"] = data.splits["val"].take(left)


def _cached(
    path: Path, objective: Objective, data: GroupDataModule, split: str, cache: Path | None
) -> HeldOut:
    """Return the outputs of a split, from the cache if they are there."""
    if cache is None:
        return outputs(objective, data, split)
    known = json.dumps([to_spec(data), data.contents[split]], sort_keys=True, default=str)
    digest = hashlib.sha256(path.read_bytes() + known.encode()).hexdigest()[:16]
    file = cache / f"outputs-{split}-{digest}.npz"
    columns = ("features", "logits", "y", "z", "weight", "bias")
    if file.is_file():
        with np.load(file) as found:
            kept = {name: found[name] for name in columns if name in found.files}
        wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in kept.items()}
        return HeldOut(
            wide["features"],
            wide["logits"],
            wide["y"],
            wide["z"],
            objective.num_classes,
            objective.num_attributes,
            wide.get("weight"),
            wide.get("bias"),
            tuple(data.group_names),
        )
    rows = outputs(objective, data, split)
    arrays = {name: value for name in columns if (value := getattr(rows, name)) is not None}
    for name in ("features", "logits"):  # written as narrow as it loses nothing
        narrow = arrays[name].astype(np.float32)
        if np.array_equal(narrow, arrays[name]):
            arrays[name] = narrow
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part, part.open("wb") as stream:
        np.savez(stream, **arrays)
    return rows


def evaluate_tables(
    model: Objective, data: GroupDataModule, keep: Path | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """Evaluate a model on the validation and test tables of its data.

    Args:
        model: The model.
        data: Its data.
        keep: File for the predictions of every row, or None.

    Returns:
        Metrics by ``<table>/<metric>``, and warnings by the name of their check.
    """
    from pytorch_lightning import Trainer

    sanity = SanityCheck()
    trainer = Trainer(
        accelerator="auto", devices=1, logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, callbacks=[sanity],
    )  # fmt: skip
    return evaluated(trainer, model, data, keep), dict(sanity.raised)
