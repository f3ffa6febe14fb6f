"""GroupDRO against a float64 loop, step by step, and against every trap of the specification."""

import copy
import math

import numpy as np
import pytest
import torch
from given_tables import Given, rows
from trainers import trainer

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, GroupDRO

G = 4
COUNTS = [400, 100, 60, 8]
NAMES = ["y=0,z=0", "y=0,z=1", "y=1,z=0", "y=1,z=1"]


def make(cls=GroupDRO, **kwargs):
    torch.manual_seed(0)
    objective = cls(2, 2, [3], network=MLP(hidden=[]), **kwargs)
    if cls is GroupDRO:
        objective.bind_groups(torch.tensor(COUNTS), NAMES)
    return objective


def batch_of(losses, groups, weight=None):
    """A batch whose losses are given, as a leaf with gradients."""
    losses = torch.as_tensor(losses, dtype=torch.float32).requires_grad_()
    group = torch.as_tensor(groups)
    n = len(group)
    weight = torch.ones(n) if weight is None else torch.as_tensor(weight, dtype=torch.float32)
    z = torch.where(group < 0, -1, group % 2)
    batch = Batch(
        torch.zeros(n, 3), group.clamp(min=0) // 2, z, group, weight,
        torch.zeros(n, dtype=torch.bool), torch.arange(n), torch.zeros(n, dtype=torch.bool),
    )  # fmt: skip
    return Outputs(torch.zeros(n, 1), torch.zeros(n, 2), losses), batch


def stream(steps=40, seed=0, batch=12):
    """Batches in which groups are missing, some of them for long."""
    rng = np.random.default_rng(seed)
    for t in range(steps):
        present = rng.choice(G, size=rng.integers(1, G + 1), replace=False)
        if t < 10:
            present = present[present != 3] if (present != 3).any() else np.array([0])
        groups = rng.choice(present, size=batch)
        yield rng.exponential(0.5 + groups), groups


class Reference:
    """Specification 1.2, in Python floats and loops."""

    def __init__(self, eta=0.01, adjustment=0.0, normalize=False, mode="online", alpha=0.2,
                 gamma=0.1, min_weight=0.0):  # fmt: skip
        self.eta, self.normalize, self.mode, self.alpha = eta, normalize, mode, alpha
        self.gamma, self.min_weight = gamma, min_weight
        c = adjustment if isinstance(adjustment, list) else [adjustment] * G
        self.extra = [c[g] / math.sqrt(COUNTS[g]) for g in range(G)]
        self.q, self.ema, self.seen = [1 / G] * G, [0.0] * G, [False] * G

    def step(self, losses, groups):
        """Return the loss, its gradient by sample, and move the state."""
        mean, count = [0.0] * G, [0] * G
        for loss, g in zip(losses, groups, strict=True):
            mean[g] += float(loss)
            count[g] += 1
        mean = [m / max(c, 1) for m, c in zip(mean, count, strict=True)]
        for g in range(G):
            keep = (1 - self.gamma * (count[g] > 0)) * self.seen[g]
            self.ema[g] = keep * self.ema[g] + (1 - keep) * mean[g]
            self.seen[g] = self.seen[g] or count[g] > 0
        if self.mode == "greedy":
            share = [n / sum(COUNTS) for n in COUNTS]
            order = sorted(range(G), key=lambda g: -(self.ema[g] + self.extra[g]))
            left, weights = self.alpha, [0.0] * G
            for g in order:
                weights[g] = min(share[g], left) / self.alpha
                left -= min(share[g], left)
            v = self.min_weight
            weights = [v * f + (1 - v) * w for f, w in zip(share, weights, strict=True)]
        else:
            gain = [m + e for m, e in zip(mean, self.extra, strict=True)]
            if self.normalize:
                gain = [a / sum(gain) for a in gain]
            q = [p * math.exp(self.eta * a) for p, a in zip(self.q, gain, strict=True)]
            self.q = [p / sum(q) for p in q]
            v = self.min_weight
            self.q = [(1 - v) * p + v / G for p in self.q]
            weights = self.q
        loss = sum(w * m for w, m in zip(weights, mean, strict=True))
        return loss, [weights[g] / count[g] for g in groups]


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"eta": 0.5},
        {"eta": 0.1, "adjustment": 3.0},
        {"eta": 0.1, "normalize": True, "adjustment": 1.0},
        {"eta": 0.2, "min_weight": 0.1},
        {"mode": "greedy"},
        {"mode": "greedy", "alpha": 0.6, "min_weight": 0.3, "adjustment": 2.0},
        {"mode": "greedy", "alpha": 1.0},  # trap l: the reference raises IndexError
        {"gamma": 1.0, "mode": "greedy"},
    ],
)
def test_equals_the_float64_loop_step_by_step(kwargs):
    objective, reference = make(**kwargs), Reference(**kwargs)
    for losses, groups in stream():
        out, batch = batch_of(losses, groups)
        loss = objective.risk(out, batch)
        loss.backward()
        expected, gradient = reference.step(losses, groups)
        assert loss.item() == pytest.approx(expected, rel=2e-5)
        np.testing.assert_allclose(out.losses.grad, gradient, rtol=2e-5)
        objective.commit_all()
        np.testing.assert_allclose(objective.log_q.exp(), reference.q, rtol=2e-5)
        np.testing.assert_allclose(objective.moving_loss, reference.ema, rtol=2e-5, atol=1e-7)


def test_eta_zero_is_the_mean_over_groups():
    objective = make(eta=0.0)
    out, batch = batch_of([1.0, 2, 3, 6], [0, 1, 2, 3])
    assert objective.risk(out, batch).item() == pytest.approx(3.0)


def test_one_group_is_erm():
    torch.manual_seed(0)
    dro, erm = (cls(1, 1, [3], network=MLP(hidden=[])) for cls in (GroupDRO, ERM))
    dro.bind_groups(torch.tensor([5]), ["y=0,z=0"])
    out, batch = batch_of([1.0, 2, 6], [0, 0, 0])
    batch = batch._replace(group=torch.zeros(3, dtype=torch.long))
    assert dro.risk(out, batch).item() == pytest.approx(erm.risk(out, batch).item())


def test_weights_of_the_batch_weigh_inside_the_group():
    objective = make(eta=0.0)
    out, batch = batch_of([1.0, 5.0], [0, 0], weight=[3.0, 1.0])
    assert objective.risk(out, batch).item() == pytest.approx((3 * 1 + 5) / 4 / G)


def test_unknown_attributes_add_their_share_and_leave_q_alone():
    objective = make(eta=0.3)
    alone, batch = batch_of([1.0, 2.0], [0, 1])
    objective.risk(alone, batch)
    q = objective._proposed["log_q"].clone()
    out, batch = batch_of([1.0, 2.0, 9.0, 7.0], [0, 1, -1, -1])
    known = objective.risk(*batch_of([1.0, 2.0], [0, 1])).item()
    assert objective.risk(out, batch).item() == pytest.approx(0.5 * known + 0.5 * 8.0)
    assert torch.equal(objective._proposed["log_q"], q)


# ---- the traps of specification 1.5 ---------------------------------------------------------
def test_a_adjustment_is_reported_apart_and_not_minimised():
    plain, adjusted = make(eta=0.0), make(eta=0.0, adjustment=2.0)
    args = batch_of([1.0, 2, 3, 6], [0, 1, 2, 3])
    assert plain.risk(*args).item() == adjusted.risk(*args).item()
    adjusted.commit_all()
    adjusted.seen_names = NAMES
    logged = adjusted.state_to_log()
    assert logged["moving_loss/y=1,z=1"].item() == pytest.approx(6.0)
    assert logged["adjusted_loss/y=1,z=1"].item() == pytest.approx(6 + 2 / math.sqrt(8))


def test_b_adjustments_apply_group_by_group():
    objective = make(eta=0.5, adjustment={"y=1,z=1": 4.0})
    reference = Reference(eta=0.5, adjustment=[0.0, 0.0, 0.0, 4.0])
    out, batch = batch_of([1.0, 1, 1, 1], [0, 1, 2, 3])
    objective.risk(out, batch)
    objective.commit_all()
    reference.step([1.0, 1, 1, 1], [0, 1, 2, 3])
    np.testing.assert_allclose(objective.log_q.exp(), reference.q, rtol=1e-5)
    with pytest.raises(UserError, match="unknown groups"):
        make(adjustment={"y=2,z=0": 1.0})


def test_c_state_keeps_no_graph():
    objective = make(mode="greedy")
    for losses, groups in stream(5):
        objective.risk(*batch_of(losses, groups)).backward()
        objective.commit_all()
    assert all(b.grad_fn is None and not b.requires_grad for b in objective.buffers())


def test_d_q_is_in_the_state_and_continues_exactly():
    whole, first = make(eta=0.3), make(eta=0.3)
    batches = list(stream(20))
    for losses, groups in batches:
        whole.risk(*batch_of(losses, groups))
        whole.commit_all()
    for losses, groups in batches[:11]:
        first.risk(*batch_of(losses, groups))
        first.commit_all()
    second = make(eta=0.3)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for losses, groups in batches[11:]:
        second.risk(*batch_of(losses, groups))
        second.commit_all()
    for name in ("log_q", "moving_loss", "seen"):
        assert torch.equal(getattr(second, name), getattr(whole, name))
    assert "train_counts" not in whole.state_dict()  # belongs to the data, not to the method


def test_f_a_bfloat16_loss_still_moves_q():
    objective = make(eta=0.003)
    out, batch = batch_of([1.0, 0, 0, 0], [0, 1, 2, 3])
    assert objective.log_q.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective.risk(out, batch)
    objective.commit_all()
    assert objective.log_q.exp()[0] > 0.2505


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_f_a_non_finite_loss_never_enters_the_state(bad):
    objective = make(eta=0.5)
    objective.risk(*batch_of([1.0, bad, 2.0, 3.0], [0, 1, 2, 3]))
    objective.commit_all()
    assert torch.isfinite(objective.log_q).all() and torch.isfinite(objective.moving_loss).all()
    assert not objective.seen[1]
    assert objective.log_q.exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_f_a_skipped_step_moves_nothing():
    objective = make(eta=0.5)
    before = objective.log_q.clone()
    objective.risk(*batch_of([1.0, 2], [0, 3]))
    objective.discard_all()  # what the base does before the next step
    objective.commit_all()
    assert torch.equal(objective.log_q, before)


def test_g_zero_losses_with_normalisation_stay_finite():
    objective = make(eta=0.5, normalize=True)
    objective.risk(*batch_of([0.0, 0, 0, 0], [0, 1, 2, 3]))
    objective.commit_all()
    np.testing.assert_allclose(objective.log_q.exp(), 0.25, rtol=1e-6)


def test_h_a_saturated_q_comes_back():
    objective = make(eta=1.0)
    for losses in ([2.0, 0, 0, 0],) * 200 + ([0.0, 2, 0, 0],) * 201:
        objective.risk(*batch_of(losses, [0, 1, 2, 3]))
        objective.commit_all()
    assert objective.log_q.exp()[1] > 0.8  # float32 q would have been 0 for ever
    floored = make(eta=1.0, min_weight=0.1)
    for _ in range(200):
        floored.risk(*batch_of([2.0, 0, 0, 0], [0, 1, 2, 3]))
        floored.commit_all()
    assert floored.log_q.exp().min() >= 0.1 / G - 1e-6


def test_i_two_forwards_before_one_backward():
    objective = make(eta=0.1)
    first, second = batch_of([1.0, 2], [0, 1]), batch_of([2.0, 2], [0, 3])
    (objective.risk(*first) + objective.risk(*second)).backward()
    assert all((out.losses.grad > 0).all() for out, _ in (first, second))


def test_m_n_o_counts_come_from_the_data_and_absent_groups_break_nothing():
    torch.manual_seed(0)
    objective = GroupDRO(2, 2, [3], network=MLP(hidden=[]), adjustment=1.0)
    objective.bind_groups(torch.tensor([5, 0, 3, 2]), NAMES)  # one group has no training row
    loss = objective.risk(*batch_of([1.0, 2.0], [0, 2]))
    objective.commit_all()
    assert torch.isfinite(loss) and torch.isfinite(objective.log_q).all()


def test_present_only_moves_only_the_present_and_uses_their_shares():
    objective = make(eta=1.0, present_only=True)
    before = objective.log_q.exp()
    loss = objective.risk(*batch_of([1.0, 3.0], [0, 3]))
    objective.commit_all()
    q = objective.log_q.exp()
    assert torch.allclose(q[1:3], before[1:3])
    a, b = math.exp(1), math.exp(3)
    assert q[3].item() == pytest.approx(0.5 * b / (a + b), rel=1e-5)
    assert loss.item() == pytest.approx((a * 1 + b * 3) / (a + b), rel=1e-5)


def test_single_group_uses_one_present_group_per_step_uniformly():
    objective = make(eta=0.0, mode="single_group")

    class Clock:
        global_step = 0

    objective._trainer = Clock()
    drawn = []
    for Clock.global_step in range(600):
        out, batch = batch_of([1.0, 1, 1, 1], [0, 1, 3, 3])
        objective.risk(out, batch).backward()
        used = set(batch.group[out.losses.grad != 0].tolist())
        assert len(used) == 1
        drawn += used
    observed = np.bincount(drawn, minlength=G) / 600
    np.testing.assert_allclose(observed, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.07)


def test_single_group_draws_anew_for_each_seed():
    class Clock:
        global_step = 0

    drawn = {}
    for seed in (0, 1):
        objective = make(mode="single_group")
        objective._seed, objective._trainer = seed, Clock()
        drawn[seed] = []
        for Clock.global_step in range(40):
            drawn[seed].append(
                int(objective._draw(torch.ones(G, dtype=torch.bool)).int().argmax())
            )
    for shift in range(-3, 4):  # nor the other's groups some steps later
        pairs = [(drawn[0][i], drawn[1][i + shift]) for i in range(4, 36)]
        assert sum(a == b for a, b in pairs) < 20


def test_groups_present_by_generated_rows_alone_keep_their_weight():
    objective = make(eta=1.0, present_only=True, real_only=True)
    out, batch = batch_of([1.0, 3.0], [0, 3])
    batch = batch._replace(synthetic=torch.tensor([False, True]))
    loss = objective.risk(out, batch)
    # Group 3 has no loss that moves q, but q is what its generated row weighs.
    q = math.e / (math.e + 1)
    objective.commit_all()
    assert loss.item() == pytest.approx(q * 1 + (1 - q) * 3, rel=1e-5)


def test_single_group_updates_q_first_and_only_there():
    objective = make(eta=1.0, mode="single_group")

    class Clock:
        global_step = 0

    objective._trainer = Clock()
    out, batch = batch_of([2.0, 2.0], [1, 1])
    loss = objective.risk(out, batch)
    objective.commit_all()
    q1 = math.exp(2) / (math.exp(2) + 3)
    assert objective.log_q.exp()[1].item() == pytest.approx(q1, rel=1e-5)
    assert loss.item() == pytest.approx(2 * q1, rel=1e-5)


@pytest.mark.parametrize(
    "kwargs",
    [{"alpha": 0.0}, {"alpha": 1.1}, {"gamma": 0.0}, {"min_weight": -0.1}, {"eta": -1.0},
     {"mode": "single_group", "present_only": True}],
)  # fmt: skip
def test_values_out_of_range_are_refused(kwargs):
    with pytest.raises(UserError):
        make(**kwargs)


def test_permuting_a_batch_or_scaling_weights_changes_nothing():
    losses, groups = np.random.default_rng(0).exponential(1, 16), np.arange(16) % 4
    order = np.random.default_rng(1).permutation(16)
    results = []
    for index, scale in ((np.arange(16), 1.0), (order, 1.0), (order, 7.0)):
        objective = make(eta=0.4)
        args = batch_of(losses[index], groups[index], weight=np.full(16, scale))
        results.append((objective.risk(*args).item(), objective._proposed["log_q"]))
    for loss, log_q in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-5)
        assert torch.allclose(log_q, results[0][1], atol=1e-6)


def test_an_adjustment_does_not_chase_a_group_without_rows():
    table = rows(60, z=np.where(np.arange(60) % 2 == 1, 1, np.arange(60) // 2 % 2))
    model = GroupDRO(2, 2, [2], network=MLP(hidden=[]), eta=0.5, adjustment=2.0)
    trainer(max_epochs=20).fit(model, datamodule=Given(table, batch_size=20))
    q = dict(zip(model.group_names, model.log_q.exp().tolist(), strict=True))
    assert q["y=1,z=0"] < 0.25  # no training row has it
    with pytest.raises(UserError, match="adjustment: expected a number of at least 0"):
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
