"""All that the quick starts and the page on other libraries show runs, in an empty folder."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from paths import ROOT

from frbench.__main__ import main

PAGES = sorted((ROOT / "docs").glob("quick_*.md"))
BESIDE = ROOT / "docs" / "beside.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.M | re.S)

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
]


def test_there_is_one_for_each_kind_of_user() -> None:
    names = {page.stem.removeprefix("quick_") for page in PAGES}
    assert names == {"table", "robustness", "method", "audit"}
    index = (ROOT / "docs/index.md").read_text() + (ROOT / "README.md").read_text()
    assert all(index.count(f"{page.name})") >= 2 for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_it_is_under_500_words(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    assert len(text.split()) < 500


def small(words: list[str]) -> list[str]:
    """The command on fewer runs and steps, without a bar."""
    if words[0] == "bench" and "--list" not in words:
        return [*words[:2], "--index=0", "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    if words[0] == "fit" and "--model.help" not in words:
        words = [*words, "--trainer.max_epochs=1", "--trainer.accelerator=cpu"]
    return words + ["--trainer.enable_progress_bar=false"] * (words[0] in ("test", "fit"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [*PAGES, BESIDE], ids=lambda page: page.stem)
def test_what_it_shows_runs(page: Path, in_tmp: Path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(in_tmp)
    made = []
    try:
        for language, text in BLOCK.findall(page.read_text()):
            if named := re.match(r"# ((\w+)\.(?:py|yaml))\n", text):
                (in_tmp / named[1]).write_text(text)
                made.append(named[2])
            elif language == "python":
                exec(compile(text, page.name, "exec"), {"__name__": page.stem})
            elif not language:
                for words in (shlex.split(line)[1:] for line in text.splitlines()):
                    if words[0] == "bench":  # the options of all runs can be read
                        assert ended([*words[:2], "--check"]) == 0, words
                    assert ended(small(words)) == 0, words
    finally:
        for name in made:
            sys.modules.pop(name, None)
    assert capsys.readouterr().out


def ended(words: list[str]) -> int:
    """Exit status of a command, also of one that the parser ends after it has printed help."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)
