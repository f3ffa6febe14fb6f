"""What is switched off in each step, and what stays."""

from __future__ import annotations

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.profilers import SimpleProfiler

from frbench.contracts.batch import Batch, Outputs
from frbench.data import TwoGaussians
from frbench.objectives import ERM
from frbench.training.lean import NoProfiler, spare
from frbench.training.log import BATCHES, TrainingLog
from frbench.training.optimizer import may_fuse


class Both(Callback):
    """Implements one hook of each batch."""

    batches = 0

    def on_train_batch_end(self, *_: object) -> None:
        self.batches += 1


def trainer(**kwargs: object) -> Trainer:
    return Trainer(
        max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", devices=1, num_sanity_val_steps=0, **kwargs,
    )  # fmt: skip


def test_hooks_that_a_class_lacks_are_not_called_and_its_own_are():
    callback, run = Both(), trainer()
    run.callbacks.append(callback)
    run.fit(ERM(2, 2, [2]), datamodule=TwoGaussians(n=400, batch_size=50))
    assert callback.batches == 3
    assert callback.on_before_zero_grad is None and callable(callback.on_fit_end)


def test_only_lightnings_default_profiler_is_replaced():
    chosen = SimpleProfiler()
    for given, kind in ((None, NoProfiler), (chosen, SimpleProfiler)):
        run = trainer(profiler=given)
        spare(run)
        assert type(run.profiler) is kind


def test_parameters_and_modules_are_still_registered():
    model = ERM(2, 2, [2])
    model.note = "text"
    model.note = "other"
    model.extra = torch.nn.Parameter(torch.zeros(1))
    assert model.note == "other" and "extra" in dict(model.named_parameters())
    model.extra = None
    assert "extra" not in dict(model.named_parameters())


@pytest.mark.parametrize(
    ("options", "kwargs", "fused"),
    [
        ({}, {}, True),
        ({}, {"precision": "bf16-mixed"}, True),
        ({}, {"gradient_clip_val": 1.0}, True),
        ({}, {"precision": "bf16-mixed", "gradient_clip_val": 1.0}, None),
        ({"optimizer_options": {"foreach": True}}, {}, None),
        ({"optimizer": "AdamW"}, {}, True),
        ({"optimizer": "SGD"}, {}, None),
    ],
)
def test_adam_is_fused_where_it_trains_as_any_other(options, kwargs, fused):
    run = trainer(**kwargs)
    run.fit(ERM(2, 2, [2], **options), datamodule=TwoGaussians(n=400, batch_size=50))
    assert run.optimizers[0].defaults["fused"] is fused
    assert run.global_step == 3


def test_fused_adam_hides_skipped_steps_and_is_not_used_in_16_mixed():
    class Mixed:
        precision = "16-mixed"
        gradient_clip_val = None

    assert not may_fuse(Mixed())


def test_fused_and_plain_adam_agree_up_to_rounding():
    def weights(**options: object) -> torch.Tensor:
        torch.manual_seed(0)
        model, run = ERM(2, 2, [2], **options), trainer()
        run.fit(model, datamodule=TwoGaussians(n=400, batch_size=50))
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.allclose(
        weights(), weights(optimizer_options={"fused": False}), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("batches", [1, BATCHES, BATCHES + 1])
def test_sums_of_the_epoch_hold_every_batch(batches):
    log, draw = TrainingLog(4), torch.Generator().manual_seed(0)
    count, right, loss = torch.zeros(5), torch.zeros(5), torch.zeros(5, dtype=torch.float64)
    for _ in range(batches):
        logits, losses = torch.randn(7, 2, generator=draw), torch.rand(7, generator=draw)
        y, group = (
            torch.randint(low, high, (7,), generator=draw) for low, high in ((0, 2), (-1, 4))
        )
        blank = torch.zeros(7)
        log.update(
            Outputs(blank, logits, losses),
            Batch(blank, y, blank, group, blank, blank, blank, blank),
            {"loss": losses.mean()},
        )
        for row in range(7):  # -1, no attribute, is the last slot
            count[group[row]] += 1
            right[group[row]] += float(logits[row].argmax() == y[row])
            loss[group[row]] += losses[row].double()
    sums = log.state_dict()["sums"]
    assert torch.equal(sums[:, 0].float(), count) and torch.equal(sums[:, 1].float(), right)
    assert torch.allclose(sums[:, 2], loss)
