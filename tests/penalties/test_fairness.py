"""Fairness penalties: hand-computed values, loops in float64, limits, faults of others absent."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from rows import batch_of, four_scores, outputs_of, random_rows
from scipy.optimize import minimize

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.functional.fairness import COEFFICIENTS
from frbench.penalties import (
    HGR,
    HSIC,
    Covariance,
    EuclidProjection,
    Gap,
    KLProjection,
    MutualInformation,
    Violation,
    Wasserstein,
)
from frbench.penalties.dependence import correlation
from frbench.penalties.statistics import Constraints

STATISTICS = [*COEFFICIENTS]
ODDS = ["true_positive_rate", "false_positive_rate"]


def make(cls, classes=2, attributes=2, **options):
    penalty = cls(**options)
    penalty.bind(Sizes(classes, attributes, (1,)))
    return penalty.double()


ALL = [
    (Gap, {}),
    (Gap, {"target": "equal_opportunity"}),
    (Gap, {"target": "equalized_odds", "reduce": "deviation"}),
    *((Violation, {"statistics": [name]}) for name in STATISTICS),
    (Violation, {"statistics": ODDS, "p": 2.0}),
    (Violation, {"reduce": "log_sum_exp"}),
    (KLProjection, {}),
    (KLProjection, {"statistics": ODDS, "steps": 8}),
    (KLProjection, {"statistics": ["positive_predictive_value"], "steps": 8}),
    (EuclidProjection, {}),
    (EuclidProjection, {"statistics": ODDS}),
    (HSIC, {}),
    (Covariance, {}),
    (Wasserstein, {}),
    (HGR, {}),
    (HGR, {"measure": "hgr"}),
]
every = pytest.mark.parametrize(
    ("cls", "options"), ALL, ids=lambda v: getattr(v, "__name__", None)
)


# ---- numeric examples -----------------------------------------------------------------------
EXAMPLES = [
    (Gap, {}, 0.25),
    (Gap, {"target": "equal_opportunity"}, 0.3),
    (Gap, {"target": "equalized_odds"}, 0.5),
    (Violation, {}, 0.476190),
    (Violation, {"p": 2.0}, 0.336718),
    (Violation, {"reduce": "log_sum_exp"}, 0.238095),
    (Violation, {"statistics": ["true_positive_rate"]}, 0.4),
    (Violation, {"statistics": ["false_positive_rate"]}, 0.666667),
    (Violation, {"statistics": ["positive_predictive_value"]}, 0.080769),
    (Violation, {"statistics": ["false_omission_rate"]}, 0.723810),
    (Violation, {"statistics": ["accuracy"]}, 0.068966),
    (Violation, {"statistics": ["false_negative_false_positive_ratio"]}, 2.1),
    (Violation, {"statistics": ODDS}, 0.4 + 0.666667),
    (KLProjection, {}, 0.042625),
    (HSIC, {}, 0.012840),
    (MutualInformation, {}, 0.031668),
    (Covariance, {}, 0.346574),
    (Wasserstein, {}, 0.25),
]


@pytest.mark.parametrize(("cls", "options", "expected"), EXAMPLES)
def test_example(cls, options, expected):
    assert make(cls, **options)(*four_scores()).item() == pytest.approx(expected, abs=1e-6)


def test_example_of_the_projected_scores():
    penalty, (out, batch) = make(KLProjection), four_scores()
    member = torch.nn.functional.one_hot(batch.z).double()
    constraints = Constraints(member, member, -0.525 * member.sum(0), 1)
    nearest = penalty.nearest(penalty.log_odds(out), constraints)
    assert nearest.tolist() == pytest.approx([0.81, 0.24, 0.734465, 0.315535], abs=1e-6)
    step = constraints.step(nearest, nearest * (1 - nearest))
    assert step.abs().max() < 1e-6  # four steps have converged


def test_example_of_a_joint_table():
    joint = torch.tensor([[0.3, 0.2], [0.1, 0.4]]).double()
    assert correlation(joint, "hgr").item() == pytest.approx(0.408248, abs=1e-6)
    assert correlation(joint, "chi2").item() == pytest.approx(0.408248**2, abs=1e-6)


def test_singular_values_of_a_larger_table():
    joint = np.random.default_rng(0).random((7, 4))
    joint /= joint.sum()
    q = joint / np.sqrt(np.outer(joint.sum(1), joint.sum(0)))
    singular = np.linalg.svd(q)[1]
    table = torch.tensor(joint)
    assert correlation(table, "hgr").item() == pytest.approx(singular[1], abs=1e-9)
    assert correlation(table, "chi2").item() == pytest.approx((q**2).sum() - 1, abs=1e-9)


# ---- slow references ------------------------------------------------------------------------
def scored(out, batch, positive=1):
    """(score, log-odds, label, z, weight) of the rows with an attribute, in Python floats."""
    rows = []
    for logits, y, z, w in zip(out.logits.tolist(), batch.y.tolist(), batch.z.tolist(),
                               batch.weight.tolist(), strict=True):  # fmt: skip
        e = [math.exp(v) for v in logits]
        h = e[positive] / sum(e)
        if z >= 0:
            rows.append((h, math.log(h / (1 - h)), int(y == positive), z, w, y))
    return rows


def mean(pairs):
    pairs = [*pairs]
    return sum(w * v for v, w in pairs) / sum(w for _, w in pairs)


def slow_gap(rows, target, reduce):
    strata = defaultdict(lambda: defaultdict(list))
    for h, _, positive, z, w, y in rows:
        if target != "equal_opportunity" or positive:
            strata[y if target == "equalized_odds" else 0][z].append((h, w))
    total = 0.0
    for cells in strata.values():
        means = [mean(cell) for cell in cells.values()]
        overall = mean(pair for cell in cells.values() for pair in cell)
        gaps = {
            "range": max(means) - min(means),
            "deviation": sum(abs(m - overall) for m in means),
        }
        total += gaps[reduce]
    return total


@pytest.mark.parametrize("reduce", ["range", "deviation"])
@pytest.mark.parametrize("target", ["demographic_parity", "equal_opportunity", "equalized_odds"])
@pytest.mark.parametrize(("classes", "attributes"), [(2, 2), (3, 4)])
def test_gap_equals_a_loop(target, reduce, classes, attributes):
    out, batch = random_rows(40, classes, attributes)
    penalty = make(Gap, classes, attributes, target=target, reduce=reduce)
    expected = slow_gap(scored(out, batch), target, reduce)
    assert penalty(out, batch).item() == pytest.approx(expected, rel=1e-9)


def slow_statistic(name, rows):
    """A statistic from the expected confusion table."""
    tp = sum(w * h for h, _, y, _, w, _ in rows if y)
    fn = sum(w * (1 - h) for h, _, y, _, w, _ in rows if y)
    fp = sum(w * h for h, _, y, _, w, _ in rows if not y)
    tn = sum(w * (1 - h) for h, _, y, _, w, _ in rows if not y)
    return {
        "positive_rate": (tp + fp, tp + fn + fp + tn), "true_positive_rate": (tp, tp + fn),
        "false_positive_rate": (fp, fp + tn), "positive_predictive_value": (tp, tp + fp),
        "false_omission_rate": (fn, fn + tn), "accuracy": (tp + tn, tp + fn + fp + tn),
        "false_negative_false_positive_ratio": (fn, fp), "f_score": (2 * tp, 2 * tp + fp + fn),
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize(("classes", "attributes"), [(2, 2), (3, 4)])
def test_violation_equals_a_loop(name, classes, attributes):
    out, batch = random_rows(40, classes, attributes, seed=1)
    rows = scored(out, batch)
    above, below = slow_statistic(name, rows)
    values = []
    for z in range(attributes):
        a, b = slow_statistic(name, [row for row in rows if row[3] == z])
        values.append(abs(a / b / (above / below) - 1))
    expected = {
        "sum": sum(values), "root": sum(v**3 for v in values) ** (1 / 3),
        "log": math.log(sum(math.exp(v) for v in values) / len(values)),
    }  # fmt: skip
    options = {"sum": {}, "root": {"p": 3.0}, "log": {"reduce": "log_sum_exp"}}
    for key, chosen in options.items():
        penalty = make(Violation, classes, attributes, statistics=[name], **chosen)
        assert penalty(out, batch).item() == pytest.approx(expected[key], rel=1e-7), key


def constraints(rows, names, attributes):
    """Of each z and statistic: slopes and constant of a linear constraint on the scores."""
    for name in names:
        above, below = slow_statistic(name, rows)
        target = above / below
        for z in range(attributes):

            def value(h, z=z, name=name, target=target):
                part = [(v, *row[1:]) for v, row in zip(h, rows, strict=True) if row[3] == z]
                a, b = slow_statistic(name, part)
                return a - target * b

            yield value


@pytest.mark.parametrize(
    "names", [*([name] for name in STATISTICS), ODDS, ["positive_rate", "accuracy"]], ids=str
)
def test_projections_equal_a_general_solver(names):
    out, batch = random_rows(12, 2, 2, seed=5, unknown=0.0)
    rows = scored(out, batch)
    h, w = np.array([row[0] for row in rows]), np.array([row[4] for row in rows])

    def kl(p):
        return float(w @ (p * np.log(p / h) + (1 - p) * np.log((1 - p) / (1 - h))) / w.sum())

    def euclid(p):
        return float(w @ (p - h) ** 2 / w.sum())

    rules = [{"type": "eq", "fun": value} for value in constraints(rows, names, 2)]
    inside, free = (1e-9, 1 - 1e-9), (-9, 9)
    for cls, distance, bounds, options in (
        (KLProjection, kl, inside, {"steps": 10}), (EuclidProjection, euclid, free, {})
    ):  # fmt: skip
        solved = minimize(distance, h, bounds=[bounds] * len(h), constraints=rules,
                          method="SLSQP", options={"ftol": 1e-14, "maxiter": 500})  # fmt: skip
        value = make(cls, statistics=names, **options)(out, batch).item()
        assert value == pytest.approx(solved.fun, abs=1e-6), cls


def test_redundant_statistics_change_nothing():
    for cls in (KLProjection, EuclidProjection):
        one, two = (make(cls, statistics=["positive_rate"] * n) for n in (1, 2))
        assert two(*four_scores()).item() == pytest.approx(one(*four_scores()).item(), rel=1e-5)


def test_the_gradient_of_the_projection_is_the_score_minus_the_nearest():
    out, batch = four_scores()
    logits = out.logits.detach().requires_grad_()
    make(KLProjection)(out._replace(logits=logits), batch).backward()
    wanted = torch.tensor([0.9 - 0.81, 0.4 - 0.24, 0.6 - 0.734465, 0.2 - 0.315535]) / 4
    assert logits.grad[:, 1].tolist() == pytest.approx(wanted.tolist(), abs=1e-6)


def slow_hsic(rows, sigma):
    n = len(rows)
    k = np.array([[math.exp(-((a[0] - b[0]) ** 2) / sigma) for b in rows] for a in rows])
    l = np.array([[1.0 if a[3] == b[3] else math.exp(-1) for b in rows] for a in rows])  # noqa: E741
    p = np.array([row[4] for row in rows])
    h = np.eye(n) - np.outer(np.ones(n), p / p.sum())
    w = np.diag(p / p.sum() * n)
    return np.trace(w @ h @ k @ h.T @ w @ l) / (n - 1) ** 2


@pytest.mark.parametrize("attributes", [2, 4])
def test_hsic_equals_a_loop(attributes):
    out, batch = random_rows(30, 2, attributes, seed=2)
    value = make(HSIC, 2, attributes, sigma=0.5)(out, batch).item()
    assert value == pytest.approx(slow_hsic(scored(out, batch), 0.5), rel=1e-9)


@pytest.mark.parametrize("attributes", [2, 4])
def test_covariance_equals_a_loop(attributes):
    out, batch = random_rows(30, 2, attributes, seed=3)
    rows = scored(out, batch)
    total = 0.0
    for a in range(attributes):
        share = mean((float(row[3] == a), row[4]) for row in rows)
        total += abs(mean(((float(row[3] == a) - share) * row[1], row[4]) for row in rows))
    value = make(Covariance, 2, attributes)(out, batch).item()
    assert value == pytest.approx(total / 2, rel=1e-9)


@pytest.mark.parametrize("attributes", [2, 4])
def test_wasserstein_equals_a_fine_grid(attributes):
    from scipy.stats import wasserstein_distance

    out, batch = random_rows(30, 2, attributes, seed=4)
    rows = scored(out, batch)
    cells = [list(zip(*((r[0], r[4]) for r in rows if r[3] == z), strict=True))
             for z in range(attributes)]  # fmt: skip
    pairs = [
        wasserstein_distance(cells[i][0], cells[j][0], cells[i][1], cells[j][1])
        for i in range(attributes) for j in range(i)
    ]  # fmt: skip
    value = make(Wasserstein, 2, attributes)(out, batch).item()
    assert value == pytest.approx(sum(pairs) / len(pairs), rel=1e-9)


def test_hgr_equals_a_loop():
    out, batch = random_rows(30, 2, 3, seed=6)
    rows, joint = scored(out, batch), np.zeros((50, 3))
    for h, _, _, z, w, _ in rows:
        kernel = [math.exp(-((h - t / 49) ** 2) / 2 / 0.1**2) for t in range(50)]
        for t in range(50):
            joint[t, z] += w * kernel[t] / sum(kernel)
    joint /= joint.sum()
    q = joint / np.sqrt(np.outer(joint.sum(1), joint.sum(0)))
    assert make(HGR, 2, 3)(out, batch).item() == pytest.approx((q**2).sum() - 1, rel=1e-6)
    value = make(HGR, 2, 3, measure="hgr")(out, batch).item()
    assert value == pytest.approx(np.linalg.svd(q)[1][1], rel=1e-6)


# ---- limits ---------------------------------------------------------------------------------
@every
def test_groups_that_are_copies_have_nothing_to_penalise(cls, options):
    out, batch = random_rows(20, 2, 2, unknown=0.0)
    twice = outputs_of(torch.cat([out.logits.detach()] * 2), torch.cat([batch.y] * 2))
    z = torch.arange(40) // 20
    copies = batch_of(torch.cat([batch.y] * 2), z, torch.cat([batch.weight] * 2))
    assert make(cls, **options)(twice, copies).item() == pytest.approx(0.0, abs=2e-6)


@every
def test_an_absent_value_leaves_the_rest(cls, options):
    """The gaps of the fair fairness benchmark are NaN as soon as a batch lacks a cell."""
    out, batch = random_rows(30, 2, 2, seed=7)
    wider = batch_of(batch.y, batch.z, batch.weight, attributes=4)
    value = make(cls, attributes=4, **options)(out, wider)
    assert value.item() == pytest.approx(make(cls, **options)(out, batch).item(), rel=1e-9)


@every
def test_renaming_the_values_changes_nothing(cls, options):
    out, batch = random_rows(30, 2, 3, seed=8)
    names = torch.tensor([2, 0, 1, -1])
    renamed = batch_of(batch.y, names[batch.z], batch.weight, attributes=3)
    penalty = make(cls, attributes=3, **options)
    assert penalty(out, renamed).item() == pytest.approx(penalty(out, batch).item(), rel=1e-9)


@every
@pytest.mark.parametrize("logits", [0.0, 3.0, 40.0, 1e4, 1e15], ids=str)
@pytest.mark.parametrize(
    "z", [[0, 1, 2, 3], [0, 0, 1, 1], [-1, -1, -1, -1], [0, 0, 0, 0]], ids=str
)
def test_one_row_of_each_value_and_certain_rows_are_finite(cls, options, logits, z):
    values = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]) * logits
    values = values.float().requires_grad_()
    batch = batch_of([1, 0, 1, 0], z, torch.ones(4), attributes=4)
    penalty = cls(**options)
    penalty.bind(Sizes(2, 4, (1,)))
    out = outputs_of(values.detach(), batch.y)._replace(logits=values)
    value = penalty(out, batch)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(values.grad).all()


@every
def test_gradients_are_those_of_the_value(cls, options):
    out, batch = random_rows(14, 2, 2, seed=9)
    penalty = make(cls, **options)
    if cls in (KLProjection, EuclidProjection):
        pytest.skip("the nearest scores are constant")

    def value(logits):
        return penalty(out._replace(logits=logits), batch)

    assert torch.autograd.gradcheck(value, out.logits.detach().requires_grad_(), atol=1e-6)


def test_the_number_of_rows_is_no_factor():
    """The prejudice remover of the fair fairness benchmark grows with the batch."""
    out, batch = random_rows(20, 2, 2)
    twice = outputs_of(torch.cat([out.logits.detach()] * 2), torch.cat([batch.y] * 2))
    copies = batch_of(*(torch.cat([c] * 2) for c in (batch.y, batch.z, batch.weight)))
    for cls in (MutualInformation, Gap, Violation, KLProjection, Covariance, Wasserstein):
        penalty = make(cls)
        two = penalty(twice, copies)
        assert two.item() == pytest.approx(penalty(out, batch).item(), rel=1e-9)


def test_the_positive_class_is_one_against_the_rest():
    out, batch = random_rows(40, 3, 2, seed=10)
    rows = scored(out, batch, positive=2)
    value = make(Violation, 3, positive_class=2, statistics=["accuracy"])(out, batch).item()
    above, below = slow_statistic("accuracy", rows)
    expected = 0.0
    for z in range(2):
        a, b = slow_statistic("accuracy", [row for row in rows if row[3] == z])
        expected += abs(a / b / (above / below) - 1)
    assert value == pytest.approx(expected, rel=1e-9)
    with pytest.raises(UserError, match=r"Gap\.positive_class: 2 is not one of the 2 classes"):
        make(Gap, positive_class=2)
    with pytest.raises(UserError, match=r"Violation\.statistics: give at least one"):
        Violation(statistics=[])
