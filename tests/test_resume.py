"""A run that is stopped at any step and continued equals the uninterrupted one, bit for bit."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, Trainer, seed_everything

from frbench.callbacks import BestCheckpoint, CSVLogger, EarlyStop, RollingCheckpoint, SanityCheck
from frbench.data import Digits, TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, IRW, IRWO, GroupDRO

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]

STEPS = 7  # per epoch


class Noisy(GroupDRO):
    """Draws from every generator in its risk, and weighs each epoch anew."""

    epoch_weights_via = "sample"

    def risk(self, out, batch):
        import random

        noise = random.random() + np.random.random() + torch.rand(())
        return super().risk(out, batch) * (1 + 0.1 * noise)

    def on_epoch_weights(self, train):
        n = len(train.training[0])
        return np.random.default_rng(self.current_epoch).uniform(0.5, 1.5, n)


class Stop(Callback):
    """Kills the run after a number of optimiser steps, as a power cut would."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise ConnectionAbortedError


def build(folder: Path, cls, workers, every, epochs=3, **trainer):
    seed_everything(5, verbose=False)
    data = TwoGaussians(
        n=STEPS * 32 + 3, batch_size=32, balance="joint", via="sample", num_workers=workers
    )
    model = cls(
        2, 2, [2], network=MLP(hidden=[8], dropout=0.5), optimizer="Adam",
        scheduler="StepLR", scheduler_options={"step_size": 1, "gamma": 0.5}, lr=0.05,
    )  # fmt: skip
    checkpoints = str(folder / "checkpoints")
    options = {
        "max_epochs": epochs, "log_every_n_steps": 2, "num_sanity_val_steps": 0,
        "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu",
        "devices": 1, "logger": CSVLogger(str(folder)),
        "callbacks": [
            SanityCheck(), BestCheckpoint(dirpath=checkpoints), EarlyStop(patience=20),
            RollingCheckpoint(every_n_steps=every, dirpath=checkpoints), *trainer.pop("extra", []),
        ],
        **trainer,
    }  # fmt: skip
    return Trainer(**options), model, data


def fit(folder, cls, workers, every, ckpt=None, **kwargs):
    trainer, model, data = build(folder, cls, workers, every, **kwargs)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return trainer, model


def outcome(trainer, model, folder):
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    return {
        "state": model.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict(),
        "rows": rows,
        "best": best["state_dict"],
        "best_step": best["global_step"],
        "score": trainer.checkpoint_callback.best_model_score,
        "step": trainer.global_step,
    }


def assert_same(a, b, path=""):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def interrupt_and_continue(tmp_path, cls, stop, workers=0, **kwargs):
    folder = tmp_path / f"cut-{stop}"
    with pytest.raises(ConnectionAbortedError):
        fit(folder, cls, workers, 1, extra=[Stop(stop)], **kwargs)
    last = folder / "checkpoints" / "last.ckpt"
    if not last.exists():
        return outcome(*fit(folder, cls, workers, 1, **kwargs), folder)
    return outcome(*fit(folder, cls, workers, 1, ckpt=str(last), **kwargs), folder)


def test_every_position_of_every_epoch(tmp_path):
    whole = outcome(*fit(tmp_path / "whole", Noisy, 0, 1), tmp_path / "whole")
    assert whole["step"] == 3 * STEPS
    assert any(row["val/accuracy"] for row in whole["rows"])
    assert any(row["train/q_entropy"] for row in whole["rows"])
    for stop in range(1, 3 * STEPS):
        assert_same(interrupt_and_continue(tmp_path, Noisy, stop), whole, f"stop {stop}")


class Global(IRW):
    """Weights of the epoch, from the network at its start: they cannot be computed again."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "scheme": "global", "alpha": 0.2})


class Outliers(IRWO):
    """Removes some of each batch."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "alpha": 0.2, "quantile": 0.8})


@pytest.mark.parametrize("cls", [Global, Outliers])
def test_intrinsic_reweighting(tmp_path, cls):
    whole = outcome(*fit(tmp_path / "whole", cls, 0, 1, epochs=2), tmp_path / "whole")
    for stop in (2, STEPS, STEPS + 3):
        assert_same(interrupt_and_continue(tmp_path, cls, stop, epochs=2), whole, f"stop {stop}")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, STEPS, STEPS + 4])
def test_with_worker_processes(tmp_path, stop):
    whole = outcome(*fit(tmp_path / "whole", Noisy, 2, 1, epochs=2), tmp_path / "whole")
    assert_same(interrupt_and_continue(tmp_path, Noisy, stop, workers=2, epochs=2), whole)


@pytest.mark.parametrize("stop", [2, 4, 6, 9])
def test_validation_inside_the_epoch(tmp_path, stop):
    kwargs = {"epochs": 2, "val_check_interval": 2}
    whole = outcome(*fit(tmp_path / "whole", ERM, 0, 1, **kwargs), tmp_path / "whole")
    assert sum(bool(row["val/accuracy"]) for row in whole["rows"]) == 2 * (STEPS // 2)
    assert_same(interrupt_and_continue(tmp_path, ERM, stop, **kwargs), whole)


def test_more_steps_continue_a_finished_run(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = outcome(*fit(whole, ERM, 0, 0, epochs=-1, max_steps=12), whole)
    fit(parts, ERM, 0, 0, epochs=-1, max_steps=10)
    last = str(parts / "checkpoints" / "last.ckpt")
    assert_same(
        outcome(*fit(parts, ERM, 0, 0, ckpt=last, epochs=-1, max_steps=12), parts), expected
    )


@pytest.mark.parametrize("stop", [2, STEPS, STEPS + 1, 2 * STEPS, 2 * STEPS + 2])
def test_a_run_of_so_many_steps(tmp_path, stop):
    kwargs = {"epochs": -1, "max_steps": 2 * STEPS + 3}
    whole = outcome(*fit(tmp_path / "whole", Noisy, 0, 1, **kwargs), tmp_path / "whole")
    assert_same(interrupt_and_continue(tmp_path, Noisy, stop, **kwargs), whole)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_limited_epochs(tmp_path, stop):
    kwargs = {"epochs": 3, "limit_train_batches": 3}
    whole = outcome(*fit(tmp_path / "whole", ERM, 0, 1, **kwargs), tmp_path / "whole")
    assert whole["step"] == 9
    assert_same(interrupt_and_continue(tmp_path, ERM, stop, **kwargs), whole)


def test_checkpoints_do_not_change_the_run(tmp_path):
    often, rarely = tmp_path / "often", tmp_path / "rarely"
    assert_same(outcome(*fit(often, ERM, 0, 1), often), outcome(*fit(rarely, ERM, 0, 0), rarely))


def test_more_epochs_continue_a_finished_run(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    expected = outcome(*fit(whole, ERM, 0, 0, epochs=3), whole)
    fit(parts, ERM, 0, 0, epochs=1)
    last = str(parts / "checkpoints" / "last.ckpt")
    assert_same(outcome(*fit(parts, ERM, 0, 0, ckpt=last, epochs=3), parts), expected)


def test_a_checkpoint_holds_no_state_of_the_size_of_the_data(tmp_path):
    fit(tmp_path, GroupDRO, 0, 0, epochs=1)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert max(v.numel() for v in state["state_dict"].values()) < STEPS * 32


def test_resuming_needs_no_datamodule_state_on_digits(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu", devices=1,
        )  # fmt: skip
        data = Digits(n=300, n_eval=100)
        model = ERM(2, 2, data.input_shape)
        trainer.fit(model, datamodule=data)
    assert trainer.global_step == 300 // 128
