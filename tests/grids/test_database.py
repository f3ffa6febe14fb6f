"""Independent workers of one search share a PostgreSQL of their own, on a unix socket."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="pip install 'frbench[tune]'")
pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")

pytestmark = pytest.mark.slow

#: Runs the command with a formula in place of training; a run hangs while there is a file `hang`.
WORKER = """
import sys, time
from pathlib import Path
from frbench.commands import tune
from frbench.grids import executors

def formula(cell, folder, results, watchers=()):
    Path("begun-" + sys.argv[1]).write_text(cell.key)
    while Path("hang").exists():
        time.sleep(0.05)
    rate = cell.settings["model.lr"]
    return {"cell": cell.key, "data": cell.data, "method": cell.method, "seed": 0, "fold": None,
            "settings": cell.settings, "status": "ok", "seconds": 0.1, "data_files": {},
            "metrics": {"val/accuracy": 1 - rate}}

executors.run_cell, tune.wrong_cells = formula, lambda cells: []
from frbench.__main__ import main
sys.exit(main(["tune", "study.yaml", "--out=" + sys.argv[1]]))
"""
STUDY = """
data: {digits: {data: Digits}}
methods: {ERM: {model: ERM}}
search:
  trials: 6
  sampler: random
  objectives: [val/accuracy]
  heartbeat: 1
  storage: postgresql+psycopg://postgres@/postgres?host=$PGFOLDER
  space: {model.lr: {uniform: [0, 1]}}
"""


def program(name: str) -> str | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))


@pytest.fixture
def postgres() -> Iterator[str]:
    """A database server in a temporary folder, without a port; gives the folder of its socket."""
    initdb, server = program("initdb"), program("postgres")
    as_user: list[str] = []
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed")
    if os.geteuid() == 0:  # whom initdb refuses
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short path: that of a socket is limited
    folder.chmod(0o777)
    data = folder / "data"
    words = ["-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run([*as_user, initdb, *words], check=True, capture_output=True, cwd=folder)
    process = subprocess.Popen(
        [*as_user, server, "-D", str(data), "-c", "listen_addresses=", "-k", str(folder)],
        stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not list(folder.glob(".s.PGSQL.*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield str(folder)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def start(name: str, folder: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, name], env={**os.environ, "PGFOLDER": folder},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_the_trial_of_a_worker_that_was_killed_is_retried_by_another(
    in_tmp: Path, postgres: str
) -> None:
    Path("study.yaml").write_text(STUDY)
    Path("hang").touch()
    first = start("one", postgres)
    deadline = time.monotonic() + 120
    while not Path("begun-one").exists():
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.kill()
    first.communicate()
    lost = Path("begun-one").read_text()
    Path("hang").unlink()
    second = start("two", postgres)
    said = second.communicate(timeout=120)[0]
    assert second.returncode == 0, said
    found = [json.loads(line) for line in Path("two/trials.jsonl").read_text().splitlines()]
    assert len(found) == 6 and lost in {record["cell"] for record in found}
    assert len({record["cell"] for record in found}) == 6
    assert not Path("one/trials.jsonl").exists() or not Path("one/trials.jsonl").read_text()
    assert "6 trials" in said and Path("two/confirm.yaml").exists()
