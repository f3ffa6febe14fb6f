"""The lines of docs/devices.md for several machines, by two launchers of one process each."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from frbench.__main__ import main
from frbench.runs.checkpoint import read_checkpoint

pytestmark = [pytest.mark.ddp, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

FIT = ["fit", "--data=Digits", "--data.n=300", "--data.n_eval=200", "--model=GroupDRO",
       "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1",
       "--trainer.enable_progress_bar=false", "--threads=1"]  # fmt: skip


def rows(folder: str) -> list[dict[str, str]]:
    return list(csv.DictReader((Path(folder) / "metrics.csv").open()))


def test_two_launchers_train_as_one_process_does(in_tmp: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1",
                "--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{port}",
                "--local_addr=127.0.0.1"]  # fmt: skip
    devices = ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    machines = [
        subprocess.Popen(
            [sys.executable, *launcher, "-m", "frbench", *FIT, *devices, "--run_dir=two"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [machine.communicate(timeout=480)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert main([*FIT, "--run_dir=one", "--trainer.devices=1"]) == 0
    one, two = rows("one"), rows("two")
    assert len(one) == len(two) > 0
    for left, right in zip(one, two, strict=True):
        assert left.keys() == right.keys()
        for key in left:
            if left[key] and "auroc" not in key:
                assert float(left[key]) == pytest.approx(float(right[key]), rel=1e-4, abs=1e-5)
    steps = [
        read_checkpoint(f"{run}/checkpoints/last.ckpt")["global_step"] for run in ("one", "two")
    ]
    assert steps[0] == steps[1] > 0
