"""FID and KID of generated images, in the features of a classifier of our own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from frbench.gan.generator import device_of

if TYPE_CHECKING:
    from frbench.data.module import GroupDataModule
    from frbench.training.objective import Objective

#: Rows of a side at most: KID keeps all features, and FID has converged far below.
LIMIT = 5000
CHUNK = 500


class _Ready(nn.Identity):
    """Features instead of images: torchmetrics' own network needs weights that it downloads."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def feature_distances(
    real: np.ndarray,
    generated: np.ndarray,
    subsets: int = 50,
    subset_size: int = 500,
    seed: int = 0,
) -> dict[str, float]:
    """Measure how far two sets of features lie apart.

    FID = |m_r - m_g|^2 + tr(S_r + S_g - 2 (S_r S_g)^(1/2)) of their means and covariances (arXiv
    1706.08500); KID = the unbiased squared MMD under the kernel (x.y / D + 1)^3, mean and standard
    deviation over random subsets (arXiv 1801.01401). FID is too large for few rows, KID is not:
    compare FID only at equal numbers of rows. Both depend on the features: values from other
    networks, Inception's say, are on another scale.

    Args:
        real: Features [N, D].
        generated: Features [M, D].
        subsets: Subsets that KID is averaged over.
        subset_size: Rows of each; fewer where a side has fewer.
        seed: Seed of the subsets.

    Returns:
        ``fid``, ``kid`` and ``kid_sd``.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(300, 4))
        >>> near, far = feature_distances(x, x), feature_distances(x, x + 1)
        >>> round(near["fid"], 6) + 0.0, round(far["fid"], 6), far["kid"] > near["kid"]
        (0.0, 4.0, True)
    """
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    ready = _Ready(real.shape[1])
    fid = FrechetInceptionDistance(ready)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save")
        size = min(subset_size, len(real), len(generated))
        kid = KernelInceptionDistance(ready, subsets=subsets, subset_size=size)
    for metric in (fid, kid):
        for rows, is_real in ((real, True), (generated, False)):
            metric.update(torch.as_tensor(rows, dtype=torch.float64), real=is_real)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, sd = kid.compute()
    return {"fid": fid.compute().item(), "kid": mean.item(), "kid_sd": sd.item()}


@torch.inference_mode()
def features_of(objective: Objective, images: np.ndarray | Tensor) -> np.ndarray:
    """Return the penultimate features of images, bytes or [0, 1], as float64 [N, D]."""
    network, device = objective.eval().network, device_of(objective)
    parts = []
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        x = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        x = x.to(device)
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        parts.append(network(x)[0].double().cpu())
    return torch.cat(parts).numpy()


def table_distances(
    folder: Path, objective: Objective, data: GroupDataModule, seed: int = 0
) -> dict[str, Any]:
    """Compare the images and the partners of a folder of pairs with real training rows.

    Args:
        folder: Holds ``images.npy`` and ``partners.npy``.
        objective: Its features are used; best one that had no part in making the pairs.
        data: The real images.
        seed: Seed of the rows that are chosen.

    Returns:
        Distances of ``images``, of ``partners`` and, as the level that real rows reach, of
        ``held_out`` validation rows, all of ``rows`` rows.
    """
    rng = np.random.default_rng([seed, 43])

    def real(name: str, count: int) -> np.ndarray:
        table = data.splits[name]
        chosen = np.sort(rng.permutation(len(table))[:count])
        x = data.encode(table.x[chosen])
        return np.concatenate(
            [
                features_of(objective, data.prepare(torch.as_tensor(x[part])))
                for part in np.array_split(np.arange(len(chosen)), -(-len(chosen) // CHUNK))
            ]
        )

    made = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("images", "partners")}
    rows = min(LIMIT, len(made["images"]), len(data.splits["val"]))
    train = real("train", LIMIT)
    found: dict[str, Any] = {"rows": rows, "real_rows": len(train)}
    for name, images in made.items():
        found[name] = feature_distances(train, features_of(objective, images[:rows]), seed=seed)
    found["held_out"] = feature_distances(train, real("val", rows), seed=seed)
    return found
