"""The contrast of CnC against a loop over anchors and partners."""

import numpy as np
import pytest
import torch
from rows import batch_of, outputs_of

from frbench.penalties import Contrast


def loop(features, y, z, weight, temperature):
    f = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = mass = 0.0
    for i in range(len(y)):
        positive = [j for j in range(len(y)) if z[j] >= 0 and y[j] == y[i] and z[j] != z[i]]
        negative = [j for j in range(len(y)) if y[j] != y[i] and z[j] == z[i]]
        if z[i] != y[i] or not positive or not negative:
            continue
        s = f[i] @ f.T / temperature
        among = np.log(sum(np.exp(s[j]) for j in positive + negative))
        total += weight[i] * np.mean([among - s[j] for j in positive])
        mass += weight[i]
    return total / mass if mass else 0.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_it_equals_a_loop(seed, temperature):
    rng = np.random.default_rng(seed)
    n = 24
    y, z = rng.integers(0, 3, n), rng.integers(-1, 3, n)
    features, weight = rng.normal(size=(n, 4)), rng.uniform(0.5, 1.5, n)
    out = outputs_of(rng.normal(size=(n, 3)), y, features)
    value = Contrast(temperature=temperature)(out, batch_of(y, z, weight, attributes=3))
    assert value.item() == pytest.approx(loop(features, y, z, weight, temperature), rel=1e-9)
    assert value > 0


@pytest.mark.parametrize("z", [[0, 1, 1, 0], [0, 0, 0, 0], [-1, -1, -1, -1], [1, 0, 0, 1]])
def test_without_an_anchor_that_has_both_kinds_of_partners_it_is_zero(z):
    """All predictions right; one value of z; none known; all wrong."""
    features = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    out = outputs_of(np.zeros((4, 2)), [0, 1, 1, 0])._replace(features=features)
    value = Contrast()(out, batch_of([0, 1, 1, 0], z))
    assert value.item() == 0
    assert not torch.autograd.grad(value, features)[0].any()


def test_it_pulls_a_class_together():
    torch.manual_seed(0)
    y, z = np.array([0, 0, 1, 1] * 4), np.array([0, 1, 1, 0] * 4)
    features = torch.randn(16, 3, dtype=torch.float64, requires_grad=True)
    out, batch = outputs_of(np.zeros((16, 2)), y), batch_of(y, z)
    optimizer = torch.optim.Adam([features], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        Contrast()(out._replace(features=features), batch).backward()
        optimizer.step()
    f = torch.nn.functional.normalize(features.detach(), dim=1)
    anchor, cosine = y == z, f @ f.T
    positive = torch.as_tensor(anchor[:, None] & (y == y[:, None]) & (z != z[:, None]))
    negative = torch.as_tensor(anchor[:, None] & (y != y[:, None]) & (z == z[:, None]))
    assert cosine[positive].mean() > cosine[negative].mean() + 0.5  # before, -0.03
