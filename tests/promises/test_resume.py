"""A run that is stopped at any step and continued equals the uninterrupted one, bit for bit."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from resumable import FILTERS, assert_same, check_resume, fit, outcome, small_network
from resumable import two_gaussians as gaussians
from trainers import trainer

from frbench.data import Digits
from frbench.objectives import ERM, GroupDRO

pytestmark = [pytest.mark.filterwarnings(line) for line in FILTERS]

STEPS = 7  # per epoch


class Noisy(GroupDRO):
    """Draws from every generator in its risk, and weighs each epoch anew."""

    epoch_weights_via = "sample"

    def risk(self, out, batch):
        import random

        noise = random.random() + np.random.random() + torch.rand(())
        return super().risk(out, batch) * (1 + 0.1 * noise)

    def on_epoch_weights(self, train):
        n = len(train.training.table)
        return np.random.default_rng(self.current_epoch).uniform(0.5, 1.5, n)


def build(cls):
    return cls(
        2, 2, [2], network=small_network(), optimizer="Adam",
        scheduler="StepLR", scheduler_options={"step_size": 1, "gamma": 0.5}, lr=0.05,
    )  # fmt: skip


def runs(cls, **options):
    return {"model": partial(build, cls), "data": partial(gaussians, STEPS, **options)}


@pytest.mark.promise("resume", GroupDRO)
def test_every_position_of_every_epoch(tmp_path):
    whole, places = check_resume(tmp_path, **runs(Noisy))
    assert whole["step"] == 3 * STEPS
    assert any(row["val/accuracy"] for row in whole["rows"])
    assert any(row["train/q_entropy"] for row in whole["rows"])
    # Every step but the first, three validations, three ends of epochs, and the end.
    assert len(places) == 3 * STEPS - 1 + 3 + 3 + 1


@pytest.mark.slow
@pytest.mark.promise("resume", GroupDRO)
def test_with_worker_processes(tmp_path):
    options = {**runs(Noisy, num_workers=2), "epochs": 2}
    _, places = check_resume(tmp_path, **options, at=[2, STEPS - 1, STEPS + 1, STEPS + 4])
    assert places[STEPS + 1] == f"before the batch at step {STEPS}"


@pytest.mark.slow
@pytest.mark.promise("resume", ERM)
def test_validation_inside_the_epoch(tmp_path):
    whole, _ = check_resume(tmp_path, **runs(ERM), epochs=2, val_check_interval=2)
    assert sum(bool(row["val/accuracy"]) for row in whole["rows"]) == 2 * (STEPS // 2)


@pytest.mark.slow
@pytest.mark.promise("resume", GroupDRO)
@pytest.mark.parametrize("steps", [2 * STEPS + 3, 2 * STEPS])
@pytest.mark.parametrize("every", [0, 1])
def test_a_run_of_so_many_steps(tmp_path, steps, every):
    _, places = check_resume(tmp_path, **runs(Noisy), every=every, epochs=-1, max_steps=steps)
    assert f"before the batch at step {STEPS}" in places  # an epoch's end is written at once


@pytest.mark.promise("resume", ERM)
@pytest.mark.parametrize("first", [STEPS, STEPS + 3, 2 * STEPS])
def test_more_steps_continue_a_finished_run(tmp_path, first):
    """The first run ends inside an epoch or with one."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = outcome(*fit(whole, **runs(ERM), every=0, epochs=-1, max_steps=2 * STEPS + 2))
    fit(parts, **runs(ERM), every=0, epochs=-1, max_steps=first)
    last = str(parts / "checkpoints" / "last.ckpt")
    found = fit(parts, **runs(ERM), every=0, ckpt=last, epochs=-1, max_steps=2 * STEPS + 2)
    assert_same(outcome(*found), expected)


@pytest.mark.promise("resume", ERM)
@pytest.mark.parametrize("limit", ["epochs", "steps"])
def test_more_epochs_continue_a_finished_run(tmp_path, limit):
    """Whether epochs or steps ended it; the other limit may hold from then on."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = outcome(*fit(whole, **runs(ERM), every=0, epochs=3))
    first = {"epochs": 1} if limit == "epochs" else {"epochs": -1, "max_steps": STEPS}
    fit(parts, **runs(ERM), every=0, **first)
    last = str(parts / "checkpoints" / "last.ckpt")
    assert_same(outcome(*fit(parts, **runs(ERM), every=0, ckpt=last, epochs=3)), expected)


@pytest.mark.slow
@pytest.mark.promise("resume", ERM)
def test_limited_epochs(tmp_path):
    whole, _ = check_resume(tmp_path, **runs(ERM), limit_train_batches=3)
    assert whole["step"] == 9


@pytest.mark.promise("resume", ERM)
def test_a_run_that_stopped_in_mid_epoch_goes_on_there(tmp_path):
    """As ``trainer.max_time`` stops it: Lightning validates once more, and ends the epoch."""

    class OutOfTime(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step == STEPS + 3

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = outcome(*fit(whole, **runs(Noisy), every=0))
    trainer, _ = fit(parts, **runs(Noisy), every=0, extra=[OutOfTime()])
    assert trainer.global_step == STEPS + 3
    last = str(parts / "checkpoints" / "last.ckpt")
    assert_same(outcome(*fit(parts, **runs(Noisy), every=0, ckpt=last)), expected)


@pytest.mark.promise("resume", ERM)
def test_early_stopping_goes_on_waiting(tmp_path):
    """A rate of nothing: no validation is better than the first."""
    still = {**runs(ERM), "model": lambda: ERM(2, 2, [2], network=small_network(), lr=0.0)}
    whole, _ = check_resume(tmp_path, **still, epochs=20, patience=2, at=[STEPS, STEPS + 4, -3])
    assert whole["step"] == 3 * STEPS


def test_checkpoints_do_not_change_the_run(tmp_path):
    often, rarely = (
        outcome(*fit(tmp_path / str(every), **runs(ERM), every=every)) for every in (1, 0)
    )
    assert_same(often, rarely)


def test_a_checkpoint_holds_no_state_of_the_size_of_the_data(tmp_path):
    fit(tmp_path, **runs(GroupDRO), every=0, epochs=1)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert max(v.numel() for v in state["state_dict"].values()) < STEPS * 32


def test_resuming_needs_no_datamodule_state_on_digits(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = trainer()
        data = Digits(n=300, n_eval=100)
        model = ERM(2, 2, data.input_shape)
        run.fit(model, datamodule=data)
    assert run.global_step == 300 // 128
