"""What the README shows works as shown, on fewer rows and steps."""

import re
import shlex
import sys

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


def test_the_methods_and_settings_it_names_exist():
    named = re.findall(
        r"`((?:objectives|penalties|data|studies|frbench|gradients)/[\w./]+)`", README
    )
    assert len(named) > 5
    for name in named:
        assert (ROOT / name).exists() or (ROOT / "frbench" / name).exists(), name
    assert len(README.splitlines()) < 250


def test_the_method_of_your_own_runs(in_tmp, monkeypatch):
    # Other tests import files of that name, too; each must get its own.
    monkeypatch.setitem(sys.modules, "my_method", None)
    del sys.modules["my_method"]
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
    assert {"demo", "test"} <= set(shown) <= set(verbs)
