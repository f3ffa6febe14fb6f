"""Pair tables: generated images with the same target and opposite protected attribute."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.lib.format import open_memmap

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import (
    Count,
    Interval,
    NotNegativeInt,
    Positive,
    PositiveShare,
    checked,
)
from frbench.gan.generator import Generator, device_of, generate
from frbench.gan.latent import Hyperplane, complement, fit_hyperplane
from frbench.gan.quality import quality
from frbench.support.atomic import check_writable, write_text
from frbench.support.progress import busy, track
from frbench.training.objective import Objective

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule

#: Latents that are made, scored and written at a time.
CHUNK = 500


@checked
@dataclass(frozen=True)
class PairSettings:
    """How pairs are made.

    Args:
        n: Number of pairs.
        fit: Latents whose labels the hyperplanes are fitted on.
        flip: 1 negates the protected score, .5 puts the partner on the hyperplane.
        domain_dependent: Fit one target hyperplane for each protected value (eq. 4).
        thresholds: Scores above which f_t and f_g say 1.
        c: Inverse regularisation of the support vector machines.
        seed: Seed of the latents.

    Raises:
        UserError: For values out of range.
    """

    n: Count = 10_000
    fit: Annotated[int, Interval(2)] = 10_000
    flip: PositiveShare = 1.0
    domain_dependent: bool = False
    thresholds: tuple[float, float] = (0.5, 0.5)
    c: Positive = 1.0
    seed: NotNegativeInt = 0


class Scorer:
    """A trained classifier of two classes as a function of images to P(class 1).

    Args:
        objective: The classifier.
        image_shape: Shape of the images it will see.
        role: What it is for, in messages.

    Raises:
        UserError: If it has other inputs, or more than two classes.
    """

    def __init__(self, objective: Objective, image_shape: Sequence[int], role: str) -> None:
        if list(objective.input_shape) != list(image_shape) or objective.num_classes != 2:
            raise UserError(
                f"The {role} classifier takes inputs of shape {list(objective.input_shape)} and "
                f"knows {objective.num_classes} classes; the generator makes images of shape "
                f"{list(image_shape)}, and two classes are needed. Train it on such images."
            )
        self.objective = objective.eval()

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Score images, bytes [N, C, H, W], as [N]."""
        device = device_of(self.objective)
        parts = [
            self.objective(torch.as_tensor(images[start : start + CHUNK]).to(device).float() / 255)
            for start in range(0, len(images), CHUNK)
        ]
        return torch.cat(parts).float().softmax(1)[:, 1].cpu().numpy()


def fit_planes(
    generator: Generator, target: Scorer, protected: Scorer, settings: PairSettings
) -> list[Hyperplane]:
    """Fit h_t (two of them where they depend on the domain), then h_g, on fresh latents.

    Raises:
        UserError: If a classifier says the same of all generated images.
    """
    rng = np.random.default_rng([settings.seed, 41])
    z = generator.sample(rng, settings.fit)
    images = generate(generator, z)
    t = target(images) > settings.thresholds[0]
    g = protected(images) > settings.thresholds[1]
    intercept = not generator.normalizes_latent
    h_g = fit_hyperplane(z, g, settings.c, intercept)
    if not settings.domain_dependent:
        return [fit_hyperplane(z, t, settings.c, intercept), h_g]
    domain = h_g.score(z) > 0
    planes = [
        fit_hyperplane(z[domain == v], t[domain == v], settings.c, intercept)
        for v in (False, True)
    ]
    return [*planes, h_g]


def build_pairs(
    folder: str | Path,
    generator: Generator,
    target: Objective,
    protected: Objective,
    settings: PairSettings,
    judges: tuple[Objective, Objective] | None = None,
    origin: dict[str, Any] | None = None,
    real: GroupDataModule | None = None,
) -> dict[str, Any]:
    """Make a table of pairs, or finish one that was begun.

    z ~ N(0, I) and its partner z' (:func:`~frbench.gan.latent.complement`) give images x, x'.
    Both get the label f_t(x); the attribute of x is f_g(x), that of x' the other one. The folder
    holds ``images.npy`` and ``partners.npy`` (bytes [N, C, H, W]), ``pairs.npz`` (y, z of x,
    latents and scores) and ``pairs.json`` (what it was made from, and its quality). It appears
    when it is complete; until then its parts lie in ``FOLDER.partial``.

    Args:
        folder: Where to write.
        generator: G.
        target: f_t, of two classes.
        protected: f_g, of two classes.
        settings: How.
        judges: Classifiers of target and attribute that had no part in making the pairs; by
            default f_t and f_g judge themselves.
        origin: What generator and classifiers are, for the hash; plain data.
        real: Data whose training images the generated ones are compared with by FID and KID
            (:func:`~frbench.gan.distance.table_distances`), in features of the target's judge.

    Returns:
        What ``pairs.json`` says.

    Raises:
        UserError: If the folder holds other pairs, or what is given does not fit together.
    """
    folder = Path(folder)
    made_from = {"settings": asdict(settings), **(origin or {})}
    made_from["weights"] = _digest(generator, target, protected, *(judges or ()))
    made_from = json.loads(json.dumps(made_from))
    record = _stored(folder / "pairs.json", made_from)
    if record is not None:
        _clean(folder)
    else:
        check_writable(folder, "--out")
        record = _build(folder, generator, target, protected, settings, judges, made_from)
    if real is not None and "distance" not in record["quality"]:
        from frbench.gan.distance import table_distances

        judge = target if judges is None else judges[0]
        record["quality"]["distance"] = table_distances(folder, judge, real, settings.seed)
        _write_json(folder / "pairs.json", record)
    return record


def _build(
    folder: Path,
    generator: Generator,
    target: Objective,
    protected: Objective,
    settings: PairSettings,
    judges: tuple[Objective, Objective] | None,
    made_from: dict[str, Any],
) -> dict[str, Any]:
    """Make the table, from its last chunk on."""
    shape = generator.image_shape
    f_t, f_g = Scorer(target, shape, "target"), Scorer(protected, shape, "protected")
    judge_t, judge_g = f_t, f_g
    if judges is not None:
        judge_t, judge_g = (
            Scorer(j, shape, f"judging {r}")
            for j, r in zip(judges, ("target", "protected"), strict=True)
        )
    part = folder.with_name(f"{folder.name}.partial")
    if part.exists() and not (part / "pairs.json").is_file():
        shutil.rmtree(part)  # stopped before its first chunk
    begun = _stored(part / "pairs.json", made_from)
    if begun is None:
        with busy("fitting the hyperplanes"):
            planes = fit_planes(generator, f_t, f_g, settings)
        _create(part, generator, planes, settings.n)
        _write_json(part / "pairs.json", {"made_from": made_from, "done": 0})
    with np.load(part / "planes.npz") as file:
        planes = [
            Hyperplane(*row) for row in zip(file["normals"], file["intercepts"], strict=True)
        ]
    for done in _fill(part, generator, (f_t, f_g, judge_t, judge_g), planes, settings,
                      begun["done"] if begun else 0):  # fmt: skip
        _write_json(part / "pairs.json", {"made_from": made_from, "done": done})
    record = {
        "made_from": made_from,
        "done": settings.n,
        "judge": "f_t and f_g themselves" if judges is None else "classifiers outside the loop",
        "quality": _finish(part, planes, settings),
    }
    _write_json(part / "pairs.json", record)
    os.replace(part, folder)
    _clean(folder)
    return record


def _clean(folder: Path) -> None:
    """Remove what only the making needed; a process may have been killed before it did."""
    for name in ("latents.npy", "scores.npy", "planes.npz"):
        (folder / name).unlink(missing_ok=True)


def _digest(*modules: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _stored(path: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """Return the record of a finished or begun table if it is the same one."""
    if not path.parent.exists():
        return None
    if not path.is_file():
        raise UserError(f"{path.parent} exists but holds no pairs; give another folder.")
    record: dict[str, Any] = json.loads(path.read_text())
    if record["made_from"] != made_from:
        changed = [k for k in made_from if record["made_from"].get(k) != made_from[k]]
        raise UserError(
            f"{path.parent} holds pairs made with another {' and '.join(changed)}; remove it, or "
            "give another folder."
        )
    return record


def _create(part: Path, generator: Generator, planes: list[Hyperplane], n: int) -> None:
    """Make the files of a new table."""
    part.mkdir(parents=True)
    for name in ("images", "partners"):
        open_memmap(part / f"{name}.npy", "w+", np.uint8, (n, *generator.image_shape))
    open_memmap(part / "latents.npy", "w+", np.float32, (n, 2, generator.latent_dim))
    open_memmap(part / "scores.npy", "w+", np.float32, (n, 2, 4))
    np.savez(part / "planes.npz", normals=[h.normal for h in planes],
             intercepts=[h.intercept for h in planes])  # fmt: skip


def _fill(
    part: Path,
    generator: Generator,
    scorers: Sequence[Scorer],
    planes: list[Hyperplane],
    settings: PairSettings,
    done: int,
) -> Iterator[int]:
    """Write the rows from ``done`` on, and yield how many are written after each chunk."""
    f_t, f_g, judge_t, judge_g = scorers
    targets = planes[0] if len(planes) == 2 else planes[:2]
    names = ("images", "partners", "latents", "scores")
    files = {name: open_memmap(part / f"{name}.npy", "r+") for name in names}
    for start in track(range(done, settings.n, CHUNK), "pairs"):
        rows = slice(start, min(start + CHUNK, settings.n))
        # Every chunk draws from a generator of its own: one that is continued draws the same.
        z = generator.sample(np.random.default_rng([settings.seed, 42, start]), rows.stop - start)
        partner = complement(z.astype(np.float64), targets, planes[-1], settings.flip)
        both = [z, partner.astype(np.float32)]
        files["latents"][rows] = np.stack(both, 1)
        for i, name in enumerate(("images", "partners")):
            x = files[name][rows] = generate(generator, both[i])
            scores = [f_t(x), f_g(x)]
            scores += scores if judge_t is f_t else [judge_t(x), judge_g(x)]
            files["scores"][rows, i] = np.stack(scores, 1)
        for file in files.values():
            file.flush()
        yield rows.stop


def _write_json(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1))


def _finish(part: Path, planes: list[Hyperplane], settings: PairSettings) -> dict[str, Any]:
    """Write labels, latents and scores into one file, and measure the pairs."""
    latents, scores = np.load(part / "latents.npy"), np.load(part / "scores.npy")
    y, z = (scores[:, 0, :2] > settings.thresholds).T.astype(np.int64)
    np.savez(part / "pairs.npz", y=y, z=z, latents=latents, scores=scores,
             normals=[h.normal for h in planes],
             intercepts=[h.intercept for h in planes])  # fmt: skip
    return quality(latents.astype(np.float64), scores, planes, settings.thresholds)
