"""Every command explains itself on a page and a half, with examples that can be typed."""

import re
import shlex

import pytest

from frbench.__main__ import COMMANDS, main
from frbench.commands import gan

PAGES = [*COMMANDS, "data debias", "gan train", "gan pairs", "gan metrics", "gan show"]


def help_of(command: str, capsys: pytest.CaptureFixture) -> str:
    try:
        assert main([*command.split(), "--help"]) == 0
    except SystemExit as done:  # argparse leaves the process itself
        assert done.code == 0
    out, err = capsys.readouterr()
    assert not err
    return out


@pytest.mark.parametrize("command", PAGES)
def test_help_is_short_and_has_examples(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(command, capsys)
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) < 100
    _, found, examples = text.partition("examples")
    assert found
    shown = [line.split() for line in examples.splitlines() if "frbench " in line]
    assert any(words[1 : 1 + len(command.split()[:1])] == command.split()[:1] for words in shown)


def test_the_summary_names_every_command(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert set(COMMANDS) <= set(re.findall(r"^  (\w+) ", text, flags=re.M))
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("command", PAGES)
def test_examples_name_options_that_exist(command, capsys, monkeypatch):
    """Options of a class (``--data.path``) are tested where they are used."""
    text = help_of(command, capsys).replace("\\\n", " ")
    examples = text.partition("examples")[2]
    if command in ("fit", "validate", "test"):
        from frbench.runs.options import known_options

        known = {f"--{name}" for name in known_options()}
    else:
        known = set(re.findall(r"--[a-z][\w_-]*", text.partition("examples")[0]))
        known |= set(re.findall(r"--[a-z][\w_-]*", gan.USAGE))
    for line in examples.splitlines():
        if not line.strip().startswith(f"frbench {command.split()[0]}"):
            continue
        for word in shlex.split(re.sub(r"\s{2,}[#a-z].*$", "", line.strip())):
            if word.startswith("--") and not re.match(r"--(data|model|network|trainer)\.", word):
                assert word.split("=")[0] in known, (line, word)


@pytest.mark.parametrize("command", ["bench", "data debias", "dfr", "gan metrics", "gan show",
                                     "audit", "graph", "alpha"])  # fmt: skip
def test_a_wrong_option_is_one_line_and_status_2(command, capsys):
    assert main([*command.split(), "--nonsense"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("frbench: error: ") and len(error.splitlines()) == 1
