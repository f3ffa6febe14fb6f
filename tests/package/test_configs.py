"""Every YAML that is shipped runs: data and methods alone, grids by one run of each arm."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from command import run
from paths import ROOT
from published_forms import BRIDGES
from torchvision.datasets import CelebA

from frbench.data.images.celeba import read_attributes, read_split
from frbench.data.images.drawn_celeba import draw_celeba
from frbench.grids.grid import read_grid
from frbench.runs.postprocess import request_of

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

CONFIGS = ROOT / "configs"
DATA = sorted((CONFIGS / "data").glob("*.yaml"))
METHODS = sorted((CONFIGS / "method").glob("*.yaml"))
PAPERS = sorted((CONFIGS / "papers").rglob("*.yaml"))
#: Files of studies; tests/studies runs them.
STUDIES = [path for path in PAPERS if "study" in yaml.safe_load(path.read_text())]
BENCHMARKS = sorted((CONFIGS / "benchmark").glob("*.yaml"))
GRIDS = sorted({*(CONFIGS / "bench").glob("*.yaml"), *BENCHMARKS, *PAPERS} - {*STUDIES})
#: Data that need no file.
EMBEDDED = {
    "digits", "digits_entangled", "two_gaussians", "Digits", "TwoGaussians", "GeneratedFaces",
}  # fmt: skip

#: Data of images: they are drawn, and networks small and without weights.
IMAGES = {"celeba", "celeba_hair", "waterbirds", "image_table", "CelebA", "ImageTable"}
SMALL = ("--data.image_size=32", "--data.batch_size=8", "--data.num_workers=0")

FAST = (
    "--trainer.fast_dev_run=true",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
)


def write_multinli(path: Path) -> None:
    """Write 90 generated pairs in the format of MultiNLI's own files, some without a label."""
    labels = ["entailment", "neutral", "contradiction", "-"]
    pairs = [
        {
            "gold_label": labels[i % 4 if i % 20 == 3 else i % 3],
            "sentence1": f"The {'cat' if i % 2 else 'dog'} number {i % 7} slept.",
            "sentence2": "It never slept." if i % 5 == 2 else f"It slept {i % 4} hours.",
            "genre": "fiction",
        }
        for i in range(90)
    ]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


def name(path: Path) -> str:
    return str(path.relative_to(CONFIGS).with_suffix(""))


@pytest.fixture(autouse=True)
def no_wrong_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of data that does not exist is as good as none."""
    if not Path(os.environ.get("FRBENCH_DATA", "")).is_dir():
        monkeypatch.delenv("FRBENCH_DATA")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with drawn faces under the names of each image set."""
    root = tmp_path_factory.mktemp("data")
    draw_celeba(root / "celeba", n=120)
    frame = read_attributes(root / "celeba" / "list_attr_celeba.txt")
    frame = (frame[["Blond_Hair", "Male"]] == 1).astype(int)
    split = read_split(root / "celeba" / "list_eval_partition.txt")
    frame.insert(0, "split", split.loc[frame.index].to_numpy())
    columns = {"waterbirds": ["img_filename", "y", "place"], "images": ["file", "y", "z"]}
    for name, (file, y, z) in columns.items():
        shutil.copytree(root / "celeba" / "img_align_celeba", root / name)
        table = frame.rename(columns={"Blond_Hair": y, "Male": z}).rename_axis(file)
        table.to_csv(root / name / "metadata.csv")
    (root / "pairs").mkdir()
    (root / "pairs" / "drawn").symlink_to(root / "celeba")
    (root / "weights").mkdir()
    torch.save(timm.create_model("resnet10t").state_dict(), root / "weights" / "small.pth")
    return root


def network(options: dict) -> list[str]:
    """Words that make a cell's network small: timm's smallest, or a few channels."""
    kind = options.get("model.network")
    if kind == "Timm":
        return ["--model.network.name=resnet10t", "--model.network.checkpoint=weights/small.pth"]
    if kind == "VGG":
        return ["--model.network.channels=[4, 4]", "--model.network.strides=[2, 2]"]
    return []


def arms() -> list:
    """Choose cells of each grid until every data set and every kind of method is among them.

    Methods whose names differ in numbers alone, MMD-1 and MMD-5, are one kind. The first cell of
    a grid that is none of a paper is run by ``make test``, the others by ``make test-slow``.
    """
    found = []
    for path in GRIDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("FRBENCH_DATA", raising=False)
            cells = [cell for cell in read_grid(path) if cell.parent is None]
        seen: set[tuple[str, str]] = set()
        for at_least in (2, 1):  # cells that show two new things first
            for cell in cells:
                new = {("data", cell.data), ("method", re.sub(r"[\d.]+", "#", cell.method))}
                if len(new - seen) >= at_least:
                    marks = pytest.mark.slow if seen or path in PAPERS else ()
                    seen |= new
                    label = f"{name(path)}-{cell.data}-{cell.method}"
                    found.append(pytest.param(path, cell.index, id=label, marks=marks))
    return found


def test_there_are_configs_of_every_kind() -> None:
    assert DATA and METHODS and GRIDS
    everything = set(CONFIGS.rglob("*.yaml")) - {CONFIGS / "base.yaml"}
    sweeps = set((CONFIGS / "wandb").glob("*.yaml"))  # their options: test_wandb.py
    assert everything == {*DATA, *METHODS, *GRIDS, *STUDIES, *sweeps}


@pytest.mark.parametrize("path", DATA, ids=name)
def test_data_runs(
    path: Path,
    in_tmp: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more: list[str] = []
    if path.stem == "multinli":
        write_multinli(in_tmp / "multinli.jsonl")
    elif path.stem in IMAGES:
        monkeypatch.setenv("FRBENCH_DATA", str(request.getfixturevalue("drawn")))
        more = [*SMALL]
    elif path.stem in BRIDGES:
        package, write = BRIDGES[path.stem]
        pytest.importorskip(package)
        monkeypatch.setenv("FRBENCH_DATA", str(in_tmp))
        monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)  # md5 of real files
        write(in_tmp)
        more = [f"--data.{word}" for word in ("batch_size=8", "num_workers=0")]
    elif path.stem not in EMBEDDED:
        request.getfixturevalue("shared_data")
    run("fit", f"--config={path}", *more, *FAST)


def budget(path: Path) -> tuple[str, ...]:
    """Options of a short run of a method: one batch, or one batch of each epoch of two stages."""
    model = yaml.safe_load(path.read_text())["model"]
    infer = model.get("init_args", {}).get("infer") if isinstance(model, dict) else None
    if not infer:
        return FAST
    epochs = infer.get("init_args", {}).get("epochs", 1) if isinstance(infer, dict) else 1
    limits = ("--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1")
    return (f"--trainer.max_epochs={epochs + 1}", *limits, *FAST[1:])


@pytest.mark.parametrize("path", METHODS, ids=name)
def test_method_runs_on_top_of_base_and_data(path: Path, in_tmp: Path) -> None:
    base, data = CONFIGS / "base.yaml", CONFIGS / "data" / "digits.yaml"
    run("fit", f"--config={base}", f"--config={data}", f"--config={path}", *budget(path))


def write_pairs(steps: list[dict], side: int) -> None:
    """Write the pair tables that the steps of a cell read, as grey images."""
    for step in steps:
        options = step["init_args"]
        folder = Path(options["path"].replace("{seed}", "10"))
        folder.mkdir(parents=True)
        for name in ("images", "partners"):
            np.save(
                folder / f"{name}.npy", np.full((options["rows"], 3, side, side), 99, np.uint8)
            )
        y, z = np.arange(options["rows"]) // 2 % 2, np.arange(options["rows"]) % 2
        np.savez(folder / "pairs.npz", y=y, z=z)


@pytest.mark.parametrize(("path", "index"), arms())
def test_arm_of_grid_runs(
    path: Path,
    index: int,
    in_tmp: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = read_grid(path)[index]
    more: list[str] = []
    steps = cell.options.get("data.augment") or []
    named = [step for step in steps if isinstance(step, dict)]  # others are a class alone
    side = 32 if cell.options["data"] in IMAGES else 28
    write_pairs([step for step in named if step["class_path"] == "GanPairs"], side)
    if cell.options["data"] in IMAGES:
        monkeypatch.setenv("FRBENCH_DATA", str(request.getfixturevalue("drawn")))
        more = [*SMALL, *network(cell.options)]
    elif cell.options["data"] not in EMBEDDED:
        request.getfixturevalue("shared_data")
    run("fit", *cell.arguments(), *more, *FAST)


@pytest.mark.parametrize("path", GRIDS, ids=name)
def test_what_comes_after_a_run_can_be_built(path: Path) -> None:
    """Cells that train nothing; their methods are fitted in tests/postprocessing."""
    for cell in read_grid(path):
        if cell.parent is not None:
            assert type(request_of(cell.options).method).__name__ == cell.options["postprocess"]


@pytest.mark.parametrize("path", GRIDS, ids=name)
def test_grid_has_distinct_cells_and_rerun_keys(path: Path) -> None:
    keys = [cell.key for cell in read_grid(path)]
    assert len(set(keys)) == len(keys) > 1
    assert [cell.key for cell in read_grid(path)] == keys
