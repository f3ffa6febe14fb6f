"""Arrays in memory and in files: names and codes, splits, and the contract of checkpoints."""

import numpy as np
import pytest
import torch
from command import QUICK, rows, run
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench import load
from frbench.contracts.errors import UserError
from frbench.data import ArrayData
from frbench.networks import MLP
from frbench.objectives import ERM


def arrays(n=200, seed=0):
    """Rows that a line through the first input separates; the second one shows z."""
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, 2, (2, n))
    x = rng.normal(size=(n, 3))
    x[:, 0] += 4 * y
    x[:, 1] += z
    return x, y, z


def saved(path, **others):
    x, y, z = arrays()
    named = {"y": np.array(["cat", "dog"])[y], "z": np.array(["in", "out"])[z]}
    np.savez(path, **{"x": x.astype(np.float32), **named, **others})
    return str(path)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list])
def test_arrays_tensors_and_lists_are_the_same_data(kind):
    x, y, z = arrays()
    first = ArrayData(x, y, z)
    other = ArrayData(kind(x), kind(y), kind(z))
    assert other.class_names == first.class_names == ("0", "1")
    for name, table in first.splits.items():
        for column in ("x", "y", "z"):
            np.testing.assert_array_equal(
                getattr(other.splits[name], column), getattr(table, column)
            )


def test_names_are_sorted_values_or_given():
    x = np.zeros((20, 2))
    codes = np.arange(20) % 2
    data = ArrayData(x, np.array([10, 9])[codes], np.array(["b", "a"])[codes])
    assert data.class_names == ("9", "10") and data.attribute_names == ("a", "b")
    given = ArrayData(x, codes, codes, classes=["no", "yes"], attributes=["b", "a", "c"])
    assert given.class_names == ("no", "yes") and given.attribute_names == ("b", "a", "c")
    table = given.splits["train"]
    assert (table.y == table.z).all()


def test_unknown_attributes_are_in_no_group():
    x, y, z = arrays()
    z = np.where(np.arange(200) < 50, -1, z)
    for values in (z, np.where(z < 0, np.nan, z), torch.as_tensor(z)):
        data = ArrayData(x, y, values)
        assert data.attribute_names == ("0", "1")
        assert sum(int((t.z < 0).sum()) for t in data.splits.values()) == 50
    named = ArrayData(x, y, z, attributes=["in", "out"])
    assert sum(int((t.z < 0).sum()) for t in named.splits.values()) == 50


def test_without_attribute_groups_are_classes():
    data = ArrayData(*arrays()[:2])
    assert data.group_names == ["y=0,z=all", "y=1,z=all"]
    data.splits  # noqa: B018
    assert "groups are classes" in data.notes[0]


def test_splits_are_given_or_drawn():
    x, y, z = arrays()
    drawn = ArrayData(x, y, z, fractions=(0.5, 0.25, 0.25)).splits
    sizes = [len(drawn[name]) for name in ("train", "val", "test")]
    assert sum(sizes) == 200 and sizes == pytest.approx([100, 50, 50], abs=2)
    part = np.array(["train", "val", "test/P", "test/Q"])[np.arange(200) % 4]
    given = ArrayData(x, y, z, part).splits
    assert list(given) == ["train", "val", "test/P", "test/Q"]
    np.testing.assert_array_equal(given["test/Q"].x, x[3::4])
    without_val = ArrayData(x, y, z, np.where(part == "val", "train", part)).splits
    sizes = [len(t) for t in without_val.values()]
    assert sizes == pytest.approx([75, 25, 50, 50], abs=2)  # val takes a quarter of train


def test_weights_are_those_of_the_training_rows_with_mean_one():
    x, y, z = arrays()
    weight = np.arange(1.0, 201)
    splits = ArrayData(x, y, z, weight=weight).splits
    own = splits["train"].weight
    place = [int(np.flatnonzero((x == row).all(1))[0]) for row in splits["train"].x]
    np.testing.assert_allclose(own, weight[place] / weight[place].mean())
    assert (splits["val"].weight == 1).all()


def test_a_continuous_attribute_goes_with_its_rows():
    x, y, z = arrays()
    data = ArrayData(x, y, z, continuous=x[:, 1])
    for table in data.splits.values():
        np.testing.assert_array_equal(table.continuous, table.x[:, 1])


def test_bytes_become_shares():
    x = np.full((20, 3, 4, 4), 255, np.uint8)
    data = ArrayData(x, np.arange(20) % 2, np.arange(20) % 2, batch_size=4)
    assert next(iter(data.train_dataloader())).x.max() == 1
    half = torch.ones(20, 2, dtype=torch.bfloat16)
    assert ArrayData(half, np.arange(20) % 2).splits["train"].x.dtype == np.float32


@pytest.mark.promise("input", ArrayData)
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda x, y, z, p: ArrayData(), "needs x and y"),
        (lambda x, y, z, p: ArrayData("a.npz", y), r"data.x is an array in Python"),
        (lambda x, y, z, p: ArrayData(x, y, z, path=str(p)), "name the rows twice"),
        (lambda x, y, z, p: ArrayData(x, y[:5], z), "different lengths"),
        (lambda x, y, z, p: ArrayData(x[:, 0], y, z), r"x must be numbers \[N, "),
        (lambda x, y, z, p: ArrayData(x, y[:, None], z), "one value a row"),
        (lambda x, y, z, p: ArrayData(x, np.where(y, np.nan, 0), z), "have no label"),
        (lambda x, y, z, p: ArrayData(x, y, z, classes=["a"]), "codes from 0 to 0"),
        (lambda x, y, z, p: ArrayData(x, x[:, 0], z), "different values"),
        (lambda x, y, z, p: ArrayData(x, y, z, np.repeat("dev", 200)), "got 'dev'"),
        (lambda x, y, z, p: ArrayData(x, y, z, np.repeat("train", 200)), "train, val and test"),
        (lambda x, y, z, p: ArrayData(x, y, z, weight=-np.ones(200)), "weight must be finite"),
        (lambda x, y, z, p: ArrayData(x, y, z, weight=0 * y), "weights of the train"),
        (lambda x, y, z, p: ArrayData(path="none.npz"), "there is no file none[.]npz"),
        (lambda x, y, z, p: ArrayData(path=str(p)), "has no array y; it has: x"),
        (lambda x, y, z, p: ArrayData(path=str(p.with_suffix(".txt"))), "give an .npz file"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_in_one_line(tmp_path, build, words):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2)))
    (tmp_path / "x.txt").write_text("1")
    data = build(*arrays(), tmp_path / "x.npz")
    with pytest.raises(UserError, match=words) as error:
        data.splits  # noqa: B018
    assert "\n" not in str(error.value)


def test_inputs_that_are_not_finite_are_refused():
    x, y, z = arrays()
    x[7] = np.inf
    with pytest.raises(UserError, match="NaN or infinite"):
        list(ArrayData(x, y, z, fractions=(0.98, 0.01, 0.01)).train_dataloader())


def test_a_file_of_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2)), y=np.array([{}, {}, {}]))
    with pytest.raises(UserError, match="cannot be read as an"):
        ArrayData(path=str(tmp_path / "x.npz")).splits  # noqa: B018


@pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
def test_a_run_from_the_command_line_is_tested_continued_and_predicts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "a.npz")
    words = ("--data=ArrayData", "--data.path=a.npz", "--data.batch_size=20", "--model.lr=0.05")
    run("fit", *words, *QUICK, "--trainer.max_epochs=4", "--run_dir=first")
    model = load("first/checkpoints/best.ckpt")
    assert list(model.classes_) == ["cat", "dog"]
    run("test", "--ckpt_path=first/checkpoints/best.ckpt", *QUICK[1:])
    run("fit", *words, *QUICK, "--trainer.max_epochs=6",
        "--ckpt_path=first/checkpoints/last.ckpt")  # fmt: skip

    # Another file: codes of its own names, one of them in another order, z partly unknown.
    x, y, z = arrays(seed=1)
    z[:20] = -1
    np.savez("b.npz", x=x, y=1 - y, z=z, class_names=["dog", "cat"], attribute_names=["in", "out"])
    run("predict", "--ckpt_path=first/checkpoints/best.ckpt", "b.npz", "--out=b.csv")
    found = rows(tmp_path / "b.csv")
    assert [row["y"] for row in found] == [("cat", "dog")[k] for k in y]
    assert [row["z"] for row in found[:3]] == ["", "", ""]
    assert np.mean([row["y"] == row["prediction"] for row in found]) > 0.9
    assert model.evaluate("b.npz")["accuracy"] > 0.9

    # Evaluation by the checkpoint's names: the file's own order has no part in it.
    with pytest.raises(UserError, match="'bird' is unknown"):
        np.savez("c.npz", x=x, y=np.array(["cat", "bird"])[y], z=z)
        model.evaluate("c.npz")


def test_arrays_in_memory_train_and_are_tested_without_being_stored(tmp_path):
    seed_everything(0, verbose=False)
    data = ArrayData(*arrays(), batch_size=20)
    model = ERM(2, 2, [3], network=MLP(hidden=[]), lr=0.1)
    once = trainer(max_epochs=12)
    once.fit(model, datamodule=data)
    once.save_checkpoint(tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["frbench"]["data"] is None
    twin = load(tmp_path / "a.ckpt")
    once.test(twin, datamodule=ArrayData(*arrays(seed=1)), verbose=False)
    assert once.callback_metrics["test/accuracy"] > 0.9


def test_rows_of_unknown_classes_are_dropped_if_asked_for(tmp_path):
    first = ArrayData(path=saved(tmp_path / "a.npz"))
    learnt = first.learnt
    x, y, z = arrays()
    path = str(tmp_path / "b.npz")
    np.savez(path, x=x, y=np.array(["bird", "dog"])[y], z=np.array(["in", "out"])[z])
    strict, dropping = ArrayData(path=path), ArrayData(path=path, unknown_classes="drop")
    for data in (strict, dropping):
        data.restore(learnt)
    with pytest.raises(UserError, match="'bird' is unknown"):
        strict.splits  # noqa: B018
    assert sum(map(len, dropping.splits.values())) == int((y == 1).sum())
    assert all((t.y == 1).all() for t in dropping.splits.values())
