"""The parts in loops of one's own: what tests of the page docs/own_loop.md cannot see."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from paths import ROOT
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from frbench import Batch, Outputs, Sizes, functional, penalties
from frbench.contracts.errors import UserError
from frbench.data import balanced_sampler
from frbench.metrics import GroupCounts, GroupMetric, evaluate
from frbench.networks import MLP
from frbench.objectives import CVaR, Focal, GroupDRO


def rows(n=60, classes=2, values=3):
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, classes, (n,), generator=g)
    z = torch.randint(-1, values, (n,), generator=g)
    logits = torch.randn(n, classes, generator=g) + F.one_hot(y, classes)
    return logits, y, z, torch.rand(n, generator=g)


PENALTIES = {
    "conditional_mmd": (penalties.ConditionalMMD, {}),
    "marginal_mmd": (penalties.MarginalMMD, {}),
    "gap": (penalties.Gap, {"target": "equalized_odds"}),
    "violation": (penalties.Violation, {"statistics": ["true_positive_rate", "accuracy"]}),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_functions_are_the_penalties(name):
    logits, y, z, weight = rows()
    cls, options = PENALTIES[name]
    penalty = cls(**options)
    penalty.bind(Sizes(2, 3, (1,)))
    batch = Batch.of(logits, y, z, 3, weight)
    wanted = penalty(Outputs(logits, logits, weight), batch)
    columns = (logits, z) if name == "marginal_mmd" else (logits, y, z)
    found = getattr(functional, name)(*columns, 3, weight, **options)
    assert float(found) > 0.01 and torch.equal(found, wanted)


def test_functions_of_environments_are_the_penalties():
    logits, y, z, weight = rows()
    losses = F.cross_entropy(logits, y, reduction="none")
    batch, out = Batch.of(logits, y, z, 3, weight), Outputs(logits, logits, losses)
    for penalty, found in (
        (penalties.IRM(), functional.irm(logits, y, z, 3, weight)),
        (penalties.VREx(), functional.vrex(losses, z, 3, weight)),
    ):
        penalty.bind(Sizes(2, 3, (1,)))
        assert torch.equal(penalty(out, batch), found) and float(found) > 0


def test_functions_are_the_objectives():
    logits, y, z, weight = rows(values=2)
    z = z.clamp(min=0)
    losses = F.cross_entropy(logits, y, reduction="none").requires_grad_()
    batch, out = Batch.of(logits, y, z, 2, weight), Outputs(logits, logits, losses)

    def make(cls, **options):
        return cls(2, 2, [2], network=MLP(hidden=[2]), **options)

    means, present = functional.environment_means(losses, batch.group, weight, 4)
    model = make(GroupDRO, eta=0.5)
    q, log_q = functional.group_dro_weights(model.log_q, means.detach(), present, 0.5)
    for risk, found in (
        (make(CVaR, alpha=0.3).risk(out, batch), functional.cvar(losses, 0.3, weight)),
        (make(Focal, gamma=2.0).risk(out, batch), functional.focal(losses, weight, 2.0)),
        (model.risk(out, batch), q @ means),
    ):
        torch.testing.assert_close(risk, found)
        ours, theirs = (
            torch.autograd.grad(v, losses, retain_graph=True)[0] for v in (found, risk)
        )
        torch.testing.assert_close(ours, theirs)
    model.commit()
    torch.testing.assert_close(model.log_q, log_q)


def test_a_batch_says_what_does_not_fit():
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    with pytest.raises(UserError, match=r"one row each, got {'x': 3, 'y': 3, 'z': 2}"):
        Batch.of(x, y, y[:2], 2)
    with pytest.raises(UserError, match="pass integers"):
        Batch.of(x, y, y.float(), 2)


def test_a_balanced_sampler_draws_groups_equally():
    y, z = np.repeat([0, 0, 1, 1], [70, 20, 9, 1]), np.repeat([0, 1, 0, 1], [70, 20, 9, 1])
    sampler = balanced_sampler(y, z, num_samples=8000, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat(list(DataLoader(torch.as_tensor(2 * y + z), 1000, sampler=sampler)))
    share = drawn.bincount(minlength=4) / 8000
    assert (share - 0.25).abs().max() < 0.02
    with pytest.raises(UserError, match=r"none of \[y=1,z=1\]"):
        balanced_sampler(y[:-1], z[:-1])
    with pytest.raises(UserError, match="integer codes"):
        balanced_sampler(y + 0.5, z)


def test_metrics_in_a_collection():
    logits, y, z, _ = rows(values=2)
    metrics = MetricCollection({
        "worst": GroupMetric("worst_group_accuracy", 2, 2),
        "gap": GroupMetric("accuracy_gap", 2, 2),
        "all": GroupCounts(2, 2),
    })  # fmt: skip
    for part in torch.arange(len(y)).split(7):
        metrics.update(logits[part], y[part], z[part])
    wanted = evaluate(y.numpy(), logits.argmax(1).numpy(), z.numpy())
    found = metrics.compute()
    assert float(found["worst"]) == pytest.approx(wanted["worst_group_accuracy"])
    assert float(found["gap"]) == pytest.approx(wanted["accuracy_gap"])
    assert any(k.endswith("demographic_parity_difference") for k in found)
    assert GroupMetric("accuracy_gap", 2, 2).higher_is_better is False


def test_metrics_say_what_does_not_fit():
    with pytest.raises(UserError, match="did you mean worst_group_accuracy"):
        GroupMetric("worst_group_acuracy", 2, 2)
    logits, y, z, _ = rows()
    with pytest.raises(UserError, match=r"GroupCounts needs logits \[B, 3\]"):
        GroupCounts(3, 3).update(logits, y, z)


# ---- Hugging Face ---------------------------------------------------------------------------
def callback():
    """The callback of the page."""
    pytest.importorskip("transformers", reason="needs pip install frbench[text]")
    text = (ROOT / "docs" / "own_loop.md").read_text()
    (code,) = re.findall(r"^```python\n(# my_callback\.py\n.*?)^```", text, flags=re.M | re.S)
    space = {}
    exec(compile(code, "my_callback.py", "exec"), space)
    return space["GroupMetrics"]


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 2)

    def forward(self, x, labels=None, z=None):
        logits = self.net(x)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SimpleNamespace(loss=loss, logits=logits)


def test_the_callback_counts_groups():
    logits, y, z, _ = rows(values=2)
    x, model = torch.cat([logits, logits], 1), Classifier()
    batches = [{"x": x[at], "labels": y[at], "z": z[at]} for at in torch.arange(len(y)).split(16)]
    state, metrics = SimpleNamespace(log_history=[], global_step=3), {}
    callback()(2, 2).on_evaluate(None, state, None, model=model, eval_dataloader=batches,
                                 metrics=metrics)  # fmt: skip
    predicted = model.net(x).argmax(1).numpy()
    wanted = evaluate(y.numpy(), predicted, z.numpy())["worst_group_accuracy"]
    assert metrics == {"eval_worst_group_accuracy": wanted}
    assert state.log_history == [{"step": 3, **metrics}]


def test_the_callback_under_the_trainer(tmp_path):
    make = callback()
    pytest.importorskip("accelerate", reason="the Trainer of transformers needs accelerate")
    from transformers import Trainer, TrainingArguments
    from transformers.modeling_outputs import SequenceClassifierOutput

    class Model(Classifier):
        def forward(self, x, labels=None, z=None):
            out = super().forward(x, labels)
            return SequenceClassifierOutput(loss=out.loss, logits=out.logits)

    logits, y, z, _ = rows(values=2)
    data = [
        {"x": torch.cat([a, a]), "labels": b, "z": c} for a, b, c in zip(logits, y, z, strict=True)
    ]
    args = TrainingArguments(str(tmp_path), max_steps=3, eval_strategy="steps", eval_steps=3,
                             report_to=[], remove_unused_columns=False, use_cpu=True)  # fmt: skip
    trainer = Trainer(Model(), args, train_dataset=data, eval_dataset=data,
                      callbacks=[make(2, 2)])  # fmt: skip
    trainer.train()
    assert any("eval_worst_group_accuracy" in entry for entry in trainer.state.log_history)
