"""Shipped configurations by their names, in this process; test_packaging.py has installations."""

import shutil
from pathlib import Path

import pytest
from paths import ROOT

from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.runs.options import check_configs
from frbench.support import configs
from frbench.support.configs import find_config, shipped


def test_every_file_has_a_name() -> None:
    files = sorted((ROOT / "configs").rglob("*.yaml"))
    assert len(shipped()) == len(files) > 80
    for file in files:
        name = file.relative_to(ROOT / "configs").with_suffix("").as_posix()
        assert Path(find_config(name, "--config")).read_bytes() == file.read_bytes()


def test_a_file_of_the_user_wins_and_a_folder_does_not(in_tmp: Path) -> None:
    (in_tmp / "demo").mkdir()
    assert find_config("demo", "grid", "bench") == str(shipped()["bench/demo"])
    (in_tmp / "base").write_text("seed_everything: 1\n")
    assert find_config("base", "--config") == "base"


def test_words_are_rewritten_in_both_forms_and_no_others(in_tmp: Path) -> None:
    words = ["fit", "--config", "base", "--config=data/adult", "--run_dir", "method/erm"]
    base, adult = str(shipped()["base"]), str(shipped()["data/adult"])
    changed = ["fit", "--config", base, f"--config={adult}", "--run_dir", "method/erm"]
    assert check_configs(words) == changed
    assert words[2] == "base"
    with pytest.raises(UserError, match="--config: the is neither"):
        check_configs(["fit", "--config", "the"])
    assert check_configs(["fit", "--config"]) == ["fit", "--config"]  # the parser's own message


@pytest.mark.parametrize(
    ("name", "folder", "near"),
    [
        ("method/group_drp", "", "method/group_dro"),
        ("configs/method/group_dro.yaml", "", "method/group_dro"),
        ("dmeo", "bench", "bench/demo"),
        ("zzzzzz", "bench", "a name is like"),
    ],
)
def test_a_wrong_name_lists_the_nearest(name: str, folder: str, near: str, in_tmp: Path) -> None:
    with pytest.raises(UserError) as error:
        find_config(name, "--config", folder)
    assert str(error.value).startswith(f"--config: {name} is neither a file nor")
    assert near in str(error.value) and "\n" not in str(error.value)


def test_without_an_installation_the_message_says_so(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configs, "shipped", dict)
    with pytest.raises(UserError, match="not installed"):
        find_config("base", "--config")


def test_configs_of_a_grid_stay_relative_to_its_file(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = "configs: [base]\ndata: {d: {data: Digits}}\nmethods: {erm: {model: ERM}}\n"
    (in_tmp / "sub").mkdir()
    (in_tmp / "sub" / "grid.yaml").write_text(grid)
    shutil.copy(shipped()["base"], in_tmp / "base")  # not beside the grid file
    assert main(["bench", "sub/grid.yaml", "--list"]) == 2
    assert "configs: there is no file sub/base." in capsys.readouterr().err
    shutil.move(in_tmp / "base", in_tmp / "sub" / "base")
    assert main(["bench", "sub/grid.yaml", "--list"]) == 0


def test_a_shipped_grid_is_listed_by_name(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "demo", "--list"]) == 0
    by_name = capsys.readouterr().out
    assert main(["bench", str(ROOT / "configs/bench/demo.yaml"), "--list"]) == 0
    assert by_name == capsys.readouterr().out
