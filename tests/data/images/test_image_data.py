import doctest
import gzip
import shutil

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from pytorch_lightning import seed_everything
from trainers import trainer

from frbench.contracts.errors import UserError
from frbench.data import CelebA, ImageTable
from frbench.data.describe import describe
from frbench.data.fetch import TensorTable
from frbench.data.fingerprint import fingerprint
from frbench.data.images.drawn_celeba import ATTRIBUTES, HAIR, draw_celeba, draw_face
from frbench.data.images.image_files import ImageFiles
from frbench.data.loader import GroupLoader
from frbench.networks import SmallCNN
from frbench.objectives import ERM


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return draw_celeba(tmp_path_factory.mktemp("faces"), n=120)


@pytest.fixture
def own(faces, tmp_path):
    """A copy to damage."""
    return shutil.copytree(faces, tmp_path / "celeba")


def celeba(root, **kwargs):
    return CelebA(str(root), **{"image_size": 16, "num_workers": 0, "batch_size": 8, **kwargs})


def write_images(folder, rows, header="file,split,y,z"):
    """Write an image folder whose images' red channel is their row."""
    folder.mkdir(exist_ok=True)
    for i, row in enumerate(rows):
        path = folder / row.split(",")[0]
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 8), (i, 0, 0)).save(path)
    (folder / "metadata.csv").write_text("\n".join([header, *rows]))
    return folder


ROWS = [f"{'ab'[i % 2]}/{i}.png,{('train', 'val', 'test')[i % 3]},{i % 2},{i // 2 % 2}"
        for i in range(48)]  # fmt: skip


# ---- CelebA ----------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_official_annotations_give_the_published_counts(shared_data):
    data = CelebA(str(shared_data / "celeba"))
    counts = {name: table.counts(2, 2).ravel().tolist() for name, table in data.splits.items()}
    assert counts == {
        "train": [71629, 66874, 22880, 1387],
        "val": [8535, 8276, 2874, 182],
        "test": [9767, 7535, 2480, 180],
    }
    assert data.group_names[3] == "y=Blond_Hair,z=Male"
    assert not any("not the official" in note for note in data.notes)
    with pytest.raises(UserError, match="202599 of 202599 images are not in"):
        data.setup("fit")


@pytest.mark.slow
def test_hair_colours_are_the_images_with_exactly_one(shared_data):
    data = CelebA(str(shared_data / "celeba"), target=list(HAIR), attribute=["Male", "Young"])
    assert data.class_names == tuple(HAIR) and data.num_attributes == 4
    expected = np.zeros((4, 2, 2), int)  # a slow reading of the file itself
    train = set(data.splits["train"].x.tolist())
    with gzip.open(shared_data / "celeba/list_attr_celeba.txt.gz", "rt") as file:
        next(file)
        column = {name: i + 1 for i, name in enumerate(next(file).split())}
        for line in file:
            words = line.split()
            hair = [i for i, name in enumerate(HAIR) if words[column[name]] == "1"]
            if len(hair) == 1 and words[0] in train:
                male, young = (words[column[a]] == "1" for a in ("Male", "Young"))
                expected[hair[0], int(male), int(young)] += 1
    assert data.splits["train"].counts(4, 4).tolist() == expected.reshape(4, 4).tolist()
    assert data.attribute_names[1] == "not_Male&Young"


def test_labels_follow_the_names_whatever_the_order(faces, own):
    """The student project of spec 3.3 joined by a folder's order: every label was random."""
    lines = (own / "list_attr_celeba.txt").read_text().splitlines()
    order = np.random.default_rng(0).permutation(len(lines) - 2)
    shuffled = lines[:2] + [lines[2 + i] for i in order]
    (own / "list_attr_celeba.txt").write_text("\n".join(shuffled))
    for name, table in celeba(own).splits.items():
        straight = celeba(faces).splits[name]
        assert table.x.tolist() != straight.x.tolist()
        labels = dict(zip(straight.x, zip(straight.y, straight.z, strict=True), strict=True))
        assert [labels[n] for n in table.x] == list(zip(table.y, table.z, strict=True))


def test_the_drawn_attributes_are_in_the_pixels(faces):
    table = celeba(faces).splits["train"]
    images = ImageFiles(faces / "img_align_celeba", table.x, 178, channels=3)
    top = images[np.arange(len(table))][:, :, 22:32, 80:98].mean((2, 3))  # the top of the hair
    near = np.abs(top - np.array(HAIR["Blond_Hair"])).max(1) < 40
    assert np.mean(near == (table.y == 1)) > 0.97
    assert len(ATTRIBUTES) == 40 == len(set(ATTRIBUTES))
    plain = np.asarray(draw_face(set(), np.random.default_rng(0)), int)
    for shown in ("Male", "Young", "Smiling", "Eyeglasses", "Wearing_Lipstick"):
        changed = np.asarray(draw_face({shown}, np.random.default_rng(0)), int)
        assert (np.abs(plain - changed).sum(2) > 60).sum() > 20, shown


def edit(name, old, new, count=1):
    """Damage an annotation file."""

    def damage(root):
        path = root / name
        text = path.read_bytes().decode()
        assert old in text
        path.write_bytes(text.replace(old, new, count).encode())

    return damage


ATTR, SPLIT = "list_attr_celeba.txt", "list_eval_partition.txt"


@pytest.mark.parametrize(
    ("damage", "options", "words"),
    [
        (edit(ATTR, "120\n", "121\n"), {}, "says it has 121 rows, but has 120"),
        (edit(ATTR, "\n5_o_Clock_Shadow", "\n"), {}, "names 39 attributes, but its first row"),
        (edit(ATTR, "000007.jpg -1", "000007.jpg", 1), {}, "damaged|values other"),
        (edit(ATTR, "000007.jpg  1", "000007.jpg  1  1", 1), {}, "damaged"),
        (edit(ATTR, "000007.jpg", "000008.jpg"), {}, "names 000008.jpg 2 times"),
        (edit(ATTR, " Bald ", " Bangs "), {}, "names Bangs 2 times"),
        (edit(ATTR, "120\n", "one\n"), {}, "must begin with a count"),
        (edit(SPLIT, "000007.jpg 0", "000007.jpg 3"), {}, "line 7 must be a name and 0, 1 or 2"),
        (edit(SPLIT, "000007.jpg", "x.jpg"), {}, "names must be the same|in one only"),
        (edit(SPLIT, "000007.jpg 0\r\n", ""), {}, "120 images, .* 119"),
        (lambda root: (root / SPLIT).unlink(), {}, "there is no list_eval_partition.txt"),
        (lambda root: None, {"target": "Blond"}, "no attribute 'Blond'; it has: 5_o_Clock"),
        (lambda root: None, {"attribute": ["Male", "Blond_Hair"]}, "different attributes"),
        (lambda root: None, {"attribute": []}, "different attributes"),
    ],
)
def test_damaged_annotations_are_refused(own, damage, options, words):
    if "000007" in words or "damaged" in words:  # the first value of that row is random
        value = (own / ATTR).read_text().splitlines()[8].split()[1]
        if value == "1" and words.startswith("damaged|"):
            damage = edit(ATTR, "000007.jpg  1", "000007.jpg")
        if value == "-1" and words == "damaged":
            damage = edit(ATTR, "000007.jpg -1", "000007.jpg -1 -1")
    damage(own)
    with pytest.raises(UserError, match=words):
        celeba(own, **options).splits  # noqa: B018


def test_missing_and_broken_images_are_named(own):
    (own / "img_align_celeba/000003.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 120 images are not in .*: 000003.jpg"):
        celeba(own).setup("fit")
    assert "1 of 120 images are missing" in describe(celeba(own))
    (own / "img_align_celeba/000003.jpg").write_bytes(b"no image")
    for workers in (0, 1):
        data = celeba(own, num_workers=workers)
        with pytest.raises(UserError, match=r"^\S*000003.jpg cannot be decoded .*; replace"):
            data.setup("fit")
        with pytest.raises(UserError, match=r"^\S*000003.jpg cannot be decoded .*; replace"):
            list(data.eval_loader("train"))
    whole = (own / "img_align_celeba/000004.jpg").read_bytes()
    (own / "img_align_celeba/000003.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="truncated"):
        list(data.eval_loader("train"))


def test_a_subset_is_named_by_a_list(faces, tmp_path):
    names = [f"{i:06d}.jpg" for i in range(1, 121, 2)]
    (tmp_path / "names.txt").write_text("\n".join(f"{n} 1 -1" for n in reversed(names)))
    data = celeba(faces, subset=str(tmp_path / "names.txt"))
    assert sorted(np.concatenate([t.x for t in data.splits.values()])) == names
    assert "subset: 60 of 120 rows" in describe(data)
    for text, words in [("x.jpg", "not in the table"), ("000001.jpg\n000001.jpg", "2 times")]:
        (tmp_path / "names.txt").write_text(text)
        with pytest.raises(UserError, match=words):
            celeba(faces, subset=str(tmp_path / "names.txt")).splits  # noqa: B018
    with pytest.raises(UserError, match="no file"):
        celeba(faces, subset="nowhere").splits  # noqa: B018


def test_training_rows_can_be_capped(faces):
    tables = celeba(faces, max_train=30, seed=1).splits
    assert [len(tables[name]) for name in ("train", "val", "test")] == [30, 18, 18]
    assert set(tables["train"].x) < set(celeba(faces).splits["train"].x)
    assert set(tables["train"].x) != set(celeba(faces, max_train=30, seed=2).splits["train"].x)


@pytest.mark.parametrize("seed", range(4))
def test_capped_rows_can_be_kept_in_memory(faces, seed):
    data = celeba(faces, max_train=5, cache=True, seed=seed)
    data.setup("fit")
    names = data.splits["train"].x
    assert np.array_equal(data.encode(names)[:], celeba(faces).encode(names)[np.arange(5)])


def test_faces_are_learnt(faces):
    """With labels of other images (a join by order) this stays at the majority's .77 or below."""
    seed_everything(0, verbose=False)
    data = celeba(faces, batch_size=21)
    model = ERM(2, 2, [3, 16, 16], network=SmallCNN(channels=[8, 16]), lr=0.01)
    run = trainer(max_epochs=12, limit_val_batches=0)
    run.fit(model, datamodule=data)
    run.test(model, datamodule=data, verbose=False)
    assert model.evaluation["test"]["balanced_accuracy"] > 0.9


# ---- ImageTable ------------------------------------------------------------------------------
def test_a_folder_with_a_table(tmp_path):
    root = write_images(tmp_path / "own", ROWS)
    data = ImageTable(
        str(root), image_size=4, num_workers=0, value_names={"y": ["cat", "dog"]}, batch_size=4
    )
    assert data.group_names[:2] == ["y=cat,z=0", "y=cat,z=1"]
    assert {name: len(table) for name, table in data.splits.items()} == {
        "train": 16, "val": 16, "test": 16,
    }  # fmt: skip
    for name in data.splits:
        (batch,) = data.eval_loader(name)
        row = (batch.x[:, 0].mean((1, 2)) * 255).round().long()
        assert torch.equal(batch.y, row % 2) and torch.equal(batch.z, row // 2 % 2)
        assert {("train", "val", "test").index(name)} == set((row % 3).tolist())


def test_numbers_as_splits_and_metadata_elsewhere(tmp_path):
    rows = [row.replace("train", "0").replace("val", "1").replace("test", "2") for row in ROWS]
    root = write_images(tmp_path / "own", rows, "img_filename,part,y,place")
    (root / "metadata.csv").rename(tmp_path / "elsewhere.csv")
    data = ImageTable(
        str(root), metadata=str(tmp_path / "elsewhere.csv"), file="img_filename", split="part",
        attribute="place",
    )  # fmt: skip
    assert len(data.splits["val"]) == 16


@pytest.mark.parametrize(
    ("old", "new", "options", "words"),
    [
        ("", "", {"target": "label"}, "no column 'label'; the columns are: file, split, y, z"),
        ("", "", {"attribute": "y"}, "other than the target"),
        ("", "", {"metadata": "other.csv"}, "no file other.csv"),
        ("", "", {"root": "nowhere"}, "no folder nowhere"),
        ("", "", {"value_names": {"y": ["a"]}}, "column 'y' has the value 1 in row 1, out of ran"),
        ("", "", {"value_names": {"w": ["a"]}}, "names 'w', which is neither"),
        ("train", "training", {}, "must hold train, val, test or 0, 1, 2, got training"),
        ("b/1.png,val,1", "b/1.png,val,", {}, "column 'y' has no value in row 1"),
        ("b/1.png", "a/0.png", {}, "names a/0.png 2 times"),
        ("b/1.png", "b/x.png", {}, "1 of 48 images are not in"),
        ("file,split", "file,file", {}, "two columns are named 'file'"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, old, new, options, words):
    root = write_images(tmp_path / "own", ROWS)
    text = (root / "metadata.csv").read_text()
    (root / "metadata.csv").write_text(text.replace(old, new, 1) if old else text)
    with pytest.raises(UserError, match=words):
        ImageTable(**{"root": str(root), **options}).setup("fit")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 0}, "image_size: expected an integer of at least 1"),
        ({"max_train": 0}, "max_train: expected an integer of at least 1"),
        ({"crop": 1.5}, r"crop: expected a number in \(0, 1\]"),
        ({"crop": [0, 0, 5]}, r"crop: a box is \[top, left, height, width\]"),
        ({"channels": 2}, "channels: expected one of 1, 3"),
        ({"augmentation": "blur"}, "augmentation: expected one of none, flip, crop"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(UserError, match=rf"(data|ImageTable)\.{words}"):
        ImageTable("x", **options)


# ---- decoding --------------------------------------------------------------------------------
@pytest.mark.parametrize("crop", [1.0, 0.5, [57, 25, 128, 128], None])
@pytest.mark.parametrize("channels", [1, 3])
def test_decoding_equals_crop_then_resize(tmp_path, faces, crop, channels):
    with Image.open(faces / "img_align_celeba/000001.jpg") as image:
        image.save(tmp_path / "x.png")
        mode = "RGB" if channels == 3 else "L"
        width, height = image.size
        if isinstance(crop, float):
            side = crop * min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            box = (left, top, left + side, top + side)
        else:
            box = (25, 57, 153, 185) if crop else (0, 0, width, height)
        expected = np.asarray(
            image.convert(mode).resize((40, 40), Image.Resampling.BILINEAR, box=box)
        )
    expected = expected.transpose(2, 0, 1) if channels == 3 else expected[None]
    (got,) = ImageFiles(tmp_path, np.array(["x.png"]), 40, crop, channels)[np.array([0])]
    assert np.array_equal(got, expected)
    # A JPEG is decoded at a lower resolution first: not the same bits, the same picture.
    jpeg = ImageFiles(faces / "img_align_celeba", np.array(["000001.jpg"]), 40, crop, channels)
    difference = np.abs(jpeg[np.array([0])][0].astype(int) - expected)
    assert difference.mean() < 2
    assert jpeg.shape == (1, channels, 40, 40) == np.asarray(jpeg).shape


def test_a_box_must_fit(faces):
    images = ImageFiles(faces / "img_align_celeba", np.array(["000001.jpg"]), 8, [200, 0, 30, 30])
    with pytest.raises(UserError, match="does not fit"):
        images[np.array([0])]


def batches(loader):
    return [batch.x for batch in loader]


@pytest.mark.parametrize("augmentation", ["none", "flip", "crop"])
def test_workers_resume_and_devices_change_no_pixel(faces, augmentation):
    data = celeba(faces, augmentation=augmentation, balance="group")
    whole = batches(data.train_dataloader())
    parallel = celeba(faces, augmentation=augmentation, balance="group", num_workers=2)
    loader = parallel.train_dataloader()
    iterator = iter(loader)
    for x in whole[:3]:
        assert torch.equal(next(iterator).x, x)
    state = loader.state_dict()
    iterator.close()
    resumed = celeba(faces, augmentation=augmentation, balance="group").train_dataloader()
    resumed.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(batches(resumed), whole[3:], strict=True))
    table, _, weight = data.training
    dataset = TensorTable(
        table.replace(x=data.encode(table.x)), np.ones(len(table)), 2, data.prepare, data.transform
    )
    parts = [
        batches(GroupLoader(dataset, 8, sampling=weight, rank=rank, world_size=2))
        for rank in (0, 1)
    ]
    for one, *two in zip(whole, *parts, strict=True):
        assert torch.equal(one, torch.cat(two))


def test_augmentation_is_random_over_epochs_and_draws(faces):
    data = celeba(faces, augmentation="crop")
    loader = data.train_dataloader()
    first, second = ({int(i): x for b in loader for i, x in zip(b.index, b.x, strict=True)}
                     for _ in range(2))  # fmt: skip
    both = first.keys() & second.keys()
    assert len(both) > 20
    assert np.mean([not torch.equal(first[i], second[i]) for i in both]) > 0.9
    table = data.training.table
    dataset = TensorTable(
        table.replace(x=data.encode(table.x)), np.ones(len(table)), 2, data.prepare, data.transform
    )
    only = np.zeros(len(table))
    only[0] = 1  # the sampler draws one row again and again: each draw looks different
    (x, *_) = batches(GroupLoader(dataset, 8, sampling=only))
    assert len({tuple(image.flatten().tolist()) for image in x}) > 5
    assert x.min() >= 0 and x.max() <= 1
    for batch in data.eval_loader("train"):
        assert torch.equal(
            batch.x, data.prepare(torch.as_tensor(data.encode(table.x)[batch.index]))
        )


def test_verified_rows_of_images(faces):
    data = celeba(faces, clean_share=0.2)
    batch = next(iter(data.train_dataloader()))
    table, clean, _ = data.training
    assert batch.clean.tolist() == [False] * 8 + [True] * data.clean_per_batch
    expected = data.encode(clean.x)[batch.index[8:] - len(table)]
    assert torch.equal(batch.x[8:], data.prepare(torch.as_tensor(expected)))


def test_the_fingerprint_follows_the_files_not_the_folder(faces, own):
    assert fingerprint(celeba(faces)) == fingerprint(celeba(own))
    assert fingerprint(celeba(own, image_size=17)) != fingerprint(celeba(own))
    with (own / "img_align_celeba/000001.jpg").open("ab") as file:
        file.write(b"x")
    assert fingerprint(celeba(faces)) != fingerprint(celeba(own))


def test_the_page_shows_what_happens():
    page = ROOT / "docs" / "images.md"
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted >= 5 and results.failed == 0
