"""fit, validate, test, predict: what a run leaves, what a checkpoint fixes, what errors say."""

import hashlib
import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command import QUICK, SMALL, column, evaluate, fit, rows, run

import frbench
from frbench import metrics
from frbench.__main__ import main
from frbench.data import Digits
from frbench.data.fingerprint import fingerprint
from frbench.runs.checkpoint import read_checkpoint
from frbench.runs.folder import choose_run_dir

# 400 rows hold small groups, as the sanity checks rightly say.
pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

GROUPS = ("y=0-4,z=red", "y=0-4,z=blue", "y=5-9,z=red", "y=5-9,z=blue")

OWN_OBJECTIVES = """
import torch
from frbench.objectives import Objective


class MyObjective(Objective):
    '''Mean of the losses to a power.'''

    def __init__(self, *args, power: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.power = power

    def risk(self, out, batch):
        return (out.losses ** self.power).mean()


class Forgetful(Objective):
    def __init__(self, *args, power: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.exponent = power

    def risk(self, out, batch):
        return (out.losses ** self.exponent).mean()


class NeedsClean(MyObjective):
    uses_clean = True


class Interrupted(MyObjective):
    def risk(self, out, batch):
        if self.trainer.global_step == 4:
            raise KeyboardInterrupt
        return super().risk(out, batch)


class Crashing(MyObjective):
    def risk(self, out, batch):
        raise RuntimeError("a bug in a method")
"""


@pytest.fixture
def own(in_tmp: Path):
    """A module of the user's in the current folder."""
    (in_tmp / "my_method.py").write_text(OWN_OBJECTIVES)
    return in_tmp


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """One GroupDRO run of 6 steps over 2 epochs, logged at each step; its folder."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["frbench"])
        fit("--model=GroupDRO", "--model.eta=0.1", "--trainer.log_every_n_steps=1",
            "--trainer.max_epochs=2")  # fmt: skip
    return folder / "runs" / "Digits-GroupDRO" / "0"


@pytest.fixture(scope="module")
def best(trained: Path) -> Path:
    return trained / "checkpoints" / "best.ckpt"


def small_digits() -> Digits:
    data = Digits(n=400, n_eval=400)
    data.setup("test")
    return data


def by_hand(checkpoint: Path, trust: tuple[str, ...] = ()) -> dict[str, float]:
    """Every test metric from ``frbench.load`` and ``frbench.metrics.evaluate`` alone."""
    model, data = frbench.load(checkpoint, trust=trust), small_digits()
    out = {}
    for name in data.test_names:
        table = data.splits[name]
        with torch.no_grad():
            probability = model(torch.as_tensor(table.x)).double().softmax(1).numpy()
        values = metrics.evaluate(
            table.y, probability.argmax(1), table.z, probability,
            class_names=data.class_names, attribute_names=data.attribute_names,
            train_counts=data.splits["train"].counts(2, 2), min_group_rows=10,
        )  # fmt: skip
        out |= {f"{name}/{key}": value for key, value in values.items()}
    return out


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ---- what a run leaves behind ----------------------------------------------------------------
def test_run_folder_holds_config_metrics_and_both_checkpoints(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "metrics.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["model"]["class_path"].endswith("GroupDRO")
    assert config["model"]["init_args"]["eta"] == 0.1
    assert config["data"]["init_args"]["n"] == 400
    assert config["trainer"]["max_epochs"] == 2


def test_runs_are_numbered_and_nothing_is_overwritten(in_tmp: Path) -> None:
    fit("--seed_everything=1")
    first = contents(in_tmp)
    fit("--seed_everything=2")
    assert sorted(p.name for p in (in_tmp / "runs" / "Digits-ERM").iterdir()) == ["0", "1"]
    assert {path: now for path, now in contents(in_tmp).items() if path in first} == first


def test_runs_started_side_by_side_get_a_folder_each(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jsonargparse import Namespace

    monkeypatch.setenv("FRBENCH_RUN_DIR", "")
    config = Namespace(
        run_dir=None, data=Namespace(class_path="x.D"), model=Namespace(class_path="y.M")
    )
    # None of them has written anything yet.
    assert len({choose_run_dir(config, "fit") for _ in range(3)}) == 3


def test_saved_config_repeats_the_run(in_tmp: Path) -> None:
    fit("--run_dir=a")
    config = yaml.safe_load(Path("a/config.yaml").read_text())
    config["run_dir"] = "b"
    for name in ("checkpoint", "rolling"):
        config[name]["dirpath"] = None
    Path("again.yaml").write_text(yaml.safe_dump(config))
    run("fit", "--config=again.yaml")
    assert rows(Path("a/metrics.csv")) == rows(Path("b/metrics.csv"))


@pytest.mark.parametrize("logger", ["", "--trainer.logger=false"])
def test_an_existing_run_dir_is_refused(
    in_tmp: Path, logger: str, capsys: pytest.CaptureFixture
) -> None:
    options = [logger] if logger else []
    fit("--run_dir=mine", *options)
    before = contents(in_tmp)
    capsys.readouterr()
    assert main(["fit", *SMALL, *QUICK, "--run_dir=mine", *options]) == 2
    assert "mine already holds a run" in capsys.readouterr().err
    assert contents(in_tmp) == before


def test_group_counts_are_printed_before_training(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    fit("--trainer.limit_train_batches=1")
    out = capsys.readouterr().out
    counts = Digits(n=400, n_eval=400).train_counts.ravel()
    for group, count in zip(GROUPS, counts, strict=True):
        assert any(line.split()[:2] == [group, str(count)] for line in out.splitlines())


def test_metrics_csv_has_group_metrics_and_q_by_name(trained: Path) -> None:
    path = trained / "metrics.csv"
    for group in GROUPS:
        for name in ("train/group_accuracy", "train/group_loss", "val/group_accuracy"):
            assert len(column(path, f"{name}/{group}")) == 2, name  # epochs
        assert len(column(path, f"train/q/{group}")) == 6  # steps
    q = np.array([column(path, f"train/q/{group}") for group in GROUPS])
    np.testing.assert_allclose(q.sum(0), 1, rtol=1e-6)
    steps = [int(row["step"]) for row in rows(path) if row["train/loss"]]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_train_group_accuracy_is_that_of_the_training_rows(in_tmp: Path) -> None:
    # With rate 0 the model stays as it was, so the epoch's sums have one exact value; B = N.
    fit("--run_dir=a", "--model.lr=0", "--data.batch_size=400")
    table = Digits(n=400, n_eval=400).splits["train"]
    model = frbench.load("a/checkpoints/last.ckpt")
    with torch.no_grad():
        hit = model(torch.as_tensor(table.x)).argmax(1).numpy() == table.y
    for i, group in enumerate(GROUPS):
        rows_of_group = (table.y == i // 2) & (table.z == i % 2)
        logged = column(Path("a/metrics.csv"), f"train/group_accuracy/{group}")
        assert logged == [pytest.approx(hit[rows_of_group].mean())]


# ---- validate, test, predict -------------------------------------------------------------------
def test_test_needs_only_data_and_checkpoint(
    best: Path, in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    run("test", *SMALL, f"--ckpt_path={best}", "--run_dir=here", "--trainer.accelerator=cpu")
    out = capsys.readouterr().out
    record = json.loads(Path("here/test.json").read_text())
    expected = by_hand(best)
    assert record["metrics"].keys() == expected.keys()
    for key, value in expected.items():
        assert record["metrics"][key] == pytest.approx(value, rel=1e-6, abs=1e-7, nan_ok=True), key
        if "accuracy" in key and value == value:  # counts are exact
            assert record["metrics"][key] == value, key
    worst = record["metrics"]["test/P0/worst_group_accuracy"]
    assert f"{worst:.4f}" in next(x for x in out.splitlines() if "worst_group_accuracy" in x)


def test_a_fit_names_its_best_and_test_finds_its_data(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    fit("--data.n_eval=300")
    out = capsys.readouterr().out
    assert "best by val/worst_group_accuracy, " in out
    (line,) = re.findall(r"^next: frbench (.*)$", out, flags=re.M)
    run(*line.split(), "--trainer.accelerator=cpu")
    (folder,) = Path("runs").glob("*/0")
    metrics = json.loads((folder / "test.json").read_text())
    run(*line.split(), *SMALL, "--data.n_eval=300", "--trainer.accelerator=cpu")
    assert json.loads((folder / "test-2.json").read_text()) == metrics


def test_results_of_evaluations_are_never_overwritten(best: Path, in_tmp: Path) -> None:
    evaluate("test", best, "--run_dir=here")
    evaluate("test", best, "--run_dir=here")
    assert sorted(p.name for p in Path("here").iterdir()) == ["test-2.json", "test.json"]
    assert Path("here/test.json").read_text() == Path("here/test-2.json").read_text()


def test_validate_gives_the_metrics_of_the_best_epoch(best: Path, in_tmp: Path) -> None:
    evaluate("validate", best, "--run_dir=here")
    found = json.loads(Path("here/validate.json").read_text())["metrics"]
    logged = [row for row in rows(best.parents[1] / "metrics.csv") if row["val/accuracy"]]
    chosen = max(logged, key=lambda row: float(row["val/worst_group_accuracy"]))
    assert np.isfinite(found.pop("val/score_kl_noise_floor"))  # which no epoch of training has
    for key, value in found.items():
        assert float(chosen[key]) == pytest.approx(value, rel=1e-6, abs=1e-7), key


def test_predictions_agree_with_the_metrics(best: Path, in_tmp: Path) -> None:
    run("predict", f"--ckpt_path={best}", "--run_dir=here")
    data, expected = small_digits(), by_hand(best)
    for name in data.test_names:
        found = rows(Path("here") / f"predictions-{name.replace('/', '-')}.csv")
        assert [int(row["row"]) for row in found] == list(range(400))
        names = {"y": data.class_names, "prediction": data.class_names, "z": data.attribute_names}
        y, pred, z = (
            np.array([known.index(row[k]) for row in found]) for k, known in names.items()
        )
        scores = np.array([[float(row["p(0-4)"]), float(row["p(5-9)"])] for row in found])
        np.testing.assert_array_equal(y, data.splits[name].y)
        np.testing.assert_array_equal(z, data.splits[name].z)
        values = metrics.evaluate(
            y, pred, z, scores,
            class_names=data.class_names, attribute_names=data.attribute_names, min_group_rows=10,
            train_counts=data.splits["train"].counts(2, 2),
        )  # fmt: skip
        for key, value in values.items():
            assert value == pytest.approx(
                expected[f"{name}/{key}"], rel=1e-4, abs=1e-5, nan_ok=True
            ), key


def test_evaluations_write_beside_their_checkpoint_by_default(in_tmp: Path) -> None:
    fit("--run_dir=mine")
    evaluate("test", Path("mine/checkpoints/best.ckpt"))
    assert Path("mine/test.json").is_file()
    assert not Path("runs").exists()


def test_equal_options_may_be_repeated_with_a_checkpoint(best: Path, in_tmp: Path) -> None:
    evaluate("test", best, "--run_dir=here", "--model=GroupDRO", "--model.eta=0.1")
    assert Path("here/test.json").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model=ERM"], ["model", "'GroupDRO'", "'ERM'"]),
        (["--model.eta=0.5"], ["model.eta", "0.1", "0.5"]),
        (["--model.network=MLP"], ["model.network", "'SmallCNN'", "'MLP'"]),
        (["--model.num_classes=3"], ["model.num_classes", "comes from the data"]),
    ],
)
@pytest.mark.parametrize("command", ["fit", "test"])
def test_options_that_contradict_the_checkpoint_are_named(
    best: Path,
    in_tmp: Path,
    command: str,
    options: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture,
) -> None:
    assert main([command, *SMALL, *QUICK, f"--ckpt_path={best}", *options]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert error.count("\n") == 1


def test_another_data_set_than_the_checkpoints_is_an_error(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    fit("--model.network=MLP", "--run_dir=mine")
    last = Path("mine/checkpoints/last.ckpt")
    capsys.readouterr()
    for command in ("test", "fit"):
        words = ["--data=TwoGaussians", *QUICK, f"--ckpt_path={last}"]
        assert main([command, *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("frbench: error:") and "TwoGaussians" in error


def test_a_run_on_a_named_table_continues(in_tmp: Path, shared_data: Path) -> None:
    run("fit", "--data=German", *QUICK, "--run_dir=here")  # German fixes path and target itself
    last = Path("here/checkpoints/last.ckpt")
    epochs = torch.load(last, weights_only=True)["epoch"]
    more = f"--trainer.max_epochs={epochs + 2}"
    run("fit", "--data=German", *QUICK, f"--ckpt_path={last}", more)
    assert torch.load(last, weights_only=True)["epoch"] == epochs + 1


# ---- a user's own method -----------------------------------------------------------------------
def test_an_objective_of_the_users_runs_by_import_path(own: Path) -> None:
    fit("--model=my_method.MyObjective", "--model.power=2.0", "--run_dir=mine")
    best = Path("mine/checkpoints/best.ckpt")
    evaluate("test", best, "--trust=my_method")
    found = json.loads(Path("mine/test.json").read_text())["metrics"]
    expected = by_hand(best, trust=("my_method",))
    assert {
        k for k in expected if found[k] != pytest.approx(expected[k], rel=1e-6, nan_ok=True)
    } == set()
    model = frbench.load(best, trust=["my_method"])
    assert type(model).__name__ == "MyObjective"
    assert model.power == 2.0
    saved = torch.load(best, weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_an_own_argument_decides_the_training(own: Path) -> None:
    for power in ("1.0", "3.0"):
        fit("--model=my_method.MyObjective", f"--model.power={power}", f"--run_dir={power}",
            "--trainer.log_every_n_steps=1")  # fmt: skip
    first, second = (column(Path(p) / "metrics.csv", "train/risk") for p in ("1.0", "3.0"))
    assert first != second


def test_an_argument_that_is_not_kept_fails_before_training(
    own: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["fit", *SMALL, *QUICK, "--model=my_method.Forgetful"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "frbench: error: Forgetful does not keep its constructor argument 'power'; add "
        "`self.power = power` to its __init__, so that checkpoints can rebuild it.\n"
    )
    assert not Path("runs").exists()


def test_a_bug_in_a_method_keeps_its_traceback(own: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug in a method"):
        fit("--model=my_method.Crashing")


def test_an_interrupted_run_says_how_to_continue(own: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--model=my_method.Interrupted", "--trainer.max_epochs=3", "--run_dir=mine"]
    assert main(["fit", *SMALL, *QUICK, *words]) == 130
    last = Path("mine/checkpoints/last.ckpt")
    assert f"--ckpt_path {last}" in capsys.readouterr().err
    assert read_checkpoint(last)["global_step"] == 3  # the end of the first epoch


# ---- errors ------------------------------------------------------------------------------------
TRAIN = ["fit", *SMALL, *QUICK]
OWN_PARTS = """from pytorch_lightning import Callback
class Broken(Callback):
    def __init__(self):
        raise RuntimeError("no such device")
class Net(__import__("frbench.networks").networks.Network):
    def build(self, sizes):
        return 1 / 0
"""
#: Arguments, and what the message must hold: the key and the remedy.
ERRORS: dict[str, tuple[list[str], list[str]]] = {
    "unknown command": (["train"], ["'train'", "fit", "bench"]),
    "no data": (["fit", *QUICK], ["--data", "Digits"]),
    "misspelt model": ([*TRAIN, "--model=GrupDRO"], ["model", "'GrupDRO'", "GroupDRO"]),
    "misspelt data": (["fit", "--data=Adul"], ["data", "'Adul'", "Adult"]),
    "misspelt network": ([*TRAIN, "--model.network=MPL"], ["model.network", "'MPL'", "MLP"]),
    "misspelt logger": (
        [*TRAIN, "--trainer.logger=WandLogger"], ["trainer.logger", "WandbLogger"]),
    "misspelt step": ([*TRAIN, "--data.corrupt+=FlipLabel"], ["data.corrupt", "FlipLabels"]),
    "missing module": ([*TRAIN, "--model=no_file.Mine"], ["model", "no_file.Mine", "import path"]),
    "missing class": ([*TRAIN, "--model=my_method.Nope"], ["model", "my_method", "'Nope'"]),
    "foreign class": (
        [*TRAIN, "--model=torch.nn.Linear"], ["model", "torch.nn.Linear", "Objective"]),
    "option of model": (
        [*TRAIN, "--model=GroupDRO", "--model.etta=3"], ["model", "'etta'", "eta"]),
    "option of data": ([*TRAIN, "--data.balanse=joint"], ["data", "'balanse'", "balance"]),
    "option of trainer": (
        [*TRAIN, "--trainer.max_epoch=3"], ["--trainer.max_epoch;", "--trainer.max_epochs"]),
    "option at the top": ([*TRAIN, "--modle=ERM"], ["--modle", "--model"]),
    "option before its class": ([*TRAIN, "--model.network.hidden=[3]"], ["model.network", "MLP"]),
    "sanity option": ([*TRAIN, "--sanity.min_groups=3"], ["--sanity.min_group"]),
    "literal": ([*TRAIN, "--data.balance=joints"], ["data.balance", "'joints'", "'joint'"]),
    "mode": ([*TRAIN, "--checkpoint.mode=maximum"], ["checkpoint.mode", "'maximum'", "'max'"]),
    "number of model": ([*TRAIN, "--model.lr=fast"], ["model.lr", "float", "'fast'"]),
    "number of data": ([*TRAIN, "--data.n=many"], ["data.n:", "int", "'many'"]),
    "number of trainer": (
        [*TRAIN, "--trainer.max_epochs=x"], ["trainer.max_epochs", "int", "'x'"]),
    "seed": ([*TRAIN, "--seed_everything=abc"], ["seed_everything", "int", "'abc'"]),
    "negative seed": ([*TRAIN, "--seed_everything=-4"], ["seed_everything", "-4"]),
    "needed options": (
        ["fit", "--data=TableData"], ["TableData", "--data.path", "--data.target"]),
    "missing file": (
        ["fit", "--data=TableData", "--data.path=no.csv", "--data.target=y", "--data.attribute=z"],
        ["data.path", "no.csv"]),
    "missing data file": (
        ["fit", "--data=ACSIncome", *QUICK], ["acs/acs_income_2018_test", "FRBENCH_DATA"]),
    "optimizer": ([*TRAIN, "--model.optimizer=Adm"], ["model.optimizer", "'Adm'", "Adam"]),
    "optimizer options": (
        [*TRAIN, "--model.optimizer_options={momentum: 1}"], ["model.optimizer_options", "Adam"]),
    "scheduler": ([*TRAIN, "--model.scheduler=StepLr"], ["model.scheduler", "StepLR"]),
    "scheduler options": ([*TRAIN, "--model.scheduler=StepLR"], ["model.scheduler_options"]),
    "plateau": (
        [*TRAIN, "--model.scheduler=ReduceLROnPlateau"], ["model.scheduler", "CosineAnnealingLR"]),
    "metric": (
        [*TRAIN, "--checkpoint.monitor=val/worst_grop_accuracy"],
        ["checkpoint.monitor", "worst_grop_accuracy", "worst_group_accuracy"]),
    "metric without table": (
        [*TRAIN, "--checkpoint.monitor=accuracy"], ["checkpoint.monitor", "accuracy", "val/"]),
    "metric of a group": (
        [*TRAIN, "--checkpoint.monitor=val/group_accuracy/y=9,z=red"],
        ["checkpoint.monitor", "y=9,z=red", "group_accuracy/y=5-9,z=red"]),
    "metric without direction": (
        [*TRAIN, "--checkpoint.monitor=val/selection_rate/z=red"],
        ["checkpoint.monitor", "direction"]),
    "metric of early stopping": (
        [*TRAIN, "--early_stopping.patience=1", "--early_stopping.monitor=val/acuracy"],
        ["early_stopping.monitor", "acuracy", "accuracy"]),
    "test metric": (
        [*TRAIN, "--checkpoint.monitor=test/P0/accuracy"],
        ["test/P0/accuracy", "--data.test_while_training"]),
    "test metric of early stopping": (
        [*TRAIN, "--early_stopping.monitor=test/P/accuracy"],
        ["test/P/accuracy", "--data.test_while_training"]),
    "missing config": (["fit", "--config=no.yaml", *TRAIN[1:]], ["--config", "no.yaml"]),
    "broken config": (
        ["fit", "--config=broken.yaml", *TRAIN[1:]], ["broken.yaml", "YAML", "line 1"]),
    "config of a list": (["fit", "--config=list.yaml"], ["list.yaml"]),
    "binary config": (["fit", "--config", "good.ckpt"], ["good.ckpt", "YAML"]),
    "key in config": (
        ["fit", "--config=key.yaml", *TRAIN[1:]], ["trainer.max_epoch", "trainer.max_epochs"]),
    "flat config": (
        ["fit", "--config=flat.yaml"],
        ["data", "{class_path: Digits, init_args: {n: 5}}"]),
    "no checkpoint": (["test", *SMALL], ["--ckpt_path"]),
    "missing checkpoint": (["test", *SMALL, "--ckpt_path=no.ckpt"], ["no.ckpt"]),
    "missing checkpoint to continue": ([*TRAIN, "--ckpt_path", "no.ckpt"], ["no.ckpt"]),
    "text as checkpoint": (["test", *SMALL, "--ckpt_path=text.ckpt"], ["text.ckpt", "checkpoint"]),
    "pickle as checkpoint": (
        ["test", *SMALL, "--ckpt_path=pickle.ckpt"], ["pickle.ckpt", "checkpoint"]),
    "foreign checkpoint": (
        ["test", *SMALL, "--ckpt_path=foreign.ckpt"], ["foreign.ckpt", "frbench fit"]),
    "checkpoint without class": (["test", *SMALL, "--ckpt_path=lost.ckpt"], ["lost_file.Mine"]),
    "batch size": ([*TRAIN, "--data.batch_size=0"], ["batch_size", "at least 1", "0"]),
    "marginals": ([*TRAIN, "--data.marginals=uniform"], ["data.marginals", "balance: joint"]),
    "no rows": ([*TRAIN, "--data.n=0"], ["Digits", "at least 1"]),
    "accumulated gradients": (
        [*TRAIN, "--model=GroupDRO", "--trainer.accumulate_grad_batches=2"],
        ["GroupDRO", "trainer.accumulate_grad_batches"]),
    "clean rows without use": ([*TRAIN, "--data.clean_share=0.1"], ["data.clean_share", "ERM"]),
    "clean rows missing": (
        [*TRAIN, "--model=my_method.NeedsClean"], ["NeedsClean", "data.clean_share"]),
    "linked value": ([*TRAIN, "--model.num_classes=3"], ["model.num_classes", "data"]),
    "unknown group": (
        [*TRAIN, "--model=GroupDRO", "--model.adjustment={a: 1}"],
        ["GroupDRO.adjustment", "y=0-4"]),
    "value out of range": ([*TRAIN, "--model=GroupDRO", "--model.eta=-1"], ["GroupDRO", "eta"]),
    "device": ([*TRAIN, "--trainer.accelerator=cpux"], ["trainer", "cpux", "cpu"]),
    "strategy without device": (
        [*TRAIN, "--trainer.strategy=fsdp"], ["FSDP"]),
    "file as folder": ([*TRAIN, "--run_dir=text.ckpt"], ["--run_dir", "text.ckpt"]),
    "device that is not there": (
        [*TRAIN, "--trainer.accelerator=mps"], ["--trainer.accelerator", "auto", "cpu"]),
    "option by its last part": ([*TRAIN, "--lr=0.1"], ["--lr;", "--model.lr"]),
    "option by its usual name": ([*TRAIN, "--seed=1"], ["--seed;", "--seed_everything"]),
    "list without brackets": (
        [*TRAIN, "--model.penalties=ConditionalMMD"], ["model.penalties", "[ConditionalMMD]"]),
    "missing import in a file": (
        [*TRAIN, "--model=own_import.Mine"], ["own_import.py:2", "no_such_package"]),
    "syntax of a file": ([*TRAIN, "--model=own_syntax.Mine"], ["own_syntax.py:1", "SyntaxError"]),
    "name in a file": (
        [*TRAIN, "--trainer.callbacks+=own_name.Mine"], ["own_name.py:2", "'Callbak'"]),
    "error of a callback": (
        [*TRAIN, "--trainer.callbacks+=own_parts.Broken"], ["own_parts.py:4", "no such device"]),
    "error of a network": (
        [*TRAIN, "--model.network=own_parts.Net"], ["own_parts.py:7", "ZeroDivisionError"]),
    "option of a callback": (
        [*TRAIN, "--trainer.callbacks+=LearningRateMonitor", "--trainer.callbacks.interval=step"],
        ["LearningRateMonitor", "'interval'", "logging_interval"]),
    "value of a callback": (
        [*TRAIN, "--trainer.callbacks+=LearningRateMonitor",
         "--trainer.callbacks.logging_interval=steps"],
        ["trainer.callbacks.logging_interval", "'epoch'", "'steps'"]),
    "refusal of a callback": (
        [*TRAIN, "--trainer.callbacks+=Timer", "--trainer.callbacks.duration=long"],
        ["Timer", "'long'", "DD:HH:MM:SS"]),
    "package of a logger": ([*TRAIN, "--trainer.logger=CometLogger"], ["pip install", "comet"]),
    "option of timm": (
        [*TRAIN, "--model.network=Timm", "--model.network.options={bogus: 1}"],
        ["model.network.options", "resnet18", "bogus"]),
    "data command": (["data", "--data=Adul"], ["'Adul'", "Adult"]),
    "option of data command": (["data", "--data=Digits", "--data.m=3"], ["'m'"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def a_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ERM."""
    folder = tmp_path_factory.mktemp("good")
    fit(f"--run_dir={folder}/run", "--trainer.limit_train_batches=1")
    return folder / "run" / "checkpoints" / "last.ckpt"


@pytest.fixture
def wrong_files(own: Path, a_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRBENCH_DATA", str(own))
    monkeypatch.setenv("FRBENCH_CACHE", str(own / "cache"))
    Path("good.ckpt").write_bytes(a_checkpoint.read_bytes())
    Path("text.ckpt").write_text("not a checkpoint")
    Path("pickle.ckpt").write_bytes(pickle.dumps({"a": print}))
    torch.save({"state_dict": {}, "epoch": 3}, "foreign.ckpt")
    lost = torch.load(a_checkpoint, weights_only=True)
    lost["frbench"]["model"]["class_path"] = "lost_file.Mine"
    torch.save(lost, "lost.ckpt")
    Path("broken.yaml").write_text("data: [1, 2\nmodel: }")
    Path("list.yaml").write_text("- 1\n- 2\n")
    Path("key.yaml").write_text("trainer:\n  max_epoch: 3\n")
    Path("own_import.py").write_text("import os\nimport no_such_package\nclass Mine: ...\n")
    Path("own_syntax.py").write_text("class Mine(:\n    pass\n")
    Path("own_name.py").write_text(
        "from pytorch_lightning import Callback\nclass Mine(Callbak): ...\n"
    )
    Path("own_parts.py").write_text(OWN_PARTS)
    Path("flat.yaml").write_text("data:\n  class_path: Digits\n  n: 5\n")
    return own


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line_with_key_and_remedy(
    wrong_files: Path, case: str, capsys: pytest.CaptureFixture
) -> None:
    words, expected = ERRORS[case]
    before = set(wrong_files.rglob("*"))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("frbench: error: ")
    assert error.count("\n") == 1 and error.endswith("\n"), error
    assert "Traceback" not in error
    assert [word for word in expected if word not in error] == [], error
    left = {
        path for path in set(wrong_files.rglob("*")) - before if "__pycache__" not in str(path)
    }
    assert left == set()


# ---- help and configuration --------------------------------------------------------------------
@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    commands = ("fit", "validate", "test", "predict", "bench", "report", "data", "audit")
    assert all(f"\n  {command} " in out for command in commands)


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_help_of_a_command_is_one_page(command: str, capsys: pytest.CaptureFixture) -> None:
    run(command, "--help")
    out = capsys.readouterr().out
    assert out.startswith(f"usage: frbench {command} ")
    assert len(out.splitlines()) < 50
    assert "--run_dir" in out and "Digits" in out
    assert ("GroupDRO" in out) == (command == "fit")


def test_all_options_are_shown_where_asked_for(capsys: pytest.CaptureFixture) -> None:
    for words in (["--help_all"], ["--model.help", "GroupDRO"]):
        with pytest.raises(SystemExit) as stopped:
            main(["fit", *words])
        assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "--trainer.gradient_clip_val" in out
    assert "Step size of q" in out  # the docstring of eta


@pytest.mark.parametrize(
    "words",
    [
        "fit --model.help my_steep.Steep --data Digits --trainer.max_epochs=1",
        "fit --config method/group_dro --model.help=my_steep.Steep --run_dir mine",
        "fit --model my_steep.Steep --model.help",
        "postprocess --method.help my_steep.Steeper --ckpt_path best.ckpt --share 1",
    ],
)
def test_help_of_a_class_in_a_file_wherever_it_stands(
    words: str, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    Path("my_steep.py").write_text(
        "from frbench.objectives import ERM\nfrom frbench.postprocessing import AFR\n"
        "class Steep(ERM):\n    def __init__(self, *a, steepness: float = 3.0, **k): ...\n"
        "class Steeper(AFR):\n    def __init__(self, *a, steepness: float = 3.0, **k): ...\n"
    )
    monkeypatch.syspath_prepend(in_tmp)
    try:
        with pytest.raises(SystemExit) as stopped:
            main(words.split())
    finally:
        sys.modules.pop("my_steep", None)
    assert stopped.value.code == 0
    assert ".steepness STEEPNESS" in capsys.readouterr().out


def test_later_config_files_override_by_key(in_tmp: Path, capsys: pytest.CaptureFixture) -> None:
    Path("data.yaml").write_text("data: {class_path: Digits, init_args: {n: 300}}\n")
    Path("balance.yaml").write_text("data: {init_args: {n: 200, balance: joint}}\n")
    words = ["--config=data.yaml", "--config=balance.yaml", "--data.n_eval=50"]
    with pytest.raises(SystemExit):
        main(["fit", *words, "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]
    assert (found["n"], found["balance"], found["n_eval"]) == (200, "joint", 50)
    assert main(["fit", "--config=balance.yaml", "--config=data.yaml"]) == 2
    assert "class_path first" in capsys.readouterr().err


def test_every_run_says_nothing_about_products(in_tmp: Path, capfd: pytest.CaptureFixture) -> None:
    fit()
    assert capfd.readouterr().err == ""


# ---- frbench data
def test_data_lists_files_found_and_missing(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (in_tmp / "german").mkdir()
    (in_tmp / "german" / "german.data").write_text("x")
    monkeypatch.setenv("FRBENCH_DATA", str(in_tmp))
    monkeypatch.setenv("FRBENCH_CACHE", str(in_tmp / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    run("data")
    lines = capsys.readouterr().out.splitlines()
    assert any("german/german.data" in x and str(in_tmp) in x for x in lines)
    assert any("adult/adult.data" in x and "missing" in x for x in lines)


def test_data_shows_groups_rates_and_the_training_distribution(
    in_tmp: Path, capsys: pytest.CaptureFixture
) -> None:
    run("data", *SMALL, "--data.balance=joint", "--data.marginals=uniform")
    out = capsys.readouterr().out
    data = Digits(n=400, n_eval=400, balance="joint", marginals="uniform")
    for group in GROUPS:
        line = next(x for x in out.splitlines() if x.startswith(group))
        assert float(line.split()[-1]) == pytest.approx(0.25, abs=1e-4)
    train = data.splits["train"]
    rate = np.bincount(train.z).min() / np.bincount(train.z).max()
    assert f"{rate:.4f}" in next(x for x in out.splitlines() if "representation_rate" in x)
    assert fingerprint(data) in out
