"""What the README shows works as shown, on fewer rows and steps."""

import random
import re
import shlex

import pytest
import yaml
from paths import ROOT

from frbench.__main__ import main

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.S)
SMALL = [
    "--data.n=200",
    "--data.n_eval=200",
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.enable_progress_bar=false",
]

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]


def commands(start: str) -> list[list[str]]:
    lines = [line for _, block in BLOCKS for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(start)]


def python() -> list[str]:
    return [block for language, block in BLOCKS if language == "python"]


def test_it_is_a_library(in_tmp, capsys):
    (code,) = (code for code in python() if not code.startswith("# my_method"))
    code = code.replace("n=2000, n_eval=1000", "n=300, n_eval=200").replace("epochs=5", "epochs=1")
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert 0 <= float(first) <= 1 and second == "0.0 0.5"


def test_it_is_short_and_says_how_to_test_and_select():
    assert len(README.splitlines()) <= 130
    text = " ".join(README.split())
    assert "possible only with the prefix `oracle:`, and every table then says so." in text
    assert "not for regression or generative models" in text


def test_the_method_of_your_own_runs(in_tmp):
    (code,) = (code for code in python() if code.startswith("# my_method"))
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    (in_tmp / "my_method.py").write_text(code)
    (command,) = commands("frbench fit --data Digits --model my_method")
    assert main([*command, *SMALL, "--run_dir=run"]) == 0
    assert (in_tmp / "run" / "checkpoints" / "best.ckpt").is_file()


def test_fit_test_and_continue_as_shown(in_tmp):
    (fit,) = commands("frbench fit --data Digits --model GroupDRO")
    (more,) = commands("frbench fit --ckpt_path")
    (test,) = commands("frbench test --data Digits")
    assert main([*fit, *SMALL]) == 0
    assert main([*test, *SMALL]) == 0
    assert main([*more, "--trainer.accelerator=cpu", "--trainer.max_epochs=2"]) == 0
    first, continued = (
        yaml.safe_load((in_tmp / f"runs/Digits-GroupDRO/0/{name}.yaml").read_text())["data"]
        for name in ("config", "config-2")
    )
    for name in ("n", "balance", "marginals"):  # the same data, though no flag says so
        assert first["init_args"][name] == continued["init_args"][name] is not None
    assert (in_tmp / "runs/Digits-GroupDRO/0/test.json").is_file()


def test_settings_by_name_are_those_of_the_files(in_tmp, capsys):
    (named,) = commands("frbench fit --config")
    with pytest.raises(SystemExit, match=r"^0$"):  # how the parser ends after it has printed
        main([*named, "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)
    assert found["data"]["class_path"] == "frbench.data.Digits"
    assert found["model"]["class_path"] == "frbench.objectives.GroupDRO"


def write_loans(path, rng):
    """Write a table with the columns that the README's commands name."""
    rows = [
        (rng.choice("fm"), rng.choice(("north", "south")), rng.randrange(20, 90), rng.random())
        for _ in range(400)
    ]
    lines = ["sex,region,income,repaid,predicted,probability"]
    for sex, region, income, score in rows:
        repaid = int(rng.random() < income / 90)
        lines.append(f"{sex},{region},{income},{repaid},{int(score > 0.5)},{score:.3f}")
    path.write_text("\n".join(lines) + "\n")


def test_your_own_table_as_shown(in_tmp, capsys):
    write_loans(in_tmp / "loans.csv", random.Random(0))
    write_loans(in_tmp / "predictions.csv", random.Random(1))
    (fit,) = commands("frbench fit --data TableData")
    (test,) = commands("frbench test --ckpt_path")
    (audit,) = commands("frbench audit")
    drop = "--data.drop=[predicted, probability]"
    assert main([*fit, *SMALL[2:], drop]) == 0
    assert main([*test, *SMALL[3:]]) == 0
    assert (in_tmp / "runs/TableData-ERM/0/test.json").is_file()
    capsys.readouterr()
    assert main(audit) == 0
    assert "worst_group_accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_a_grid_and_its_report_as_shown(in_tmp):
    (bench,) = commands("frbench bench")
    (report,) = commands("frbench report")
    small = ["--data.n=400", "--data.n_eval=400", "--trainer.max_epochs=1"]
    assert main([*bench, "--index=0", *small]) == 0
    assert main(report) == 0
    assert "<html" in (in_tmp / "page.html").read_text()


def test_every_command_is_run_here():
    """A new command of the README needs a test above."""
    assert len(commands("frbench ")) == 10
    assert len(commands("frbench fit")) == 5
    assert len(commands("frbench test")) == 2


def test_every_file_that_is_named_exists():
    named = re.findall(r"\]\(([\w./-]+)\)|((?:configs|docs)/[\w./-]+\.(?:yaml|md))", README)
    assert named
    for pair in named:
        assert (ROOT / (pair[0] or pair[1])).exists(), pair


def test_every_make_verb_explains_itself():
    verbs = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.M)[0].split()
    explained = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M)
    assert sorted(verbs) == sorted(explained)
    shown = re.findall(r"^make ([a-z-]+)", README, flags=re.M)
    assert {"demo", "test", "test-slow"} <= set(shown) <= set(verbs)
