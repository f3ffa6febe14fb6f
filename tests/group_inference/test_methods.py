"""Each inference: the specification's example, a loop, and its limits."""

import itertools

import numpy as np
import pytest
import torch
from pytorch_lightning import seed_everything
from rows import LABELS, LOGITS, batch_of, outputs_of
from trainers import trainer

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.data import Digits, TwoGaussians
from frbench.group_inference import (
    EIIL,
    Classes,
    Clusters,
    Errors,
    Predictions,
    PseudoLabels,
    Rows,
)
from frbench.group_inference.eiil import scale_slopes
from frbench.networks import MLP
from frbench.objectives import ERM, GroupDRO


def rows_of(logits, y, features=None, z=None):
    logits, y = np.asarray(logits, float), np.asarray(y)
    p = np.exp(logits - logits.max(1, keepdims=True))
    losses = -np.log(p[np.arange(len(y)), y] / p.sum(1))
    features = logits if features is None else np.asarray(features, float)
    return Rows(features, logits, losses, y, y * 0 - 1 if z is None else np.asarray(z))


def random_rows(n=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rows_of(rng.normal(size=(n, classes)), rng.integers(0, classes, n))


def infer(method, rows, seed=0):
    return method.infer(rows, np.random.default_rng(seed))


FOUR = rows_of(LOGITS, LABELS)


# ---- EIIL -----------------------------------------------------------------------------------
def test_eiil_example():
    assert infer(EIIL(), FOUR).tolist() == [0, 1, 0, 0]
    expected = [-0.238406, 0.311230, -0.268941, -0.238406]
    assert scale_slopes(FOUR.logits, FOUR.y) == pytest.approx(expected, abs=5e-7)


def test_slopes_are_the_derivative_of_the_loss():
    rows = random_rows()
    scale = torch.ones(60, dtype=torch.float64, requires_grad=True)
    logits = torch.as_tensor(rows.logits) * scale[:, None]
    loss = torch.nn.functional.cross_entropy(logits, torch.as_tensor(rows.y), reduction="sum")
    (slope,) = torch.autograd.grad(loss, scale)
    assert np.allclose(scale_slopes(rows.logits, rows.y), slope.numpy(), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_is_the_best_of_all_assignments(seed):
    rows = random_rows(8, 3, seed)
    slope = scale_slopes(rows.logits, rows.y)

    def objective(q):
        return (q * slope).mean() ** 2 + ((1 - q) * slope).mean() ** 2

    best = max(objective(np.array(q)) for q in itertools.product([0, 1], repeat=8))
    assert objective(infer(EIIL(), rows)) == pytest.approx(best, rel=1e-12)


def test_for_two_classes_it_is_the_set_of_errors_and_for_three_it_is_not():
    two, three = random_rows(1000, 2), random_rows(1000, 3)
    assert (infer(EIIL(), two) == infer(Errors(), two)).all()
    assert 0.85 < (infer(EIIL(), three) == infer(Errors(), three)).mean() < 1


def test_the_published_loop_climbs_towards_the_closed_form():
    rows = random_rows(40, 2)
    slope = scale_slopes(rows.logits, rows.y)
    gap = {}
    for steps in (1, 2000):
        z = infer(EIIL(steps=steps, lr=0.01), rows)
        gap[steps] = (z * slope).mean() ** 2 + ((1 - z) * slope).mean() ** 2
    best = infer(EIIL(), rows)
    best = (best * slope).mean() ** 2 + ((1 - best) * slope).mean() ** 2
    assert gap[1] < gap[2000] <= best * (1 + 1e-12) and gap[2000] > 0.9 * best


def test_the_published_loop_equals_torch():
    rows, steps = random_rows(12, 3), 50
    slope = torch.as_tensor(scale_slopes(rows.logits, rows.y))
    start = np.random.default_rng(4).normal(size=12)
    w = torch.tensor(start, requires_grad=True)
    adam = torch.optim.Adam([w], lr=0.1)
    for _ in range(steps):
        q = w.sigmoid()
        gap = (slope * q).mean() ** 2 + (slope * (1 - q)).mean() ** 2
        adam.zero_grad()
        (-gap / 2).backward()
        adam.step()
    found = EIIL(steps=steps, lr=0.1)._climb(slope.numpy(), start)
    assert np.allclose(found, w.detach().numpy(), rtol=1e-9)


# ---- JTT ------------------------------------------------------------------------------------
def test_errors_are_the_rows_with_another_prediction():
    rows = random_rows(100, 3)
    z = infer(Errors(), rows)
    assert all(z[i] == (max(range(3), key=lambda c: rows.logits[i, c]) != rows.y[i])
               for i in range(100))  # fmt: skip
    weights = Errors(upweight=7.0).weights(z, rows)
    assert set(weights[z == 1]) == {7.0} and set(weights[z == 0]) == {1.0}


@pytest.mark.parametrize("wrong", [0, 1])
def test_where_all_rows_are_right_or_all_wrong_there_are_no_weights(wrong):
    rows = rows_of([[2.0, 0.0]] * 3, [wrong] * 3)
    assert Errors(upweight=20.0).weights(infer(Errors(), rows), rows) is None


# ---- Clusters -------------------------------------------------------------------------------
def blobs(sizes, seed=0, spread=0.05):
    """Two classes with a blob of each size, far apart."""
    rng = np.random.default_rng(seed)
    points, labels, blob = [], [], []
    for label in (0, 1):
        for k, size in enumerate(sizes):
            points.append(rng.normal(loc=[10 * k, 5 * label], scale=spread, size=(size, 2)))
            labels += [label] * size
            blob += [k] * size
    return rows_of(np.concatenate(points), labels), np.array(blob)


def test_clusters_are_found_inside_each_class_the_largest_first():
    rows, blob = blobs([30, 20, 10])
    for method in (Clusters(clusters=3), Clusters(max_clusters=5), Clusters(of="features")):
        assert (infer(method, rows) == blob).all()
    order = np.random.default_rng(1).permutation(len(blob))
    moved = Rows(*(column[order] for column in rows))
    assert (infer(Clusters(), moved) == blob[order]).all()


@pytest.mark.parametrize(("power", "share"), [(1.0, 0.5), (2.0, 0.9), (0.0, 0.1)])
def test_weights_of_clusters_example(power, share):
    """Clusters of 90 and 10 rows: the share of the smaller one."""
    rows, blob = blobs([90, 10])
    weights = Clusters(clusters=2, power=power, power_below=9.0).weights(blob, rows)
    for label in (0, 1):
        own = rows.y == label
        assert weights[own].sum() == pytest.approx(weights[rows.y == 0].sum())
        assert weights[own & (blob == 1)].sum() / weights[own].sum() == pytest.approx(share)


def test_clusters_that_are_not_separated_have_the_other_power():
    rows, blob = blobs([90, 10], spread=4.0)
    weights = Clusters(clusters=2, power=1.0, power_below=2.0).weights(blob, rows)
    own = rows.y == 0
    share = weights[own & (blob == 1)].sum() / weights[own].sum()
    assert share == pytest.approx(0.9)


def test_small_classes_and_equal_points_are_clusters_of_their_own():
    rows = rows_of([[0.0, 0.0]] * 5 + [[1.0, 0.0]], [0, 0, 0, 0, 0, 1])
    z = infer(Clusters(), rows)
    assert (z == 0).all()
    assert np.isfinite(Clusters().weights(z, rows)).all()
    with pytest.raises(UserError, match="max_clusters"):
        Clusters(max_clusters=1)


# ---- the others -----------------------------------------------------------------------------
def test_predictions_are_the_cells_of_the_confusion_matrix():
    rows, method = random_rows(200, 3), Predictions()
    method.bind(Sizes(3, 2, (1,)))
    z = infer(method, rows)
    assert method.num_attributes == 3 and (z == rows.logits.argmax(1)).all()
    assert ((z == rows.y) == (infer(Errors(), rows) == 0)).all()


@pytest.mark.parametrize(
    "method", [Errors(), EIIL(), Classes(), Predictions()], ids=lambda m: type(m).__name__
)
def test_the_order_of_the_rows_does_not_matter(method):
    rows = random_rows()
    method.bind(Sizes(3, 2, (1,)))
    order = np.random.default_rng(2).permutation(60)
    moved = Rows(*(column[order] for column in rows))
    assert (infer(method, moved) == infer(method, rows)[order]).all()


def test_pseudo_labels_against_a_loop():
    rng = np.random.default_rng(0)
    method = PseudoLabels(tau=0.7)
    method.bind(Sizes(3, 2, (1,)))
    for seed in range(20):
        n = 30
        y, z = rng.integers(0, 3, n), rng.choice([-1, 0, 1], n, p=[0.6, 0.25, 0.15])
        out = outputs_of(np.random.default_rng(seed).normal(size=(n, 3)) * 2, y)
        batch = batch_of(y, z, rng.uniform(0.5, 1.5, n))
        p = torch.softmax(out.logits[:, :2], 1).detach().numpy()
        guess, surety = p.argmax(1), p.max(1)
        group = y * 2 + np.where(z >= 0, z, guess)
        sure = (z < 0) & (surety >= 0.7)
        sizes = {g: int(((group == g) & ((z >= 0) | sure)).sum()) for g in set(group)}
        smallest = min(size for size in sizes.values() if size)
        total, weight = 0.0, batch.weight.numpy()
        taken = []
        for g in set(group):
            allowed = smallest - int(((group == g) & (z >= 0)).sum())
            own = sorted(np.flatnonzero(sure & (group == g)), key=lambda i: -surety[i])
            taken += own[: max(allowed, 0)]
        for chosen, target in ((np.flatnonzero(z >= 0), z), (taken, guess)):
            if len(chosen):
                losses = [-np.log(p[i, target[i]]) * weight[i] for i in chosen]
                total += sum(losses) / weight[chosen].sum()
        assert method.risk(out, batch).item() == pytest.approx(total, rel=1e-6)


class Partly(TwoGaussians):
    """Rows of the training table lack z with a probability."""

    hidden = 0.0

    def tables(self):
        tables = super().tables()
        hide = np.random.default_rng(9).random(len(tables["train"])) < self.hidden
        train = tables["train"]
        return tables | {"train": train.replace(z=np.where(hide, -1, train.z))}


def test_with_all_attributes_known_pseudo_labels_change_nothing():
    found = []
    for infer_with, epochs in ((PseudoLabels(2), 4), (None, 2)):
        seed_everything(1, verbose=False)
        model = GroupDRO(2, 2, [2], network=MLP(hidden=[3]), infer=infer_with, adjustment=1.0)
        trainer(max_epochs=epochs).fit(model, datamodule=Partly(n=64, batch_size=16))
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*found, rtol=1e-6)


def test_pseudo_labels_learn_the_attribute_from_a_part_of_the_rows():
    class Half(Partly):
        hidden = 0.5

    seed_everything(1, verbose=False)
    method = PseudoLabels(20)
    model = ERM(2, 2, [2], network=MLP(hidden=[8]), infer=method, lr=0.02)
    data = Half(n=400, batch_size=50)
    trainer(max_epochs=21, limit_val_batches=0).fit(model, datamodule=data)
    truth = TwoGaussians(n=400, batch_size=50).training.table.z
    given = data.training.table.z
    z = model._inferred.numpy()
    assert (z[given >= 0] == given[given >= 0]).all()
    assert (z == truth)[given < 0].mean() > 0.6


def test_pseudo_labels_need_known_attributes_and_as_many_logits():
    class Hidden(Partly):
        hidden = 1.1

    model = ERM(2, 2, [2], network=MLP(hidden=[3]), infer=PseudoLabels())
    with pytest.raises(UserError, match="rows of known attribute"):
        trainer(max_epochs=3).fit(model, datamodule=Hidden(n=64, batch_size=16))
    with pytest.raises(UserError, match="3 attribute values"):
        ERM(2, 3, [2], network=MLP(hidden=[3]), infer=PseudoLabels())


@pytest.mark.slow
def test_just_train_twice_helps_the_smallest_groups():
    """Digits whose colour goes with the class: ERM is lost on the rare colours."""
    worst = {}
    for name, infer_with in {"ERM": None, "JTT": Errors(1, upweight=30.0)}.items():
        seed_everything(0, verbose=False)
        model = ERM(2, 2, [3, 12, 8], infer=infer_with, lr=0.003)
        run = trainer(max_epochs=6 + (infer_with is not None))
        run.fit(model, datamodule=Digits(batch_size=64))
        worst[name] = float(run.callback_metrics["val/worst_group_accuracy"])
    assert worst["JTT"] > worst["ERM"] + 0.1
