"""Small inputs that once failed, each in a folder with a script and what is right in prose.

The folders are those of ``FRBENCH_CASES``, by default ``../shared/cases`` beside the repository.
A script calls $FRB and $PY, here clients of a server that has everything imported.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

FOLDER = Path(os.environ.get("FRBENCH_CASES", ROOT.parent / "shared/cases"))
CASES = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []
SERVER = ROOT / "tests/support/fork_server.py"
LIMIT = 120  # seconds on a busy machine

#: One line of an error, exit status 2.
REFUSED = r"\A(?:note: .*\n)*frbench: error: .+\nexit status 2\Z"
#: What the output of a case must hold, by patterns; where it is none of these, see `wrong`.
RIGHT = {
    "A2-encoder-scale": (r"\A(tested on ...\.csv\naccuracy +(0\.9\d+|1\.0+)\n?){2}\Z",),
    "A3-class-order": (r"tested on new\.csv\nfrbench: error: .*'dog' is unknown",),
    "A4-changed-file": ("data have changed", "exit 2"),
    "B2-float-tiff": (r"\[51\.0, 204\.0\]",),
    "B3-exif-orientation": (r"pictures 1?\d$",),
    "B4-dot-slash-names": (r"exit 0$",),
    "B5-rgba-transparent": (r"\[(\[.*\]), \1\]$",),
    "C3-score-rounding": (r"auroc +1\.000",),
    "C5-grad-tensor": (r"^1\.0$",),
    "C6-audit-other-tables": (r"\A(accuracy  .*\n){2}", r"\Z(?<!error)"),
    "D2-spaces": (r"\('a', 'b'\).*z: spaces",),
    "D3-sep-backslash-t": (r"exit 0$",),
    "D4-name-collision": (r"\A(next: .*\n){2}next: .*\Z",),
    "D5-nested-cells": (r"\Aexit 2\nfrbench: error: .*'tags'.*data\.drop.*\n1\Z",),
    "D6-many-values": (r"exit 0\n.*\nexit 0$",),
    "D7-ordered-categorical": (r"\('low', 'high'\)",),
    "E1-vit-size": (r"\Aexit 2\n1\nfrbench: error: .*(224|img_size).*\nexit 2\n1\n.*\Z",),
    "alpha-bom": (r"a +20 ", "exit status 0"),
    "alpha-json_eps_inf": (r'"epsilon": null', "exit status 0"),
    "alpha-markup": (r"\[/red\] +9", "exit status 0"),
    "audit-ansi": (r"\Aexit status 1\Z",),  # of grep, which finds no escape
    "audit-weight_huge": (r"0\.538", "exit status 0"),
    "audit-weight_tiny": (r"0\.538", "exit status 0"),
    "bench-sigterm-goes-on": (r"exit status 143$",),
    "cwd-shadow": ("smallest share", "exit status 0"),
    "debias-out_long": ("written to a+.csv", "exit status 0"),
    "fit-sigterm-exit-0": (r"exit status 143$",),
    "graph-big_chain": ("Independences", "exit status 0"),
    "graph-many_latents": ("Independences", "exit status 0"),
    "long-name": (r"\A(frbench: error: a.*\n){5}exit status 0\Z",),
    "resume-changed-file": ("data have changed", "exit status 2"),
    **dict.fromkeys(
        ("ckpt-gan-trained", "ckpt-os-system", "ckpt-popen"), ("is a name outside frbench",)
    ),
}
NEVER = (r"Traceback", r"^EXECUTED", r"^PWNED$", r"STILL RUNNING", r"exit status 124")


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The environment with $FRB and $PY."""
    folder = tmp_path_factory.mktemp("server")
    address = folder / "socket"
    server = subprocess.Popen(
        [sys.executable, SERVER, address], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert server.stdout.readline() == "ready\n"
    client = folder / "python"
    client.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {SERVER} {address} "$@"\n')
    client.chmod(0o755)
    yield {**os.environ, "PY": str(client), "FRB": f"{client} -m frbench", "PYTHONPATH": str(ROOT)}
    server.kill()
    server.communicate()


def output(name, commands, folder):
    """What the script of a case prints, run in a copy of its folder."""
    shutil.copytree(FOLDER / name, folder)
    for left in ("o.csv", "o"):  # of an earlier run
        (folder / left).unlink(missing_ok=True)
    script = (folder / "run.sh").read_text()  # of a version that drew the table of results
    (folder / "run.sh").write_text(script.replace('"│ accuracy  |', '"^accuracy  |'))
    if name == "cwd-shadow":  # a server that has rich imported would not see another
        commands = {**commands, "FRB": f"{sys.executable} -m frbench"}
    done = subprocess.run(
        ["bash", folder / "run.sh"], env=commands, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, check=False,
    )  # fmt: skip
    return done.stdout.decode(errors="backslashreplace").strip()


def wrong(name, text):
    """What is wrong with the output, nothing if it is right; a case of no entry is refused."""
    found = [pattern for pattern in NEVER if re.search(pattern, text, re.M)]
    missing = [p for p in RIGHT.get(name, (REFUSED,)) if not re.search(p, text, re.M)]
    return "; ".join([*(f"holds {p}" for p in found), *(f"lacks {p}" for p in missing)])


@pytest.mark.skipif(not CASES, reason=f"{FOLDER} is no folder of cases: set FRBENCH_CASES")
@pytest.mark.xdist_group("cases")
@pytest.mark.parametrize("name", CASES or ["none"])
def test_case(name, commands, tmp_path):
    text = output(name, commands, tmp_path / name)
    assert not wrong(name, text), text[-3000:]


def test_every_case_is_there_that_has_an_entry():
    assert not CASES or RIGHT.keys() <= set(CASES)


@pytest.mark.parametrize(
    "text",
    ["exit status 0", "Traceback (most recent call last):\nexit status 2",
     "frbench: error: a\nb\nexit status 2", "frbench: error: a.\nexit status 1",
     "exit status 124"],
)  # fmt: skip
def test_what_is_no_refusal_is_noticed(text):
    assert wrong("any", text) and not wrong("any", "frbench: error: a.\nexit status 2")
