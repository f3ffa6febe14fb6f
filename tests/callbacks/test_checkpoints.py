"""Which step is kept, by which rule, and when training stops."""

import json
import shutil
from pathlib import Path

import given_tables as tables
import numpy as np
import pytest
import torch
from command import QUICK, SMALL, column, evaluate, fit, rows, run
from trainers import trainer

from frbench import load
from frbench.__main__ import main
from frbench.callbacks import BestCheckpoint, EarlyStop, RollingCheckpoint
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.objectives import ERM

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")


def validations(folder: Path) -> list[dict[str, str]]:
    return [row for row in rows(folder / "metrics.csv") if row["val/accuracy"]]


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


# A rate so large that the metrics jump from epoch to epoch.
JUMPING = ("--model.lr=0.03", "--model.network=MLP", "--trainer.max_epochs=6")


@pytest.mark.parametrize(
    ("monitor", "best"),
    [
        (None, max),
        ("val/accuracy", max),
        ("val/demographic_parity_difference", min),
        ("val/negative_log_likelihood", min),
    ],
)
def test_the_best_by_the_rule_is_kept(in_tmp: Path, monitor: str | None, best) -> None:
    options = [] if monitor is None else [f"--checkpoint.monitor={monitor}"]
    fit("--run_dir=run", *JUMPING, *options)
    name = monitor or "val/worst_group_accuracy"
    found = validations(Path("run"))
    assert len(found) == 6
    values = [float(row[name]) for row in found]
    sign = 1 if best is max else -1
    ties = [
        (sign * value, float(row["val/balanced_accuracy"]),
         -float(row["val/negative_log_likelihood"]), i)
        for i, (value, row) in enumerate(zip(values, found, strict=True))
    ]  # fmt: skip
    chosen = found[max(ties)[-1]]
    assert step_of(Path("run/checkpoints/best.ckpt")) == int(chosen["step"])
    assert step_of(Path("run/checkpoints/last.ckpt")) == int(found[-1]["step"])
    evaluate("validate", Path("run/checkpoints/best.ckpt"))
    metrics = json.loads(Path("run/validate.json").read_text())["metrics"]
    assert metrics[name] == pytest.approx(float(chosen[name]), rel=1e-6)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_mode_overrides_the_metrics_direction(in_tmp: Path, mode: str) -> None:
    fit("--run_dir=run", *JUMPING, "--checkpoint.monitor=val/selection_rate/z=red",
        f"--checkpoint.mode={mode}")  # fmt: skip
    found = validations(Path("run"))
    values = [float(row["val/selection_rate/z=red"]) for row in found]
    best = values.index({"min": min, "max": max}[mode](values))
    assert step_of(Path("run/checkpoints/best.ckpt")) == int(found[best]["step"])


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("val/worst_group_accuracy", "max"),
        ("val/auroc", "max"),
        ("val/disparate_impact", "max"),
        ("val/equalized_odds_difference", "min"),
        ("val/expected_calibration_error", "min"),
        ("test/P0/group_accuracy/y=0-4,z=red", "max"),
    ],
)
@pytest.mark.parametrize("cls", [BestCheckpoint, EarlyStop])
def test_mode_auto_follows_the_metric(cls: type, monitor: str, mode: str) -> None:
    assert cls(monitor=monitor).mode == mode


@pytest.mark.parametrize("cls", [BestCheckpoint, EarlyStop])
def test_metrics_without_direction_or_name_are_refused(cls: type) -> None:
    with pytest.raises(UserError, match=r"monitor.*worst_group_accuracy"):
        cls(monitor="val/worst_grup_accuracy")
    with pytest.raises(UserError, match="no better direction"):
        cls(monitor="val/average_odds_difference")
    assert cls(monitor="val/average_odds_difference", mode="min").mode == "min"


def test_early_stopping_stops_and_keeps_the_best(in_tmp: Path) -> None:
    fit("--run_dir=run", "--model.lr=0", "--trainer.max_epochs=20", "--early_stopping.patience=2")
    # Nothing changes, so the first validation is the best and two more are waited for; of equal
    # ones the checkpoint of the latest is kept.
    found = validations(Path("run"))
    assert len(found) == 3
    assert step_of(Path("run/checkpoints/best.ckpt")) == int(found[-1]["step"])


def test_early_stopping_is_off_by_default(in_tmp: Path, capsys: pytest.CaptureFixture) -> None:
    fit("--run_dir=run", "--model.lr=0", "--trainer.max_epochs=6")
    assert "in all 6 validations, so that it chose nothing" in capsys.readouterr().out
    assert len(validations(Path("run"))) == 6


def test_early_stopping_follows_its_own_metric(in_tmp: Path) -> None:
    fit("--run_dir=run", *JUMPING, "--trainer.max_epochs=12", "--early_stopping.patience=1",
        "--early_stopping.monitor=val/negative_log_likelihood")  # fmt: skip
    values = column(Path("run/metrics.csv"), "val/negative_log_likelihood")
    assert len(values) < 12
    assert values[-1] >= min(values[:-1])
    assert values[:-1] == sorted(values[:-1], reverse=True)


def test_an_oracle_must_be_asked_for_and_then_works(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    monitor = "test/P0/accuracy"
    assert main(["fit", *SMALL, *QUICK, f"--checkpoint.monitor={monitor}"]) == 2
    assert "--data.test_while_training" in capsys.readouterr().err
    fit("--run_dir=run", *JUMPING, f"--checkpoint.monitor={monitor}",
        "--data.test_while_training=true")  # fmt: skip
    found = [row for row in rows(Path("run/metrics.csv")) if row[monitor]]
    assert len(found) == 6
    values = [float(row[monitor]) for row in found]
    best = found[values.index(max(values))]
    assert step_of(Path("run/checkpoints/best.ckpt")) == int(best["step"])
    # The oracle curve is the test metric of that step.
    run("test", *SMALL, "--trainer.accelerator=cpu", "--ckpt_path=run/checkpoints/best.ckpt",
        "--trainer.enable_progress_bar=false")  # fmt: skip
    metrics = json.loads(Path("run/test.json").read_text())["metrics"]
    assert metrics[monitor] == float(best[monitor])


def test_watching_the_test_tables_changes_nothing(in_tmp: Path) -> None:
    fit("--run_dir=a", "--trainer.max_epochs=2")
    fit("--run_dir=b", "--trainer.max_epochs=2", "--data.test_while_training=true")
    a, b = (torch.load(f"{x}/checkpoints/last.ckpt", weights_only=True) for x in "ab")
    assert all(torch.equal(v, b["state_dict"][k]) for k, v in a["state_dict"].items())


@pytest.mark.parametrize("every", [0, 2])
def test_the_rolling_checkpoint_is_written_every_n_steps(
    in_tmp: Path, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_lightning import Trainer

    written = []
    save = Trainer.save_checkpoint

    def spy(trainer: Trainer, path, *args, **kwargs) -> None:
        if Path(path).name == "last.ckpt":
            written.append(trainer.global_step)
        save(trainer, path, *args, **kwargs)

    monkeypatch.setattr(Trainer, "save_checkpoint", spy)
    fit("--data.batch_size=50", "--trainer.max_epochs=2", f"--rolling.every_n_steps={every}",
        "--trainer.val_check_interval=4")  # fmt: skip
    # 8 steps an epoch, validation after 4 and 8: never between a batch and its validation.
    expected = {0: [8, 16], 2: [2, 5, 7, 8, 10, 13, 15, 16]}[every]
    assert written == expected


def test_the_rolling_checkpoint_follows_validations_counted_over_epochs(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytorch_lightning import Trainer

    written, save = [], Trainer.save_checkpoint
    monkeypatch.setattr(
        Trainer, "save_checkpoint", lambda trainer, path, *args, **kwargs: (
            Path(path).name == "last.ckpt" and written.append(trainer.global_step),
            save(trainer, path, *args, **kwargs),
        ),
    )  # fmt: skip
    fit("--data.batch_size=50", "--trainer.max_epochs=2", "--rolling.every_n_steps=1",
        "--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=5")  # fmt: skip
    # 8 steps an epoch, validation after 5, 10 and 15.
    assert written == [step for step in range(1, 17) if step % 5]


def test_a_moved_folder_keeps_its_best(in_tmp: Path) -> None:
    """The best value is known to a continued run wherever its folder lies now."""
    fit("--run_dir=run", *JUMPING)
    best = step_of(Path("run/checkpoints/best.ckpt"))
    before = max(float(row["val/worst_group_accuracy"]) for row in validations(Path("run")))
    shutil.move("run", "moved")
    fit("--run_dir=moved", *JUMPING, "--trainer.max_epochs=7",
        "--ckpt_path=moved/checkpoints/last.ckpt")  # fmt: skip
    last = validations(Path("moved"))[-1]
    better = float(last["val/worst_group_accuracy"]) > before
    found = step_of(Path("moved/checkpoints/best.ckpt"))
    assert found == (int(last["step"]) if better else best)
    assert not Path("run").exists()


@pytest.mark.parametrize("limits", [{"max_steps": 8, "max_epochs": -1}, {"max_steps": 50,
                                    "max_epochs": 2}])  # fmt: skip
def test_the_end_of_training_is_always_in_last_ckpt(tmp_path, limits):
    rolling = RollingCheckpoint(every_n_steps=1000, dirpath=str(tmp_path))
    run = trainer(callbacks=[rolling], enable_checkpointing=True, **limits)
    run.fit(ERM(2, 2, [2]), datamodule=TwoGaussians(n=64, batch_size=16))
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["global_step"] == run.global_step == 8


def test_early_stopping_that_is_off_does_not_stop_on_nan():
    unknown = tables.rows(z=np.full(40, -1))
    run = trainer(max_epochs=3, callbacks=[EarlyStop()])
    run.fit(ERM(2, 2, [2]), datamodule=tables.Given(tables.rows(), val=unknown))
    assert run.current_epoch == 3


def test_stopping_on_test_is_an_oracle(tmp_path):
    data = TwoGaussians(n=64, test_while_training=True)
    best = BestCheckpoint(dirpath=str(tmp_path))
    stop = EarlyStop(patience=2, monitor="test/accuracy")
    run = trainer(callbacks=[best, stop], enable_checkpointing=True)
    run.fit(ERM(2, 2, [2]), datamodule=data)
    assert best.selection(run)["oracle"]
    stored = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert stored["frbench"]["selection"]["oracle"]
    assert load(tmp_path / "best.ckpt").num_classes == 2
