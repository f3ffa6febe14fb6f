"""Generators: what they promise, and one readable line where a foreign one does not fit."""

import numpy as np
import pytest
import torch
from torch import nn

from frbench.contracts.errors import UserError
from frbench.gan import AnalyticFaces, OwnGenerator, generate
from frbench.gan.generator import Generator


def small(channels=1, low=-1.0):
    """Builds a foreign generator of 4x4 images in [low, 1]."""
    return nn.Sequential(nn.Linear(5, 16 * channels), nn.Tanh(), nn.Unflatten(1, (channels, 4, 4)))


def test_analytic_attributes_are_linear_with_the_cosine_and_drive_their_own_pixels():
    faces = AnalyticFaces(cosine=0.6, image_size=32)
    w = faces.normals.double().numpy()
    np.testing.assert_allclose(w @ w.T, [[1, 0.6], [0.6, 1]], atol=1e-6)
    z = torch.zeros(1, 16)
    directions = np.linalg.inv(w @ w.T) @ w  # each changes one score alone
    steps = [s * torch.tensor(d, dtype=torch.float32) for d in directions for s in (-1, 1)]
    images = [faces(z + step) for step in steps]
    change = [(images[2 * i] - images[2 * i + 1]).abs().amax((0, 1)) for i in (0, 1)]
    rows = torch.arange(32)
    assert rows[change[0].amax(1) > 0.1].min() > 17  # the mouth is below the middle
    sides = change[1].amax(0) > 0.1
    assert sides[6] and sides[25]  # the hair falls at both sides
    assert change[1][19:24, 13:19].max() < 0.1 < change[0][19:24, 13:19].max()  # not the mouth
    z.requires_grad_()
    assert torch.autograd.grad(faces(z).sum(), z)[0].abs().sum() > 0


def test_agreement_of_the_attributes_is_that_of_the_cosine():
    faces = AnalyticFaces(cosine=0.9)
    z = torch.as_tensor(faces.sample(np.random.default_rng(0), 40_000))
    t, g = (faces.attributes(z) > 0).T
    assert (t == g).float().mean().item() == pytest.approx(0.5 + np.arcsin(0.9) / np.pi, abs=0.01)


def test_generate_is_chunked_without_gradients_in_evaluation_mode():
    class Dropping(Generator):
        latent_dim, image_shape = 5, [1, 4, 4]

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Dropout(0.5), small())
            self.seen = []

        def images(self, z):
            assert not torch.is_grad_enabled() and not self.training
            self.seen.append(len(z))
            return self.net(z) / 2 + 0.5

    made = Dropping()
    z = made.sample(np.random.default_rng(0), 10)
    parts = generate(made, z, chunk=4)
    assert made.seen == [4, 4, 2] and parts.dtype == np.uint8
    np.testing.assert_array_equal(parts, generate(made, z, chunk=10))


def test_own_generator_from_a_state_dict(tmp_path):
    torch.manual_seed(3)
    module = small()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "w.pth")
    own = OwnGenerator(
        f"{__name__}.small", 5, [1, 4, 4], weights=str(tmp_path / "w.pth"), output_range=[-1, 1]
    )
    z = torch.randn(6, 5)
    torch.testing.assert_close(own(z), (module(z) + 1) / 2)


def test_what_does_not_fit_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot be imported"):
        OwnGenerator("no.such.thing", 5, [1, 4, 4])
    with pytest.raises(UserError, match="no file"):
        OwnGenerator(f"{__name__}.small", 5, [1, 4, 4], weights="absent.pth")
    torch.save(small(channels=3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="does not fit"):
        OwnGenerator(f"{__name__}.small", 5, [1, 4, 4], weights=str(tmp_path / "w.pth"))
    z = np.random.default_rng(0).normal(size=(3, 5))
    with pytest.raises(UserError, match=r"outside \[0, 1\]"):
        generate(OwnGenerator(f"{__name__}.small", 5, [1, 4, 4]), 5 * z)
    with pytest.raises(UserError, match="declares images of shape"):
        generate(OwnGenerator(f"{__name__}.small", 5, [3, 4, 4], output_range=[-1, 1]), z)
    with pytest.raises(UserError, match="low < high"):
        OwnGenerator(f"{__name__}.small", 5, [1, 4, 4], output_range=[1.0, 0.0])
    with pytest.raises(UserError, match=r"cosine: expected a number in \(-1, 1\)"):
        AnalyticFaces(cosine=1.0)
