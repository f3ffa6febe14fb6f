"""Grid files: which cells, in which order, under which keys; errors that name key and remedy."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.grids.grid import Cell, read_grid

TINY = "data: {d: {data: Digits}}\nmethods: {m: {model: ERM}}\n"

FULL = """
base: {trainer.max_epochs: 2, model.lr: 0.1}
data:
  one: {data: Digits, data.n: 100}
  two: {data: TwoGaussians}
methods:
  ERM: {model: ERM}
  DRO: {model: GroupDRO, model.lr: 0.2, grid: {model.eta: [0.01, 0.1]}}
grid: {model.weight_decay: [0, 0.5]}
seeds: [3, 1]
"""


@pytest.fixture
def grid(tmp_path: Path):
    """Write a grid file and read its cells."""

    def read(text: str) -> list[Cell]:
        (tmp_path / "grid.yaml").write_text(text)
        return read_grid(tmp_path / "grid.yaml")

    return read


# ---- cells -------------------------------------------------------------------------------------
def test_cells_are_the_product_in_a_fixed_order(grid) -> None:
    cells = grid(FULL)
    assert [cell.index for cell in cells] == list(range(2 * (2 + 2 * 2) * 2))
    found = [(c.data, c.method, c.settings, c.seed, c.fold) for c in cells]
    decays = [{"model.weight_decay": w} for w in (0, 0.5)]
    etas = [{**d, "model.eta": e} for d in decays for e in (0.01, 0.1)]
    assert found == [
        (data, method, settings, seed, None)
        for data in ("one", "two")
        for method, points in (("ERM", decays), ("DRO", etas))
        for settings in points
        for seed in (3, 1)
    ]


def test_later_parts_override_earlier_ones(grid) -> None:
    cells = grid(FULL)
    erm = next(c for c in cells if c.method == "ERM")
    dro = next(c for c in cells if c.method == "DRO")
    assert erm.options["model.lr"] == 0.1 and dro.options["model.lr"] == 0.2
    assert erm.options["data.n"] == 100
    both = grid(
        TINY.replace("m: {", "m: {model.lr: 1, grid: {model.lr: [2]}, ") + "grid: {model.lr: [3]}"
    )
    assert both[0].options["model.lr"] == 2


def test_seeds_decide_data_and_training(grid) -> None:
    assert [
        (c.options["seed_everything"], c.options["data.seed"])
        for c in grid(TINY + "seeds: [4, 5]")
    ] == [(4, 4), (5, 5)]


def test_folds_split_the_data_and_seeds_vary_the_training_alone(grid) -> None:
    cells = grid(TINY + "seeds: [4, 5]\nfolds: [0, 2]")
    assert [(c.fold, c.seed) for c in cells] == [(0, 4), (0, 5), (2, 4), (2, 5)]
    assert [c.options["data.fold"] for c in cells] == [0, 0, 2, 2]
    assert all("data.seed" not in c.options for c in cells)


def test_one_seed_is_the_default(grid) -> None:
    assert [cell.seed for cell in grid(TINY)] == [0]


def test_arguments_name_classes_first(grid) -> None:
    text = (
        "base: {model.lr: 0.1}\ndata: {d: {data.n: 5, data: Digits}}\nmethods: {m: {model: ERM}}"
    )
    words = grid(text)[0].arguments()
    assert words.index("--data=Digits") < words.index("--data.n=5")
    assert words.index("--model=ERM") < words.index("--model.lr=0.1")


def test_arguments_carry_lists_mappings_and_nulls(grid) -> None:
    text = TINY + "base: {a: [1, 2], b: {c: x}, d: null, e: true, f: text}"
    words = grid(text)[0].arguments()
    assert set(words) >= {"--a=[1, 2]", '--b={"c": "x"}', "--d=null", "--e=true", "--f=text"}


def test_configs_are_relative_to_the_grid(grid, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text("x: 1")
    monkeypatch.chdir(tmp_path / "sub")
    assert (
        grid(TINY + "configs: [sub/a.yaml]")[0].arguments()[0] == f"--config={tmp_path}/sub/a.yaml"
    )


# ---- keys --------------------------------------------------------------------------------------
def test_keys_are_distinct_and_stable(grid) -> None:
    keys = [cell.key for cell in grid(FULL)]
    assert len(set(keys)) == len(keys)
    assert [cell.key for cell in grid(FULL)] == keys
    # Neither the order in which options are written nor other cells matter.
    turned = FULL.replace(
        "{trainer.max_epochs: 2, model.lr: 0.1}", "{model.lr: 0.1, trainer.max_epochs: 2}"
    )
    assert [cell.key for cell in grid(turned)] == keys
    more = [cell.key for cell in grid(FULL.replace("[3, 1]", "[3, 7, 1]"))]
    assert set(keys) < set(more)
    # Results on disk stay found: a change of this value makes every finished grid run again.
    assert grid(TINY)[0].key == "be9d8ef91ba79322"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data: Digits", "data: TwoGaussians"),
        ("model: ERM", "model: GroupDRO"),
        ("{d: {", "{e: {"),
        ("m: {", "n: {"),
        ("seeds: [0]", "seeds: [1]"),
        ("max_epochs: 1", "max_epochs: 2"),
        ("lr: [0.1]", "lr: [0.2]"),
    ],
)
def test_keys_are_sensitive(grid, old: str, new: str) -> None:
    text = TINY + "base: {trainer.max_epochs: 1}\ngrid: {model.lr: [0.1]}\nseeds: [0]\n"
    assert text.count(old) == 1
    assert grid(text)[0].key != grid(text.replace(old, new))[0].key


def test_keys_follow_the_content_of_configs_not_their_names(grid, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: 1")
    (tmp_path / "b.yaml").write_text("x: 1")
    first = grid(TINY + "configs: [a.yaml]")[0].key
    assert grid(TINY + "configs: [b.yaml]")[0].key == first
    (tmp_path / "a.yaml").write_text("x: 2")
    assert grid(TINY + "configs: [a.yaml]")[0].key != first
    assert grid(TINY)[0].key != first


def test_words_of_the_command_line_decide_too(grid) -> None:
    cell = grid(TINY)[0]
    tried = replace(cell, extra=("--trainer.max_epochs=1",))
    assert tried.key != cell.key
    assert tried.arguments() == [*cell.arguments(), "--trainer.max_epochs=1"]


# ---- random draws ------------------------------------------------------------------------------
RANDOM = """
random:
  draws: 200
  seed: 5
  space:
    model.lr: {log_uniform: [1.0e-4, 1]}
    model.eta: {uniform: [2, 4]}
    data.n: {int_uniform: [1, 3]}
    data.balance: {choice: [none, joint]}
"""


def test_random_draws_lie_in_their_ranges(grid) -> None:
    settings = [cell.settings for cell in grid(TINY + RANDOM)]
    assert len(settings) == 200
    rates = [s["model.lr"] for s in settings]
    assert all(1e-4 <= rate <= 1 for rate in rates)
    assert sum(rate < 1e-2 for rate in rates) == pytest.approx(100, abs=25)  # half of the decades
    assert all(2 <= s["model.eta"] <= 4 for s in settings)
    assert math.isclose(sum(s["model.eta"] for s in settings) / 200, 3, abs_tol=0.2)
    assert {s["data.n"] for s in settings} == {1, 2, 3}
    assert {s["data.balance"] for s in settings} == {"none", "joint"}


def test_options_are_drawn_independently(grid) -> None:
    settings = [cell.settings for cell in grid(TINY + RANDOM)]
    columns = [[math.log(s["model.lr"]) for s in settings], [s["model.eta"] for s in settings]]
    assert abs(np.corrcoef(columns)[0, 1]) < 0.25  # 3.5 standard errors


def test_a_method_has_a_space_of_its_own_beside_the_shared_one(grid) -> None:
    text = (
        "data: {d: {data: Digits}}\n"
        "methods: {ERM: {}, DRO: {space: {model.eta: {uniform: [0, 1]}, model.lr: {choice: [9]}}}}"
        "\nrandom:\n  draws: 4\n"
        "  space: {model.lr: {uniform: [0, 1]}, data.n: {choice: [5, 6]}}"
    )
    cells = grid(text)
    erm, dro = ([c.settings for c in cells if c.method == name] for name in ("ERM", "DRO"))
    assert len(erm) == len(dro) == 4
    assert all(set(s) == {"model.lr", "data.n"} for s in erm)
    assert all(set(s) == {"model.lr", "data.n", "model.eta"} and s["model.lr"] == 9 for s in dro)
    assert [s["data.n"] for s in erm] == [s["data.n"] for s in dro]  # shared draws
    assert not any("space" in c.options for c in cells)


def test_the_first_draw_may_be_the_defaults(grid) -> None:
    plain = [cell.settings for cell in grid(TINY + RANDOM)]
    cells = grid(TINY + RANDOM.replace("  seed: 5", "  seed: 5\n  defaults: true"))
    assert cells[0].settings == {} and [c.settings for c in cells[1:]] == plain[1:]


def test_random_draws_are_seeded(grid) -> None:
    settings = [cell.settings for cell in grid(TINY + RANDOM)]
    assert [cell.settings for cell in grid(TINY + RANDOM)] == settings
    other = grid(TINY + RANDOM.replace("seed: 5", "seed: 6"))
    assert [cell.settings for cell in other] != settings
    # Fewer draws are the first of more, whatever else is drawn.
    fewer = RANDOM.replace("draws: 200", "draws: 7").replace("model.eta: {uniform: [2, 4]}", "")
    rates = [cell.settings["model.lr"] for cell in grid(TINY + fewer)]
    assert rates == [s["model.lr"] for s in settings[:7]]


def test_every_method_and_seed_gets_the_same_draws(grid) -> None:
    text = "data: {d: {}, e: {data: TwoGaussians}}\nmethods: {m: {}, n: {}}\nseeds: [0, 1]\n"
    cells = grid(text + RANDOM.replace("200", "3"))
    arms: dict[tuple, list] = {}
    for cell in cells:
        arms.setdefault((cell.data, cell.method, cell.seed), []).append(cell.settings)
    assert len(arms) == 8
    first = next(iter(arms.values()))
    assert len({json.dumps(s) for s in first}) == 3
    assert all(settings == first for settings in arms.values())


def test_draws_multiply_the_grid(grid) -> None:
    cells = grid(TINY + "grid: {model.weight_decay: [0, 1]}" + RANDOM.replace("200", "3"))
    assert len(cells) == 6
    assert {tuple(c.settings) for c in cells} == {
        ("model.weight_decay", "model.lr", "model.eta", "data.n", "data.balance")
    }


# ---- data that may be missing -------------------------------------------------------------------
OTHERWISE = (
    "data: {d: {data: Adult, needs: adult/adult.data, otherwise: {data: TwoGaussians}}}\n"
    "methods: {m: {model: ERM}}\n"
)


def test_otherwise_stands_in_where_a_file_is_missing(grid, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FRBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("FRBENCH_CACHE", str(tmp_path / "cache"))
    (cell,) = grid(OTHERWISE)
    assert cell.options["data"] == "TwoGaussians"
    assert cell.data == "d (TwoGaussians instead)"  # not taken for results on Adult
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "adult.data.gz").write_bytes(b"x")
    (cell,) = grid(OTHERWISE)
    options = cell.options
    assert options["data"] == "Adult" and cell.data == "d"
    assert not {"needs", "otherwise"} & set(options)


# ---- errors ------------------------------------------------------------------------------------
SPACE = "random: {space: {model.lr: %s}}"
ERRORS = {
    "empty": ("", "data"),
    "no mapping": ("- 1", "map"),
    "a number": ("5", "map"),
    "no YAML": ("a: [1", "YAML"),
    "unknown key": (TINY + "seedz: [1]", "seedz"),
    "no data": ("methods: {m: {}}", "`data`"),
    "no methods": ("data: {d: {data: Digits}}", "`methods`"),
    "data as list": ("data: [Digits]\nmethods: {m: {}}", "data must map"),
    "data as text": ("data: {d: Digits}\nmethods: {m: {}}", "data.d must map"),
    "methods as list": ("data: {d: {}}\nmethods: [ERM]", "methods must map"),
    "base as list": (TINY + "base: [1]", "base must map"),
    "grid as list": (TINY + "grid: [1]", "grid must map"),
    "one value": (TINY + "grid: {model.lr: 0.1}", "model.lr a list"),
    "no value": (TINY + "grid: {model.lr: []}", "model.lr a list"),
    "one value of a method": (
        "data: {d: {}}\nmethods: {m: {grid: {model.lr: 3}}}", "methods.m.*model.lr a list"),
    "one seed": (TINY + "seeds: 3", "seeds must be a list"),
    "no seed": (TINY + "seeds: []", "seeds must be a list"),
    "seeds as text": (TINY + "seeds: [a]", "seeds must be a list"),
    "negative seed": (TINY + "seeds: [-1]", "seeds must be a list"),
    "fractional seed": (TINY + "seeds: [1.5]", "seeds must be a list"),
    "seed twice": (TINY + "seeds: [1, 2, 1]", "distinct"),
    "one fold": (TINY + "folds: 3", "folds must be a list"),
    "fold as text": (TINY + "folds: [a]", "folds must be a list"),
    "random as list": (TINY + "random: [1]", "random must map"),
    "draws as text": (TINY + "random: {draws: many, space: {a: {choice: [1]}}}", "draws"),
    "no draws": (TINY + "random: {draws: 0, space: {a: {choice: [1]}}}", "draws"),
    "seed of draws": (TINY + "random: {seed: x, space: {a: {choice: [1]}}}", "seed"),
    "no space": (TINY + "random: {draws: 3}", "space"),
    "space as list": (TINY + "random: {space: [a]}", "random.space must map"),
    "defaults as text": (
        TINY + "random: {defaults: 1, space: {a: {choice: [1]}}}", "true or false"),
    "space without random": (
        "data: {d: {}}\nmethods: {m: {space: {a: {choice: [1]}}}}", "methods.m.space"),
    "key of random": (TINY + "random: {draw: 3, space: {a: {choice: [1]}}}", "draw"),
    "distribution": (TINY + SPACE % "{normal: [0, 1]}", "random.space.model.lr.*uniform"),
    "two distributions": (
        TINY + SPACE % "{uniform: [0, 1], choice: [1]}", "random.space.model.lr"),
    "one bound": (TINY + SPACE % "{uniform: [0]}", "random.space.model.lr.*low, high"),
    "a bound": (TINY + SPACE % "{uniform: 3}", "random.space.model.lr.*list"),
    "bounds as text": (TINY + SPACE % "{uniform: [a, b]}", "random.space.model.lr"),
    "bounds turned": (TINY + SPACE % "{uniform: [2, 1]}", "low < high"),
    "log of zero": (TINY + SPACE % "{log_uniform: [0, 1]}", "low > 0"),
    "fractional bounds": (TINY + SPACE % "{int_uniform: [0.2, 0.7]}", "whole numbers"),
    "no choice": (TINY + SPACE % "{choice: []}", "random.space.model.lr.*list"),
    "choice as number": (TINY + SPACE % "{choice: 3}", "random.space.model.lr.*list"),
    "configs as text": (TINY + "configs: a.yaml", "configs must be a list"),
    "missing config": (TINY + "configs: [no.yaml]", "no.yaml"),
    "needs alone": ("data: {d: {data: D, needs: f}}\nmethods: {m: {}}", "otherwise"),
    "otherwise alone": ("data: {d: {otherwise: {data: D}}}\nmethods: {m: {}}", "needs"),
    "a date": (TINY + "base: {a: 2020-01-01}", "date"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_malformed_grids_are_named(grid, case: str) -> None:
    text, pattern = ERRORS[case]
    with pytest.raises(UserError, match=pattern) as error:
        grid(text)
    assert "\n" not in str(error.value)


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.yaml"):
        read_grid(tmp_path / "no.yaml")
    with pytest.raises(UserError, match="no grid file"):
        read_grid(tmp_path)
    (tmp_path / "grid.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"grid\.yaml is not valid YAML"):
        read_grid(tmp_path / "grid.yaml")


def test_seeds_belong_to_the_grid(in_tmp, capsys):
    (in_tmp / "g.yaml").write_text("data: {d: {data: TwoGaussians}}\nmethods: {m: {}}\n"
                                   "grid: {data.seed: [1, 2]}\n")  # fmt: skip
    assert main(["bench", "g.yaml"]) == 2
    assert "`seeds`" in capsys.readouterr().err
    (in_tmp / "g.yaml").write_text("data: {d: {data: TwoGaussians}}\nmethods: {m: {}}\n")
    assert main(["bench", "g.yaml", "--seed_everything=7"]) == 2
