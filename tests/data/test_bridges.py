"""Data sets that other packages read, on generated files of their formats."""

import re
import sys
import types

import numpy as np
import published_forms as forms
import pytest
import torch
import torchvision
from command import run

from frbench.contracts.errors import UserError
from frbench.data import ImageTable, TableData, TextTable
from frbench.data.sources import Images, is_source, read_source
from frbench.metrics import evaluate

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
SMALL = {"image_size": 8, "num_workers": 0, "batch_size": 8}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FRBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.fixture
def scatter(monkeypatch):
    """What wilds' metrics need of torch_scatter, which is compiled and seldom installed."""

    def mean(src, index, dim_size, reduce):
        assert reduce == "mean"
        return torch.zeros(dim_size).scatter_reduce_(0, index, src, "mean", include_self=False)

    module = types.SimpleNamespace(scatter=mean)
    monkeypatch.setitem(sys.modules, "torch_scatter", module)


def test_images_of_parts_lie_end_to_end():
    images = Images([(2, "ab".__getitem__), (0, "".__getitem__), (3, "cde".__getitem__)])
    assert len(images) == 5 and [images[i] for i in range(5)] == list("abcde")


def test_paths_of_files_are_no_sources(in_tmp):
    assert not any(map(is_source, ("datasets", "wilds/a.csv", "C:x.csv", "s3:b", None)))


@pytest.mark.parametrize("package", ["datasets", "folktables", "wilds"])
def test_a_package_that_is_not_installed_is_named_with_its_command(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package}:a needs .*: pip install 'frbench\[{package}"):
        read_source(f"{package}:a")


def test_a_folder_of_a_packages_name_is_not_the_package(in_tmp, monkeypatch):
    (in_tmp / "folktables").mkdir()
    monkeypatch.setattr(sys, "path", [str(in_tmp)])
    monkeypatch.setitem(sys.modules, "folktables", None)
    del sys.modules["folktables"]  # what is imported below is undone
    with pytest.raises(UserError, match=r"pip install 'frbench\[folktables\]'"):
        read_source("folktables:ACSIncome")


# ---- WILDS --------------------------------------------------------------------------------------
def of_wilds(name, root):
    from wilds import get_dataset

    return get_dataset(name, root_dir=str(root), download=False)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize(
    ("name", "write", "attribute", "key"),
    [
        ("waterbirds", forms.waterbirds, "background", "worst_group_accuracy"),
        ("celebA", forms.celeba, "male", "worst_group_accuracy"),
        ("camelyon17", forms.camelyon17, "slide", "worst_attribute_accuracy"),
    ],
)
def test_worst_group_is_that_of_wilds(name, write, attribute, key, root, scatter):
    pytest.importorskip("wilds")
    write(root)
    data = ImageTable(f"wilds:{name}", attribute=attribute, **SMALL)
    test = data.splits["test"]
    subset = of_wilds(name, root).get_subset("test")
    assert test.y.tolist() == subset.y_array.tolist()
    shown = data.images(test.x[:3])[np.arange(3)][:, :, 4, 4]
    assert shown.tolist() == [list(subset[i][0].getpixel((10, 10))) for i in range(3)]
    guess = np.where(np.random.default_rng(0).random(len(test)) < 0.7, test.y, 1 - test.y)
    theirs, _ = subset.eval(torch.tensor(guess), subset.y_array, subset.metadata_array)
    ours = evaluate(test.y, guess, test.z, attribute_names=data.attribute_names)
    assert ours[key] == pytest.approx(theirs["acc_wg"]) and 0 < ours[key] < 0.7
    if name == "waterbirds":
        published = np.array([[3498, 184], [56, 1057]])  # training rows, by which it weighs
        ours = evaluate(test.y, guess, test.z, train_counts=published)
        assert ours["weighted_average_accuracy"] == pytest.approx(theirs["adj_acc_avg"])
    else:
        assert ours["accuracy"] == pytest.approx(theirs["acc_avg"])


def test_splits_by_other_names_and_metadata_by_theirs(root):
    pytest.importorskip("wilds")
    forms.camelyon17(root)
    frame = read_source("wilds:camelyon17").frame
    assert set(frame) == {"hospital", "slide", "y", "split"}
    assert set(frame["hospital"][frame["split"] == "val"]) == {1}
    assert "id_val is not used" in frame.attrs["notes"][0]
    near = read_source("wilds:camelyon17?val=id_val").frame
    assert set(near["hospital"][near["split"] == "val"]) == {0, 3, 4}
    with pytest.raises(UserError, match=r"no split 'dev'; it has: train, id_val, test, val"):
        read_source("wilds:camelyon17?val=dev")
    with pytest.raises(UserError, match=r"wilds:fmow cannot be read .*could not be found"):
        read_source("wilds:fmow")
    with pytest.raises(UserError, match=r"no column .text."):
        TextTable("wilds:camelyon17", "text", "y", "hospital").setup("fit")


def test_a_model_is_trained_and_tested_on_a_source(root, in_tmp):
    pytest.importorskip("wilds")
    forms.waterbirds(root)
    words = ["--data.image_size=8", "--data.batch_size=16", "--data.num_workers=0"]
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    run("fit", "--data=ImageTable", "--data.root=wilds:waterbirds", "--data.attribute=background",
        *words, "--trainer.max_epochs=2", *quiet, "--run_dir=run")  # fmt: skip
    run("test", "--ckpt_path=run/checkpoints/best.ckpt", *quiet)
    text = (in_tmp / "run" / "test.json").read_text()
    assert float(re.search(r'"test/accuracy": ([\d.]+)', text)[1]) > 0.4


# ---- Hugging Face -------------------------------------------------------------------------------
def test_a_folder_of_save_to_disk_as_images_texts_and_numbers(root):
    pytest.importorskip("datasets")
    forms.saved_dataset(root / "saved")
    images = ImageTable("datasets:saved", target="label", attribute="group", **SMALL)
    by = {"split": "column", "split_column": "split"}
    texts = TextTable("datasets:saved", "text", "label", "group", min_count=1, **by)
    numbers = TableData("datasets:saved", "label", "group", drop=["text"])
    for data in (images, texts, numbers):
        assert data.class_names == ("wolf", "dog")  # the order of the class label
        assert set(data.attribute_names) == {"snow", "grass"}
    assert {k: len(t) for k, t in images.splits.items()} == {"train": 90, "val": 30, "test": 30}
    assert {k: len(t) for k, t in texts.splits.items()} == {"train": 90, "val": 30, "test": 30}
    assert numbers.encoder.feature_names == ["size"]  # the split is no input
    assert any("split extra is not used" in note for note in texts.notes)
    train = images.splits["train"]
    pixels = images.images(train.x[:2])[np.arange(2)]
    assert pixels.shape == (2, 3, 8, 8)
    assert pixels[:, 0, 0, 0].tolist() == [60 + 120 * y for y in train.y[:2]]
    assert "good" in texts.vocabulary.known
    images.setup("fit")
    batch = next(iter(images.train_dataloader()))
    assert batch.x.shape == (8, 3, 8, 8) and ((batch.x.mean((1, 2, 3)) > 0.5) == batch.y).all()


def test_a_data_set_of_one_part_is_cut_by_fractions(root):
    datasets = pytest.importorskip("datasets")
    rows = {"x": list(range(40)), "y": [0, 1] * 20, "z": ["a", "a", "b", "b"] * 10}
    datasets.Dataset.from_dict(rows).save_to_disk(str(root / "one"))
    data = TableData("datasets:one", "y", "z")
    assert {k: len(t) for k, t in data.splits.items()} == {"train": 24, "val": 8, "test": 8}
    with pytest.raises(UserError, match="holds no images; read it by TableData"):
        ImageTable("datasets:one", **SMALL).setup("fit")
    with pytest.raises(UserError, match="datasets:nothing cannot be read by datasets"):
        read_source("datasets:nothing")


# ---- folktables ---------------------------------------------------------------------------------
def test_a_task_of_folktables_has_its_rows_and_columns(root):
    folktables = pytest.importorskip("folktables")
    forms.acs_person(root)
    source = folktables.ACSDataSource("2018", "1-Year", "person", root_dir=str(root))
    features, label, group = folktables.ACSIncome.df_to_numpy(source.get_data(states=["AL"]))
    data = TableData("folktables:ACSIncome?states=[AL]", "PINCP", "RAC1P", positive=True)
    frame = data.read()
    assert np.array_equal(frame[folktables.ACSIncome.features].to_numpy(), features)
    assert np.array_equal(frame["PINCP"], label) and np.array_equal(frame["RAC1P"], group)
    assert data.class_names[1] == "True" and sum(map(len, data.splits.values())) == len(label)
    with pytest.raises(UserError, match="Could not find 2018 1-Year person survey data for AK"):
        read_source("folktables:ACSIncome?states=[AK]")
    with pytest.raises(UserError, match="no task of that name; it has: ACSEmployment"):
        read_source("folktables:ACSWealth")


# ---- torchvision --------------------------------------------------------------------------------
def test_digits_of_torchvision_with_columns_of_ones_own(root):
    forms.mnist_with_writers(root)
    path = "torchvision:MNIST?columns=writers.csv"
    data = ImageTable(path, attribute="writer", channels=1, **SMALL | {"image_size": 28})
    assert data.class_names[3] == "3 - three" and data.attribute_names == ("ann", "bob")
    assert {k: len(t) for k, t in data.splits.items()} == {"train": 70, "val": 30, "test": 100}
    test = torchvision.datasets.MNIST(str(root), train=False)
    shown = data.images(data.splits["test"].x[:5])[np.arange(5)]
    assert np.array_equal(shown[:, 0], test.data[:5].numpy())
    with pytest.raises(UserError, match=r"there is no file none\.csv"):
        read_source("torchvision:MNIST?columns=none.csv")
    (root / "writers.csv").write_text("writer\nann\nbob\n")
    with pytest.raises(UserError, match=r"has 200 rows, writers\.csv has 2"):
        read_source(path)


def test_attributes_of_celeba_by_torchvision(root, monkeypatch):
    forms.torchvision_celeba(root)
    monkeypatch.setattr(torchvision.datasets.CelebA, "_check_integrity", lambda self: True)
    data = ImageTable("torchvision:CelebA", target="Blond_Hair", attribute="Male", **SMALL)
    assert sum(map(len, data.splits.values())) == 60 and len(data.splits["val"])
    assert "Young" in read_source("torchvision:CelebA").frame


def test_labels_without_targets_and_names_that_are_no_data_sets(root):
    frame = read_source("torchvision:FakeData?size=9&image_size=[3,4,4]&num_classes=2").frame
    assert len(frame) == 9 and set(frame["y"]) == {0, 1} and list(frame) == ["y"]
    for name in ("VisionDatase", "utils", "Kinetics?root=nowhere"):
        with pytest.raises(UserError, match="torchvision"):
            read_source(f"torchvision:{name}")


# ---- SubpopBench --------------------------------------------------------------------------------
def test_metadata_of_subpopbench_below_the_data_folder(root, in_tmp):
    forms.subpopbench(root / "waterbirds")
    folder = "waterbirds/waterbird_complete95_forest2water2"
    data = ImageTable(folder, "waterbirds/metadata_waterbirds.csv", **SMALL)
    assert {k: len(t) for k, t in data.splits.items()} == {"train": 40, "val": 20, "test": 20}
    assert data.files == ["waterbirds/metadata_waterbirds.csv"]
    data.setup("fit")
