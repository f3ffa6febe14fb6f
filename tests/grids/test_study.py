"""Study files: what is read, what is refused, and that a trial is a cell of an ordinary grid."""

import re
from pathlib import Path

import pytest
import yaml
from paths import ROOT

from frbench.contracts.errors import UserError
from frbench.grids.grid import KEYS, read_grid
from frbench.grids.space import DRAWS
from frbench.grids.study import SEARCH_KEYS, read_study

STUDY = """
base: {trainer.max_epochs: 1}
data: {digits: {data: Digits}}
methods:
  ERM: {model: ERM}
  DRO: {model: GroupDRO, space: {model.eta: {log_uniform: [0.01, 1]}}}
seeds: [3, 4]
search:
  trials: 4
  objectives: [val/worst_group_accuracy]
  space:
    model.lr: {log_uniform: [0.001, 0.1]}
    data.batch_size: {choice: [32, 64]}
"""


def study(text: str = STUDY) -> list:
    Path("study.yaml").write_text(text)
    return read_study(Path("study.yaml"))


def test_a_trial_has_the_cells_of_a_grid_with_its_setting_alone(in_tmp: Path) -> None:
    setting = {"model.lr": 0.02, "data.batch_size": 64}
    erm, dro = study()
    assert list(erm.space) == [*setting] and list(dro.space) == [*setting, "model.eta"]
    grid = yaml.safe_load(STUDY)
    del grid["search"], grid["methods"]["DRO"]
    grid["grid"] = {key: [value] for key, value in setting.items()}
    Path("grid.yaml").write_text(yaml.safe_dump(grid))
    expected = read_grid("grid.yaml")
    cells = erm.cells(setting)
    assert [c.seed for c in cells] == [3, 4]
    assert [(c.key, c.settings, c.options) for c in cells] == [
        (c.key, c.settings, c.options) for c in expected
    ]


def test_another_configuration_is_another_search_more_trials_are_not(in_tmp: Path) -> None:
    name = study()[0].name
    assert study(STUDY.replace("trials: 4", "trials: 40"))[0].name == name
    for old, new in (
        ("max_epochs: 1", "max_epochs: 2"), ("0.001", "0.002"), ("[3, 4]", "[3, 5]"),
        ("trials: 4", "seed: 1"), ("worst_group_accuracy", "accuracy"),
    ):  # fmt: skip
        assert study(STUDY.replace(old, new))[0].name != name, new


def test_every_value_of_a_choice_is_checked(in_tmp: Path) -> None:
    erm, dro = study()
    assert [c.settings["data.batch_size"] for c in erm.samples()] == [32, 32, 64]
    assert len(list(dro.samples())) == 4


REFUSED = {
    "no space": (lambda s: s.replace("  space:", "  prune: {}\n  x:"), "unknown keys .'x'"),
    "oracle": (
        lambda s: s.replace("[val/worst_group_accuracy]", "['oracle:test/P0/accuracy']"),
        "test data",
    ),
    "test": (lambda s: s.replace("[val/worst_group", "[test/P0/worst_group"), "test data"),
    "no metric": (lambda s: s.replace("worst_group_accuracy", "worst_accuracy"), "worst"),
    "sampler": (lambda s: s.replace("trials: 4", "sampler: cmaes"), "sampler must be one of"),
    "trials": (lambda s: s.replace("trials: 4", "trials: 0"), "trials must be a whole number"),
    "grid of infinitely many": (
        lambda s: s.replace("trials: 4", "sampler: grid"),
        "grid needs choice or int_uniform, but model.lr has log_uniform",
    ),
    "pruning of several runs": (
        lambda s: s.replace("trials: 4", "prune: {}"), "one seed and no folds",
    ),
    "pruning by two objectives": (
        lambda s: s.replace("trials: 4", "prune: {}").replace(
            "[val/worst_group_accuracy]", "[val/accuracy, val/worst_group_accuracy]"
        ),
        "one objective",
    ),
    "constraint": (
        lambda s: s.replace("trials: 4", "constraints: [val/accuracy > 1]"), "constraints: cannot",
    ),
    "two data sets": (
        lambda s: s.replace("{digits: {data: Digits}}", "{a: {data: Digits}, b: {data: Digits}}"),
        "one data set",
    ),
    "random": (lambda s: s + "random: {space: {a: {choice: [1]}}}\n", "unknown keys .'random'"),
    "a method's grid": (
        lambda s: s.replace("ERM: {model: ERM}", "ERM: {model: ERM, grid: {model.lr: [1]}}"),
        "ERM: `grid` has no place",
    ),
    "storage": (lambda s: s.replace("trials: 4", "storage: trials.db"), "storage must be a URL"),
    "reserved": (lambda s: s.replace("model.lr:", "seed_everything:"), "use `seeds`"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(in_tmp: Path, case: str) -> None:
    change, said = REFUSED[case]
    text = change(STUDY)
    assert text != STUDY
    with pytest.raises(UserError, match=said):
        for one in study(text):
            list(one.samples())


def test_constraints_hold_at_their_bound(in_tmp: Path) -> None:
    rules = "[val/accuracy >= 0.5, 'val/demographic_parity_difference <= 0.1']"
    low, high = study(STUDY.replace("trials: 4", f"constraints: {rules}"))[0].plan.constraints
    assert low.excess(0.5) == 0 and low.excess(0.25) == 0.25 and low.excess(1) < 0
    assert high.excess(0.1) == 0 and high.excess(0.2) > 0 and high.excess(0) < 0
    assert low.excess(float("nan")) > 0


# ---- the page ----------------------------------------------------------------------------------
PAGE = "\n".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("bench", "tune"))


@pytest.mark.parametrize("key", sorted({*KEYS, *SEARCH_KEYS, *DRAWS}))
def test_every_key_is_on_the_page(key: str) -> None:
    assert re.search(rf"`{key}`|\b{key}: ", PAGE)


def test_the_files_of_the_page_are_read(in_tmp: Path) -> None:
    whole, sizes = 0, list[int]()
    for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.M | re.S):
        grid = {"data": {"d": {"data": "Digits"}}, "methods": {"m": {}}} | yaml.safe_load(text)
        Path("file.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
        if "search" in grid:
            assert [len(one.cells(one.first)) for one in read_study(Path("file.yaml"))] == [1, 1]
            whole += 1
        else:
            sizes.append(len(read_grid("file.yaml")))
    assert whole == 1 and sizes == [18, 1, 3, 32, 1, 1, 5]
