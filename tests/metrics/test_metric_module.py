import copy
import doctest
import importlib

import numpy as np
import pytest
import torch
from paths import ROOT

from frbench.contracts.errors import UserError
from frbench.metrics import GroupCounts, evaluate
from frbench.metrics.module import compute_together
from frbench.metrics.names import DEBIASING, DIRECTION


def batch(seed, n=300, num_classes=2, num_attributes=3, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(num_classes, (n,), generator=rng)
    z = torch.randint(-1, num_attributes, (n,), generator=rng)
    logits = torch.randn(n, num_classes, generator=rng) + torch.eye(num_classes)[y]
    return logits.to(dtype), y, z


def expected(logits, y, z, num_attributes=3, **kwargs):
    p = logits.float().double().softmax(1).numpy()
    classes = [str(c) for c in range(p.shape[1])]
    attributes = [str(a) for a in range(num_attributes)]
    pred = logits.float().argmax(1).numpy()
    names = {"class_names": classes, "attribute_names": attributes}
    return evaluate(y.numpy(), pred, z.numpy(), p, **names, **kwargs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_batches_equal_the_table(num_classes, dtype):
    data = batch(0, num_classes=num_classes, dtype=dtype)
    metric = GroupCounts(num_classes, 3, exact=True)
    binned = GroupCounts(num_classes, 3)
    for rows in torch.arange(300).split(64):
        metric.update(*(t[rows] for t in data))
        binned.update(*(t[rows] for t in data))
    found, reference = metric.compute(), expected(*data)
    assert list(found) == list(reference)
    near = binned.compute()
    ranks = {key for key in near if key.startswith(("auroc", "average_precision"))}
    assert list(near) == list(found) and metric.rank_error == 0 < binned.rank_error
    assert abs(near["auroc"] - found["auroc"]) <= binned.rank_error
    assert {key: near[key] for key in near.keys() - ranks} == pytest.approx(
        {key: found[key] for key in near.keys() - ranks}, nan_ok=True
    )
    for key, value in reference.items():
        assert type(found[key]) is float
        if key in ranks and dtype in (torch.bfloat16, torch.float16):
            # Probabilities that tie but for rounding are ordered by it.
            assert found[key] == pytest.approx(value, abs=1e-3)
            continue
        assert found[key] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), key


def test_states_of_ranks_are_summed():
    whole, ranks = GroupCounts(3, 3), [GroupCounts(3, 3) for _ in range(3)]
    for i in range(6):
        data = batch(i, n=17 + i, num_classes=3)
        whole.update(*data)
        ranks[i % 3].update(*data)
    for name, reduction in whole._reductions.items():
        assert reduction.__name__ == "dim_zero_sum"
        parts = torch.stack([getattr(rank, name) for rank in ranks])
        torch.testing.assert_close(parts.sum(0), getattr(whole, name), rtol=1e-12, atol=1e-12)


def test_integer_states_do_not_saturate_in_half_precision():
    metric = GroupCounts(2, 3).half()
    assert metric.counts.dtype == metric.histogram.dtype == torch.int64
    assert metric.score_sum.dtype == torch.float64


def test_train_counts_weight_the_average():
    data, train = batch(1), np.array([[1, 2, 3], [4, 5, 60]])
    metric = GroupCounts(2, 3, train_counts=torch.tensor(train))
    metric.update(*data)
    key = "weighted_average_accuracy"
    assert metric.compute()[key] == expected(*data, train_counts=train)[key]
    assert metric.compute()[key] != expected(*data)[key]


def test_forward_reset_and_copies():
    metric = GroupCounts(2, 3)
    first, second = batch(0), batch(1)
    assert metric(*first)["accuracy"] == expected(*first)["accuracy"]
    clone = copy.deepcopy(metric)
    clone.update(*second)
    both = [torch.cat(pair) for pair in zip(first, second, strict=True)]
    assert clone.compute()["accuracy"] == expected(*both)["accuracy"]
    metric.reset()
    metric.update(*second)
    assert metric.compute()["accuracy"] == expected(*second)["accuracy"]


def test_rows_out_of_range_are_reported_and_never_moved_to_a_neighbour():
    for column, value in ((1, 2), (1, -1), (1, 99), (2, 3), (2, -2), (2, 99)):
        data = list(batch(0))
        data[column][5] = value
        metric = GroupCounts(2, 3)
        metric.update(*data)
        assert metric.counts.sum() == 299 == metric.histogram.sum() == metric.calibration[0].sum()
        with pytest.raises(ValueError, match="1 rows had y outside"):
            metric.compute()


def test_logits_that_are_not_finite_are_seen_in_the_likelihood_alone():
    logits, y, z = batch(0)
    for value in (float("nan"), float("inf"), -float("inf")):
        bad = logits.clone()
        bad[7, 1] = value
        metric = GroupCounts(2, 3)
        metric.update(bad, y, z)
        values = metric.compute()
        lost = [k for k in values if k.startswith(("negative_log", "worst_alpha_loss"))]
        assert len(lost) == 7 and all(np.isnan(values.pop(key)) for key in lost)
        assert np.isfinite(list(values.values())).all()


def positives(counts):
    return counts[1].sum()


@pytest.mark.parametrize("num_classes", (2, 3))
def test_together_equals_one_by_one(num_classes):
    crossed = ["f&old", "f&new", "m&old", "m&new"]
    options = {"attribute_names": crossed, "noise_floor": False, "min_group_rows": 5}
    counted = [np.arange(num_classes * 4).reshape(num_classes, 4) + run for run in range(3)]
    together = [GroupCounts(num_classes, 4, train_counts=c, **options) for c in counted]
    together += [GroupCounts(num_classes, 4, exact=True), GroupCounts(num_classes, 4, **options)]
    together += [GroupCounts(num_classes, 4, metrics=[positives], **options)]  # it may fail
    for seed, metric in enumerate(together):
        metric.update(*batch(seed, 100 + seed, num_classes, 4))
    bad = GroupCounts(num_classes, 4, **options)
    bad.update(torch.zeros(1, num_classes), torch.tensor([num_classes]), torch.tensor([0]))
    alone = [copy.deepcopy(metric).compute() for metric in together]
    compute_together([*together, bad])
    assert [metric._computed is not None for metric in together] == [True] * 3 + [
        False,
        True,
        False,
    ]
    for metric, wanted in zip(together, alone, strict=True):
        found = metric.compute()
        assert list(found) == list(wanted)
        assert ("score_kl_noise_floor" in found) == metric.exact
        np.testing.assert_allclose(list(found.values()), list(wanted.values()), rtol=1e-12)
        metric.update(*batch(9, 10, num_classes, 4))
        assert metric.compute()["accuracy"] != wanted["accuracy"]
    with pytest.raises(ValueError, match="outside"):
        bad.compute()


def test_names_must_fit():
    with pytest.raises(UserError, match="attribute_names must hold 3"):
        GroupCounts(2, 3, attribute_names=["a", "b"])


def test_update_never_copies_to_the_host(monkeypatch):
    data = batch(0)
    metric = GroupCounts(2, 3)

    def forbidden(*args, **kwargs):
        raise AssertionError("host synchronisation in update")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, forbidden)
    metric.update(*data)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_equals_cpu_and_does_not_synchronise():
    data = batch(0, num_classes=5)
    cpu, gpu = GroupCounts(5, 3), GroupCounts(5, 3).to("cuda")
    cpu.update(*data)
    moved = [t.to("cuda") for t in data]
    gpu.update(*moved)
    torch.cuda.set_sync_debug_mode("error")
    try:
        gpu.update(*moved)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    cpu.update(*data)
    found = gpu.compute()
    for key, value in cpu.compute().items():
        assert found[key] == pytest.approx(value, rel=1e-6, nan_ok=True), key


MODULES = [
    "names",
    "calibration",
    "columns",
    "counts",
    "gaps",
    "scores",
    "own_intervals",
    "rows",
    "own",
    "correction",
    "estimates",
    "limits",
    "power",
    "ranking",
    "score_intervals",
    "shares",
    "suppression",
    "table_intervals",
    "unknown",
    "verdicts",
    "api",
    "module",
    "worst_losses",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(f"frbench.metrics.{name}")
    found = doctest.testmod(module)
    assert found.failed == 0 and found.attempted > 0


def test_the_documentation_runs_and_names_every_key():
    path = ROOT / "docs" / "metrics.md"
    found = doctest.testfile(str(path), module_relative=False)
    assert found.failed == 0 and found.attempted > 0
    text = path.with_name("metric_definitions.md").read_text(encoding="utf-8")
    missing = [k for k in DIRECTION.keys() - {"loss", *DEBIASING} if f"| `{k}" not in text]
    assert missing == []
