"""The protocols of the field: their whole files are checked, a few of their cells are run."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from paths import ROOT

from frbench.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

#: Methods of each file that are run, and words that make their runs short.
RUN = {
    "subpopbench": (("ERM", "GroupDRO", "ReSample", "ReSample-unknown", "CRT-unknown"), "Digits"),
    "domainbed": (("ERM", "VREx", "CDANN"), "Digits"),
    "ffb": (("ERM", "DiffDP", "LAFTR"), "TwoGaussians"),
    "unprocessing": (("ERM", "Gap", "ERM-Relaxed"), "TwoGaussians"),
}
SHORT = ("--trainer.max_steps=3", "--trainer.val_check_interval=3", "--model.network.hidden=[4]")


def few(name: str, folder: Path) -> Path:
    """Write a protocol with few methods, settings and seeds."""
    grid = yaml.safe_load((ROOT / "configs" / "bench" / f"{name}.yaml").read_text())
    grid["methods"] = {method: grid["methods"][method] for method in RUN[name][0]}
    for options in grid["methods"].values():
        if "grid" in options:
            options["grid"] = {key: values[1:3] for key, values in options["grid"].items()}
    if "random" in grid:
        grid["random"]["draws"] = 2
    two = isinstance(grid["seeds"], dict)
    grid["seeds"] = {"search": [0], "final": [1, 2]} if two else [0, 1]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(grid, sort_keys=False))
    return path


def records(out: str) -> list[dict]:
    return [json.loads(line) for line in Path(out, "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_the_options_of_a_whole_protocol_are_right(name: str, in_tmp: Path) -> None:
    assert main(["bench", str(ROOT / "configs" / "bench" / f"{name}.yaml"), "--check"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_a_protocol_runs_in_stacks(name: str, in_tmp: Path) -> None:
    words = [*SHORT, "--data.n=200"] + ["--data.n_eval=100"] * (RUN[name][1] == "Digits")
    grid = few(name, in_tmp)
    assert main(["bench", str(grid), "--stack=4", "--out=out", *words]) == 0
    found = records("out")
    assert {record["method"] for record in found} == {*RUN[name][0]}
    assert all(record["status"] == "ok" for record in found)
    assert any(record.get("stack", {}).get("runs", 1) > 1 for record in found)
    seeds = yaml.safe_load(grid.read_text())["seeds"]
    everything = [*seeds["search"], *seeds["final"]] if isinstance(seeds, dict) else seeds
    for method in RUN[name][0]:
        assert {r["seed"] for r in found if r["method"] == method} == {*everything}


@pytest.mark.slow
def test_a_method_of_two_stages_runs_by_steps(in_tmp: Path) -> None:
    grid = yaml.safe_load((ROOT / "configs" / "bench" / "subpopbench.yaml").read_text())
    grid["methods"] = {"JTT": grid["methods"]["JTT"]}
    grid |= {"seeds": [0], "select": None}
    grid["random"]["draws"] = 3
    path = in_tmp / "grid.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in grid.items() if v}, sort_keys=False))
    words = ["--trainer.max_steps=20", "--trainer.val_check_interval=1", "--data.n=240"]
    assert main(["bench", str(path), "--out=out", "--model.network.hidden=[4]", *words]) == 0
    shares = [record["settings"].get("model.infer.epochs", 0.5) for record in records("out")]
    assert len({*shares}) == 3 and all(0.2 <= share <= 0.8 for share in shares)
    assert all(r["status"] == "ok" and r["training"]["inferred"] for r in records("out"))


@pytest.mark.slow
def test_a_protocol_runs_on_a_file_by_one_option(in_tmp: Path) -> None:
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 2, (2, 300))
    rows = "".join(f"{y[i] + rng.normal():.3f},{z[i]},{y[i]}\n" for i in range(300))
    Path("own.csv").write_text("x,z,y\n" + rows)
    options = {"path": "own.csv", "target": "y", "attribute": "z"}
    Path("own.yaml").write_text(
        yaml.safe_dump({"data": {"class_path": "TableData", "init_args": options}})
    )
    grid = few("subpopbench", in_tmp)
    words = ["--config=own.yaml", *SHORT]
    assert main(["bench", str(grid), "--stack=4", "--out=out", *words]) == 0
    for record in records("out"):
        assert record["data_files"].keys() == {"own.csv"}
        if record["method"].startswith("ReSample"):  # what the method says of the data stays
            balance = "class" if record["method"].endswith("unknown") else "joint"
            assert record["training"]["balance"].startswith(balance), record["training"]
