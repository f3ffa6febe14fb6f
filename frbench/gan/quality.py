"""How well pairs keep the target and flip the attribute; numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from frbench.gan.latent import Hyperplane


def quality(
    latents: np.ndarray,
    scores: np.ndarray,
    planes: Sequence[Hyperplane],
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> dict[str, Any]:
    """Measure a table of pairs.

    Args:
        latents: z and z' [N, 2, d].
        scores: Of x and x', by f_t, f_g and the judges of target and attribute [N, 2, 4].
        planes: h_t (or two), then h_g.
        thresholds: Scores above which f_t and f_g say 1; judges say it above .5.

    Returns:
        Shares of pairs whose target is kept and whose attribute is flipped, by the judges,
        overall and by the attribute of x; correlation of the judges' labels in the images alone
        and in images and partners; mean change of the target score; accuracy of the hyperplanes
        on the classifiers' labels; their cosine; mean length of the move relative to |z|.

    Example:
        >>> z = np.array([[[1.0, 1.0], [1.0, -1.0]], [[-1.0, -1.0], [-1.0, 1.0]]])
        >>> scores = (np.concatenate([z, z], 2) > 0).astype(float)
        >>> planes = [Hyperplane(np.array([1.0, 0.0])), Hyperplane(np.array([0.0, 1.0]))]
        >>> measured = quality(z, scores, planes)
        >>> measured["keep_rate"], measured["flip_rate"], measured["correlation"]
        (1.0, 1.0, {'images': 1.0, 'pairs': 0.0})
    """
    t, g = (scores[..., 2:] > 0.5).transpose(2, 0, 1)
    kept, flipped = t[:, 0] == t[:, 1], g[:, 0] != g[:, 1]
    labels = scores[:, 0, :2] > thresholds
    h_g = planes[-1].score(latents[:, 0])
    targets = planes[:-1]
    h_t = targets[0].score(latents[:, 0])
    if len(targets) == 2:
        h_t = np.where(h_g > 0, targets[1].score(latents[:, 0]), h_t)
    move = np.linalg.norm(latents[:, 1] - latents[:, 0], axis=1)
    known = [v for v in (0, 1) if (g[:, 0] == v).any()]
    return {
        "keep_rate": float(kept.mean()),
        "flip_rate": float(flipped.mean()),
        "keep_rate_by_attribute": {str(v): float(kept[g[:, 0] == v].mean()) for v in known},
        "flip_rate_by_attribute": {str(v): float(flipped[g[:, 0] == v].mean()) for v in known},
        "correlation": {
            "images": correlation(t[:, 0], g[:, 0]),
            "pairs": correlation(t.ravel(), g.ravel()),
        },
        "label_noise": float((t != labels[:, :1]).mean()),
        "score_change": float(np.abs(scores[:, 0, 0] - scores[:, 1, 0]).mean()),
        "hyperplane_accuracy": {
            "target": float(((h_t > 0) == labels[:, 0]).mean()),
            "protected": float(((h_g > 0) == labels[:, 1]).mean()),
        },
        "cosine": [float(h.normal @ planes[-1].normal) for h in targets],
        "relative_move": float((move / np.linalg.norm(latents[:, 0], axis=1)).mean()),
    }


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlate two columns; 0 where one does not vary."""
    if a.all() or b.all() or not a.any() or not b.any():
        return 0.0
    return round(float(np.corrcoef(a, b)[0, 1]), 12)
