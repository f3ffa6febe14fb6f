"""Rows for numeric examples: the four of the specification, and random ones in float64."""

import numpy as np
import torch

from frbench.contracts.batch import Batch, Outputs

#: Four rows of two classes and two attribute values, whose values are known to six digits.
LOGITS = [[1.0, -1.0], [0.5, 0.0], [-0.25, 0.75], [2.0, 0.0]]
FEATURES = [[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [1.0, 2.0]]
#: Four probabilities of the second class, with the labels of their rows.
SCORES, SCORE_LABELS = [0.9, 0.4, 0.6, 0.2], [1, 0, 1, 0]
LABELS, ATTRIBUTES = [0, 1, 1, 0], [0, 0, 1, 1]


def batch_of(y, z, weight=None, attributes=2):
    """A batch of rows with these labels and attributes."""
    y, z = torch.as_tensor(y), torch.as_tensor(z)
    weight = torch.ones(len(y)).double() if weight is None else torch.as_tensor(weight)
    no = torch.zeros(len(y), dtype=torch.bool)
    group = torch.where(z < 0, -1, y * attributes + z)
    return Batch(torch.zeros(len(y), 1), y, z, group, weight, no, torch.arange(len(y)), no)


def outputs_of(logits, y, features=None):
    """Outputs with these logits, float64, which have gradients."""
    logits = torch.as_tensor(logits, dtype=torch.float64).requires_grad_()
    features = logits if features is None else torch.as_tensor(features, dtype=torch.float64)
    losses = torch.nn.functional.cross_entropy(logits, torch.as_tensor(y), reduction="none")
    return Outputs(features, logits, losses)


def four_rows():
    """The four rows with logits and features."""
    return outputs_of(LOGITS, LABELS, FEATURES), batch_of(LABELS, ATTRIBUTES)


def four_scores(positive=SCORES):
    """The four rows with probabilities of the second class."""
    p = torch.tensor(positive, dtype=torch.float64)
    logits = torch.stack([torch.zeros_like(p), p.logit()], 1)
    return outputs_of(logits, SCORE_LABELS), batch_of(SCORE_LABELS, ATTRIBUTES)


def random_rows(n=40, classes=2, attributes=3, seed=0, unknown=0.1):
    """Random logits, weights and cells, some rows without attribute, float64."""
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, classes, n), rng.integers(0, attributes, n)
    z[rng.random(n) < unknown] = -1
    weight = rng.uniform(0.5, 1.5, n)
    out = outputs_of(rng.normal(size=(n, classes)), y, rng.normal(size=(n, 3)))
    return out, batch_of(y, z, weight, attributes)


def moved(out, i, c, step):
    """The outputs with one logit moved, for numeric derivatives."""
    logits = out.logits.detach().clone()
    logits[i, c] += step
    return logits
