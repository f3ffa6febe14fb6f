"""The GAN: shapes, its losses against a plain loop, and exact continuation."""

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, seed_everything
from trainers import trainer

from frbench.callbacks import RollingCheckpoint
from frbench.contracts.errors import UserError
from frbench.gan import DCGAN, GeneratedFaces, load_gan
from frbench.gan.generator import Trained, generate
from frbench.gan.samples import SampleGrid

pytestmark = [
    pytest.mark.filterwarnings("ignore:You passed in a `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:Found .* in eval mode"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Stop(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise ConnectionAbortedError


def train(folder, steps=7, stop=None, ckpt=None, every=1):
    seed_everything(4, verbose=False)
    model = DCGAN([3, 16, 16], latent_dim=4, width=4, decay=0.8)
    data = GeneratedFaces(n=66, n_eval=4, image_size=16, batch_size=16)  # 4 batches an epoch
    run = trainer(
        max_steps=steps, limit_val_batches=0, use_distributed_sampler=False,
        enable_checkpointing=True,
        callbacks=[RollingCheckpoint(every, str(folder)), SampleGrid(str(folder / "s"), 3),
                   *([] if stop is None else [Stop(stop)])],
    )  # fmt: skip
    run.fit(model, data, ckpt_path=ckpt, weights_only=True)
    return run, model


@pytest.mark.parametrize("side", [28, 32, 48, 64])
def test_images_have_the_size_asked_for(side):
    gan = DCGAN([3, side, side], latent_dim=3, width=2)
    x = gan.average(gan.preview)
    assert x.shape == (64, 3, side, side) and x.min() >= 0 and x.max() <= 1
    assert gan.discriminator(x).shape == (64, 1)


def test_one_step_equals_a_plain_loop(tmp_path):
    trainer, model = train(tmp_path, steps=3)
    seed_everything(4, verbose=False)
    twin = DCGAN([3, 16, 16], latent_dim=4, width=4, decay=0.8).train()
    twin.average.eval()
    adam_g = torch.optim.Adam(twin.generator.parameters(), 2e-4, (0.0, 0.9))
    adam_d = torch.optim.Adam(twin.discriminator.parameters(), 2e-4, (0.0, 0.9))
    batches = GeneratedFaces(n=66, n_eval=4, image_size=16, batch_size=16).train_dataloader()
    for step, batch in zip(range(3), batches, strict=False):
        seeded = torch.Generator().manual_seed(model._seed * 1_000_003 + step)
        first, second = torch.randn(2, 16, 4, generator=seeded)
        # Pixels of [0, 1] reach the discriminator as [-1, 1].
        shown = torch.cat([batch.x, twin.generator(first).detach()]) * 2 - 1
        scores = twin.discriminator(shown)
        loss = F.relu(1 - scores[:16]).mean() + F.relu(1 + scores[16:]).mean()
        adam_d.zero_grad()
        loss.backward()
        adam_d.step()
        adam_g.zero_grad()
        (-twin.discriminator(twin.generator(second) * 2 - 1).mean()).backward()
        adam_g.step()
        pairs = zip(twin.average.state_dict().items(), twin.generator.state_dict().values(),
                    strict=True)  # fmt: skip
        for (name, old), new in pairs:
            if "num_batches" not in name:
                old.copy_(0.8 * old + 0.2 * new)
    assert trainer.global_step == 3
    for name, value in twin.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(model.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("stop", [2, 4, 6])  # in an epoch, at its end, in the next
def test_a_stopped_run_continues_bit_for_bit(stop, tmp_path):
    whole_trainer, whole = train(tmp_path / "whole")
    with pytest.raises(ConnectionAbortedError):
        train(tmp_path / "cut", stop=stop)
    trainer, cut = train(tmp_path / "cut", ckpt=tmp_path / "cut" / "last.ckpt")
    assert trainer.global_step == whole_trainer.global_step == 7
    for name, value in whole.state_dict().items():
        assert torch.equal(value, cut.state_dict()[name]), name
    states = [[o.state_dict() for o in t.optimizers] for t in (whole_trainer, trainer)]
    for a, b in zip(*states, strict=True):
        for key, moments in a["state"].items():
            assert all(torch.equal(moments[k], b["state"][key][k]) for k in moments)
    assert (tmp_path / "cut" / "s" / "0000006.png").is_file()


def test_the_checkpoint_alone_gives_the_average_as_a_generator(tmp_path):
    _, model = train(tmp_path, steps=5)
    made = Trained(str(tmp_path / "last.ckpt"))
    z = made.sample(np.random.default_rng(0), 9)
    with torch.inference_mode():
        expected = model.average.eval()(torch.as_tensor(z))
    np.testing.assert_array_equal(generate(made, z), (expected * 255).round().byte())
    assert made.image_shape == [3, 16, 16] and not made.normalizes_latent


def test_what_cannot_be_made_is_said(tmp_path):
    for shape in ([3, 30, 30], [3, 7, 7], [3, 28, 32], [9]):
        with pytest.raises(UserError, match="DCGAN makes"):
            DCGAN(shape)
    with pytest.raises(UserError, match="decay"):
        DCGAN([1, 28, 28], decay=1.0)
    (tmp_path / "x.ckpt").write_text("nothing")
    with pytest.raises(UserError, match="no checkpoint of a GAN"):
        load_gan(tmp_path / "x.ckpt")
