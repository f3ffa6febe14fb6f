"""The pages build without a warning, name everything that is public, and their code runs."""

import csv
import doctest
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

from frbench.__main__ import main
from frbench.support.configs import find_config

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
GRIDS = sorted((ROOT / "configs" / "papers").rglob("*.yaml"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.M | re.S)
SMALL = [
    "--data.n=200",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")


#: Pages that a script writes from the code and the data.
GENERATED = {"data_tables", "methods", "promises"}
#: Pages that are looked up, not read from top to bottom: no guides.
REFERENCE = GENERATED | {"metric_definitions", "penalty_options", "public_names", "results"}


def words(page: Path) -> int:
    """Count words outside of code blocks."""
    return len(re.findall(r"\S*\w\S*", BLOCK.sub("", page.read_text())))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_guide_is_under_900_words(page):
    assert page.stem in REFERENCE or words(page) < 900


def test_all_pages_that_people_write_are_under_45000_words_together():
    pages = [page for page in DOCS.rglob("*.md") if page.stem not in GENERATED]
    assert sum(map(words, pages)) < 45_000


def test_tables_beside_the_results_are_linked_and_rectangular():
    text = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    for path in (DOCS / "results").rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        assert len(set(head)) == len(head) and all(head) and rows, path
        assert {len(row) for row in rows} == {len(head)}, path
        assert path.parent.name != "tables" or f"tables/{path.name})" in text, path


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "_tools" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="needs pip install frbench[docs]")
    pytest.importorskip("mkdocstrings", reason="needs pip install frbench[docs]")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9"}
    environment["https_proxy"] = environment["http_proxy"]  # nothing is fetched
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True,
                          check=False, timeout=500)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    tools = hooks()
    for page, modules in tools.PAGES.items():
        html = (tmp_path / "api" / f"{page}.html").read_text()
        for name in (name for module in modules for name in tools.exported(module)):
            assert f'id="{name}"' in html, f"{name} has no docstring, or is not on its page"
        assert not re.search(r":(?:func|class|meth|mod):<", html)
    everything = "".join(path.read_text() for path in tmp_path.rglob("*.html"))
    assert "fonts.googleapis" not in everything


def test_every_package_that_exports_names_has_a_page():
    pytest.importorskip("mkdocs", reason="needs pip install frbench[docs]")
    named = {module for modules in hooks().PAGES.values() for module in modules}
    packages = {
        f"frbench.{path.parent.name}"
        for path in (ROOT / "frbench").glob("*/__init__.py")
        if "__all__" in path.read_text()
    }
    assert packages and packages <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_python_of_a_page_runs(page, in_tmp, monkeypatch):
    """Code with prompts prints what it says; code without runs; files are tested below."""
    monkeypatch.setitem(sys.modules, "my_method", None)
    for code in blocks(page, "python"):
        if code.startswith("# my_"):
            continue
        if code.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(code, {}, page.stem, str(page), 0)
            assert doctest.DocTestRunner().run(test).failed == 0
        else:
            exec(compile(code, page.name, "exec"), {"__name__": page.stem})


def test_what_extending_shows_works_together(in_tmp, monkeypatch):
    page = DOCS / "extending.md"
    monkeypatch.syspath_prepend(in_tmp)
    names = []
    for code in [*blocks(page, "python"), *blocks(DOCS / "extending_more.md", "python")]:
        names.append(re.match(r"# (my_\w+)\.py\n", code)[1])
        (in_tmp / f"{names[-1]}.py").write_text(code)
        sys.modules.pop(names[-1], None)
    *fits, test = (shlex.split(line)[1:] for line in blocks(page, "")[0].splitlines())
    try:
        for fit in fits:
            assert main([*fit, *SMALL, "--trainer.max_epochs=2"]) == 0
        assert main([*test, *SMALL]) == 0
        assert '"test/P/two_worst_groups_accuracy": ' in Path("mine/test.json").read_text()
        config = "".join(Path(f"{run}/config.yaml").read_text() for run in ("mine", "second"))
        assert all(f"{name}." in config for name in names)
    finally:
        for name in names:
            sys.modules.pop(name, None)


EVERYTHING = [*PAGES, *DOCS.glob("results/*.md"), ROOT / "README.md"]
#: Where a path in the text may start.
STARTS = [ROOT, ROOT / "frbench", DOCS, ROOT / "configs", ROOT / "configs" / "papers"]


@pytest.mark.parametrize("page", EVERYTHING, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_commands_of_the_pages_name_commands_and_files_that_exist(page):
    from frbench.__main__ import COMMANDS

    text = page.read_text()
    for word in re.findall(r"(?:^|`)frbench ([a-z]+)", text, flags=re.M):
        assert word in COMMANDS, word
    for path in re.findall(r"(?:^|[\s`(])((?:configs|benchmarks|studies)/[\w./-]+\.\w+)", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"--config[ =]([\w/-]+)(?![\w/.-])", text):
        find_config(name, page.name)
    for name in re.findall(r"frbench bench ((?:papers/)?[a-z]\S*[a-z])(?=[ `\n])", text):
        if not name.endswith(".yaml"):
            find_config(name, page.name, "bench")


@pytest.mark.parametrize("page", EVERYTHING, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_files_and_modules_that_a_page_names_exist(page):
    text = page.read_text()
    for path in re.findall(r"`(\w[\w-]*(?:/[\w.-]+)+\.(?:py|md|yaml|ipynb))`", text):
        assert any((start / path).exists() for start in [page.parent, *STARTS]), path
    for path in re.findall(r"`((?:frbench|objectives|penalties|data)/[\w/.]+)`", text):
        where = [ROOT / path, ROOT / "frbench" / path, ROOT / "configs" / f"{path}.yaml"]
        assert any(file.exists() for file in where), path
    modules = {  # of format 1, on the page that explains it
        name
        for name in re.findall(r"`(?:from )?(frbench(?:\.\w+)+)", text)
        if name not in ("frbench.data.synthetic.TwoGaussians", "frbench.configs")
    }
    for name in modules:
        parts = name.split(".")
        sizes = [n for n in range(1, len(parts) + 1) if module_file(parts[:n])]
        source = module_file(parts[: sizes[-1]]).read_text()
        assert all(part in source for part in parts[sizes[-1] :][:1]), name


def module_file(parts: list[str]) -> Path | None:
    path = ROOT.joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


@pytest.mark.parametrize(
    "grid", sorted((ROOT / "configs/papers").rglob("*.yaml")), ids=lambda p: p.stem
)
def test_every_grid_of_a_paper_has_results_and_a_command(grid):
    """docs/results.md names its file, docs/reproducing.md its file or, in a list, its name."""
    name = grid.relative_to(ROOT / "configs" / "papers")
    assert f"`{name}`" in (DOCS / "results.md").read_text()
    reproducing = (DOCS / "reproducing.md").read_text()
    assert re.search(rf"[`/]{re.escape(grid.stem)}(\.yaml)?[` ]", reproducing)
