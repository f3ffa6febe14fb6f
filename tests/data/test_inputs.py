"""Changes of the inputs of every table: learnt from training, applied to evaluation."""

import json
import warnings

import numpy as np
import pytest
from command import run

from frbench import Sizes, load
from frbench.contracts.errors import UserError
from frbench.data import (
    CorrelationRemover,
    Digits,
    DisparateImpactRemover,
    FairRepresentation,
    InputTransform,
    TableData,
    TwoGaussians,
)

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
SIZES = Sizes(2, 2, (3,))


def drawn(n=400, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 3)) + z[:, None] * [2.0, -1.0, 0.0]
    x[:, 2] = rng.random(n) < 0.3 + 0.4 * z
    return x, (x[:, 0] + rng.normal(size=n) > 1).astype(int), z


def test_correlations_are_gone_as_fairlearn_takes_them_out():
    from fairlearn.preprocessing import CorrelationRemover as Reference

    x, y, z = drawn()
    for alpha in (1.0, 0.4, 0.0):
        step = CorrelationRemover(alpha)
        out = step.transform(x, z, step.learn(x, y, z, SIZES))
        both = np.column_stack([x, z])
        expected = Reference(sensitive_feature_ids=[3], alpha=alpha).fit_transform(both)
        assert np.allclose(out, expected, atol=1e-9)
    full = CorrelationRemover().transform(x, z, CorrelationRemover().learn(x, y, z, SIZES))
    assert np.abs(np.corrcoef(np.column_stack([full, z]).T)[3, :3]).max() < 1e-9


def test_of_three_values_each_mean_is_equal():
    x, y, _ = drawn()
    z = np.arange(400) % 3
    x = x + z[:, None] ** 2
    step = CorrelationRemover()
    out = step.transform(x, z, step.learn(x, y, z, Sizes(2, 3, (3,))))
    means = [out[z == a].mean(0) for a in range(3)]
    assert np.ptp(means, axis=0).max() < 1e-9


def test_repair_makes_the_groups_alike_and_keeps_ranks():
    x, y, z = drawn(n=2000)
    step = DisparateImpactRemover()
    out = step.transform(x, z, step.learn(x, y, z, SIZES))
    for a in (0, 1):
        order = np.argsort(x[z == a, 0])
        assert (np.diff(out[z == a, 0][order]) >= -1e-12).all()
    grid = np.linspace(0, 1, 51)
    quantiles = [np.quantile(out[z == a, 0], grid) for a in (0, 1)]
    assert np.abs(quantiles[0] - quantiles[1]).max() < 0.2
    assert abs(x[z == 0, 0].mean() - x[z == 1, 0].mean()) > 1.5
    assert np.array_equal(out[:, 2], x[:, 2])  # two values
    half = DisparateImpactRemover(0.5)
    assert np.allclose(half.transform(x, z, half.learn(x, y, z, SIZES)), (x + out) / 2)
    none = DisparateImpactRemover(0.0)
    assert np.array_equal(none.transform(x, z, none.learn(x, y, z, SIZES)), x)


def test_values_that_repeat_move_together():
    x = np.repeat([0.0, 1.0, 2.0, 5.0], 50)[:, None]
    z = np.tile([0, 1], 100)
    step = DisparateImpactRemover()
    x = x + z[:, None]
    out = step.transform(x, z, step.learn(x, z, z, Sizes(2, 2, (1,))))
    for a in (0, 1):
        for value in np.unique(x[z == a]):
            assert np.ptp(out[(z == a) & (x[:, 0] == value)]) < 1e-12


def test_rows_without_attribute_stay_as_they_are():
    x, y, z = drawn()
    unknown = np.full(400, -1)
    for step in (CorrelationRemover(), DisparateImpactRemover()):
        learnt = step.learn(x, y, z, SIZES)
        assert np.array_equal(step.transform(x, unknown, learnt), x)
        json.dumps(learnt)  # plain values


def test_representation_is_fairlearns_mapping_and_prototypes():
    from fairlearn.preprocessing import PrototypeRepresentationLearner

    x, y, z = drawn(n=120)
    step = FairRepresentation(prototypes=3, max_iter=5, rows=0)
    learnt = step.learn(x, y, z, SIZES)
    reference = PrototypeRepresentationLearner(3, random_state=0, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(x, y, sensitive_features=z)
    expected = reference.transform(x) @ reference.prototypes_
    assert np.allclose(step.transform(x, z, learnt), expected)


class Shift(InputTransform):
    """A user's own: subtracts the training mean."""

    reads_attribute = False

    def learn(self, x, y, z, sizes):
        return {"mean": x.mean(0).tolist()}

    def transform(self, x, z, learnt):
        return x - np.array(learnt["mean"])


def test_evaluation_uses_what_training_showed(shared_data):
    plain = TwoGaussians(n=600)
    moved = TwoGaussians(n=600, transforms=[Shift(), CorrelationRemover()])
    train = plain.encoded(plain.training.table, "train")
    mean = train.x.mean(0)
    steps = [Shift(), CorrelationRemover()]
    first = train.x.astype(float) - mean.astype(float)
    learnt = steps[1].learn(first, train.y, train.z, plain.sizes)
    for name in ("val", *plain.test_names):
        before = plain.encoded(plain.splits[name], name)
        after = moved.encoded(moved.splits[name], name)
        expected = steps[1].transform(before.x.astype(float) - mean, before.z, learnt)
        assert after.x.dtype == np.float32 and np.allclose(after.x, expected, atol=1e-5)


def test_they_are_part_of_the_checkpoint(in_tmp, monkeypatch):
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], 1500)
    hired = np.where(rng.random(1500) < 0.3 + 0.4 * (sex == "m"), "yes", "no")
    skill = rng.normal(size=1500) + (sex == "m")
    rows = [f"{h},{s},{v:.3f}" for h, s, v in zip(hired, sex, skill, strict=True)]
    (in_tmp / "t.csv").write_text("\n".join(["hired,sex,skill", *rows]))
    run("fit", "--data=TableData", "--data.path=t.csv", "--data.target=hired",
        "--data.attribute=sex", "--data.transforms+=CorrelationRemover", "--run_dir=r",
        "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false")  # fmt: skip
    model = load("r/checkpoints/best.ckpt")
    data = TableData("t.csv", "hired", "sex", transforms=[CorrelationRemover()])
    stored = model.encoding.restored["transforms"]
    assert stored == data.learnt_transforms
    assert "CorrelationRemover reads the attribute" in model.attribute_use

    def refused(self, *args):
        raise AssertionError("learnt from the table that is evaluated")

    monkeypatch.setattr(CorrelationRemover, "learn", refused)
    (in_tmp / "new.csv").write_text("\n".join(["hired,sex,skill", *rows[:50]]))
    p = model.predict_proba("new.csv")
    whole = model.encoding.splits
    by_hand = model.table_outcome(
        type(whole["val"])(
            data._rows.x.iloc[:50], data._rows.y.codes[:50], data._rows.z.codes[:50]
        )
    ).logits.softmax(1).numpy()  # fmt: skip
    assert np.allclose(p, by_hand, atol=1e-6)


def test_images_have_no_columns_to_change():
    data = Digits(n=100, n_eval=100, transforms=[CorrelationRemover()])
    if len(data.sizes.input_shape) == 1:
        pytest.skip("the digits are a table here")
    with pytest.raises(UserError, match="tables of numbers"):
        data.encoded(data.splits["val"], "val")


def test_prevalence_is_equal_in_every_group():
    data = TwoGaussians(n=2000, balance="label_given_attribute")
    shares = data.sampled_shares
    assert np.allclose(shares[0], shares[1])
    before = data.splits["train"].counts(2, 2)
    assert np.allclose(shares.sum(0), before.sum(0) / before.sum())
