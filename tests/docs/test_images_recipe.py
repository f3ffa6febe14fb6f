"""The commands of docs/images_recipe.md, on generated images and with a small network."""

import re
import shlex

import pandas as pd
import pytest
import timm
import torch
from command import run
from paths import ROOT
from published_forms import picture

PAGE = ROOT / "docs" / "images_recipe.md"
QUICK = (
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--data.num_workers=0",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
]


def commands():
    for block in re.findall(r"^```\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("frbench "):
                yield shlex.split(line)[1:]


def test_the_recipe_runs(in_tmp):
    rows = []
    for i in range(96):
        y, z, split = i % 2, i // 2 % 2, ("train", "train", "val", "test")[i // 4 % 4]
        picture(in_tmp / "photos" / f"{i}.png", 60 + 100 * y + 20 * z + i % 9)
        rows.append({"file": f"{i}.png", "split": split, "y": y, "z": z})
    pd.DataFrame(rows).to_csv(in_tmp / "photos" / "metadata.csv", index=False)
    torch.save(timm.create_model("resnet10t").state_dict(), in_tmp / "resnet18.pth")
    made = []
    for words in commands():
        small = [{"resnet18": "resnet10t", "224": "32", "32": "8"}.get(w, w) for w in words]
        arrays = "ArrayData" in words
        more = QUICK[:-1] if arrays else QUICK if words[0] == "fit" else QUICK[-1:]
        run(*small, *more)
        made += [words[i + 1] for i, word in enumerate(words) if word in ("--run_dir", "--out")]
    assert made == ["tuned", "augmented", "frozen", "photos.npz", "erm", "dro"]
    assert all((in_tmp / name).exists() for name in made)
    configs = {
        name: (in_tmp / name / "config.yaml").read_text() for name in made if "." not in name
    }
    assert "freeze: true" in configs["frozen"] and "augmentation: crop" in configs["augmented"]
