"""Generators of images behind one contract: our own, drawn ones, and those that users bring."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import CheckedArguments, Count, Interval


class Generator(CheckedArguments, nn.Module, ABC):
    """A map from latents to images; a subclass writes :meth:`images`.

    Attributes:
        latent_dim: d; the prior is N(0, I).
        image_shape: [channels, height, width].
        normalizes_latent: Whether only the direction of z matters.
    """

    latent_dim: int
    image_shape: list[int]
    normalizes_latent: bool = False

    @abstractmethod
    def images(self, z: Tensor) -> Tensor:
        """Return images [N, C, H, W], values in [0, 1], of latents [N, d]."""

    def forward(self, z: Tensor) -> Tensor:
        """Return images, checked; see :meth:`images`.

        Raises:
            UserError: If their shape is not the declared one.
        """
        x = self.images(z)
        if list(x.shape[1:]) != list(self.image_shape):
            raise UserError(
                f"{type(self).__name__} declares images of shape {list(self.image_shape)} but "
                f"makes {list(x.shape[1:])}; correct image_shape."
            )
        return x

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n latents of the prior, float32 [n, d]."""
        return rng.normal(size=(n, self.latent_dim)).astype(np.float32)


@torch.inference_mode()
def generate(generator: Generator, z: np.ndarray, chunk: int = 256) -> np.ndarray:
    """Make images of latents in evaluation mode, chunk by chunk.

    Args:
        generator: Any generator.
        z: Latents [N, d].
        chunk: Latents at a time.

    Returns:
        Images, bytes [N, C, H, W].

    Raises:
        UserError: If images leave [0, 1] by more than rounding, or hold NaN.

    Example:
        >>> faces = AnalyticFaces(image_size=16)
        >>> generate(faces, faces.sample(np.random.default_rng(0), 3)).shape
        (3, 3, 16, 16)
    """
    generator.eval()
    device = device_of(generator)
    out = np.empty((len(z), *generator.image_shape), np.uint8)
    for start in range(0, len(z), chunk):
        part = torch.as_tensor(z[start : start + chunk], dtype=torch.float32)
        x = generator(part.to(device))
        low, high = x.min().item(), x.max().item()
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise UserError(
                f"{type(generator).__name__} makes pixels in [{low:.3g}, {high:.3g}], outside "
                "[0, 1]; state the range of its output (output_range)."
            )
        out[start : start + chunk] = (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return out


def device_of(module: nn.Module) -> torch.device:
    """Return where a module's weights are; the CPU for one without."""
    tensors = (*module.parameters(), *module.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


class AnalyticFaces(Generator):
    """Faces drawn by a formula that is differentiable in z; their attributes are linear in z.

    Smile and long hair grow with w_t.z and w_g.z, two unit vectors with a chosen cosine c, so
    that the signs of both agree in 1/2 + asin(c) / pi of all faces. Other directions move the
    background's colour, the skin's tone and the face's place. Both normals are known: pairs can
    be checked against the truth.

    Args:
        cosine: c in (-1, 1).
        image_size: Height and width in pixels.
        latent_dim: d, at least 10.

    Raises:
        UserError: For values out of range.

    Example:
        >>> faces = AnalyticFaces(cosine=0.6)
        >>> round(float(faces.normals[0] @ faces.normals[1]), 6), faces.image_shape
        (0.6, [3, 28, 28])
    """

    normals: Tensor
    basis: Tensor

    def __init__(
        self,
        cosine: Annotated[float, Interval(-1, 1, closed="neither")] = 0.9,
        image_size: Annotated[int, Interval(8)] = 28,
        latent_dim: Annotated[int, Interval(10)] = 16,
    ) -> None:
        super().__init__()
        self.cosine = cosine
        self.image_size = image_size
        self.latent_dim = latent_dim
        self.image_shape = [3, image_size, image_size]
        rng = np.random.default_rng(20)
        basis = np.linalg.qr(rng.normal(size=(latent_dim, latent_dim)))[0]
        protected = cosine * basis[0] + np.sqrt(1 - cosine**2) * basis[1]
        self.register_buffer("basis", torch.tensor(basis[2:], dtype=torch.float32))
        self.register_buffer(
            "normals", torch.tensor(np.stack([basis[0], protected]), dtype=torch.float32)
        )

    def attributes(self, z: Tensor) -> Tensor:
        """Return the scores of smile and long hair, w_t.z and w_g.z [N, 2]."""
        return z @ self.normals.T

    def images(self, z: Tensor) -> Tensor:
        """Paint background, hair, face, eyes and mouth, one over the other."""
        smile, hair = torch.tanh(3 * self.attributes(z)).T[..., None, None]
        free = torch.tanh(z @ self.basis.T)[..., None, None]  # [N, d - 2, 1, 1]
        axis = (torch.arange(self.image_size) + 0.5) / self.image_size * 2 - 1
        y = axis.to(z)[:, None] - 0.12 * free[:, 0]
        x = axis.to(z)[None, :] - 0.12 * free[:, 1]
        edge = self.image_size / 2

        def disc(cx: float, cy: float, width: float, height: float) -> Tensor:
            radius = (((x - cx) / width) ** 2 + ((y - cy) / height) ** 2 + 1e-6).sqrt()
            return torch.sigmoid(edge * min(width, height) * (1 - radius))

        def box(left: float, right: float, top: float, bottom: Any) -> Tensor:
            inside = torch.sigmoid(edge * (x - left)) * torch.sigmoid(edge * (right - x))
            return inside * torch.sigmoid(edge * (y - top)) * torch.sigmoid(edge * (bottom - y))

        tone = 0.75 + 0.2 * free[:, 5]
        canvas = 0.5 + 0.3 * free[:, 2:5].expand(-1, -1, self.image_size, self.image_size)
        length = 0.2 + 0.5 * hair
        mouth = 0.36 + 0.14 * smile * (0.5 - (x / 0.22) ** 2)
        stroke = torch.exp(-(((y - mouth) / 0.06) ** 2)) * torch.sigmoid(edge * (0.26 - x.abs()))
        layers: list[tuple[Tensor, list[float]]] = [
            (disc(0, -0.3, 0.62, 0.5), [0.25, 0.16, 0.1]),
            (box(-0.62, 0.62, -0.3, length), [0.25, 0.16, 0.1]),
            (disc(0, 0, 0.45, 0.65), [1.0, 0.85, 0.7]),
            (disc(-0.18, -0.12, 0.08, 0.06), [0.1, 0.1, 0.1]),
            (disc(0.18, -0.12, 0.08, 0.06), [0.1, 0.1, 0.1]),
            (stroke, [0.75, 0.2, 0.25]),
        ]
        for i, (alpha, colour) in enumerate(layers):
            paint = torch.tensor(colour).to(z)[:, None, None] * (tone[:, None] if i == 2 else 1)
            canvas = canvas + alpha[:, None] * (paint - canvas)
        return canvas


class OwnGenerator(Generator):
    """A generator that you bring: what builds it, and a file of its weights.

    Nothing is downloaded. ``build`` is called with ``options``; if what it returns is no module
    with the state dict's keys, loading says which differ.

    Args:
        build: Import path of a class or function that returns a module mapping z to images.
        latent_dim: d of its prior N(0, I).
        image_shape: [channels, height, width].
        weights: State dict written by torch.save, or a dict that holds one under ``state_dict``;
            None leaves the module as it is built.
        options: Arguments of ``build``.
        output_range: Lowest and highest pixel; images are scaled to [0, 1].
        normalizes_latent: Whether only the direction of z matters to it (as in progressive GANs,
            which normalise z first); hyperplanes then pass through the origin.

    Raises:
        UserError: If the path, the file or the range is wrong.

    Example:
        >>> own = OwnGenerator("torch.nn.Identity", 3, [3], output_range=[-1.0, 1.0])
        >>> own(torch.tensor([[-1.0, 0.0, 1.0]])).tolist()
        [[0.0, 0.5, 1.0]]
    """

    def __init__(
        self,
        build: str,
        latent_dim: Count,
        image_shape: list[Count],
        weights: str | None = None,
        options: dict[str, Any] | None = None,
        output_range: list[float] | None = None,
        normalizes_latent: bool = False,
    ) -> None:
        super().__init__()
        self.build = build
        self.latent_dim = latent_dim
        self.image_shape = list(image_shape)
        self.weights = weights
        self.options = options
        self.output_range = [0.0, 1.0] if output_range is None else output_range
        self.normalizes_latent = normalizes_latent
        if len(self.output_range) != 2 or not self.output_range[0] < self.output_range[1]:
            raise UserError(
                f"generator.output_range must be [low, high] with low < high, got {output_range}."
            )
        module, _, name = build.rpartition(".")
        try:
            builder = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(
                f"generator.build: {build} cannot be imported ({error}); give the import path of "
                "a class or function, my_file.MyGenerator say."
            ) from error
        self.module: nn.Module = builder(**(options or {}))
        if not isinstance(self.module, nn.Module):
            raise UserError(f"generator.build: {build} gives a {type(self.module).__name__}, "
                            "not a torch module.")  # fmt: skip
        if weights is not None:
            self._load(Path(weights))

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"generator.weights: there is no file {path}.")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.module.load_state_dict(state.get("state_dict", state))
        except Exception as error:  # torch raises many types for foreign files
            reason = " ".join(str(error).split())
            raise UserError(
                f"generator.weights: {path} does not fit {self.build}: {reason[:300]}"
            ) from error

    def images(self, z: Tensor) -> Tensor:
        """Return the module's images, scaled to [0, 1]."""
        low, high = self.output_range
        result: Tensor = (self.module(z) - low) / (high - low)
        return result


class Trained(Generator):
    """The moving-average generator of a checkpoint of ``frbench gan train``.

    Args:
        path: The checkpoint.

    Raises:
        UserError: If the file is missing or none of ours.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        from frbench.gan.dcgan import load_gan

        gan = load_gan(path)
        self.path = path
        self.latent_dim = gan.latent_dim
        self.image_shape = gan.image_shape
        self.network = gan.average

    def images(self, z: Tensor) -> Tensor:
        """Return the network's images."""
        result: Tensor = self.network(z)
        return result
