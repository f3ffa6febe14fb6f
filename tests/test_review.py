"""What a review found once must not come back: each test failed before its cure."""

import importlib.util

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from torch import nn

from frbench import load
from frbench.__main__ import main
from frbench.callbacks import BestCheckpoint, EarlyStop, RollingCheckpoint
from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.spec import to_spec
from frbench.contracts.state import Staged
from frbench.data import FlipLabels, PoisonLargestMargin, TwoGaussians
from frbench.data.fetch import TensorTable
from frbench.data.fingerprint import fingerprint
from frbench.data.loader import GroupLoader
from frbench.data.module import GroupDataModule
from frbench.data.table import Table
from frbench.networks import MLP, Timm
from frbench.objectives import ERM, GroupDRO

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
]


def trainer(**kwargs):
    defaults = {
        "max_epochs": 1, "logger": False, "enable_checkpointing": False, "accelerator": "cpu",
        "devices": 1, "enable_progress_bar": False, "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }  # fmt: skip
    return Trainer(**{**defaults, **kwargs})


class Given(GroupDataModule):
    """Tables given by the test."""

    class_names = attribute_names = ("0", "1")
    sizes = Sizes(2, 2, (2,))

    def __init__(self, train, val=None, **kwargs):
        super().__init__(**kwargs)
        self.train_table, self.val_table = train, train if val is None else val

    def tables(self):
        return {"train": self.train_table, "val": self.val_table, "test": self.val_table}


def rows(n=40, x=None, **columns):
    r = np.arange(n)
    x = np.ones((n, 2), np.float32) * (r % 2)[:, None] if x is None else x
    return Table(x, columns.pop("y", r % 2), columns.pop("z", r // 2 % 2), **columns)


# ---- continuing a run -----------------------------------------------------------------------
FIT = ["fit", "--data=TwoGaussians", "--data.n=200", "--data.balance=joint", "--run_dir=run",
       "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=1",
       "--trainer.enable_progress_bar=false"]  # fmt: skip
CONTINUE = ["fit", "--ckpt_path=run/checkpoints/last.ckpt", "--trainer.max_epochs=2",
            "--trainer.accelerator=cpu", "--trainer.devices=1"]  # fmt: skip


def test_a_continued_run_keeps_its_data(in_tmp, capsys):
    assert main(FIT) == 0
    capsys.readouterr()
    assert main(CONTINUE) == 0
    assert "balance: joint via sample" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", ["--data=Digits", "--data.n=300", "--data.balance=class", "--data.batch_size=64",
               "--data.seed=3"],
)  # fmt: skip
def test_a_run_is_not_continued_on_other_data(in_tmp, capsys, change):
    assert main(FIT) == 0
    assert main([*CONTINUE, change]) == 2
    assert "differs from your options in data" in capsys.readouterr().err


def test_python_is_not_continued_on_other_data_either(tmp_path):
    model = ERM(2, 2, [2], network=MLP(hidden=[]))
    run = trainer()
    run.fit(model, datamodule=TwoGaussians(n=64, batch_size=16))
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = ERM(2, 2, [2], network=MLP(hidden=[]))
    with pytest.raises(UserError, match=r"data\.n: checkpoint 64, given 80"):
        trainer(max_epochs=2).fit(again, datamodule=TwoGaussians(n=80, batch_size=16),
                                  ckpt_path=tmp_path / "x.ckpt", weights_only=True)  # fmt: skip


@pytest.mark.parametrize("limits", [{"max_steps": 8, "max_epochs": -1}, {"max_steps": 50,
                                    "max_epochs": 2}])  # fmt: skip
def test_the_end_of_training_is_always_in_last_ckpt(tmp_path, limits):
    rolling = RollingCheckpoint(every_n_steps=1000, dirpath=str(tmp_path))
    run = trainer(callbacks=[rolling], enable_checkpointing=True, **limits)
    run.fit(ERM(2, 2, [2]), datamodule=TwoGaussians(n=64, batch_size=16))
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert stored["global_step"] == run.global_step == 8


# ---- group DRO and state --------------------------------------------------------------------
def test_an_adjustment_does_not_chase_a_group_without_rows():
    table = rows(60, z=np.where(np.arange(60) % 2 == 1, 1, np.arange(60) // 2 % 2))
    model = GroupDRO(2, 2, [2], network=MLP(hidden=[]), eta=0.5, adjustment=2.0)
    trainer(max_epochs=20).fit(model, datamodule=Given(table, batch_size=20))
    q = dict(zip(model.group_names, model.log_q.exp().tolist(), strict=True))
    assert q["y=1,z=0"] < 0.25  # no training row has it
    with pytest.raises(UserError, match="negative"):
        GroupDRO(2, 2, [2], adjustment=-1.0)
    with pytest.raises(UserError, match="eta"):
        GroupDRO(2, 2, [2], eta=float("nan"))


@pytest.mark.parametrize("kwargs", [{"mode": "greedy"}, {"adjustment": 1.0}])
def test_counts_are_asked_for_where_there_is_no_datamodule(kwargs):
    data = TwoGaussians(n=64, batch_size=16)
    with pytest.raises(UserError, match="bind_groups"):
        trainer().fit(
            GroupDRO(2, 2, [2], **kwargs), data.train_dataloader(), data.val_dataloader()
        )
    bound = GroupDRO(2, 2, [2], **kwargs)
    bound.bind_groups(torch.tensor([10, 20, 30, 4]), ["a", "b", "c", "d"])
    trainer().fit(bound, data.train_dataloader(), data.val_dataloader())


def test_fused_optimisers_and_skipped_steps_do_not_mix():
    model = GroupDRO(2, 2, [2], optimizer_options={"fused": True})
    with pytest.raises(UserError, match="fused"):
        from pytorch_lightning.plugins.precision import MixedPrecision

        plugin = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
        trainer(plugins=[plugin]).fit(model, datamodule=TwoGaussians(n=64))


def test_staging_names_a_buffer_of_that_shape():
    staged = Staged()
    staged.register_buffer("q", torch.zeros(3))
    for values in ({"q": torch.zeros(())}, {"p": torch.zeros(3)}):
        with pytest.raises(ValueError, match="register it"):
            staged.stage(**values)


class Adversarial(ERM):
    """Owns a layer that its parameter groups give a rate of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.adversary = nn.Linear(2, 1)

    def parameter_groups(self):
        own = list(self.adversary.parameters())
        return [{"params": list(self.network.parameters())}, {"params": own, "lr": 0.5}]

    def risk(self, out, batch):
        return super().risk(out, batch) + self.adversary(out.logits).square().mean()


class Scaled(ERM):
    """Owns a parameter and says nothing of it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = nn.Parameter(torch.ones(()))

    def risk(self, out, batch):
        return super().risk(out, batch) * self.scale


class Forgetful(Adversarial):
    """Leaves its layer out of every group."""

    def parameter_groups(self):
        return super().parameter_groups()[:1]


def test_parameters_of_an_objective_are_optimised():
    model = Adversarial(2, 2, [2])
    run = trainer()
    run.fit(model, datamodule=TwoGaussians(n=64))
    assert [group["lr"] for group in run.optimizers[0].param_groups] == [1e-3, 0.5]
    scaled = Scaled(2, 2, [2])
    trainer().fit(scaled, datamodule=TwoGaussians(n=64))
    assert scaled.scale.item() != 1
    with pytest.raises(UserError, match=r"adversary\.weight is in no group"):
        trainer().fit(Forgetful(2, 2, [2]), datamodule=TwoGaussians(n=64))


def test_a_network_belongs_to_one_objective():
    network = MLP(hidden=[3])
    ERM(2, 2, [2], network=network)
    with pytest.raises(ValueError, match="one objective"):
        ERM(2, 2, [2], network=network)


def test_a_risk_is_a_scalar():
    class Vector(ERM):
        def risk(self, out, batch):
            return out.losses

    with pytest.raises(ValueError, match="must give a scalar"):
        trainer().fit(Vector(2, 2, [2]), datamodule=TwoGaussians(n=64))


# ---- specifications -------------------------------------------------------------------------
def test_numpy_numbers_and_paths_are_written_as_they_are(tmp_path):
    model = GroupDRO(2, 2, [2], eta=np.float32(0.5))
    assert to_spec(model)["init_args"]["eta"] == 0.5
    assert to_spec({"a": np.int64(3), "p": tmp_path}) == {"a": 3, "p": str(tmp_path)}
    for value in (torch.zeros(2), np.zeros(2), print):
        with pytest.raises(UserError, match="cannot be written"):
            to_spec(value)


# ---- networks -------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["vgg11", "mobilenetv3_small_050", "lcnet_050"])
def test_timm_models_with_a_layer_before_the_classifier(name):
    network = Timm(name)
    network.bind(Sizes(3, 2, (3, 64, 64)))
    assert network.eval()(torch.zeros(1, 3, 64, 64))[1].shape == (1, 3)


# ---- data -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "kwargs",
    [{"balance": "Joint"}, {"via": "weights"}, {"balance": "joint", "marginals": "unif"},
     {"balance": "reweighing", "via": "sample"}],
)  # fmt: skip
def test_misspelt_options_fail_in_python_too(kwargs):
    with pytest.raises(UserError):
        TwoGaussians(**kwargs)


def test_subsampling_loses_no_cell_and_no_weight():
    counts = [59, 1, 1, 139]
    y, z = np.repeat([0, 0, 1, 1], counts), np.repeat([0, 1, 0, 1], counts)
    with pytest.raises(UserError, match="without a row"):
        _ = Given(rows(200, y=y, z=z), balance="joint", via="subsample").training
    weight = np.linspace(0.5, 1.5, 40)
    table, _, used = Given(rows(weight=weight), balance="none", via="subsample").training
    assert len(table) == 40
    np.testing.assert_allclose(used, weight / weight.mean())


def test_epoch_weights_multiply_the_balance_and_are_checked():
    table = rows()
    data = TensorTable(table, np.full(40, 2.0), 2, lambda x: x)
    loader = GroupLoader(data, 40)
    loader.set_epoch_weights(np.arange(40), "weight")
    (batch,) = list(loader)
    assert torch.equal(batch.weight, 2.0 * batch.index)
    for bad in (np.ones(39), -np.ones(40), np.full(40, np.nan), np.zeros(40)):
        with pytest.raises(ValueError, match="finite weights"):
            loader.set_epoch_weights(bad, "weight")
    sampled = GroupLoader(data, 40, sampling=(np.arange(40) < 20) * 1.0)
    sampled.set_epoch_weights((np.arange(40) >= 10) * 1.0, "sample")
    (batch,) = list(sampled)
    assert batch.index.min() >= 10 and batch.index.max() < 20


def test_clean_rows_do_not_depend_on_the_number_of_devices():
    data = TwoGaussians(n=200, batch_size=20, clean_share=0.25)
    assert data.clean_per_batch == 7
    with pytest.raises(UserError, match="is 0 verified rows"):  # a batch would lose training rows
        _ = TwoGaussians(n=64, clean_share=0.001).training
    few = TwoGaussians(n=28, batch_size=64, clean_share=0.25)
    assert few.clean_per_batch == 7  # of the 21 rows left, not of the nominal batch


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (rows(x=np.full((40, 2), np.nan, np.float32)), "NaN or infinite"),
        (rows(x=np.ones((40, 3), np.float32)), "sizes declares"),
        (rows(weight=-np.ones(40)), "weights"),
        (rows(weight=np.full(40, np.nan)), "weights"),
        (rows(weight=np.zeros(40)), "weights"),
    ],
)
def test_hostile_tables_are_refused_before_training(table, words):
    with pytest.raises(UserError, match=words):
        trainer().fit(ERM(2, 2, [2]), datamodule=Given(table))


def test_labels_are_codes():
    for y in ([0.7, 1.9], ["a", "b"]):
        with pytest.raises(ValueError, match="integer codes"):
            Table(np.zeros((2, 1)), y, [0, 1])
    assert Table(np.zeros((2, 1)), [0.0, 1.0], [True, False]).y.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.bool_, np.uint8])
def test_features_of_any_number_type_train(dtype):
    table = rows(x=(np.ones((40, 2)) * (np.arange(40) % 2)[:, None]).astype(dtype))
    model = ERM(2, 2, [2])
    trainer().fit(model, datamodule=Given(table))
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert next(iter(Given(table).train_dataloader())).x.dtype == torch.float32


@pytest.mark.parametrize("step", [FlipLabels(0.5), PoisonLargestMargin(0.1)])
def test_corruption_of_one_class_is_refused(step):
    with pytest.raises(UserError):
        step.apply(rows(y=np.zeros(40)), np.random.default_rng(0), np.asarray)


def test_transforms_draw_anew_each_epoch_from_every_generator():
    import random

    def noisy(x):
        return x + np.random.random() + random.random()

    data = TensorTable(rows(), np.ones(40), 2, lambda x: x, noisy)
    drawn = []
    for workers in (0, 1):
        loader = GroupLoader(data, 40, num_workers=workers)
        drawn.append([next(iter(loader)).x.sum().item() for _ in range(2)])
        assert drawn[-1][0] != drawn[-1][1]
    assert drawn[0] == drawn[1]


class Lazy:
    """Inputs that are made when they are indexed."""

    def __init__(self, value):
        self.value = value

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return np.full((len(np.atleast_1d(index)), 2), self.value, np.float32)


def test_the_fingerprint_sees_inputs_that_are_not_arrays():
    prints = {
        fingerprint(Given(rows(x=x)))
        for x in (torch.ones(40, 2), 3 * torch.ones(40, 2), Lazy(1), Lazy(2))
    }
    assert len(prints) == 4


# ---- trainer --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "words"),
    [({"precision": "bf16-true"}, "bf16-mixed"), ({"overfit_batches": 2}, "limit_train_batches")],
)
def test_trainer_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        trainer(**options).fit(ERM(2, 2, [2]), datamodule=TwoGaussians(n=64))
    with pytest.raises(UserError, match="LBFGS"):
        ERM(2, 2, [2], optimizer="LBFGS")


def test_early_stopping_that_is_off_does_not_stop_on_nan():
    unknown = rows(z=np.full(40, -1))
    run = trainer(max_epochs=3, callbacks=[EarlyStop()])
    run.fit(ERM(2, 2, [2]), datamodule=Given(rows(), val=unknown))
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


def test_seeds_belong_to_the_grid(in_tmp, capsys):
    (in_tmp / "g.yaml").write_text("data: {d: {data: TwoGaussians}}\nmethods: {m: {}}\n"
                                   "grid: {data.seed: [1, 2]}\n")  # fmt: skip
    assert main(["bench", "g.yaml"]) == 2
    assert "`seeds`" in capsys.readouterr().err
    (in_tmp / "g.yaml").write_text("data: {d: {data: TwoGaussians}}\nmethods: {m: {}}\n")
    assert main(["bench", "g.yaml", "--seed_everything=7"]) == 2
    seed_everything(0, verbose=False)


def test_a_logger_whose_package_is_missing_is_one_line(in_tmp, capsys):
    pytest.importorskip("pytorch_lightning.loggers.mlflow")
    if importlib.util.find_spec("mlflow") is not None:
        pytest.skip("mlflow is installed here")
    assert main(["fit", "--data=TwoGaussians", "--trainer.logger=MLFlowLogger"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("frbench: error: A package is missing: pip install")
    assert len(error.splitlines()) == 1
