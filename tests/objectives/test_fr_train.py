"""FR-Train against a float64 loop and published figures; resume, counting, degenerate cases."""

import csv
import math
import warnings

import numpy as np
import pytest
import torch
from ddp_cases import Rows
from paths import ROOT
from pytorch_lightning import Callback, seed_everything
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.precision import MixedPrecision
from resumable import assert_same
from trainers import trainer

from frbench import load
from frbench.callbacks import CSVLogger, RollingCheckpoint
from frbench.contracts.errors import UserError
from frbench.data import Digits, TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, FRTrain
from frbench.objectives.fr_train.sweep import sweep
from frbench.support.files import find

pytestmark = pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")


class Spy(Callback):
    """Keeps the logged terms of every iteration, and the weights of the classifier."""

    def __init__(self):
        self.terms, self.weights = [], []

    def on_train_batch_end(self, run, model, *_):
        self.terms.append({k: float(v) for k, v in model.training_log.terms.items()})
        self.weights.append([p.detach().clone() for p in model.network.parameters()])


def fit(data, steps, cls=FRTrain, trainer_options=None, seed=1, **kwargs):
    seed_everything(seed, verbose=False)
    spy = Spy()
    kwargs.setdefault("network", MLP(hidden=[4]))
    model = cls(data.num_classes, data.num_attributes, data.input_shape, **kwargs)
    options = {"max_steps": steps, "limit_val_batches": 0, "callbacks": [spy]}
    run = trainer(**options | (trainer_options or {}))
    run.fit(model, datamodule=data)
    return model, run, spy


# ---- the algorithm --------------------------------------------------------------------------
def log_loss(p, target):
    return -torch.log(p if target else 1 - p)


class Reference:
    """Specification 1.3 by loops over rows, float64, one full batch per iteration."""

    def __init__(self, model, batch, clean, options):
        self.o = options
        self.rows = [(batch.x[i].double(), int(batch.y[i]), int(batch.z[i]))
                     for i in range(len(batch.y))]  # fmt: skip
        self.clean = [(x.double(), int(y)) for x, y in clean]

        def copies(module):
            return [p.detach().double().clone().requires_grad_() for p in module.parameters()]

        self.g = copies(model.network)
        self.f = copies(model.discriminators["fairness"])
        self.r = copies(model.discriminators["robustness"])
        self.opt = [torch.optim.Adam(self.g, options["lr"]),
                    torch.optim.SGD(self.f, options["fairness_lr"]),
                    torch.optim.SGD(self.r, options["robust_lr"])]  # fmt: skip
        self.weights = [1.0] * len(self.rows)
        self.last = None

    def logit(self, x):
        return self.g[0][0] @ x + self.g[1][0]

    def d_f(self, logit):
        return torch.sigmoid(self.f[0][0, 0] * logit + self.f[1][0])

    def d_r(self, x, answer):
        hidden = self.r[0] @ torch.cat([x, answer.reshape(1)]) + self.r[1]
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
        return torch.sigmoid(self.r[2][0] @ hidden + self.r[3][0])

    def move(self, which, loss, parameters):
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad = g
        self.opt[which].step()

    def step(self, t):
        o, n = self.o, len(self.rows)
        fixed = [self.logit(x).detach() for x, _, _ in self.rows]
        loss_f = sum(log_loss(self.d_f(a), z)
                     for a, (_, _, z) in zip(fixed, self.rows, strict=True)) / n  # fmt: skip
        fake = sum(log_loss(self.d_r(x, a), 0)
                   for a, (x, _, _) in zip(fixed, self.rows, strict=True)) / n  # fmt: skip
        real = sum(log_loss(self.d_r(x, torch.tensor(2.0 * y - 1)), 1) for x, y in self.clean)
        loss_r = 0.5 * (real / len(self.clean) + fake)
        self.move(1, loss_f, self.f)
        self.move(2, loss_r, self.r)
        logits = [self.logit(x) for x, _, _ in self.rows]
        if t < o["warmup"]:
            ce = [log_loss((torch.tanh(a) + 1) / 2, y)
                  for a, (_, y, _) in zip(logits, self.rows, strict=True)]  # fmt: skip
            loss = o["warmup_scale"] * sum(ce) / n
        elif t % o["k"] == 0:
            belief = [self.d_r(x, a.detach() if o["detach_robust"] else a)
                      for a, (x, _, _) in zip(logits, self.rows, strict=True)]  # fmt: skip
            if t % o["reweight_every"] == 0:
                a = 1 / (1 + math.exp(-(self.last / loss_r.item() - 3)))
                self.weights = [a * b.item() + 1 - a for b in belief]
            mean_ce = sum(w * log_loss(torch.sigmoid(a), y) for w, a, (_, y, _)
                          in zip(self.weights, logits, self.rows, strict=True)) / n  # fmt: skip
            mean_f = sum(w * log_loss(self.d_f(a), z) for w, a, (_, _, z)
                         in zip(self.weights, logits, self.rows, strict=True)) / n  # fmt: skip
            mean_r = sum(log_loss(b, 0) for b in belief) / n
            lf, lr = o["lambda_f"], o["lambda_r"]
            loss = (1 - lf - lr) * mean_ce - lf * mean_f - lr * mean_r
        else:
            return {"fairness_discriminator": loss_f.item(),
                    "robustness_discriminator": loss_r.item()}  # fmt: skip
        self.move(0, loss, self.g)
        self.last = loss.item()
        return {"loss": self.last, "risk": self.last, "fairness_discriminator": loss_f.item(),
                "robustness_discriminator": loss_r.item()}  # fmt: skip


@pytest.mark.parametrize("detach", [True, False])
def test_every_iteration_equals_the_float64_loop(detach):
    options = {
        "lr": 0.05, "fairness_lr": 0.3, "robust_lr": 0.2, "warmup": 6, "warmup_scale": 0.5,
        "k": 2, "reweight_every": 4, "lambda_f": 0.4, "lambda_r": 0.3, "detach_robust": detach,
    }  # fmt: skip
    data = TwoGaussians(n=20, batch_size=16, clean_share=0.2, attribute_as_input=True, passes=24)

    class Keep(FRTrain):
        """Writes down the run from its very start, by the reference."""

        def training_step(self, batch, batch_idx):
            if self.trainer.global_step == 0:
                rows = batch._replace(**{k: getattr(batch, k)[:16] for k in batch._fields})
                clean = list(zip(batch.x[16:], batch.y[16:], strict=True))
                self.twin = [Reference(self, rows, clean, options)]
                self.expected = []
            self.expected.append(self.twin[0].step(self.trainer.global_step))
            super().training_step(batch, batch_idx)

    model, run, spy = fit(
        data, 24, Keep, network=MLP(hidden=[], one_logit=True), warmup_steepness=2.0,
        robust_sees_attribute=False, **options,
    )  # fmt: skip
    assert run.global_step == len(model.expected) == 24
    for ours, theirs in zip(spy.terms, model.expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, abs=2e-5), name
    twin = model.twin[0]
    assert min(twin.weights) < 0.99  # the weights had a part in it
    for ours, theirs in zip(model.network.parameters(), twin.g, strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-4)
    by_row = {tuple(x.tolist()): w for (x, _, _), w in zip(twin.rows, twin.weights, strict=True)}
    for i, row in enumerate(data.training.table.x):
        key = tuple(torch.as_tensor(row).double().tolist())
        assert model.sample_weight[i].item() == pytest.approx(by_row[key], abs=1e-5)


def test_without_its_terms_it_is_erm():
    options = {"lambda_f": 0.0, "lambda_r": 0.0, "reweight": "off", "warmup": 0, "k": 1}
    data = {"n": 100, "batch_size": 20, "clean_share": 0.2}
    network = fit(TwoGaussians(**data), 12, **options)[0].network
    plain = fit(TwoGaussians(**data), 12, PlainWithClean)[0].network
    for a, b in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


class PlainWithClean(ERM):
    """ERM that leaves the verified rows aside."""

    uses_clean = True

    def risk(self, out, batch):
        return super().risk(*self.training_rows(out, batch))


def test_the_classifier_moves_when_it_should_and_every_batch_is_a_step():
    data = TwoGaussians(n=100, batch_size=20, clean_share=0.2)
    for fairness, robustness, k in (
        ("discriminator", "discriminator", 3), ("smooth_mi", "discriminator", 3),
        ("none", "discriminator", 3), ("discriminator", "none", 3), ("smooth_mi", "none", 1),
    ):  # fmt: skip
        own = TwoGaussians(n=100, batch_size=20) if robustness == "none" else data
        _, run, spy = fit(own, 14, fairness=fairness, robustness=robustness, k=k, warmup=4)
        assert run.global_step == 14 == len(spy.weights)
        moved = [t for t in range(1, 14)
                 if not torch.equal(spy.weights[t][0], spy.weights[t - 1][0])]  # fmt: skip
        assert moved == [t for t in range(1, 14) if t < 4 or t % k == 0]


def test_a_row_is_weighted_anew_once_after_each_renewal():
    data = TwoGaussians(n=120, batch_size=24, clean_share=0.2)  # 4 batches an epoch
    seen = []

    class Watch(FRTrain):
        def on_train_batch_end(self, *args):
            super().on_train_batch_end(*args)
            seen.append((self.sample_weight.clone(), self.renewed_at.clone()))

    fit(data, 16, Watch, warmup=2, k=1, reweight_every=6, lr=0.05)
    ones = [int((w != 1).sum()) for w, _ in seen]
    assert ones[5] == 0 and ones[6] == 24 and ones[11] == 96  # one batch, then one epoch
    assert set(seen[11][1].tolist()) == {6} and set(seen[15][1].tolist()) == {12}


@pytest.mark.parametrize("bounds", [[0.01, 10.0], [0.99, 1.01]])
def test_weights_of_mean_one_have_mean_one_and_are_clipped(bounds):
    model = FRTrain(2, 2, [2], network=MLP(hidden=[]), reweight="mean_one", warmup=0,
                    weight_bounds=bounds)  # fmt: skip
    model.sample_weight, model.renewed_at = torch.ones(6), torch.full((6,), -1)
    model.last_loss.fill_(5.0)
    batch = next(iter(TwoGaussians(n=6, batch_size=6).train_dataloader()))
    belief = torch.tensor([0.1, 0.2, 0.9, 0.9, 0.5, 0.5])
    weight = model._sample_weights(batch, belief)
    a = 1 / (1 + math.exp(-(5.0 - 3)))
    raw = a * belief + 1 - a
    assert torch.allclose(weight, (raw / raw.mean()).clamp(*bounds))
    if bounds[1] == 10.0:
        assert weight.mean().item() == pytest.approx(1)


@pytest.mark.parametrize("target", ["demographic_parity", "equal_opportunity", "equalized_odds"])
def test_plus_lambda_times_information_lowers_it(target):
    data = TwoGaussians(n=200, batch_size=200, passes=30)
    model, _, _ = fit(
        data, 30, fairness="smooth_mi", robustness="none", target=target, lambda_f=0.99, k=1,
        warmup=0, beta=2.0, optimizer="SGD", lr=0.2, network=MLP(hidden=[]),
    )  # fmt: skip
    seed_everything(1, verbose=False)
    start = FRTrain(2, 2, [2], fairness="smooth_mi", target=target, beta=2.0,
                    network=MLP(hidden=[]), robustness="none", k=1)  # fmt: skip
    batch = next(iter(data.train_dataloader()))
    with torch.no_grad():
        before, after = (m.information(m.outputs(batch), batch).item() for m in (start, model))
    assert after < 0.8 * before


# ---- any data, any network ------------------------------------------------------------------
@pytest.mark.parametrize("fairness", ["discriminator", "smooth_mi"])
@pytest.mark.parametrize("target", ["equal_opportunity", "equalized_odds"])
def test_several_attribute_values_and_unknown_ones(fairness, target):
    data = Rows(batch_size=20, clean_share=0.2)
    model, _, spy = fit(data, 12, fairness=fairness, target=target, warmup=3, k=2,
                        normaliser="min")  # fmt: skip
    assert all(np.isfinite(v) for terms in spy.terms for v in terms.values())
    assert model.network.head.weight.isfinite().all()


def test_images_show_their_features_to_the_robustness_discriminator():
    data = Digits(n=200, n_eval=50, batch_size=40, clean_share=0.2)
    model, _, spy = fit(data, 6, network=None, warmup=2, k=2, trainer_options={
        "precision": "bf16-mixed"})  # fmt: skip
    first = model.discriminators["robustness"].layers[0]
    assert first.in_features == model.network.num_features + 2
    assert all(np.isfinite(v) for terms in spy.terms for v in terms.values())
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_the_gradient_of_the_classifier_alone_is_clipped():
    data = TwoGaussians(n=100, batch_size=80, clean_share=0.2)
    norms = []

    class Watch(FRTrain):
        def on_train_batch_end(self, *args):
            super().on_train_batch_end(*args)
            norms.append(math.sqrt(sum(p.grad.square().sum() for p in self.network.parameters())))

    fit(data, 4, Watch, clip_norm=0.01)
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_a_schedule_moves_the_classifiers_rate_alone():
    data = TwoGaussians(n=100, batch_size=20, clean_share=0.2)
    for interval, expected in (("step", 0.5**8), ("epoch", 0.5**2)):
        _, run, _ = fit(data, 8, scheduler="ExponentialLR", scheduler_options={"gamma": 0.5},
                        scheduler_interval=interval, lr=1.0, fairness_lr=0.3)  # fmt: skip
        rates = [group["lr"] for o in run.optimizers for group in o.param_groups]
        assert rates == [pytest.approx(expected), 0.3, 0.01]


# ---- exact resume ---------------------------------------------------------------------------
def run_to(folder, ckpt=None, extra=()):
    seed_everything(5, verbose=False)
    data = TwoGaussians(n=130, batch_size=16, clean_share=0.25)
    model = FRTrain(
        2, 2, [2], network=MLP(hidden=[6], dropout=0.3), warmup=3, k=2, reweight_every=4, lr=0.05,
        fairness_optimizer="Adam", scheduler="StepLR", scheduler_options={"step_size": 1},
    )  # fmt: skip
    run = trainer(
        max_steps=15, log_every_n_steps=1, logger=CSVLogger(str(folder)),
        enable_checkpointing=True,
        callbacks=[RollingCheckpoint(every_n_steps=1, dirpath=str(folder)), *extra],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True)
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        "state": model.state_dict(), "rows": rows, "step": run.global_step,
        "optimizers": [o.state_dict() for o in run.optimizers],
        "weights": (model.sample_weight, model.renewed_at),
    }  # fmt: skip


class Stop(Callback):
    """Kills the run after a number of optimiser steps, as a power cut would."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise ConnectionAbortedError


@pytest.mark.slow
def test_stopping_anywhere_and_continuing_changes_no_bit(tmp_path):
    whole = run_to(tmp_path / "whole")
    assert whole["step"] == 15 and (whole["weights"][0] != 1).any()
    assert any(row["train/loss"] for row in whole["rows"])
    for stop in range(1, 15):
        folder = tmp_path / str(stop)
        with pytest.raises(ConnectionAbortedError):
            run_to(folder, extra=[Stop(stop)])
        last = folder / "last.ckpt"
        assert_same(run_to(folder, str(last) if last.exists() else None), whole, f"stop {stop}")
    assert load(tmp_path / "whole" / "last.ckpt").discriminators["robustness"]


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_a_schedule_is_where_it_was_in_any_checkpoint(interval, tmp_path):
    data = TwoGaussians(n=60, batch_size=12, clean_share=0.2)  # 4 batches

    def rates(ckpt=None, **kwargs):
        seed_everything(1, verbose=False)
        model = FRTrain(2, 2, [2], network=MLP(hidden=[]), warmup=3, k=2, lr=0.1,
                        scheduler="ExponentialLR", scheduler_options={"gamma": 0.5},
                        scheduler_interval=interval)  # fmt: skip
        run = trainer(max_steps=11, limit_val_batches=0, **kwargs)
        run.fit(model, datamodule=data, ckpt_path=ckpt, weights_only=True)
        return run.optimizers[0].param_groups[0]["lr"], model.state_dict()

    class Keep(Checkpoint):
        def on_train_batch_end(self, run, *_):
            run.save_checkpoint(tmp_path / f"{run.global_step}.ckpt")

    rate, state = rates(callbacks=[Keep()], enable_checkpointing=True)
    assert rate == pytest.approx(0.1 * 0.5 ** (11 if interval == "step" else 2))
    for step in (2, 4, 6, 10):
        assert_same(rates(tmp_path / f"{step}.ckpt"), (rate, state), f"from {step}")


# ---- what is refused ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"lambda_f": 0.6, "lambda_r": 0.4}, "must be positive"),
        ({"lambda_f": 0.9, "lambda_r": 0.3}, r"give -0\.2"),
        ({"lambda_f": 0.7, "lambda_r": 0.3}, "must be positive"),  # 1 - .7 - .3 is 6e-17
        ({"lambda_f": -0.1}, r"lambda_f: expected a number of at least 0"),
        ({"fairness": "disc"}, "smooth_mi"),
        ({"reweight": "on"}, "mean_one"),
        ({"target": "parity"}, "equalized_odds"),
        ({"positive_class": 2}, "2 classes"),
        ({"k": 0}, r"FRTrain\.k: expected an integer of at least 1"),
        ({"k": 2, "fairness": "smooth_mi", "robustness": "none"}, "set k to 1"),
        ({"fairness_hidden": [0]}, "at least 1"),
        ({"robust_hidden": [-2]}, "at least 1"),
        ({"init_std": -1.0}, "init_std"),
        ({"weight_bounds": [2.0, 3.0]}, "around 1"),
        ({"fairness_optimizer": "Adm"}, "fairness_optimizer"),
        ({"robust_lr": -1.0}, r"robust_lr: expected a number of at least 0"),
        ({"clip_norm": -1.0}, "clip_norm"),
    ],
)
def test_wrong_arguments_are_refused(kwargs, words):
    with pytest.raises(UserError, match=words):
        FRTrain(2, 2, [2], **kwargs)


def test_an_absent_player_leaves_its_lambda_out_of_the_sum():
    model = FRTrain(2, 2, [2], lambda_f=0.9, lambda_r=0.5, robustness="none")
    assert not model.uses_clean


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]}, "bf16"),
        ({"gradient_clip_val": 1.0}, r"model\.clip_norm"),
        ({"accumulate_grad_batches": 2}, "accumulate"),
    ],
)
def test_trainers_that_do_not_fit_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        fit(TwoGaussians(n=50, batch_size=10, clean_share=0.2), 2, trainer_options=options)


def test_no_verified_rows_are_refused_where_they_are_needed():
    with pytest.raises(UserError, match="clean_share"):
        fit(TwoGaussians(n=50, batch_size=10), 2)


# ---- the published figures ------------------------------------------------------------------
#: The released code's printed losses of D_F, D_R and G, seed 1, first lambda of each notebook.
ANCHORS = {
    False: {0: (0.686341, 0.716233, 0.465272), 200: (0.584361, 0.680139, 0.312735)},
    True: {0: (0.686341, 0.716233, 0.060358), 200: (0.682480, 0.705212, 0.057829)},
}
NAMES = ("fairness_discriminator", "robustness_discriminator", "loss")


def preset(name, poisoned, steps, **kwargs):
    """Run a shipped preset on the released arrays with seed 1, as `frbench bench` does."""

    import yaml

    if find("fr_train/X_synthetic.npy") is None:
        pytest.skip("fr_train/X_synthetic.npy is not here: set FRBENCH_DATA")
    path = ROOT / "configs" / "method" / f"fr_train_{name}.yaml"
    options = yaml.safe_load(path.read_text())["model"]["init_args"]
    options.pop("network")
    data = TwoGaussians(source="released", poisoned=poisoned, attribute_as_input=True,
                        batch_size=1800, passes=500, clean_share=0.1)  # fmt: skip
    network = MLP(hidden=[], one_logit=True)
    model, run, spy = fit(data, steps, network=network, **{**options, **kwargs})
    run.test(model, datamodule=data, verbose=False)
    return spy, model.evaluation["test"]["accuracy"], model.evaluation["test"]["disparate_impact"]


@pytest.mark.parametrize("poisoned", [False, True])
def test_first_losses_are_those_of_the_released_code(poisoned):
    spy, _, _ = preset("official_poisoned" if poisoned else "official_clean", poisoned, 201)
    for t, expected in ANCHORS[poisoned].items():
        for name, value in zip(NAMES, expected, strict=True):
            assert spy.terms[t][name] == pytest.approx(value, abs=1e-5), (t, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "lambda_f", "accuracy", "impact"),
    [
        ("official_clean", 4000, 0.2, 0.867, 0.492),
        ("official_poisoned", 10000, 0.52, 0.814, 0.827),
        ("mi_clean", 2000, 0.8, 0.804, 0.836),
    ],
)
def test_published_pairs(name, steps, lambda_f, accuracy, impact):
    _, ours, di = preset(name, "poisoned" in name, steps, lambda_f=lambda_f)
    assert ours == pytest.approx(accuracy, abs=0.002)
    assert di == pytest.approx(impact, abs=0.005)


@pytest.mark.parametrize(
    "options",
    [{"balance": "joint"}, {"balance": "joint", "via": "subsample"}, {"rows_per_group": 4}],
)
def test_groups_must_not_tell_verified_rows_from_training_rows(options):
    data = TwoGaussians(n=200, batch_size=40, clean_share=0.2, **options)
    with pytest.raises(UserError, match=r"Set data.via to weight and data.rows_per_group to 0"):
        fit(data, 1)
    with pytest.raises(UserError, match=r"Set data.via to weight"):
        sweep([FRTrain(2, 2, [2], network=MLP(hidden=[]))], [data], 1)
    alone = TwoGaussians(n=200, batch_size=40, **options)
    model, _, _ = fit(alone, 2, robustness="none", k=1)
    assert model.network.head.weight.isfinite().all()


def test_a_balance_by_weight_goes_with_verified_rows():
    data = TwoGaussians(n=200, batch_size=40, clean_share=0.2, balance="joint", via="weight")
    assert fit(data, 2)[0].network.head.weight.isfinite().all()
