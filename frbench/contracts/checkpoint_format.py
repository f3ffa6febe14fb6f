"""The checkpoint format: the keys that frbench adds to Lightning's, and upgrades of old files.

A checkpoint of an objective has a section ``frbench``, one of a generator ``frbench_gan``, the
rolling one of a stack ``frbench_stack`` (tensors, and what each run would have by itself):

====================  ==========================================================================
format                version of the section, :data:`FORMAT` when it is written
model, data           ``{class_path, init_args}``; ``data`` is None if it cannot be written down
seed                  seed of the run, from which every training batch is seeded
learnt                what the data set learnt from the training rows, plain values
tables                rows and hashes of the tables it was trained on and evaluated with
started_in            folder of the run's start, relative to the run's, if it lies above it
training_log          sums of the epoch so far, over all processes
metrics               import paths of the user's own metrics
selection             rule by which ``best.ckpt`` is chosen (``BestCheckpoint``)
csv_rows              rows of each ``metrics.csv`` to continue from (``RollingCheckpoint``)
csv_rows_in_all       all rows that each had when the checkpoint was written
threads               number of threads of the run, which its continuation keeps (``ThreadRule``)
stages                inferred attributes [N] and where the run stands between its stages, or None
sample_weight,        state that a method needs to continue training (``FRTrain``, ``BPF``,
renewed_at,           ``FairBatch``)
adversary, shares
postprocess           what ``frbench postprocess`` fitted, on which rows, and how it came about
dfr                   the same of ``frbench dfr``
====================  ==========================================================================

Classes are stored by their public name (:func:`frbench.contracts.spec.public_name`). An issue that
adds keys raises FORMAT by one and adds one upgrade to ``_UPGRADES``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from frbench.contracts.errors import UserError

#: Version of what is written; later ones are refused, earlier ones are upgraded when read.
FORMAT = 4
Section = Literal["frbench", "frbench_gan", "frbench_stack"]


def write_section(checkpoint: dict[str, Any], section: Section = "frbench", **values: Any) -> None:
    """Write values into the section of a checkpoint that is being saved.

    Args:
        checkpoint: Lightning's dictionary.
        section: Which one.
        **values: Plain values and tensors, which ``weights_only=True`` loads.
    """
    checkpoint.setdefault(section, {"format": FORMAT}).update(values)


def read_section(
    checkpoint: dict[str, Any], section: Section = "frbench", path: Any = "The checkpoint"
) -> dict[str, Any]:
    """Return the section of a loaded checkpoint, upgraded in place to the present format.

    Args:
        checkpoint: Lightning's dictionary.
        section: Which one.
        path: Its file, for messages.

    Returns:
        The section; empty if there is none.

    Raises:
        UserError: If a later frbench wrote it.
    """
    found: dict[str, Any] = checkpoint.get(section, {})
    theirs = found.get("format", 1)
    if theirs > FORMAT:
        raise UserError(
            f"{path} was written by a later frbench (format {theirs}, this one reads up to "
            f"{FORMAT}): update frbench."
        )
    for version in range(theirs, FORMAT if found else theirs):
        _UPGRADES[version](checkpoint, found)
        found["format"] = version + 1
    return found


def renamed(value: Any) -> Any:
    """Return a specification with the present public names of frbench's classes.

    Args:
        value: What :func:`frbench.contracts.spec.to_spec` of any version wrote.
    """
    if isinstance(value, list):
        return [renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: renamed(item) for key, item in value.items()}
    if isinstance(path := value.get("class_path"), str) and path.startswith("frbench."):
        package, _, name = path.removeprefix("frbench.").rpartition(".")
        path = f"frbench.{package.split('.')[0]}.{name}"
        value["class_path"] = MOVED.get(path, path)
    return value


def _public_names(checkpoint: dict[str, Any], section: dict[str, Any]) -> None:
    """Upgrade format 1: classes by their file's name, three keys outside, no own metrics."""
    for name in ("model", "data"):
        section[name] = renamed(section.get(name))
    section["metrics"] = []
    for name in ("selection", "csv_rows", "csv_rows_in_all"):
        if f"frbench_{name}" in checkpoint:
            section[name] = checkpoint.pop(f"frbench_{name}")


def _nothing_learnt(checkpoint: dict[str, Any], section: dict[str, Any]) -> None:
    """Upgrade format 2: of what was learnt it has the vocabulary of texts alone."""
    stored = [value for value in checkpoint.values() if isinstance(value, dict)]
    section["learnt"] = next(({**value} for value in stored if "vocabulary" in value), None)
    section["tables"] = None


def _one_stage(checkpoint: dict[str, Any], section: dict[str, Any]) -> None:
    """Upgrade format 3: no attribute was inferred, and no map was behind a model."""
    section["stages"] = None


_UPGRADES: dict[int, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    1: _public_names,
    2: _nothing_learnt,
    3: _one_stage,
}

#: Public names of earlier releases -> the present ones.
MOVED = {"frbench.data.GeneratedFaces": "frbench.gan.GeneratedFaces"}
