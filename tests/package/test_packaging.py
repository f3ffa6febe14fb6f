"""An installation from a wheel, from an sdist or editable holds all files and configurations."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from paths import ROOT

SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg")
PACKAGES = SETUP["options"]["packages"].split()
SOURCES = ("frbench", "configs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def test_setup_lists_every_package() -> None:
    """An explicit list is needed for frbench.configs; it must not forget a folder."""
    folders = {path.parent for path in (ROOT / "frbench").rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert sorted(PACKAGES) == PACKAGES
    assert {*PACKAGES} == found | {"frbench.configs"}
    for folder in folders | {ROOT / "configs"}:
        assert (folder / "__init__.py").is_file(), folder


def test_every_requirement_has_a_lower_bound() -> None:
    """`make test-lowest` installs these versions."""
    done = subprocess.run([sys.executable, ROOT / "tests" / "lowest.py", "--list"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    bounds = dict(line.split("==") for line in done.stdout.splitlines())
    assert bounds["pytorch-lightning"] == "2.6" and "pillow" in bounds
    assert len(bounds) == SETUP["options"]["install_requires"].count(">=")


def test_the_version_is_the_same_everywhere() -> None:
    version = (ROOT / "frbench" / "__init__.py").read_text().split('__version__ = "')[1]
    version = version.partition('"')[0]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def shipped() -> set[str]:
    """Every file of the package and of configs/, by its place in an installation."""
    found = set()
    for folder, place in (("frbench", "frbench"), ("configs", "frbench/configs")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(f"{place}/{path.relative_to(ROOT / folder).as_posix()}")
    return found


def pip(python: Path | str, *words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", python, "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, since a build writes beside its sources."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def wheel_of(source: Path, out: Path) -> Path:
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "-w", out, source)
    (wheel,) = out.glob("frbench-*.whl")
    return wheel


def environment(folder: Path) -> Path:
    """A virtual environment that sees the packages of this one, but not its frbench."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    # The .pth files of a folder that is added this way are not read: no editable frbench.
    others = [path for path in sys.path if path.endswith("site-packages")]
    Path(site.stdout.strip(), "others.pth").write_text("\n".join(others) + "\n")
    return python


def say(python: Path, where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in an empty folder, with frbench from nowhere but the environment."""
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(where), "OMP_NUM_THREADS": "1"}
    return subprocess.run([python, "-I", *words], cwd=where, env=clean, capture_output=True,
                          text=True, check=False)  # fmt: skip


def check_names(python: Path, where: Path, source: Path) -> None:
    """Shipped names must resolve, and to the files of this installation."""
    where.mkdir()
    code = "from importlib.resources import files; print(files('frbench.configs'))"
    assert Path(say(python, where, "-c", code).stdout.strip()) == source
    for grid, cells in (("demo", 24), ("papers/irw/adult", None)):
        done = say(python, where, "-m", "frbench", "bench", grid, "--list")
        assert done.returncode == 0, done.stderr
        assert cells is None or len(done.stdout.splitlines()) == cells
    wrong = say(python, where, "-m", "frbench", "bench", "dmeo", "--list")
    assert wrong.returncode == 2
    assert "did you mean bench/demo?" in wrong.stderr and wrong.stderr.count("\n") == 1
    fit = ("-m", "frbench", "fit", "--config", "base", "--config=data/digits", "--config",
           "method/group_dro", "--print_config")  # fmt: skip
    done = say(python, where, *fit)
    assert done.returncode == 0, done.stderr
    assert "frbench.objectives.GroupDRO" in done.stdout and "frbench.data.Digits" in done.stdout


@pytest.mark.slow
def test_a_wheel_holds_everything_and_resolves_names(checkout: Path, tmp_path: Path) -> None:
    wheel = wheel_of(checkout, tmp_path)
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == shipped()
    python = environment(tmp_path / "venv")
    pip(python, "install", "--no-deps", "--no-index", wheel)
    site = next((tmp_path / "venv").rglob("site-packages"))
    check_names(python, tmp_path / "empty", site / "frbench" / "configs")


#: Options that make a run of the README short, by a word of its command.
SHORT = {
    "Digits": ["--data.n=200", "--data.n_eval=200"],
    "data/digits": ["--data.n=200", "--data.n_eval=200"],
    "TableData": ["--data.drop=[predicted, probability]"],
    "fit": ["--trainer.max_epochs=1"],
    "--trainer.max_epochs": ["--trainer.max_epochs=2"],
    "demo": ["--index=0", "--data.n=200", "--data.n_eval=200", "--trainer.max_epochs=1"],
}


def readme_commands() -> list[list[str]]:
    """Return the commands of the README, each with options that make it short."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    found = [shlex.split(line)[1:] for line in lines if line.startswith("frbench ")]
    trained = {"fit": ["--trainer.accelerator=cpu"], "test": ["--trainer.accelerator=cpu"]}
    return [
        [*words, *(more for word, options in SHORT.items() if word in words for more in options),
         *trained.get(words[0], [])]
        for words in found
    ]  # fmt: skip


@pytest.mark.slow
def test_a_wheel_runs_the_commands_of_the_readme(checkout: Path, tmp_path: Path) -> None:
    """In an empty folder but for the files that the README names as one's own."""
    python, where = environment(tmp_path / "venv"), tmp_path / "empty"
    pip(python, "install", "--no-deps", "--no-index", wheel_of(checkout, tmp_path))
    where.mkdir()
    rows = [f"{'fm'[i % 2]},{'ns'[i // 2 % 2]},{i % 70},{i % 3 // 2},{i % 5 // 3},.{i % 9}"
            for i in range(240)]  # fmt: skip
    table = "\n".join(["sex,region,income,repaid,predicted,probability", *rows])
    for name in ("loans.csv", "predictions.csv"):
        (where / name).write_text(table)
    method = re.search(
        r"```python\n(# my_method.py\n.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    assert method is not None
    (where / "my_method.py").write_text(method[1])
    commands = readme_commands()
    assert len(commands) == 10
    code = (
        "import json, sys; from frbench.__main__ import main; import frbench\n"
        "for words in json.loads(sys.argv[1]):\n    assert main(words) == 0, words\n"
        "print(frbench.__file__)"
    )
    done = say(python, where, "-c", code, json.dumps(commands))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].startswith(str(tmp_path / "venv"))
    for made in (
        "runs/Digits-GroupDRO/0/test.json",
        "runs/TableData-ERM/0/test.json",
        "page.html",
    ):
        assert (where / made).is_file()


@pytest.mark.slow
def test_an_sdist_gives_the_same_wheel(checkout: Path, tmp_path: Path) -> None:
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, check=True)
    (archive,) = tmp_path.glob("frbench-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "sources", filter="data")
    (source,) = (tmp_path / "sources").iterdir()
    wheel = wheel_of(source, tmp_path / "out")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == shipped()


@pytest.mark.slow
def test_an_editable_installation_resolves_names(checkout: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    pip(python, "install", "--no-deps", "--no-index", "--no-build-isolation", "-e", checkout)
    check_names(python, tmp_path / "empty", checkout / "configs")
