"""Grids on two nodes of Ray, both on the loopback interface of this machine."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

import frbench
from frbench.__main__ import main
from frbench.grids import cluster
from frbench.grids.cluster import ENVIRONMENT, Place, judge, probe, software
from frbench.grids.grid import Cell
from frbench.runs.checkpoint import read_checkpoint

ray = pytest.importorskip("ray", reason="pip install 'frbench[ray]'")

pytestmark = pytest.mark.filterwarnings("ignore")

BASE = "trainer: {max_epochs: 2, accelerator: cpu}\n"
DATA = "data: {digits: {data: Digits, data.n: 300, data.n_eval: 200}}\n"
GRID = "configs: [base.yaml]\n" + DATA
SIX = GRID + "methods: {ERM: {model: ERM}, DRO: {model: GroupDRO}}\nseeds: [0, 1, 2]\n"
#: Takes its time while there is a file `slow`, and says which process makes a step.
SLOW = """
import os, time
from pathlib import Path
from frbench.objectives import ERM

class Slow(ERM):
    def risk(self, out, batch):
        if self.training:
            with open("steps.txt", "a") as file:
                file.write(f"{os.getpid()}\\n")
        time.sleep(1.0 * Path("slow").exists())
        return super().risk(out, batch)
"""


# ---- what is tried again, without a cluster ----------------------------------------------------
CELL = Cell(0, "d", "m", {}, 0, None, {}, ())


def done(raises: Exception | None = None, **record: object) -> Future:
    future: Future = Future()
    future.set_exception(raises) if raises else future.set_result({"status": "ok", **record})
    return future


def raised(cause: Exception) -> Exception:
    return ray.exceptions.RayTaskError("run_task", "Traceback ...", cause)


def test_only_deaths_and_a_lack_of_memory_are_tried_again() -> None:
    died = ray.exceptions.WorkerCrashedError()
    assert [judge(CELL, done(died), tries, 2) for tries in (1, 2)] == [None, None]
    last = judge(CELL, done(died), 3, 2)
    assert last is not None and (last["status"], last["attempts"]) == ("failed", 3)
    assert last["cell"] == CELL.key and last["error"].startswith("WorkerCrashedError")

    for full in (
        done(ray.exceptions.OutOfMemoryError("killed")),
        done(status="failed", error="OutOfMemoryError: CUDA out of memory"),
    ):
        assert judge(CELL, full, 1, 3) is None
        record = judge(CELL, full, 2, 3)
        assert record is not None and record["status"] == "failed" and record["attempts"] == 2

    record = judge(CELL, done(raised(ValueError("boom"))), 1, 3)
    assert record is not None and record["error"] == "ValueError: boom"
    record = judge(CELL, done(status="failed", error="RuntimeError: boom"), 1, 3)
    assert record is not None and record["attempts"] == 1
    assert judge(CELL, done(), 2, 3) == {"status": "ok", "attempts": 2}
    with pytest.raises(OSError, match="No space"):
        judge(CELL, done(raised(OSError(errno.ENOSPC, "No space"))), 1, 3)


@pytest.mark.parametrize("place", ["here", "ray", "ray:", "ray://host:10001"])
def test_a_place_that_is_none_is_refused(in_tmp: Path, capsys, place: str) -> None:
    Path("grid.yaml").write_text(SIX)
    assert main(["bench", "grid.yaml", f"--on={place}"]) == 2
    assert "ray:local, ray:auto or ray:HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "bench --stack=4 --on=ray:local", "bench --jobs=2 --on=ray:local",
        "tune --jobs=2 --on=ray:local", "bench --gpus=0.5", "tune --cpus=2", "bench --retries=0",
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(in_tmp: Path, capsys, words: str) -> None:
    (in_tmp / "base.yaml").write_text(BASE)
    command, option, *rest = words.split()
    search = "search: {space: {model.lr: {uniform: [0, 1]}}}\n"
    Path("file.yaml").write_text(SIX + search * (command == "tune"))
    assert main([command, "file.yaml", option, *rest]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and option.partition("=")[0] in said and "--on" in said
    assert not Path("results").exists()


def test_a_node_without_the_folders_or_with_other_software_is_named(in_tmp: Path) -> None:
    place = Place(in_tmp, {}, frozenset(), software())
    marker = in_tmp / ".probe"
    assert "must lie on a disk that all nodes share" in probe(place, marker, [])[0]
    marker.touch()
    elsewhere = replace(place, folder=in_tmp / "not there")
    assert "must lie on a disk that all nodes share" in probe(elsewhere, marker, [])[0]
    other = replace(place, software=software() | {"commit": "0000000"})
    assert "not frbench" in (wrong := probe(other, marker, [])[0]) and "commit 0000000" in wrong
    Path("here.csv").write_text("a\n1\n")
    wrong, hashes = probe(place, marker, ["here.csv", "gone.csv"])
    assert not wrong and hashes["here.csv"] and hashes["gone.csv"] is None


# ---- on two nodes -------------------------------------------------------------------------------
def patiently(start):
    """A busy machine takes longer than the 15 s that Ray gives a part of a node to start in."""
    for _ in range(3):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    pytest.skip("this machine does not start a node of Ray within the 15 s that Ray allows")


class Two:
    """A head without cores, and nodes that come and go; all on the loopback interface."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        os.environ.update(ENVIRONMENT | {"RAY_agent_register_timeout_ms": "100000"})
        head = {"num_cpus": 0, "node_ip_address": "127.0.0.2", "include_dashboard": False}
        self.cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.on = f"--on=ray:{self.cluster.address}"

    def add(self, **resources: float):
        given = {"num_cpus": 1, "node_ip_address": "127.0.0.3", **resources}
        return patiently(lambda: self.cluster.add_node(**given))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    made = Two()
    yield made
    made.cluster.shutdown()


@pytest.fixture
def folder(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (in_tmp / "base.yaml").write_text(BASE)
    (in_tmp / "grid.yaml").write_text(SIX)
    (in_tmp / "slow_method.py").write_text(SLOW)
    (in_tmp / "boom.py").write_text(
        "from frbench.objectives import ERM\n"
        "class Boom(ERM):\n    def risk(self, out, batch):\n        raise RuntimeError('boom')\n"
    )
    return in_tmp


def records(out: str) -> list[dict]:
    file = Path(out) / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(what, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_records_equal_the_sequential_ones_and_cells_go_where_their_gpu_is(two, folder) -> None:
    nodes = [two.add(num_gpus=1), two.add()]
    try:
        assert main(["bench", "grid.yaml", "--out=alone"]) == 0
        assert main(["bench", "grid.yaml", "--out=both", two.on]) == 0
        one, other = ({r["cell"]: r for r in records(out)} for out in ("alone", "both"))
        assert len(records("both")) == 6 and one.keys() == other.keys()
        free = {"seconds", "peak_memory_mb", "finished", "node", "attempts"}
        for cell in one:
            assert one[cell].keys() | {"node", "attempts"} == other[cell].keys()
            for name in one[cell].keys() - free:
                assert one[cell][name] == other[cell][name], name
        assert {r["attempts"] for r in other.values()} == {1}
        assert len({r["node"] for r in other.values()}) == 2
        # A failure is recorded once; and with a GPU each, all runs go to one node.
        Path("grid.yaml").write_text(
            GRID + "methods: {bad: {model: boom.Boom}, good: {model: ERM}}\nseeds: [0, 1]\n"
        )
        assert main(["bench", "grid.yaml", "--out=gpu", two.on, "--gpus=1"]) == 1
        found = records("gpu")
        assert sorted(r["status"] for r in found) == ["failed", "failed", "ok", "ok"]
        assert {(r["error"], r["attempts"]) for r in found if r["status"] == "failed"} == {
            ("RuntimeError: boom", 1)
        }
        assert {r["node"].split()[1] for r in found} == {nodes[0].node_id[:8]}
    finally:
        for node in nodes:
            two.cluster.remove_node(node)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_what_differs_on_a_node_is_said_before_the_first_run(
    two, folder, monkeypatch, capsys
) -> None:
    assert main(["bench", "grid.yaml", "--out=out", two.on, "--gpus=3"]) == 2
    assert "no node has 1 CPUs and 3 GPUs" in capsys.readouterr().err
    node = two.add()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(frbench, "__version__", "0.0.1")
            assert main(["bench", "grid.yaml", "--out=out", two.on]) == 2
        said = capsys.readouterr().err
        assert "the node has frbench" in said and "not frbench 0.0.1" in said
        # The driver's hashes differ from those that the nodes compute.
        Path("data.csv").write_text("a\n1\n")
        for ours, what in (("data.csv", "is another file"), ("gone.csv", "is missing")):
            monkeypatch.setattr(cluster, "file_hashes", lambda files, own=ours: {own: "0"})
            monkeypatch.setattr(cluster, "data_files", lambda cells, own=ours: [own])
            assert main(["bench", "grid.yaml", "--out=out", two.on]) == 2
            said = capsys.readouterr().err
            # Which node is asked first is not said.
            assert said.count("\n") == 1 and said.startswith("frbench: error: node 127.0.0.")
            assert f": {ours} {what} there" in said
        assert records("out") == []
    finally:
        two.cluster.remove_node(node)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_the_runs_of_a_node_that_dies_continue_on_another(two, folder) -> None:
    Path("grid.yaml").write_text(
        GRID + "methods: {S: {model: slow_method.Slow}}\nbase: {trainer.max_epochs: 30}\n"
        "seeds: [0, 1]\n"
    )
    Path("slow").touch()
    first, second = two.add(), two.add()  # one run each

    def kill() -> None:
        wait_for(lambda: len([*Path("out").glob("runs/*/checkpoints/last.ckpt")]) == 2)
        two.cluster.remove_node(first, allow_graceful=False)
        Path("slow").unlink()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        words = ["bench", "grid.yaml", "--out=out", two.on, "--rolling.every_n_steps=1"]
        assert main(words) == 0
        killer.join(60)
    finally:
        two.cluster.remove_node(second)
    found = records("out")
    assert [(r["status"], r["steps"]) for r in found] == [("ok", 60)] * 2
    assert sorted(r["attempts"] for r in found) == [1, 2]
    assert {r["node"].split()[1] for r in found} == {second.node_id[:8]}
    # Continued from its checkpoint: at most the steps since then were made twice.
    assert 120 <= len(Path("steps.txt").read_text().split()) < 140


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_driver_that_is_killed_or_told_to_stop_is_continued(two, folder) -> None:
    Path("grid.yaml").write_text(
        GRID + "methods: {S: {model: slow_method.Slow}}\nbase: {trainer.max_epochs: 12}\n"
        "seeds: [0, 1, 2]\n"
    )
    Path("slow").touch()
    nodes = [two.add(), two.add()]
    words = ["bench", "grid.yaml", "--out=out", two.on, "--rolling.every_n_steps=1"]
    command = [sys.executable, "-m", "frbench", *words]
    try:
        driver = subprocess.Popen(command)
        wait_for(lambda: len(records("out")) == 1)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert len(records("out")) < 3
        told = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        seen = len(Path("steps.txt").read_text())
        wait_for(lambda: len(Path("steps.txt").read_text()) > seen + 20)
        told.send_signal(signal.SIGTERM)
        said = told.communicate(timeout=600)[0]
        assert told.returncode == 143, said
        assert "interrupted; the same command continues (" in said
        steps = {
            path: read_checkpoint(path)["global_step"] for path in Path("out").rglob("last.ckpt")
        }
        # 24: the run had been trained to its end, and not tested yet, when its driver died.
        assert steps and all(0 < number <= 24 for number in steps.values())
        Path("slow").unlink()
        assert main(words) == 0
    finally:
        for node in nodes:
            two.cluster.remove_node(node)
    found = records("out")
    assert len(found) == 3 and {r["seed"] for r in found} == {0, 1, 2}
    assert {(r["status"], r["steps"]) for r in found} == {("ok", 24)}


def test_without_ray_one_line_says_what_to_install(folder, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["bench", "grid.yaml", "--out=out", "--on=ray:local"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install 'frbench[ray]'" in said
