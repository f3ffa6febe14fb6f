import numpy as np
import pytest
import torch

from frbench.contracts.errors import UserError
from frbench.metrics import GroupCounts, evaluate, higher_is_better, worst_alpha
from frbench.metrics.worst_losses import ALPHAS, LOSS_BINS, LOSS_SCALE, loss_state, worst_values


def rows(seed, n=700, num_classes=3, sharp=1.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(num_classes, size=n)
    logits = sharp * (rng.normal(size=(n, num_classes)) + np.eye(num_classes)[y])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    chosen = np.maximum(p[np.arange(n), y], np.finfo(float).eps)  # as `evaluate` clips
    return y, p, -np.log(chosen), p.argmax(1) == y, rng.random(n)


def reference(losses, hits, weight, alpha):
    """Take rows from the worst on until alpha of the weight is taken."""
    left = alpha * sum(weight)
    loss = hit = 0.0
    for value, right, w in sorted(zip(losses, hits, weight, strict=True), reverse=True):
        taken = min(w, left)
        loss, hit, left = loss + taken * value, hit + taken * right, left - taken
    return loss / alpha / sum(weight), hit / alpha / sum(weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_worst_alpha_equals_the_loop(weighted):
    alphas = [0.001, 0.05, 1 / 3, 0.9, 1.0]
    for seed in range(3):
        _, _, losses, hits, w = rows(seed)
        found = worst_alpha(losses, alphas, hits, w if weighted else None)
        w = w if weighted else np.ones(len(losses))
        expected = np.array([reference(losses, hits, w, a) for a in alphas])
        np.testing.assert_allclose(found.loss, expected[:, 0], rtol=1e-12)
        np.testing.assert_allclose(found.accuracy, expected[:, 1], rtol=1e-9, atol=1e-12)
        assert (np.diff(found.loss) < 0).all()


def test_worst_alpha_does_not_depend_on_the_order_of_equal_losses():
    losses, hits = np.array([1.0, 1, 1, 2]), np.array([1, 0, 0, 0])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        found = worst_alpha(losses[order], 0.5, hits[order])
        assert (float(found.loss), float(found.accuracy)) == (1.5, pytest.approx(1 / 6))


def test_no_group_of_share_alpha_is_worse():
    _, _, losses, _, _ = rows(0)
    rng = np.random.default_rng(1)
    for _ in range(50):
        group = rng.random(len(losses)) < rng.uniform(0.05, 1) * (1 + (losses > 1))
        bound = worst_alpha(losses, group.mean()).loss
        assert losses[group].mean() <= bound + 1e-12


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sharp", [0.1, 1.0, 20.0])
def test_the_histogram_keeps_its_bound(sharp, weighted):
    for seed in range(3):
        y, p, losses, hits, w = rows(seed, sharp=sharp)
        found = evaluate(y, p.argmax(1), y * 0, p, w if weighted else None)
        w = w if weighted else np.ones(len(y))
        bins = np.minimum((losses / (losses + LOSS_SCALE) * LOSS_BINS).astype(int), LOSS_BINS - 1)
        share = np.bincount(bins, w, LOSS_BINS) / w.sum()
        edges = np.arange(LOSS_BINS) / LOSS_BINS
        lower = LOSS_SCALE * edges / (1 - edges)
        for alpha in ALPHAS:
            exact = worst_alpha(losses, alpha, hits, w)
            # The bin in which the share ends.
            end = LOSS_BINS - 1 - int((share[::-1].cumsum() < alpha).sum())
            width = np.append(lower, np.inf)[end + 1] - lower[end]
            error = float(exact.loss) - found[f"worst_alpha_loss/alpha={alpha:g}"]
            assert -1e-9 <= error <= share[end] * width / (4 * alpha) + 1e-9
            assert error < 0.01 * float(exact.loss)
            accuracy = found[f"worst_alpha_accuracy/alpha={alpha:g}"]
            assert accuracy == pytest.approx(float(exact.accuracy), abs=share[end] / alpha)


def test_accuracy_of_two_classes_follows_from_the_error_and_is_exact():
    y, p, _, hits, _ = rows(4, num_classes=2)
    found = evaluate(y, p.argmax(1), y * 0, p[:, 1])
    error = 1 - hits.mean()
    for alpha in ALPHAS:
        expected = max(0.0, 1 - error / alpha)
        key = f"worst_alpha_accuracy/alpha={alpha:g}"
        assert found[key] == pytest.approx(expected, abs=1e-12), alpha
    assert found["worst_alpha_accuracy/alpha=0.5"] > 0


def test_all_rows_give_the_likelihood_and_the_accuracy():
    _, _, losses, hits, w = rows(5)
    values = worst_values(loss_state(losses, hits, w), [1.0])
    (loss,), (accuracy,) = values.values()
    assert loss == pytest.approx(np.average(losses, weights=w))
    assert accuracy == pytest.approx(np.average(hits, weights=w))


def test_shards_and_ranks_add_to_the_table():
    y, p, losses, hits, _ = rows(6)
    whole, half = GroupCounts(3, 1), [GroupCounts(3, 1), GroupCounts(3, 1)]
    logits, labels = torch.as_tensor(np.log(p)), torch.as_tensor(y)
    whole.update(logits, labels, labels * 0)
    for i in (0, 1):
        half[i].update(logits[i::2], labels[i::2], labels[i::2] * 0)
    torch.testing.assert_close(half[0].losses + half[1].losses, whole.losses)
    exact = worst_alpha(losses, 0.1, hits)
    found = whole.compute()
    assert found["worst_alpha_loss/alpha=0.1"] == pytest.approx(float(exact.loss), rel=1e-3)


def test_rules_know_the_direction():
    assert not higher_is_better("val/worst_alpha_loss/alpha=0.1")
    assert higher_is_better("val/worst_alpha_accuracy/alpha=0.1")


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"alpha": 0}, "alpha must lie in"),
        ({"alpha": [0.5, 1.1]}, "alpha must lie in"),
        ({"hits": [1]}, "one length"),
        ({"weight": [-1, 2]}, "weights not negative"),
        ({"losses": [np.nan, 1]}, "losses must be finite"),
    ],
)
def test_wrong_columns_are_refused(kwargs, words):
    with pytest.raises(UserError, match=words):
        worst_alpha(**{"losses": [1, 2], "alpha": 0.5, **kwargs})
