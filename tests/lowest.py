"""Run the fast tests with the lowest versions that setup.cfg states: `make test-lowest`.

Usage: python tests/lowest.py [--list] [PYTEST_ARGUMENT ...]

A temporary virtual environment gets frbench and its tools, with each direct requirement of
``install_requires`` held at its lower bound; it is removed at the end. Warnings are not errors
there: old releases warn about one another. ``--list`` prints the bounds and installs nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lowest(requirements: str) -> list[str]:
    """Turn lower bounds into exact versions.

    Args:
        requirements: Lines of setup.cfg, ``torch>=2.6`` say; comments are left out.

    Raises:
        ValueError: If a requirement has no lower bound.
    """
    found = []
    for line in requirements.splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)(?:,.*)?", text)
        if match is None:
            raise ValueError(f"setup.cfg: {text!r} has no lower bound")
        found.append(f"{match[1]}=={match[2]}")
    return found


def main(words: list[str]) -> int:
    """Install and test; return the status of pytest."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    bounds = lowest(setup["options"]["install_requires"])
    print("\n".join(bounds), flush=True)
    if "--list" in words:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        constraints = Path(folder) / "lowest.txt"
        # Later releases of pyarrow need numpy 2.
        compiled = lowest(setup["options.extras_require"]["parquet"])
        constraints.write_text("\n".join([*bounds, *compiled]) + "\n")
        install = [python, "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
        subprocess.run([*install, "--editable", f"{ROOT}[dev]"], check=True)
        subprocess.run([python, "-m", "pip", "list"], check=True)
        tests = [python, "-m", "pytest", "-q", "-W", "default", "-m", "not slow", *words]
        return subprocess.run(tests, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
