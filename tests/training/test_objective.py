"""What the base of all objectives promises, method by method where it matters."""

import random
import warnings

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn
from trainers import trainer

from frbench import load
from frbench.callbacks import RollingCheckpoint
from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.spec import from_spec, to_spec
from frbench.data import Digits, TwoGaussians
from frbench.data.table import Table
from frbench.networks import MLP, SmallCNN
from frbench.objectives import ERM, GroupDRO, Objective
from frbench.penalties import Penalty

pytestmark = pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")


class Norm(Penalty):
    """Mean square of the logits, and a count of the steps that were taken."""

    def __init__(self, weight=1.0, power=2):
        super().__init__(weight)
        self.power = power
        self.register_buffer("steps", torch.zeros(()))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, out, batch):
        self.stage(steps=self.steps + 1)
        return self.scale * out.logits.pow(self.power).mean()


class Counting(ERM):
    """Counts taken steps in a buffer."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("steps", torch.zeros(()))

    def risk(self, out, batch):
        self.stage(steps=self.steps + 1)
        return super().risk(out, batch)


def fit(cls=ERM, data=None, trainer_options=None, **kwargs):
    seed_everything(1, verbose=False)
    data = data or TwoGaussians(n=200, batch_size=32)
    kwargs.setdefault("network", MLP(hidden=[8]))
    model = cls(data.num_classes, data.num_attributes, data.input_shape, **kwargs)
    run = trainer(**(trainer_options or {}))
    run.fit(model, datamodule=data)
    return model, run, data


def test_erm_equals_a_bare_loop():
    data = TwoGaussians(n=96, batch_size=32)
    model, _, _ = fit(data=data, optimizer="SGD", lr=0.1, optimizer_options={"momentum": 0.9})
    seed_everything(1, verbose=False)
    twin = ERM(2, 2, [2], network=MLP(hidden=[8]))
    parameters = list(twin.network.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    for batch in TwoGaussians(n=96, batch_size=32).train_dataloader():
        logits = twin(batch.x)
        loss = sum(
            -(row - row.logsumexp(0))[y] for row, y in zip(logits, batch.y, strict=True)
        ) / len(logits)
        for p, v, g in zip(parameters, velocity, torch.autograd.grad(loss, parameters),
                           strict=True):  # fmt: skip
            v.mul_(0.9).add_(g)
            p.data.sub_(0.1 * v)
    for a, b in zip(model.network.parameters(), parameters, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_weights_divide_by_the_batch_not_by_their_sum():
    model = ERM(2, 2, [2], network=MLP(hidden=[]))
    batch = next(iter(TwoGaussians(n=20, batch_size=4).train_dataloader()))
    out = model.outputs(batch)
    half = batch._replace(weight=torch.full((4,), 0.5))
    assert model.risk(out, half).item() == pytest.approx(out.losses.mean().item() / 2)


def test_penalties_join_the_loss_and_the_one_optimiser():
    model, run, data = fit(penalties=[Norm(0.5), Norm(2.0)], lr=0.01)
    assert model.penalty_names == ["Norm-1", "Norm-2"]
    batch = next(iter(data.train_dataloader()))
    model._trainer = run
    loss = model.training_step(batch, 0)
    terms = model.training_log.terms
    assert loss.item() == pytest.approx(
        (terms["risk"] + 0.5 * terms["Norm-1"] + 2 * terms["Norm-2"]).item(), rel=1e-5
    )
    assert len(run.optimizers) == 1 and len(run.optimizers[0].param_groups) == 3
    assert all(p.scale.item() != 1 for p in model.penalties)
    assert all(p.steps.item() == run.global_step for p in model.penalties)


@pytest.mark.parametrize("cls", [ERM, GroupDRO])
def test_bf16_trains_and_keeps_statistics_in_float32(cls):
    model, _, _ = fit(cls, trainer_options={"precision": "bf16-mixed"})
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.isfinite(p).all() for p in model.parameters())
    if cls is GroupDRO:
        assert model.log_q.dtype == torch.float32 and model.log_q.std() > 0


@pytest.mark.parametrize("cls", [Counting, GroupDRO])
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step")
def test_a_step_that_mixed_precision_skips_moves_no_state(cls):
    # An initial scale beyond float16's range overflows: the first steps are skipped.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=10**6)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    steps = []

    class Seen(cls):
        def on_train_batch_end(self, *args):
            state = self.steps.item() if cls is Counting else self.log_q.clone()
            steps.append((self.trainer.optimizers[0].state_dict()["state"] != {}, state))

    model, run, _ = fit(Seen, trainer_options={"plugins": [plugin], "max_epochs": 8}, penalties=[
        Norm(0.1)])  # fmt: skip
    taken = int(model.penalties[0].steps)
    assert 0 < taken < run.global_step  # Lightning counts skipped steps, the method does not
    if cls is Counting:
        assert model.steps.item() == taken
    before = [state for stepped, state in steps if not stepped]
    assert before
    for state in before:
        assert state == 0 if cls is Counting else torch.equal(state, torch.full((4,), 0.25).log())


def test_every_generator_depends_on_seed_and_step_alone():
    drawn = {}

    class Draw(ERM):
        def risk(self, out, batch):
            key = self.trainer.global_step
            drawn.setdefault(key, []).append(
                (random.random(), np.random.random(), torch.rand(()).item())
            )
            return super().risk(out, batch)

        def on_train_batch_end(self, *args):
            for _ in range(self.extra):  # what happens between two steps must not matter
                random.random(), np.random.random(), torch.rand(())

    for Draw.extra in (0, 3):
        fit(Draw)
    assert all(a == b for a, b in drawn.values())
    assert len({a for a, _ in drawn.values()}) == len(drawn)


def test_training_metrics_by_group_name_equal_a_loop():
    rows = []

    class Spy(ERM):
        def risk(self, out, batch):
            rows.extend(zip(batch.y.tolist(), batch.z.tolist(), out.logits.argmax(1).tolist(),
                            out.losses.tolist(), strict=True))  # fmt: skip
            return super().risk(out, batch)

    _, run, _ = fit(Spy)
    for y in (0, 1):
        for z in (0, 1):
            mine = [(y == p, loss) for a, b, p, loss in rows if (a, b) == (y, z)]
            name = f"y={y},z={z}"
            logged = run.callback_metrics
            assert logged[f"train/group_accuracy/{name}"].item() == pytest.approx(
                np.mean([m[0] for m in mine])
            )
            assert logged[f"train/group_loss/{name}"].item() == pytest.approx(
                np.mean([m[1] for m in mine]), rel=1e-5
            )


def test_evaluation_equals_the_network_by_hand():
    model, run, data = fit(data=Digits(n=300, n_eval=257))
    run.test(model, datamodule=data, verbose=False)
    table = data.splits["test/P0"]
    with torch.no_grad():
        pred = model.eval()(torch.as_tensor(table.x)).argmax(1).numpy()
    assert model.evaluation["test/P0"]["accuracy"] == (pred == table.y).mean()
    cells = [(pred == table.y)[(table.y == y) & (table.z == z)].mean()
             for y in (0, 1) for z in (0, 1)]  # fmt: skip
    assert model.evaluation["test/P0"]["worst_group_accuracy"] == min(cells)
    assert model.last_counts["test/P0"].sum() == 257


def test_a_frozen_choice_of_default_network():
    assert isinstance(ERM(2, 2, [3, 16, 16]).network, SmallCNN)
    assert isinstance(ERM(2, 2, [7]).network, MLP)


# ---- checkpoints and specifications ---------------------------------------------------------
def test_a_checkpoint_rebuilds_method_penalties_network_and_state(tmp_path):
    model, _, data = fit(
        GroupDRO, eta=0.2, adjustment={"y=0,z=1": 1.0}, penalties=[Norm(0.3, power=4)],
        network=MLP(hidden=[5, 4], dropout=0.1), optimizer_options={"betas": [0.8, 0.9]},
        trainer_options={"callbacks": [RollingCheckpoint(dirpath=str(tmp_path))],
                         "enable_checkpointing": True},
    )  # fmt: skip
    twin = load(tmp_path / "last.ckpt", trust=[__name__])
    assert type(twin) is GroupDRO and not twin.training
    assert twin.eta == 0.2 and twin.adjustment == {"y=0,z=1": 1.0}
    assert twin.network.hidden == [5, 4] and twin.penalties[0].power == 4
    assert to_spec(twin) == to_spec(model)
    x = torch.as_tensor(data.splits["test"].x)
    assert torch.equal(twin(x), model.eval()(x))
    assert torch.equal(twin.log_q, model.log_q)


def test_spec_round_trip_of_plain_values():
    value = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
    assert from_spec(to_spec(value)) == value


def test_a_constructor_argument_that_is_not_kept_fails_before_training():
    class Forgetful(ERM):
        def __init__(self, *args, beta=1.0, **kwargs):
            super().__init__(*args, **kwargs)

    with pytest.raises(UserError, match=r"self\.beta = beta"):
        fit(Forgetful)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not a readable checkpoint"), (b"text", "not a readable"), (None, "no checkpoint")],
)
def test_what_is_not_a_checkpoint_is_said_so(tmp_path, content, words):
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        load(path)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="not written by frbench"):
        load(tmp_path / "x.ckpt")


# ---- what does not fit is refused before training -------------------------------------------
class Clean(ERM):
    """Uses verified rows."""

    uses_clean = True


@pytest.mark.parametrize(
    ("cls", "data", "options", "words"),
    [
        (Clean, {}, {}, "clean_share"),
        (ERM, {"clean_share": 0.1}, {}, "uses_clean"),
        (GroupDRO, {}, {"accumulate_grad_batches": 2}, "accumulate_grad_batches"),
    ],
)
def test_what_does_not_fit_is_refused(cls, data, options, words):
    with pytest.raises(UserError, match=words):
        fit(cls, data=TwoGaussians(n=100, **data), trainer_options=options)


def test_a_model_of_other_sizes_is_refused():
    with pytest.raises(UserError, match="built for"):
        trainer().fit(ERM(2, 3, [2]), datamodule=TwoGaussians(n=50))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"optimizer": "adm"}, "Adam"),
        ({"optimizer": "SGD", "optimizer_options": {"betas": 1}}, "refuses"),
        ({"lr": -1.0}, "refuses"),
    ],
)
def test_wrong_optimisers_fail_in_the_constructor(kwargs, words):
    with pytest.raises(UserError, match=words):
        ERM(2, 2, [2], **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"scheduler": "ReduceLROnPlateau"}, "resumed exactly"),
        ({"scheduler": "StepLR"}, "refuses"),
        ({"scheduler": "Step"}, "StepLR"),
    ],
)
def test_wrong_schedules_fail_before_the_first_step(kwargs, words):
    with pytest.raises(UserError, match=words):
        fit(**kwargs)


def test_erm_may_accumulate():
    _, run, _ = fit(trainer_options={"accumulate_grad_batches": 2})
    assert run.global_step == 3


def test_one_class_one_group_and_tiny_batches_stay_finite():
    class One(TwoGaussians):
        def tables(self):
            table = Table(np.ones((9, 2), np.float32), np.zeros(9), np.ones(9))
            return {"train": table, "val": table, "test": table}

    for cls in (ERM, GroupDRO):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, _, _ = fit(cls, data=One(batch_size=1))
        assert all(torch.isfinite(p).all() for p in model.parameters())
        assert np.isfinite(model.evaluation["val"]["worst_group_accuracy"])


def test_unknown_attributes_are_trained_on_and_left_out_of_groups():
    class Unknown(TwoGaussians):
        def tables(self):
            return {k: t.replace(z=np.where(np.arange(len(t)) % 3 == 0, -1, t.z))
                    for k, t in super().tables().items()}  # fmt: skip

    for cls in (ERM, GroupDRO):
        model, _, data = fit(cls, data=Unknown(n=90, batch_size=30))
        assert model.last_counts["val"][:, -1].sum() == 15
        assert data.train_counts.sum() == 60


def test_plain_loaders_need_no_datamodule():
    data = TwoGaussians(n=100, batch_size=20)
    loader, (val,), (test,) = (
        data.train_dataloader(),
        data.val_dataloader(),
        data.test_dataloader(),
    )
    model = ERM(2, 2, [2], network=MLP(hidden=[4]))
    run = trainer(max_epochs=2)
    run.fit(model, loader, val)
    assert 0 <= run.callback_metrics["val/worst_group_accuracy"] <= 1
    run.test(model, [test, val], verbose=False)
    assert {"test/accuracy", "test/1/accuracy"} <= set(model.evaluation.flat())
    assert model.last_counts["test"].sum() == 50


def test_a_method_is_a_risk_alone():
    class Mine(Objective):
        """Largest loss of the batch."""

        def risk(self, out, batch):
            return out.losses.max()

    model, _, _ = fit(Mine)
    assert model.sizes == Sizes(2, 2, (2,), 0)


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


@pytest.mark.parametrize(
    ("options", "words"),
    [({"precision": "bf16-true"}, "bf16-mixed"), ({"overfit_batches": 2}, "limit_train_batches")],
)
def test_trainer_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        trainer(**options).fit(ERM(2, 2, [2]), datamodule=TwoGaussians(n=64))
    with pytest.raises(UserError, match="LBFGS"):
        ERM(2, 2, [2], optimizer="LBFGS")
