"""Small generated data sets in the on-disk formats of other packages."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

#: Identity columns of CivilComments, in the order of WILDS.
IDENTITIES = [
    "male",
    "female",
    "LGBTQ",
    "christian",
    "muslim",
    "other_religions",
    "black",
    "white",
]
_AUXILIARY = "identity_any severe_toxicity obscene threat insult identity_attack sexual_explicit"


def picture(path, value, size=(24, 20)):
    """Write an image of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (int(value),) * 3).save(path)


def _released(root, name):
    folder = Path(root) / f"{name}_v1.0"
    folder.mkdir(parents=True)
    (folder / "RELEASE_v1.0.txt").write_text("generated")
    return folder


def cells(n, rng, second=2):
    """Draw labels, attributes and splits so that each split has every cell."""
    y, z = np.arange(n) % 2, np.arange(n) // 2 % second
    return y, z, rng.permutation(np.repeat([0, 1, 2], [n - 2 * (n // 4), n // 4, n // 4]))


def waterbirds(root, n=120):
    """Write WILDS' waterbirds."""
    folder, rng = _released(root, "waterbirds"), np.random.default_rng(0)
    y, place, split = cells(n, rng)
    names = [f"{i % 7:03d}.Bird/bird_{i:04d}.png" for i in range(n)]
    for name, label in zip(names, y, strict=True):
        picture(folder / name, 60 + 120 * label + rng.integers(0, 70))
    frame = {"img_id": np.arange(n), "img_filename": names, "y": y, "split": split, "place": place}
    pd.DataFrame(frame).to_csv(folder / "metadata.csv", index=False)


def celeba(root, n=120):
    """Write WILDS' CelebA."""
    folder, rng = _released(root, "celebA"), np.random.default_rng(1)
    y, male, split = cells(n, rng)
    names = [f"{i + 1:06d}.png" for i in range(n)]
    for name, label in zip(names, y, strict=True):
        picture(folder / "img_align_celeba" / name, 60 + 120 * label + rng.integers(0, 70))
    attributes = {"image_id": names, "Bald": -1, "Blond_Hair": 2 * y - 1, "Male": 2 * male - 1}
    pd.DataFrame(attributes).to_csv(folder / "list_attr_celeba.csv", index=False)
    parts = pd.DataFrame({"image_id": names, "partition": split})
    parts.to_csv(folder / "list_eval_partition.csv", index=False)


def camelyon17(root, n=150):
    """Write WILDS' Camelyon17: five hospitals of two slides each; split 0 or 1 in the file."""
    folder, rng = _released(root, "camelyon17"), np.random.default_rng(2)
    slide = np.arange(n) % 10
    tumor, split = rng.integers(0, 2, n), rng.integers(0, 2, n)
    frame = pd.DataFrame(
        {"patient": [f"{s:03d}" for s in slide], "node": slide % 5, "x_coord": np.arange(n),
         "y_coord": 0, "tumor": tumor, "slide": slide, "center": slide // 2, "split": split}
    )  # fmt: skip
    for row in frame.itertuples():
        stem = f"patient_{row.patient}_node_{row.node}"
        name = f"patches/{stem}/patch_{stem}_x_{row.x_coord}_y_{row.y_coord}.png"
        picture(folder / name, 60 + 120 * row.tumor + rng.integers(0, 70), (12, 12))
    frame.to_csv(folder / "metadata.csv")


def civilcomments(root, n=400):
    """Write WILDS' CivilComments: shares of raters, overlapping identities."""
    folder, rng = _released(root, "civilcomments"), np.random.default_rng(3)
    toxic = rng.random(n) < 0.4
    words = np.where(toxic, "awful stupid talk", "nice kind talk")
    frame = pd.DataFrame({"comment_text": [f"{w} number {i % 5}" for i, w in enumerate(words)]})
    frame["split"] = rng.choice(["train", "val", "test"], n, p=[0.5, 0.2, 0.3])
    frame["toxicity"] = np.where(toxic, rng.uniform(0.5, 1, n), rng.uniform(0, 0.49, n))
    for name, share in zip(IDENTITIES, (0.3, 0.3, 0.1, 0.2, 0.1, 0.05, 0.1, 0.15), strict=True):
        frame[name] = np.where(rng.random(n) < share, 0.8, 0.0)
    for name in _AUXILIARY.split():
        frame[name] = 0.0
    frame.to_csv(folder / "all_data_with_identities.csv")


def acs_person(root, n=600, state="01", year="2018"):
    """Write a file of the American Community Survey with the columns of folktables' tasks."""
    folder, rng = Path(root) / year / "1-Year", np.random.default_rng(4)
    folder.mkdir(parents=True)
    whole = {
        "AGEP": (10, 90), "COW": (1, 9), "SCHL": (1, 25), "MAR": (1, 6), "OCCP": (10, 9000),
        "POBP": (1, 500), "RELP": (0, 18), "WKHP": (0, 80), "SEX": (1, 3), "RAC1P": (1, 10),
        "PWGTP": (0, 200), "ESR": (1, 7), "DIS": (1, 3), "ESP": (0, 9), "CIT": (1, 6),
        "MIG": (1, 4), "MIL": (0, 5), "ANC": (1, 5), "NATIVITY": (1, 3), "DEAR": (1, 3),
        "DEYE": (1, 3), "DREM": (1, 3), "ST": (1, 2),
    }  # fmt: skip
    frame = pd.DataFrame({k: rng.integers(*ends, n) for k, ends in whole.items()})
    frame.insert(0, "RT", "P")
    frame.insert(1, "SERIALNO", [f"2018GQ{i:07d}" for i in range(n)])
    frame["PINCP"] = rng.normal(20000, 15000, n).round() + 700.0 * frame["WKHP"]
    frame.loc[frame["AGEP"] < 16, ["PINCP", "COW", "OCCP", "WKHP"]] = np.nan
    frame.to_csv(folder / f"psam_p{state}.csv", index=False)


def subpopbench(root, n=80):
    """Write a folder of images and, beside it, the metadata of SubpopBench."""
    folder, rng = Path(root) / "waterbird_complete95_forest2water2", np.random.default_rng(5)
    y, a, split = cells(n, rng)
    names = [f"{i % 5:03d}.Bird/{i:03d}.png" for i in range(n)]
    for name, label in zip(names, y, strict=True):
        picture(folder / name, 60 + 120 * label + rng.integers(0, 70))
    frame = {"id": np.arange(n), "filename": names, "split": split, "y": y, "a": a}
    pd.DataFrame(frame).to_csv(Path(root) / "metadata_waterbirds.csv", index=False)


def mnist(root, n=100):
    """Write MNIST's idx files."""
    folder, rng = Path(root) / "MNIST" / "raw", np.random.default_rng(7)
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        y = (np.arange(n) % 10).astype(np.uint8)
        x = (y[:, None, None] * 20 + rng.integers(0, 40, (n, 28, 28))).astype(np.uint8)
        for kind, array, magic in (("images-idx3", x, 2051), ("labels-idx1", y, 2049)):
            head = np.array([magic, *array.shape], ">i4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())


def torchvision_celeba(root):
    """Write the files that torchvision reads of CelebA; it compares md5 sums, see the tests."""
    from frbench.data.images.drawn_celeba import draw_celeba

    folder = Path(root) / "celeba"
    draw_celeba(folder, n=60)
    lines = (folder / "list_eval_partition.txt").read_text().splitlines()
    names = [line.split()[0] for line in lines]
    for file, columns, header in (
        ("identity_CelebA.txt", 1, False),
        ("list_bbox_celeba.txt", 4, True),
        ("list_landmarks_align_celeba.txt", 10, True),
    ):
        head = [str(len(names)), " ".join(["c"] * columns)] if header else []
        rows = [" ".join([name, *["1"] * columns]) for name in names]
        (folder / file).write_text("\n".join([*head, *rows]) + "\n")


def mnist_with_writers(root):
    """Write MNIST, and a table of who wrote each digit."""
    mnist(root)
    (Path(root) / "writers.csv").write_text("writer\n" + "ann\nbob\n" * 100)


def saved_dataset(folder, n=90):
    """Write a folder of Hugging Face's save_to_disk: image, text, number, group, class label."""
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features(
        {"image": datasets.Image(), "text": datasets.Value("string"),
         "size": datasets.Value("float32"), "group": datasets.Value("string"),
         "label": datasets.ClassLabel(names=["wolf", "dog"])}
    )  # fmt: skip
    parts = {}
    for split, rows in (("train", n), ("validation", n // 3), ("test", n // 3), ("extra", 5)):
        y = np.arange(rows) % 2
        parts[split] = datasets.Dataset.from_dict(
            {"image": [Image.new("RGB", (16, 16), (60 + 120 * int(k),) * 3) for k in y],
             "text": ["good dog" if k else "bad wolf" for k in y],
             "size": (np.arange(rows) / rows + y).tolist(),
             "group": [("snow", "grass")[i // 2 % 2] for i in range(rows)], "label": y.tolist()},
            features=features,
        )  # fmt: skip
    datasets.DatasetDict(parts).save_to_disk(str(folder))


#: Configurations of data that other packages read: the package, and what writes its files.
BRIDGES = {
    "folktables_income": ("folktables", lambda root: acs_person(root, state="06")),
    "huggingface": ("datasets", lambda root: saved_dataset(root / "comments")),
    "huggingface_images": ("datasets", lambda root: saved_dataset(root / "pictures")),
    "subpopbench": ("frbench", lambda root: subpopbench(root / "waterbirds")),
    "torchvision_celeba": ("torchvision", torchvision_celeba),
    "torchvision_mnist": ("torchvision", mnist_with_writers),
    "wilds_camelyon17": ("wilds", camelyon17),
    "wilds_celeba": ("wilds", celeba),
    "wilds_civilcomments": ("wilds", civilcomments),
    "wilds_waterbirds": ("wilds", waterbirds),
}
