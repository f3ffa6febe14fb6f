"""MMD against loops over rows in float64, and its degenerate cases."""

import itertools
import math

import pytest
import torch
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.batch import Batch, Outputs, Sizes
from frbench.contracts.errors import UserError
from frbench.data import Digits, TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM, GroupDRO
from frbench.penalties import ConditionalMMD, MarginalMMD

C, A, B, D = 3, 4, 70, 5


def sample(classes=C, attributes=A, n=B, seed=0):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    z = torch.randint(-1, attributes, (n,), generator=g)
    y[:3], z[:3] = 0, torch.tensor([0, 0, attributes - 1])
    group = torch.where(z < 0, -1, y * attributes + z)
    weight = torch.rand(n, generator=g, dtype=torch.float64) + 0.1
    features = torch.randn(n, D, generator=g, dtype=torch.float64)
    logits = torch.randn(n, classes, generator=g, dtype=torch.float64) + 0.4 * z[:, None]
    logits = logits.requires_grad_()
    flags = torch.zeros(n, dtype=torch.bool)
    out = Outputs(features, logits, torch.zeros(n))
    number = torch.full((n,), torch.nan)
    return out, Batch(features, y, z, group, weight, flags, torch.arange(n), flags, number)


def compared(out, tensor):
    """What is compared, row by row, as plain numbers."""
    rows = []
    for features, logits in zip(out.features.tolist(), out.logits.tolist(), strict=True):
        total = sum(math.exp(v) for v in logits)
        if tensor == "features":
            rows.append(features)
        elif tensor == "probability":
            p = [math.exp(v) / total for v in logits]
            rows.append(p[1:] if len(p) == 2 else p)
        elif len(logits) == 2:
            rows.append([logits[1] - logits[0]])
        else:
            mean = sum(logits) / len(logits)
            rows.append([math.sqrt(2) * (v - mean) for v in logits])
    return rows


def square(a, b):
    return sum((u - v) ** 2 for u, v in zip(a, b, strict=True))


def reference(out, batch, conditional, tensor, scales, median, biased, squared, min_rows=2):
    """Mean over strata, by loops over labels, attribute values and pairs of rows."""
    rows, n = compared(out, tensor), len(batch.y)
    unit = 1.0
    if median:
        distances = sorted(square(rows[i], rows[j]) for i in range(n) for j in range(i))
        unit = distances[(len(distances) - 1) // 2]

    def k(i, j):
        d = square(rows[i], rows[j])
        return sum(math.exp(-d / (2 * s * unit)) for s in scales) / len(scales)

    def mean(first, second, same):
        top = bottom = 0.0
        for i, j in itertools.product(first, second):
            if same and not biased and i == j:
                continue
            w = float(batch.weight[i] * batch.weight[j])
            top, bottom = top + w * k(i, j), bottom + w
        return top / bottom

    values, skipped = [], 0
    for y in range(out.logits.shape[1]) if conditional else [None]:
        cells = [
            [i for i in range(n) if batch.z[i] == z and y in (None, int(batch.y[i]))]
            for z in range(A)
        ]
        for p, q in itertools.combinations(cells, 2):
            if min(len(p), len(q)) < min_rows:
                skipped += 1
                continue
            mmd = mean(p, p, True) + mean(q, q, True) - 2 * mean(p, q, False)
            values.append(mmd if squared else math.sqrt(max(mmd, 1e-12)))
    return sum(values) / max(1, len(values)), skipped


OPTIONS = [
    {},
    {"biased": False},
    {"squared": False},
    {"biased": False, "squared": False},
    {"tensor": "probability", "sigma_squared": 0.1},
    {"tensor": "features", "sigma_squared": [0.25, 1.0, 4.0]},
    {"tensor": "features", "median": True, "biased": False},
    {"sigma_squared": [0.25, 4.0], "median": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("cls", [ConditionalMMD, MarginalMMD])
def test_equals_loops_over_rows(cls, classes, options):
    out, batch = sample(classes)
    penalty = cls(**options)
    penalty.bind(Sizes(classes, A, (D,)))
    scales = options.get("sigma_squared", 1.0)
    expected, skipped = reference(
        out, batch, cls is ConditionalMMD, options.get("tensor", "logit"),
        scales if isinstance(scales, list) else [scales], options.get("median", False),
        options.get("biased", True), options.get("squared", True),
    )  # fmt: skip
    value = penalty(out, batch)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected, abs=1e-12)
    penalty.commit()
    total = (classes if cls is ConditionalMMD else 1) * A * (A - 1) // 2
    assert penalty.state_to_log()["skipped_strata"].item() == pytest.approx(skipped / total)


@pytest.mark.parametrize("cls", [ConditionalMMD, MarginalMMD])
@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
def test_gradient_is_that_of_the_loops(cls, options):
    out, batch = sample(2, n=24)
    penalty = cls(**options)
    penalty.bind(Sizes(2, A, (D,)))
    (gradient,) = torch.autograd.grad(penalty(out, batch), out.logits)
    row, step = 1, 1e-5
    scales = options.get("sigma_squared", 1.0)
    values = []
    for sign in (1, -1):
        moved = out.logits.detach().clone()
        moved[row, 0] += sign * step
        values.append(reference(
            out._replace(logits=moved), batch, cls is ConditionalMMD,
            options.get("tensor", "logit"), [scales], False, options.get("biased", True),
            options.get("squared", True),
        )[0])  # fmt: skip
    numeric = (values[0] - values[1]) / (2 * step)
    assert numeric != 0
    assert gradient[row, 0].item() == pytest.approx(numeric, rel=1e-4, abs=1e-8)


def test_small_strata_are_skipped_and_none_gives_a_zero_with_a_gradient():
    out, batch = sample(2, 2, 6)
    z = torch.tensor([0, 0, 0, 1, -1, 1])
    batch = batch._replace(y=torch.tensor([0, 0, 0, 0, 0, 1]), z=z)
    batch = batch._replace(group=torch.where(z < 0, -1, batch.y * 2 + z))
    penalty = ConditionalMMD(biased=False)
    penalty.bind(Sizes(2, 2, (D,)))
    value = penalty(out, batch)
    assert value.item() == 0 and torch.autograd.grad(value, out.logits)[0].abs().sum() == 0
    penalty.commit()
    assert penalty.strata.tolist() == [0, 2] and penalty.state_to_log()["skipped_strata"] == 1
    marginal = MarginalMMD()  # two rows of z = 1 in all: enough without the label
    marginal.bind(Sizes(2, 2, (D,)))
    assert marginal(out, batch).item() > 0


def test_balancing_weights_change_the_marginal_penalty_only():
    out, batch = sample()
    by_cell = torch.tensor([0.5, 2, 1, 3] * C, dtype=torch.float64)
    by_cell = (by_cell * torch.arange(1, C * A + 1))[batch.group]
    values = {}
    for cls in (ConditionalMMD, MarginalMMD):
        penalty = cls()
        penalty.bind(Sizes(C, A, (D,)))
        ones = batch._replace(weight=torch.ones(B, dtype=torch.float64))
        values[cls] = [penalty(out, b).item() for b in (ones, batch._replace(weight=by_cell))]
    assert values[ConditionalMMD][0] == pytest.approx(values[ConditionalMMD][1], abs=1e-12)
    assert abs(values[MarginalMMD][0] - values[MarginalMMD][1]) > 1e-3


def test_repeating_a_row_is_doubling_its_weight():
    out, batch = sample(2, n=30)
    penalty = MarginalMMD()
    penalty.bind(Sizes(2, A, (D,)))
    twice = torch.cat([torch.arange(30), torch.tensor([4, 7])])
    repeated = Batch(*(c[twice] for c in batch)), Outputs(*(c[twice] for c in out))
    weight = batch.weight.clone()
    weight[[4, 7]] *= 2
    assert penalty(repeated[1], repeated[0]).item() == pytest.approx(
        penalty(out, batch._replace(weight=weight)).item(), abs=1e-12
    )


def test_equal_outputs_and_weight_zero_are_erm():
    states = []
    for penalties in ([], [ConditionalMMD(0.0), MarginalMMD(0.0)]):
        seed_everything(0, verbose=False)
        model = ERM(2, 2, [2], network=MLP(hidden=[4]), penalties=penalties)
        trainer(max_epochs=2).fit(model, datamodule=TwoGaussians(n=200, batch_size=32))
        states.append(model.network.state_dict())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
    out, batch = sample()
    for penalty in (ConditionalMMD(), MarginalMMD()):
        penalty.bind(Sizes(C, A, (D,)))
        same = out._replace(logits=torch.zeros(B, C, dtype=torch.float64))
        assert penalty(same, batch).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("cls", [ERM, GroupDRO])
def test_it_makes_outputs_independent_of_z(cls):
    """Trained on P, the gap between attribute values of one label shrinks with the strength."""
    gaps = []
    for strength in (0.0, 5.0):
        seed_everything(0, verbose=False)
        data = Digits(n=1500, n_eval=500, batch_size=256)
        model = cls(
            2, 2, data.input_shape, network=MLP(hidden=[32]), lr=2e-3,
            penalties=[ConditionalMMD(strength)],
        )  # fmt: skip
        run = trainer(max_epochs=15, limit_val_batches=0)
        run.fit(model, datamodule=data)
        run.test(model, datamodule=data, verbose=False)
        gaps.append(model.evaluation["test/P0"]["equalized_odds_soft"])
    assert gaps[1] < 0.5 * gaps[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"tensor": "logits"},
            "ConditionalMMD.tensor: expected one of logit, probability, features",
        ),
        ({"sigma_squared": 0.0}, "ConditionalMMD.sigma_squared: expected a number above 0"),
        ({"sigma_squared": []}, "ConditionalMMD.sigma_squared: give at least one number"),
        ({"sigma_squared": [1.0, float("inf")]}, "sigma_squared: .*a list of numbers above 0"),
    ],
)
def test_wrong_options_are_named(options, words):
    with pytest.raises(UserError, match=words):
        ConditionalMMD(**options)


@pytest.mark.parametrize("biased", [True, False])
def test_near_outputs_leave_no_difference_of_sums_near_one(biased: bool) -> None:
    """In float32 the value has the digits that it has in float64, in whatever order rows come.

    Processes that share a batch add its rows in another order; where every kernel is near 1, the
    sums of kernels would lose the difference of their means (6 % of it, at this spread).
    """
    torch.manual_seed(0)
    for _ in range(20):
        logits = 0.01 * torch.randn(24, 2)
        y, z = torch.randint(0, 2, (24,)), torch.randint(0, 3, (24,))
        values = []
        for dtype, order in (
            (64, torch.arange(24)),
            (32, torch.arange(24)),
            (32, torch.randperm(24)),
        ):
            penalty = ConditionalMMD(biased=biased)
            penalty.bind(Sizes(2, 3, (4,)))
            kind = torch.float64 if dtype == 64 else torch.float32
            rows, one = logits[order].to(kind), torch.ones(24, dtype=kind)
            batch = Batch(rows, y[order], z[order], (y * 3 + z)[order], one, one > 1, y, z > 5)
            values.append(penalty.to(kind)(Outputs(rows, rows, one), batch).item())
        exact, *close = values
        assert close == pytest.approx([exact, exact], rel=2e-4)
