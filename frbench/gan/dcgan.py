"""A small convolutional GAN that trains on a CPU in minutes."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from frbench.contracts.batch import Batch
from frbench.contracts.checkpoint_format import read_section, write_section
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Positive, ProperShare, checked
from frbench.contracts.spec import from_spec, to_spec
from frbench.data.module import datamodule_of
from frbench.distributed import all_sum, rank, world_size
from frbench.training.checks import check_same_data, data_spec


class ImageGenerator(nn.Module):
    """Latents to images in [0, 1] by transposed convolutions, each doubling the side.

    Args:
        latent_dim: d.
        channels: Channels of the images.
        side: Height and width: 4 to 7 times a power of two.
        width: Channels before the last layer; they double towards the latent.
    """

    def __init__(self, latent_dim: int, channels: int, side: int, width: int) -> None:
        super().__init__()
        start, doublings = first_side(side)
        wide = width * 2 ** (doublings - 1)
        self.start = (wide, start, start)
        self.dense = nn.Linear(latent_dim, math.prod(self.start), bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(wide), nn.ReLU()]
        for _ in range(doublings - 1):
            layers += [
                nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False),
                nn.BatchNorm2d(wide // 2),
                nn.ReLU(),
            ]
            wide //= 2
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(wide, channels, 4, 2, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Return images [N, C, H, W]."""
        result: Tensor = self.layers(self.dense(z).view(-1, *self.start)).sigmoid()
        return result


def critic(channels: int, side: int, width: int) -> nn.Sequential:
    """Build a discriminator with spectral norm (Miyato et al., arXiv 1802.05957)."""
    start, doublings = first_side(side)
    layers: list[nn.Module] = []
    for i in range(doublings):
        inputs = channels if i == 0 else width * 2 ** (i - 1)
        layers.append(spectral_norm(nn.Conv2d(inputs, width * 2**i, 4, 2, 1)))
        layers.append(nn.LeakyReLU(0.1))
    last = spectral_norm(nn.Linear(width * 2 ** (doublings - 1) * start**2, 1))
    return nn.Sequential(*layers, nn.Flatten(), last)


def first_side(side: int) -> tuple[int, int]:
    """Halve a side until it is 4 to 7; give it and the number of halvings.

    Raises:
        UserError: If it is none of 4, 5, 6, 7 times a power of two from 2 on.

    Example:
        >>> first_side(28), first_side(64)
        ((7, 2), (4, 4))
    """
    start, doublings = side, 0
    while start >= 8 and start % 2 == 0:
        start, doublings = start // 2, doublings + 1
    if not 4 <= start < 8 or not doublings:
        raise UserError(f"DCGAN makes images of 28, 32, 48, 56, 64, 96, 112 or 128 pixels (4 to 7 "
                        f"times a power of two), not {side}.")  # fmt: skip
    return start, doublings


@checked
class DCGAN(LightningModule):
    """A convolutional generator against a discriminator, with the hinge loss.

    L_D = E relu(1 - D(x)) + E relu(1 + D(G(z))), L_G = -E D(G(z)); one step of each per batch.
    Source: architecture arXiv 1511.06434, hinge loss arXiv 1705.02894, spectral norm arXiv
    1802.05957. The generator to use is ``average``, the moving average of the trained one.

    One batch is one step of ``max_steps``. Latents follow from seed, step and process, so that a
    run which is stopped and continued equals an uninterrupted one.

    Args:
        image_shape: [channels, side, side] of the data.
        latent_dim: d.
        width: Channels of the layers next to the image, of both networks.
        lr: Learning rate of both Adams, beta (0, .9).
        decay: Rate of the moving average, in [0, 1).

    Raises:
        UserError: For images that are not square, sides it cannot make, or values out of range.

    Example:
        >>> gan = DCGAN([1, 28, 28], latent_dim=8, width=4)
        >>> gan.average(gan.preview[:2]).shape
        torch.Size([2, 1, 28, 28])
    """

    preview: Tensor

    def __init__(
        self,
        image_shape: list[Count],
        latent_dim: Count = 64,
        width: Count = 32,
        lr: Positive = 2e-4,
        decay: ProperShare = 0.999,
    ) -> None:
        super().__init__()
        if len(image_shape) != 3 or image_shape[1] != image_shape[2]:
            raise UserError(
                f"DCGAN makes square images [channels, side, side], not {list(image_shape)}."
            )
        self.image_shape = list(image_shape)
        self.latent_dim = latent_dim
        self.width = width
        self.lr = lr
        self.decay = decay
        channels, side = self.image_shape[:2]
        self.generator = ImageGenerator(latent_dim, channels, side, width)
        self.discriminator = critic(channels, side, width)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        seeded = torch.Generator().manual_seed(1)
        self.register_buffer("preview", torch.randn(64, latent_dim, generator=seeded))
        self.automatic_optimization = False
        self._seed: int | None = None

    # ---- training ---------------------------------------------------------------------------
    def configure_optimizers(self) -> Any:
        """Give the generator's Adam and the discriminator's."""
        players = (self.generator, self.discriminator)
        return [torch.optim.Adam(p.parameters(), self.lr, (0.0, 0.9)) for p in players]

    def on_fit_start(self) -> None:
        """Fix the seed of the run."""
        if self._seed is None:
            self._seed = int(self.trainer.strategy.broadcast(torch.initial_seed() % 2**31))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Move the discriminator, then the generator, then the average."""
        assert self._seed is not None
        draw = (self._seed * 1_000_003 + self.global_step * world_size() + rank()) % 2**63
        seeded = torch.Generator().manual_seed(draw)
        z = torch.randn(2, len(batch.x), self.latent_dim, generator=seeded).to(self.device)
        move_generator, _ = cast(Any, self.optimizers())  # Lightning counts the steps of this one
        _, move_discriminator = cast(Any, self.optimizers(use_pl_optimizer=False))
        with torch.no_grad():
            made = self.generator(z[0])
        real, fake = self.score(torch.cat([batch.x, made])).chunk(2)
        loss_d = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self._descend(loss_d, self.discriminator)
        move_discriminator.step()
        loss_g = -self.score(self.generator(z[1])).mean()
        self._descend(loss_g, self.generator)
        move_generator.step()
        self._update_average()
        values = torch.stack([loss_d, loss_g, real.mean(), fake.mean()]).detach()
        names = ("loss_d", "loss_g", "score_real", "score_fake")
        self.terms = dict(zip(names, values, strict=True))

    def score(self, images: Tensor) -> Tensor:
        """Score images [N, C, H, W] in [0, 1] by the discriminator as [N, 1], high for real.

        It sees them in [-1, 1]: where it saw [0, 1], generators of coloured MNIST gave one colour
        (two seeds at rate .001 after 400 and 500 steps, one of three final seeds after 2,000).
        """
        result: Tensor = self.discriminator(2 * images - 1).float()
        return result

    @staticmethod
    def _descend(loss: Tensor, player: nn.Module) -> None:
        """Set the gradients of one player; the other's stay out of the loss's backward pass."""
        parameters = list(player.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        if world_size() > 1:
            flat = all_sum(torch.cat([g.flatten() for g in gradients])) / world_size()
            pieces = flat.split([p.numel() for p in parameters])
            gradients = tuple(s.view_as(p) for s, p in zip(pieces, parameters, strict=True))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move weights and running statistics of the average towards the generator's."""
        new = self.generator.state_dict()
        for name, old in self.average.state_dict().items():
            if old.is_floating_point():
                old.lerp_(new[name], 1 - self.decay)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log losses where due."""
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            values = {f"train/{name}": value.item() for name, value in self.terms.items()}
            for logger in self.trainer.loggers:
                logger.log_metrics(values, self.global_step)

    # ---- checkpoints ------------------------------------------------------------------------
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store class and arguments, and the seed."""
        write_section(
            checkpoint,
            "frbench_gan",
            model=to_spec(self),
            data=data_spec(datamodule_of(self.trainer)),
            seed=self._seed,
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the seed."""
        if self._trainer is not None:
            run = read_section(checkpoint, "frbench_gan")
            check_same_data(run, datamodule_of(self.trainer))
            self._seed = run["seed"]


def load_gan(path: str | Path) -> DCGAN:
    """Rebuild a GAN from its checkpoint alone, in evaluation mode, on the CPU.

    Raises:
        UserError: If the file is missing or not a checkpoint of ``frbench gan train``.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        spec = read_section(checkpoint, "frbench_gan", path)["model"]
    except UserError:
        raise
    except Exception as error:  # torch raises many types for a damaged or foreign file
        raise UserError(
            f"{path} is no checkpoint of a GAN; train one with `frbench gan train`."
        ) from error
    gan: DCGAN = from_spec(spec, DCGAN)
    gan.load_state_dict(checkpoint["state_dict"])
    return gan.eval()
