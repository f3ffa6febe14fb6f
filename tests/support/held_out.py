"""Outputs of an imagined network on held-out rows, for tests of what is fitted on them."""

import numpy as np
import torch

from frbench import Sizes
from frbench.postprocessing import HeldOut


def scored(n=600, attributes=2, seed=0, digits=None, unknown=0, features=3):
    """Rows with a score that favours some attribute values, and features that know y and z."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, attributes, n)
    y = (rng.random(n) < 0.3 + 0.1 * z).astype(int)
    logit = rng.normal(size=n) + 1.5 * y - 0.5 + 0.3 * z
    if digits is not None:
        logit = logit.round(digits)
    x = rng.normal(size=(n, features))
    x[:, 0] += 1.5 * y
    x[:, 1] += 2.0 * z
    z[:unknown] = -1
    rng = np.random.default_rng(seed + 1)
    return HeldOut(
        x, np.stack([0 * logit, logit], 1), y, z, 2, attributes,
        rng.normal(size=(2, features)), rng.normal(size=2),
    )  # fmt: skip


def fitted(method, rows):
    """A map, bound and fitted, and what it reports."""
    method.bind(Sizes(rows.num_classes, rows.num_attributes, (1,)), rows.features.shape[1])
    return method, method.fit(rows)


def decisions(method, rows):
    """P(decision = 1) of each row."""
    found = method.decide(
        torch.as_tensor(rows.probabilities),
        torch.as_tensor(rows.features),
        torch.as_tensor(rows.z),
    )
    assert found.min() >= 0 and found.max() <= 1
    assert torch.allclose(found.sum(1), torch.ones(len(found), dtype=torch.float64))
    return found[:, 1].numpy()


def rates(chance, rows):
    """Expected rates of selection, true and false positives of each attribute value [A, 3]."""
    out = []
    for a in range(rows.num_attributes):
        here = rows.z == a
        parts = here, here & (rows.y == 1), here & (rows.y == 0)
        out.append([chance[part].mean() for part in parts])
    return np.array(out)


def accuracy(chance, rows):
    """Expected accuracy."""
    return np.where(rows.y == 1, chance, 1 - chance).mean()
