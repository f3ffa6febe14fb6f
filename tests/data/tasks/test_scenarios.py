"""Images of the tasks show what the tables say; any images can be used."""

import numpy as np
import pytest
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import MNIST, Digits, ImageScenario
from frbench.networks import MLP
from frbench.objectives import ERM

TASKS = ("a", "a3", "b", "c", "d")


def shown(x, rows=2):
    """Colour (0 red, 1 blue) and side of the mark, read from the pixels."""
    red, blue = (x[:, c, :rows].reshape(len(x), -1).max(1) > 0 for c in (0, 2))
    assert (red ^ blue).all()
    green = x[:, 1, -rows:].max(1)  # a profile along the width
    half = x.shape[3] // 2
    left, right = green[:, :half].max(1) > 0, green[:, half:].max(1) > 0
    return blue.astype(int), left, right


@pytest.mark.parametrize("task", TASKS)
def test_pixels_show_colour_and_mark(task):
    data = Digits(task=task, n=300, n_eval=200, family=[0.2, 0.8])
    for name, table in data.splits.items():
        colour, left, right = shown(table.x)
        if task == "d" and name != "test/P0":
            assert (colour == (table.y | table.z)).all()
        else:
            assert (colour == table.z).all()
        if task == "c":
            v = data.factors(name)["v"]
            assert (right == (v == 1)).all() and (left == (v == 0)).all()
        else:
            assert not left.any() and not right.any() and list(data.factors(name)) == ["z"]
        assert (table.x[:, 0, 2:10] == table.x[:, 2, 2:10]).all()  # the digit is grey


def test_tables_are_those_of_the_task():
    data = Digits(task="d", family=[0.05, 0.5], n=400, n_eval=300)
    assert data.test_names == [
        "test/P", "test/Q", "test/P0", "test/P0_or", "test/shift=0.05", "test/shift=0.5",
    ]  # fmt: skip
    assert data.family_names == data.test_names[-2:]
    low = data.splits["test/shift=0.05"]
    assert (low.z == low.y).mean() == pytest.approx(0.05, abs=0.05)
    # The same rows, whatever else is asked for: each table has a stream of its own.
    assert (Digits(task="d", n=400, n_eval=300).splits["test/P0"].x == data.splits[
        "test/P0"].x).all()  # fmt: skip


def test_more_classes_and_colours():
    labels = [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]
    data = Digits(labels=labels, colours=3, n=4000, n_eval=500)
    assert data.sizes[:2] == (4, 3) and data.group_names[-1] == "y=8-9,z=green"
    table = data.splits["train"]
    aligned = table.z == table.y % 3
    assert aligned.mean() == pytest.approx(0.9, abs=0.02)
    channel = [0, 2, 1]
    for z in range(3):
        lit = table.x[table.z == z][:, :, :2].sum((0, 2, 3)) > 0
        assert lit.nonzero()[0].tolist() == [channel[z]]
    p0 = data.splits["test/P0"]
    assert (p0.z == p0.y % 3).mean() == pytest.approx(1 / 3, abs=0.07)
    entangled = Digits(task="d", labels=labels, colours=3, n=500, n_eval=50)
    assert len(entangled.splits["train"]) == 500 and entangled.attribute_names == ("0", "1", "2")


def test_the_pair_of_colour_and_mark_as_attribute():
    data = Digits(task="c", attribute="z+v", n=500, n_eval=300)
    plain = Digits(task="c", n=500, n_eval=300)
    assert data.num_attributes == 4 and data.attribute_names[1] == "red&right"
    for name, table in data.splits.items():
        f = data.factors(name)
        assert (table.z == 2 * f["z"] + f["v"]).all()
        assert (table.x == plain.splits[name].x).all()
        assert (f["z"] == plain.splits[name].z).all()


def test_overwriting_keeps_the_size_of_the_image():
    data = Digits(task="c", overwrite=True, n=100, n_eval=50)
    assert data.input_shape == [3, 8, 8] == list(data.splits["train"].x.shape[1:])
    assert data.splits["train"].x[:, :, :2].max() > 0


def test_class_balancing_demonstration_is_one_option():
    """Proposition A.1: the mean of Z goes from 1/2 to 2/3."""
    options = {"y_rates": [0.75, 0.25], "z_rates": [1 / 3, 1.0], "n": 20_000, "n_eval": 10}
    data = Digits(**options)
    assert data.splits["train"].z.mean() == pytest.approx(0.5, abs=0.012)
    balanced = Digits(**options, balance="class")
    assert balanced.sampled_shares.sum(0)[1] == pytest.approx(2 / 3, abs=0.012)


def test_images_of_a_file(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    images = np.where(labels[:, None, None] >= 2, 200, 20) * np.ones((120, 14, 10))
    np.savez(tmp_path / "x.npz", images=images.astype(np.uint8), labels=labels)
    data = ImageScenario(str(tmp_path / "x.npz"), task="c", eta=0.0, n=200, n_eval=50)
    assert data.class_names == ("0-1", "2-3") and data.input_shape == [3, 18, 10]
    for table in data.splits.values():
        assert table.x.dtype == np.uint8
        assert (table.x[:, 0, 2:16].mean((1, 2)) > 100).tolist() == (table.y == 1).tolist()
        colour, left, right = shown(table.x)
        assert (colour == table.z).all() and (left ^ right).all()
    batch = next(iter(data.train_dataloader()))
    assert float(batch.x.max()) <= 1
    pools = data.pools()
    assert [len(pools[k].labels) for k in ("train", "val", "test")] == [72, 12, 36]


def test_a_constructor_reads_no_file():
    data = ImageScenario("nowhere.npz", task="b")
    assert data.files == ["nowhere.npz"]
    with pytest.raises(UserError, match=r"no file nowhere\.npz"):
        data.setup("fit")


def test_images_of_a_data_set():
    inner = Digits(n=200, n_eval=100)
    data = ImageScenario(images=inner, task="a", n=150, n_eval=60)
    assert data.input_shape == [3, 16, 8] and data.class_names == ("0", "1")
    known = {row.tobytes() for row in inner.splits["train"].x}
    inside = {row[:, 2:14].tobytes() for row in np.ascontiguousarray(data.splits["train"].x)}
    assert inside <= known


def test_mnist(shared_data):
    data = MNIST(task="c", n=500, n_eval=300)
    assert MNIST.sizes.input_shape == data.splits["train"].x.shape[1:] == (3, 36, 28)
    for name, table in data.splits.items():
        colour, left, right = shown(table.x, 4)
        assert (colour == table.z).all() and (right == (data.factors(name)["v"] == 1)).all()
        assert left.sum() + right.sum() == len(table)
    pools = data.pools()
    assert [len(pools[k].labels) for k in ("train", "val", "test")] == [50_000, 10_000, 10_000]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "Digits.n: expected an integer of at least 1"),
        ({"attribute": "z+v"}, "needs the mark of task c"),
        ({"labels": [[0, 1], [1, 2]]}, "disjoint"),
        ({"labels": [[0, 1]]}, "disjoint"),
        ({"family": [1.5]}, r"Digits.family: expected a list of numbers in \[-1, 1\]"),
        ({"family": [-0.5]}, r"data.family: strengths of task a lie in \[0, 1\]"),
        ({"colours": 8}, "there are 7 colours"),
        ({"colours": 1}, "Digits.colours: expected an integer of at least 2"),
        ({"z_rates": [0.5]}, "an entry for each"),
        ({"z_rates": [[0.5, 0.6], [0.5, 0.5]]}, "sums to one"),
        ({"train_on": "R"}, "Digits.train_on: expected one of P, Q, P0"),
        ({"labels": [[0], [12]]}, "show none of the labels"),
    ],
)
def test_what_cannot_be_is_named(options, words):
    with pytest.raises(UserError, match=words):
        _ = Digits(**{"n": 20, "n_eval": 10, **options}).splits


def test_wrong_files_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4)), labels=np.arange(3))
    np.savez(tmp_path / "b.npz", images=np.zeros((3, 4, 4)))
    np.savez(tmp_path / "d.npz", images=np.zeros((3, 4, 4)), labels=np.arange(2))
    np.savez(tmp_path / "e.npz", images=np.full((3, 4, 4), 255), labels=np.arange(3))
    np.savez(tmp_path / "f.npz", images=np.full((3, 4, 4), 255.0), labels=np.arange(3))
    np.save(tmp_path / "g.npy", np.zeros((3, 4, 4)))
    (tmp_path / "h.npz").write_bytes((tmp_path / "d.npz").read_bytes()[:300])
    for file, words in (
        ("a.npz", "height, width"),
        ("b.npz", "labels"),
        ("c.npz", "no file"),
        ("d.npz", "one label for each image"),
        ("e.npz", r"int64 from 0 to 255"),
        ("f.npz", r"float64 from 0 to 255"),
        ("g.npy", "with arrays images and labels"),
        ("h.npz", "with arrays images and labels"),
    ):
        with pytest.raises(UserError, match=words):
            _ = ImageScenario(str(tmp_path / file)).sizes


def test_training_shows_what_the_oracle_says():
    """One seed, few steps: Q is read right on P0, P is not; the family range says so, too."""
    results = {}
    for train_on in ("P", "Q"):
        seed_everything(0, verbose=False)
        data = Digits(train_on=train_on, family=[0.05, 0.5, 0.95], n=3000, n_eval=1000,
                      batch_size=256)  # fmt: skip
        model = ERM(2, 2, data.input_shape, network=MLP(hidden=[32]), lr=3e-3)
        run = trainer(max_epochs=15, limit_val_batches=0)
        run.fit(model, datamodule=data)
        run.test(model, datamodule=data, verbose=False)
        results[train_on] = model.evaluation.flat()
    p, q = results["P"], results["Q"]
    assert q["test/P0/accuracy"] > p["test/P0/accuracy"] + 0.1
    for metrics in (p, q):
        members = [metrics[f"test/shift={g}/accuracy"] for g in ("0.05", "0.5", "0.95")]
        assert metrics["test/family/accuracy_range"] == pytest.approx(max(members) - min(members))
        assert metrics["test/family/family_worst_accuracy"] == min(members)
    assert p["test/family/accuracy_range"] > q["test/family/accuracy_range"] + 0.2
