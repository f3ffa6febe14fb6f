"""CVaR, chi-square DRO, ARL and BPF against slow float64 references and against ERM."""

import math

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from scipy.optimize import minimize
from trainers import trainer

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP, BagOfWords
from frbench.objectives import ARL, BPF, ERM, Chi2DRO, CVaR
from frbench.objectives.bpf import project
from frbench.training.table_pass import table_outputs

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]


def make(cls, **kwargs):
    torch.manual_seed(0)
    return cls(2, 2, [3], **{"network": MLP(hidden=[]), **kwargs})


def batch_of(losses, weight=None, x=None, y=None):
    """A batch whose losses are given, as a leaf with gradients."""
    losses = torch.as_tensor(losses, dtype=torch.float32).clone().requires_grad_()
    n = len(losses)
    zero = torch.zeros(n, dtype=torch.long)
    batch = Batch(
        torch.zeros(n, 3) if x is None else x, zero if y is None else y, zero, zero,
        torch.ones(n) if weight is None else torch.as_tensor(weight, dtype=torch.float32),
        zero.bool(), torch.arange(n), zero.bool(),
    )  # fmt: skip
    return Outputs(torch.zeros(n, 2), torch.zeros(n, 2), losses), batch


def draws(n=9):
    rng = np.random.default_rng(0)
    for i in range(12):
        losses = rng.exponential(size=n)
        if i % 3 == 1:
            losses = losses.round(1)
        if i % 3 == 2:
            losses[:4] = losses.max()  # ties at the top
        yield losses, rng.uniform(0.2, 2, n) if i % 2 else np.ones(n)


def cvar_reference(losses, weight, alpha):
    """Take mass from the largest loss down until alpha of it is taken."""
    left, total = alpha * sum(weight), 0.0
    for loss, w in sorted(zip(losses, weight, strict=True), reverse=True):
        taken = min(w, left)
        total += taken * loss
        left -= taken
    return total / alpha / len(losses)


def chi2_reference(losses, weight, radius):
    """Minimise the dual over a fine grid of eta, then around its best point."""
    p = weight / weight.sum()

    def dual(eta):
        above = np.maximum(losses[:, None] - eta, 0)
        return np.sqrt((1 + radius) * (p @ above**2)) + eta

    low, high = losses.max() - 100 * np.ptp(losses) - 1, losses.max()
    for _ in range(40):
        grid = np.linspace(low, high, 201)
        best = int(dual(grid).argmin())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 200)]
    return dual(np.array([low, high])).min() * weight.mean()


@pytest.mark.parametrize("alpha", [0.02, 0.1, 1 / 3, 0.5, 0.77, 1.0])
def test_cvar_equals_the_loop(alpha):
    for losses, weight in draws():
        out, batch = batch_of(losses, weight)
        loss = make(CVaR, alpha=alpha).risk(out, batch)
        assert loss.item() == pytest.approx(cvar_reference(losses, weight, alpha), rel=1e-5)
        loss.backward()
        q = out.losses.grad.numpy()
        assert (q >= 0).all() and (q <= weight / len(q) / alpha + 1e-6).all()
        assert q.sum() == pytest.approx(weight.mean(), rel=1e-5)


def test_cvar_counts_the_last_sample_by_its_fraction():
    out, batch = batch_of([1.0, 2, 3, 4])
    make(CVaR, alpha=0.4).risk(out, batch).backward()  # k = 1.6
    np.testing.assert_allclose(out.losses.grad, [0, 0, 0.6 / 1.6, 1 / 1.6], rtol=1e-6)


@pytest.mark.parametrize("radius", [1e-4, 0.05, 0.3, 1.0, 4.0, 81.0])
def test_chi2_equals_the_minimum_of_its_dual(radius):
    for losses, weight in draws():
        out, batch = batch_of(losses, weight)
        loss = make(Chi2DRO, radius=radius).risk(out, batch)
        assert loss.item() == pytest.approx(chi2_reference(losses, weight, radius), rel=2e-5)
        loss.backward()
        q, p = out.losses.grad.numpy() / weight.mean(), weight / weight.sum()
        assert q.sum() == pytest.approx(1, rel=1e-5)
        assert (q**2 / p).sum() <= (1 + radius) * (1 + 1e-4)


def test_chi2_equals_a_general_solver_of_the_primal():
    losses = np.array([0.3, 2.0, 1.1, 0.2, 1.7])
    p = np.array([0.1, 0.15, 0.3, 0.25, 0.2])
    for radius in (0.1, 0.6, 2.0):
        found = minimize(
            lambda q: -q @ losses, p, method="SLSQP", bounds=[(0, 1)] * 5,
            constraints=[{"type": "eq", "fun": lambda q: q.sum() - 1},
                         {"type": "ineq", "fun": lambda q, r=radius: r + 1 - (q**2 / p).sum()}],
        )  # fmt: skip
        mine = make(Chi2DRO, radius=radius).worst_weights(torch.tensor(losses), torch.tensor(p))
        np.testing.assert_allclose(mine, found.x, atol=2e-4)


def test_the_radius_of_alpha_is_the_papers():
    losses, mass = torch.tensor([0.1, 0.5, 0.9, 2.0]), torch.full((4,), 0.25)
    by_alpha, by_radius = make(Chi2DRO, alpha=0.4), make(Chi2DRO, radius=1.5**2)
    torch.testing.assert_close(
        by_alpha.worst_weights(losses, mass), by_radius.worst_weights(losses, mass)
    )


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    [(CVaR, {"alpha": 0.3}), (Chi2DRO, {"alpha": 0.6}), (Chi2DRO, {"alpha": 0.1})],
)
def test_worst_weights_are_invariant(cls, kwargs):
    objective = make(cls, **kwargs)
    losses, weight = (torch.as_tensor(v, dtype=torch.float32) for v in list(draws())[5])
    mass = weight / 9
    q = objective.worst_weights(losses, mass)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    same = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(
        objective.worst_weights(losses[order], mass[order]), q[order], **same
    )
    torch.testing.assert_close(objective.worst_weights(3 * losses, mass), q, **same)
    torch.testing.assert_close(objective.worst_weights(losses + 2, mass), q, **same)
    # A sample of weight 2 is two samples of weight 1, equal losses weigh the same.
    twice = objective.worst_weights(losses.repeat(2), mass.repeat(2) / 2)
    torch.testing.assert_close(twice[:9] + twice[9:], q, **same)
    torch.testing.assert_close(twice[:9], twice[9:], **same)
    # More mass than its own goes to larger losses only.
    ratio = (q / mass)[losses.argsort()]
    assert (ratio.diff() >= -1e-4).all()


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    [
        (CVaR, {"alpha": 1.0}),
        (Chi2DRO, {"alpha": 1.0}),
        (Chi2DRO, {"radius": 0.0}),
        (ARL, {"pretrain_steps": 1}),
        (BPF, {}),
    ],
)
def test_degenerate_cases_are_erm(cls, kwargs):
    out, batch = batch_of([1.0, 2.0, 6.0, 0.5], [0.5, 1.5, 1.0, 1.2])
    twin, _ = batch_of([1.0, 2.0, 6.0, 0.5])
    loss, expected = make(cls, **kwargs).risk(out, batch), make(ERM).risk(twin, batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(out.losses.grad, twin.losses.grad)


@pytest.mark.parametrize("cls", [CVaR, Chi2DRO])
@pytest.mark.parametrize(
    "losses", [[0.7] * 6, [0.0] * 6, [5.0, 5, 5, 1, 1, 1], [1e-7, 0, 0, 0, 0, 0]]
)
def test_equal_losses_leave_no_nan(cls, losses):
    out, batch = batch_of(losses, [1, 2, 0, 1, 1, 1])
    loss = make(cls, alpha=0.2).risk(out, batch)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(out.losses.grad).all()
    assert out.losses.grad.sum() == pytest.approx(1, rel=1e-5)


# ---- ARL ------------------------------------------------------------------------------------
def test_arl_equals_two_players_in_float64_loops():
    objective = make(ARL)
    torch.manual_seed(1)
    n = 7
    x, y = torch.randn(n, 3), torch.tensor([0, 1, 1, 0, 1, 0, 0])
    losses, weight = torch.rand(n) + 0.2, torch.rand(n) + 0.5
    out, batch = batch_of(losses, weight, x, y)
    loss = objective.risk(out, batch)
    loss.backward()

    (layer,) = objective.adversary
    w, b = layer.weight.detach().double()[0], layer.bias.item()
    inputs = [[*map(float, x[i]), float(y[i] == 0), float(y[i] == 1)] for i in range(n)]

    def value(w, b):
        f = [1 / (1 + math.exp(-(b + sum(p * v for p, v in zip(w, row, strict=True)))))
             for row in inputs]  # fmt: skip
        mean = sum(float(weight[i]) * f[i] for i in range(n)) / n
        factor = [1 + f[i] / mean for i in range(n)]
        total = sum(float(weight[i]) * factor[i] * float(losses[i]) for i in range(n)) / n
        return total, factor

    expected, factor = value(list(map(float, w)), b)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    learner = [float(weight[i]) * factor[i] / n for i in range(n)]
    np.testing.assert_allclose(out.losses.grad, learner, rtol=1e-5)
    h = 1e-6
    for j in range(5):  # the adversary climbs: its gradient is minus that of the value
        up, down = (list(map(float, w)) for _ in range(2))
        up[j] += h
        down[j] -= h
        slope = (value(up, b)[0] - value(down, b)[0]) / (2 * h)
        assert layer.weight.grad[0, j].item() == pytest.approx(-slope, rel=1e-4, abs=1e-7)


def test_arl_is_unharmed_by_saturated_scores():
    objective = make(ARL)
    with torch.no_grad():
        objective.adversary[0].bias.fill_(-200.0)  # its sigmoid is 0 in float32
    out, batch = batch_of([1.0, 2.0, 3.0], [1.0, 0.0, 2.0])
    loss = objective.risk(out, batch)
    loss.backward()
    assert loss.item() == pytest.approx(2 * (1 + 6) / 3, rel=1e-4)  # lambda is 2 for all
    assert all(torch.isfinite(p.grad).all() for p in objective.adversary.parameters())


def test_arl_with_a_constant_adversary_is_twice_erm():
    objective = make(ARL)
    with torch.no_grad():
        objective.adversary[0].weight.zero_()
    out, batch = batch_of([1.0, 2.0, 3.0], x=torch.randn(3, 3))
    assert objective.risk(out, batch).item() == pytest.approx(4.0)


def test_arl_gives_the_adversary_a_rate_of_its_own():
    objective = make(ARL, lr=0.1, adversary_lr=0.7, adversary_hidden=[4])
    optimizer = objective.configure_optimizers()
    first, second = optimizer.param_groups
    assert (first["lr"], second["lr"]) == (0.1, 0.7)
    assert {id(p) for p in second["params"]} == {id(p) for p in objective.adversary.parameters()}
    assert len(first["params"]) == 2 and len(second["params"]) == 4


def test_arl_leaves_the_backbone_alone_when_it_sees_features():
    objective = make(ARL, adversary_input="features")
    out, batch = batch_of([1.0, 2.0])
    features = torch.randn(2, 3, requires_grad=True)
    objective.risk(out._replace(features=features), batch).backward()
    assert features.grad is None and out.losses.grad is not None


# ---- BPF ------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, 50])
def test_projection_equals_bisection(n):
    rng = np.random.default_rng(n)
    for low, mean in ((0.0, 0.3), (0.01, 0.05), (0.2, 0.2), (0.1, 1.0), (0.0, 0.999)):
        point = rng.normal(size=n) * rng.choice([0.01, 1, 100])
        below, above = point.min() - 2, point.max() + 2
        for _ in range(200):
            tau = (below + above) / 2
            if sum(min(max(v - tau, low), 1) for v in point) > mean * n:
                below = tau
            else:
                above = tau
        expected = [min(max(v - tau, low), 1) for v in point]
        found = project(point, low, mean)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        assert found.mean() == pytest.approx(mean, abs=1e-12)


def run(cls, epochs=3, **kwargs):
    seed_everything(1, verbose=False)
    data = TwoGaussians(n=70, batch_size=16)
    model = cls(2, 2, [2], network=MLP(hidden=[4], dropout=0.3), lr=0.05, **kwargs)
    run = trainer(max_epochs=epochs)
    run.fit(model, datamodule=data)
    return model, run, data


@pytest.mark.parametrize("kwargs", [{"alpha": 1.0}, {"eta": 0.0}, {"alpha": 0.2, "epsilon": 0.2}])
def test_bpf_without_a_choice_is_erm(kwargs):
    expected, found = run(ERM)[0].state_dict(), run(BPF, **kwargs)[0].state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-7)


def test_bpf_plays_the_game():
    model, trainer, data = run(BPF, alpha=0.3, epsilon=0.05, max_change=None, eta=1.0)
    a = model._adversary
    assert a.mean() == pytest.approx(0.3) and a.min() >= 0.05 and a.max() <= 1
    losses = table_outputs(model, ["losses"])["losses"].numpy()
    assert model.network.backbone[3].training  # dropout is on again
    table = data.training.table
    model.eval()
    x = torch.as_tensor(data.encode(table.x), dtype=torch.float32)
    expected = torch.nn.functional.cross_entropy(
        model(x), torch.as_tensor(table.y), reduction="none"
    )
    np.testing.assert_allclose(losses, expected.detach(), rtol=1e-5)
    moved = model.ascend(a, losses)
    assert moved @ losses > a @ losses
    # The weights of the last epoch reached the batches.
    loader = trainer.train_dataloader
    np.testing.assert_allclose(loader._epoch_weights, a / 0.3)


def test_bpf_limits_the_change_of_weights():
    model = make(BPF, alpha=0.3, max_change=0.05)
    a, losses = np.full(100, 0.3), np.random.default_rng(0).exponential(size=100)
    moved = model.ascend(a, losses)
    assert 0.05 * 0.75**2 < np.abs(moved - a).sum() / a.sum() <= 0.05


@pytest.mark.parametrize("max_change", [None, 0.05])
def test_bpf_says_that_the_network_has_diverged(max_change):
    model, _, data = run(BPF, max_change=max_change)
    torch.nn.init.constant_(model.network.head.bias, torch.inf)
    with pytest.raises(UserError, match=r"70 training rows .* diverged; lower model.lr"):
        model.on_epoch_weights(data)


# ---- options --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cls", "kwargs", "message"),
    [
        (CVaR, {"alpha": 0.0}, r"CVaR.alpha: expected a number in \(0, 1\], got 0"),
        (Chi2DRO, {"alpha": 1.5}, "Chi2DRO.alpha"),
        (Chi2DRO, {"radius": -1.0}, "Chi2DRO.radius: expected a number of at least 0"),
        (BPF, {"alpha": float("nan")}, "BPF.alpha"),
        (BPF, {"alpha": 0.1, "epsilon": 0.2}, r"BPF.epsilon must lie in \[0, alpha = 0.1\]"),
        (BPF, {"eta": -1.0}, "BPF.eta: expected a number of at least 0"),
        (BPF, {"max_change": 0.0}, "BPF.max_change: expected a number above 0 or null"),
        (ARL, {"adversary_lr": -1.0}, "ARL.adversary_lr"),
        (ARL, {"pretrain_steps": -1}, "ARL.pretrain_steps"),
        (ARL, {"vocab_size": 9, "network": BagOfWords()}, "token ids here; set it to features"),
    ],
)
def test_wrong_options_are_refused(cls, kwargs, message):
    with pytest.raises(UserError, match=message):
        make(cls, **kwargs)


def test_bpf_needs_a_table_to_weigh():
    with pytest.raises(UserError, match="fit a datamodule"):
        make(BPF).on_epoch_weights(None)
