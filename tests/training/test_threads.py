"""The rule for threads, who may override it, and that a continued run keeps its number."""

from __future__ import annotations

import re

import pytest
import torch
from pytorch_lightning import Trainer

from frbench.__main__ import main
from frbench.callbacks import ThreadRule
from frbench.contracts.batch import Sizes
from frbench.data import TwoGaussians
from frbench.networks import MLP, SmallCNN
from frbench.objectives import ERM
from frbench.runs.checkpoint import read_description
from frbench.support.cores import CORES, available_cores
from frbench.training.threads import SMALL_STEP, choose_threads, step_flops, user_threads


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch):
    """No number in the environment; the number of this process afterwards as before."""
    for name in ("OMP_NUM_THREADS", CORES):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_operations_are_those_of_the_layers():
    mlp, cnn = MLP(hidden=[8]), SmallCNN()
    mlp.bind(Sizes(2, 2, (4,)))
    assert step_flops(mlp, Sizes(2, 2, (4,)), 10, backward=False) == 10 * 2 * (4 * 8 + 8 * 2)
    sizes = Sizes(2, 2, (3, 16, 16))
    cnn.bind(sizes)
    cnn.train()
    state = {k: v.clone() for k, v in cnn.state_dict().items()}
    assert step_flops(cnn, sizes, 2) == 6 * step_flops(cnn, sizes, 1, backward=False) > 0
    assert cnn.training and all(torch.equal(v, state[k]) for k, v in cnn.state_dict().items())


def test_small_steps_get_one_thread_and_large_ones_all_cores():
    assert choose_threads(SMALL_STEP / 2, cores=8).number == 1
    assert choose_threads(SMALL_STEP, cores=8).number == 8


def test_the_user_wins_and_a_share_of_the_cores_is_not_the_users(monkeypatch):
    assert user_threads(None) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert user_threads(None).number == 3 and user_threads(2).number == 2
    monkeypatch.setenv(CORES, "5")  # bench or Lightning started this process
    assert user_threads(None) is None and available_cores() == 5


def trained(folder, threads: int | None, steps: int, ckpt: str | None = None) -> int:
    rule = ThreadRule(threads)
    trainer = Trainer(
        max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, devices=1,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        num_sanity_val_steps=0, limit_val_batches=0, callbacks=[rule],
    )  # fmt: skip
    data = TwoGaussians(n=400, batch_size=50)
    trainer.fit(ERM(2, 2, [2]), datamodule=data, ckpt_path=ckpt, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    return torch.get_num_threads()


def test_a_continued_run_keeps_its_number_unless_the_user_gives_one(tmp_path, capsys):
    assert trained(tmp_path, 2, 2) == 2
    assert read_description(tmp_path / "last.ckpt")["threads"] == 2
    torch.set_num_threads(1)
    path = str(tmp_path / "last.ckpt")
    assert trained(tmp_path, None, 4, path) == 2  # the rule alone gives 1
    assert "2 threads: as in the checkpoint" in capsys.readouterr().out
    assert trained(tmp_path, 1, 6, path) == 1


def test_the_command_says_its_number_and_refuses_none(in_tmp, capsys):
    words = ["fit", "--data=TwoGaussians", "--data.n=400", "--trainer.max_steps=2",
             "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
             "--sanity.min_group=1", "--sanity.min_expected=0"]  # fmt: skip
    assert main([*words, "--run_dir=a"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"1 thread: a step of [\d.]+ million operations is too small to share", out)
    assert main([*words, "--run_dir=b", "--threads=2"]) == 0
    assert "2 threads: --threads" in capsys.readouterr().out
    assert main([*words, "--run_dir=c", "--threads=0"]) == 2
