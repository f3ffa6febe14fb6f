"""WarmupCosine over the steps of the run, whatever sets them, and continued exactly."""

import math
from pathlib import Path

import pytest
from command import QUICK, SMALL, column, run
from trainers import trainer

from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.objectives import ERM, FRTrain

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

INTERRUPTED = """
from frbench.objectives import ERM

class Interrupted(ERM):
    def risk(self, out, batch):
        from pathlib import Path
        if self.trainer.global_step == 4 and Path("stop").exists():
            raise KeyboardInterrupt
        return super().risk(out, batch)
"""
WORDS = ("fit", *SMALL, *QUICK[1:], "--trainer.max_epochs=3", "--trainer.log_every_n_steps=1",
         "--model=interrupted.Interrupted", "--model.lr=0.5", "--model.scheduler=WarmupCosine",
         "--model.scheduler_options={warmup: 0.3, final: 0.1}", "--rolling.every_n_steps=1",
         "--model.network=MLP", "--model.optimizer=SGD")  # fmt: skip


def rate(step: int, total: int = 9, warm: int = 3, final: float = 0.1, base: float = 0.5) -> float:
    """The formula once more."""
    if step < warm:
        return base * (step + 1) / warm
    return base * (
        final + (1 - final) * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2
    )


def test_the_rate_of_a_run_and_of_one_that_was_continued(in_tmp, monkeypatch) -> None:
    Path("interrupted.py").write_text(INTERRUPTED)
    monkeypatch.syspath_prepend(in_tmp)
    run(*WORDS, "--run_dir=whole")
    rates = column(Path("whole/metrics.csv"), "train/lr")
    # Logged after the step, when the schedule has moved on to the next one.
    assert rates == pytest.approx([rate(step + 1) for step in range(9)], abs=1e-12)
    Path("stop").touch()
    assert main([*WORDS, "--run_dir=cut"]) == 130
    Path("stop").unlink()
    run(*WORDS, "--run_dir=cut", "--ckpt_path=cut/checkpoints/last.ckpt")
    assert Path("cut/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


def rates_of(model, **options) -> list[float]:
    """Train, and return the rate after each step."""
    seen = []
    model.log_step = lambda: seen.append(model.trainer.optimizers[0].param_groups[0]["lr"])
    trainer(**options).fit(model, datamodule=TwoGaussians(
        n=96, batch_size=16, clean_share=0.2 if model.uses_clean else 0.0))  # fmt: skip
    return seen


def test_steps_come_from_what_limits_the_run() -> None:
    options = {"scheduler": "WarmupCosine", "lr": 0.5, "scheduler_options": {"warmup": 0.5}}
    for limit in ({"max_steps": 6}, {"max_epochs": 1}):
        seen = rates_of(ERM(2, 2, [2], **options), **limit)
        assert seen == pytest.approx([rate(s + 1, 6, 3, 0.0) for s in range(6)], abs=1e-12)
    given = {**options, "scheduler_options": {"warmup": 0.5, "total_steps": 12}}
    seen = rates_of(ERM(2, 2, [2], **given), max_steps=6)
    assert seen == pytest.approx([rate(s + 1, 12, 6, 0.0) for s in range(6)], abs=1e-12)
    cycle = {"scheduler": "OneCycleLR", "scheduler_options": {"max_lr": 1.0}, "optimizer": "SGD",
             "optimizer_options": {"momentum": 0.9}}  # fmt: skip
    seen = rates_of(ERM(2, 2, [2], **cycle), max_steps=6)
    assert len(set(seen)) == 6 and max(seen) == pytest.approx(1.0, abs=0.1)
    with pytest.raises(UserError, match="WarmupCosine needs the number of steps"):
        rates_of(ERM(2, 2, [2], **options), max_epochs=-1)


def test_methods_with_several_optimisers_step_it_too() -> None:
    options = {"scheduler": "WarmupCosine", "lr": 0.5, "scheduler_options": {"warmup": 0.5}}
    seen = rates_of(FRTrain(2, 2, [2], warmup=1, k=1, **options), max_steps=4)
    assert seen == pytest.approx([rate(s + 1, 4, 2, 0.0) for s in range(4)], abs=1e-12)


def test_wrong_arguments_fail_when_the_objective_is_built() -> None:
    with pytest.raises(UserError, match=r"WarmupCosine refuses its arguments .*warmup in"):
        ERM(2, 2, [2], scheduler="WarmupCosine", scheduler_options={"warmup": 1.5})
    with pytest.raises(UserError, match="WarmupCosine"):
        ERM(2, 2, [2], scheduler="WarmupCosin")
