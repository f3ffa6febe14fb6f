"""The pages build without a warning, name everything that is public, and their code runs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

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
