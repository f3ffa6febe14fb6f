"""The sweep gives what the Trainer gives, run by run, and refuses what it cannot stack."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import FRTrain
from frbench.objectives.fr_train.stack import Stack
from frbench.objectives.fr_train.sweep import sweep
from frbench.penalties import MutualInformation

STRENGTHS = (0.1, 0.5)


def model(run, hidden=(), **options):
    torch.manual_seed(run)
    network = MLP(hidden=list(hidden), one_logit=not hidden)
    given = {"lr": 0.005, "warmup": 12, "k": 3, "reweight_every": 4, "warmup_steepness": 2.0,
             "lambda_r": 0.1, "init_std": 0.2, "lambda_f": STRENGTHS[run % 2]}  # fmt: skip
    return FRTrain(2, 2, [3], network=network, **given | options)


def data(run, **options):
    given = {"n": 120, "attribute_as_input": True, "clean_share": 0.1, "batch_size": 108}
    return TwoGaussians(seed=run, **given | options)


def fit(method, rows, steps):
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    run = trainer(max_steps=steps, limit_val_batches=0, log_every_n_steps=1000)
    run.fit(method, datamodule=rows)


CASES = {
    "official": ({}, {}),
    "detached": ({"detach_robust": True}, {}),
    "detached without weight": ({"detach_robust": True, "lambda_r": 0.0}, {"batch_size": 54}),
    "weights alone": ({"detach_robust": True, "lambda_r": 0.0, "reweight": "mean_one"}, {}),
    "mean one": ({"reweight": "mean_one", "weight_bounds": [0.97, 1.01]}, {}),
    "no weights, other optimisers": (
        {"reweight": "off", "optimizer": "SGD", "fairness_optimizer": "Adam", "weight_decay": 0.1},
        {},
    ),
    "attribute seen twice": ({"robust_sees_attribute": True}, {}),
    "mutual information": ({"fairness": "smooth_mi", "k": 1}, {}),
    "by the labels": ({"fairness": "smooth_mi", "normaliser": "label", "k": 2}, {}),
    "by the predictions": ({"fairness": "smooth_mi", "normaliser": "prediction", "beta": 5.0}, {}),
    "by the smaller": ({"fairness": "smooth_mi", "normaliser": "min"}, {}),
    "fairness alone": ({"robustness": "none"}, {"clean_share": 0.0, "batch_size": 120}),
    "robustness alone": ({"fairness": "none"}, {}),
    "hidden layers": ({"hidden": [6], "fairness_hidden": [4], "robust_hidden": [5, 3]}, {}),
    "small batches": ({}, {"batch_size": 27}),
    "small weighted batches": (
        {"fairness": "smooth_mi"}, {"batch_size": 27, "balance": "joint", "via": "weight"},
    ),
    "drawn batches": (
        {"robustness": "none"},
        {"clean_share": 0.0, "batch_size": 120, "balance": "class", "via": "sample"},
    ),
}  # fmt: skip
#: One with each of the two kinds of fairness term.
QUICK = ("official", "small weighted batches")


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        pytest.param(*case, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
def test_a_sweep_trains_each_run_as_the_trainer_does(options, rows):
    together = [model(run, **options) for run in range(3)]
    before = [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in together]
    sweep(together, [data(run // 2, **rows) for run in range(3)], 40)
    for run, method in enumerate(together):
        alone = model(run, **options)
        fit(alone, data(run // 2, **rows), 40)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(
                method.state_dict()[key], value, rtol=1e-5, atol=2e-6, msg=f"run {run}, {key}"
            )
        now = torch.cat([p.detach().flatten() for p in method.parameters()])
        assert (now - before[run]).abs().max() > 0.01


def test_runs_of_several_shapes_are_stacked_apart_and_observed_in_between():
    models = [model(0), model(1, k=2), model(2), model(3), model(4, hidden=[4])]
    shared = data(0)
    seen = []

    def observe(view):
        x = torch.as_tensor(shared.splits["val"].x).T.expand(len(view.runs), -1, -1)
        seen.append((view.step, view.runs))
        assert set(view.losses) == {"fairness", "robustness", "risk"}
        assert view.margin(x).shape == (len(view.runs), 60)
        last[tuple(view.runs)] = view.margin(x)

    last = {}
    sweep(models, [shared] * 5, 7, every=3, observe=observe, size=2)
    stacks = [[0, 2], [3], [1], [4]]
    assert seen == [(step, runs) for runs in stacks for step in (3, 6, 7)]
    x = torch.as_tensor(shared.splits["val"].x)
    for runs, margins in last.items():
        for run, margin in zip(runs, margins, strict=True):
            logits = models[run](x)
            torch.testing.assert_close(logits[:, 1] - logits[:, 0], margin)


@pytest.mark.parametrize(
    ("options", "rows", "words"),
    [
        ({"target": "equalized_odds"}, {}, "target"),
        ({"penalties": [MutualInformation()]}, {}, "penalties"),
        ({"scheduler": "StepLR", "scheduler_options": {"step_size": 5}}, {}, "schedule"),
        ({"clip_norm": 1.0}, {}, "clip_norm"),
        ({"robust_sees": "features"}, {}, "features"),
        ({"robustness": "none"}, {}, "does not use"),
        ({"robust_optimizer": "Adafactor"}, {}, "Adafactor"),
    ],
)
def test_what_cannot_be_stacked_is_refused(options, rows, words):
    with pytest.raises(UserError, match=words):
        sweep([model(0, **options)], [data(0, **rows)], 3)


def test_networks_that_cannot_be_stacked_are_refused():
    with pytest.raises(UserError, match="Conv2d cannot be stacked"):
        Stack([nn.Sequential(nn.Conv2d(1, 1, 3))])
    with pytest.raises(UserError, match="Dropout cannot be stacked"):
        Stack([nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))])
    with pytest.raises(UserError, match="different shapes"):
        Stack([nn.Linear(2, 1), nn.Linear(2, 2)])
    with pytest.raises(UserError, match="no model twice"):
        one = model(0)
        sweep([one, one], [data(0)] * 2, 3)


def test_a_stack_is_its_networks_and_gives_their_parameters_back():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(3, 4, bias=i < 3), nn.Tanh(), nn.Linear(4, 2))
            for i in (0, 1, 2)]  # fmt: skip
    x = torch.randn(3, 3, 7)
    stack = Stack(nets)
    out = stack(x)
    for run, net in enumerate(nets):
        torch.testing.assert_close(out[run].T, net(x[run].T))
    gradients = torch.autograd.grad(out.square().sum(), stack.parameters)
    for run, net in enumerate(nets):
        own = torch.autograd.grad(net(x[run].T).square().sum(), [*net.parameters()])
        for ours, theirs in zip(gradients, own, strict=True):
            torch.testing.assert_close(ours[run].squeeze(), theirs.squeeze())
    with torch.no_grad():
        for parameter in stack.parameters:
            parameter.add_(1)
    new = stack(x)
    stack.write_back()
    torch.testing.assert_close(new[1].T, nets[1](x[1].T))


@pytest.mark.slow
def test_a_sweep_gives_the_published_figures_on_the_clean_released_data(shared_data):
    strengths = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85]
    published = [(0.867, 0.492), (0.866, 0.528), (0.857, 0.554), (0.858, 0.608),
                 (0.847, 0.663), (0.837, 0.711), (0.820, 0.766), (0.807, 0.818)]  # fmt: skip
    rows = TwoGaussians(
        source="released", attribute_as_input=True, clean_share=0.1, batch_size=1800
    )
    settings = {"lambda_r": 0.1, "k": 3, "warmup": 500, "reweight_every": 100, "lr": 0.005,
                "robust_lr": 0.001, "robust_sees_attribute": False,
                "detach_robust": True}  # fmt: skip
    models = [model(1, **settings, lambda_f=strength) for strength in strengths]
    sweep(models, [rows] * len(models), 4000)
    test = rows.splits["test"]
    for method, (accuracy, impact) in zip(models, published, strict=True):
        with torch.no_grad():
            prediction = method(torch.as_tensor(test.x)).argmax(1).numpy()
        rates = [prediction[test.z == z].mean() for z in (0, 1)]
        assert np.mean(prediction == test.y) == pytest.approx(accuracy, abs=0.002)
        assert min(rates) / max(rates) == pytest.approx(impact, abs=0.005)
