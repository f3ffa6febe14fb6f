"""Options of every day: other weights to begin with, a plain module, a compiled network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command import QUICK, SMALL, column, run
from torch import nn
from trainers import trainer

import frbench
from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import Network
from frbench.objectives import ERM, IRW
from frbench.runs.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")

FIT = ("fit", *SMALL, *QUICK, "--model.network=MLP", "--trainer.log_every_n_steps=1")
PLAIN = """
from torch import nn

class Plain(nn.Module):
    def __init__(self, width: int = 5):
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.ReLU())

    def forward(self, x):
        return self.layers(x)
"""


def weights(path: Path) -> dict[str, torch.Tensor]:
    state = read_checkpoint(path)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("network.")}


def test_training_begins_with_the_weights_of_another_run(in_tmp, capsys) -> None:
    run(*FIT, "--run_dir=first")
    best = Path("first/checkpoints/best.ckpt")
    capsys.readouterr()
    tuned = ("--model=GroupDRO", f"--init_from={best}")
    run(*FIT, *tuned, "--model.lr=0", "--run_dir=second")  # another method, another rate
    last = Path("second/checkpoints/last.ckpt")
    assert all(torch.equal(value, weights(best)[key]) for key, value in weights(last).items())
    assert set(column(Path("second/metrics.csv"), "train/lr")) == {0.0}
    # A run that is continued has begun already.
    more = ("--trainer.max_epochs=2", f"--ckpt_path={last}", f"--init_from={best}")
    run(*FIT, "--model=GroupDRO", "--model.lr=0", *more)
    for options, expected in (
        (["--model.network.hidden=[7]"], "weight has shape [64, 288], the network's [7, 288]"),
        (["--model.network.hidden=[64, 32, 7]"], "head.weight has shape [2, 32], the network's"),
    ):
        assert main([*FIT, *tuned, *options, "--run_dir=third"]) == 2
        error = capsys.readouterr().err
        assert expected in error and "--init_from" in error and error.count("\n") == 1
    assert main([*FIT, "--init_from=no.ckpt"]) == 2
    assert "There is no checkpoint no.ckpt" in capsys.readouterr().err


def test_a_plain_module_is_a_network(in_tmp, monkeypatch, capsys) -> None:
    Path("plain.py").write_text(PLAIN.replace("Lazy", "").replace("(width)", "(288, width)"))
    monkeypatch.syspath_prepend(in_tmp)
    words = ("fit", *SMALL, *QUICK, "--model.network=Wrapped",
             "--model.network.module=plain.Plain", "--model.network.module.width=3")  # fmt: skip
    run(*words, "--model.network.num_features=3", "--run_dir=run")
    best = Path("run/checkpoints/best.ckpt")
    names = ("backbone.layers.1.weight", "backbone.layers.1.bias", "head.weight", "head.bias")
    assert set(weights(best)) == {f"network.{name}" for name in names}
    model = frbench.load(best, trust=["plain"])
    assert model.network.num_features == 3
    capsys.readouterr()
    assert main([*words, "--model.network.num_features=4"]) == 2
    assert "Plain gives [2, 3] for 2 rows, not features [2, 4]" in capsys.readouterr().err


def test_a_module_built_in_python_must_be_of_a_class_that_can_be_written_down() -> None:
    network = Network.wrap(nn.Sequential(nn.Linear(2, 4), nn.ReLU()), 4)
    model = ERM(2, 2, [2], network=network)
    assert model(torch.zeros(3, 2)).shape == (3, 2)
    with pytest.raises(UserError, match="cannot be written into a checkpoint"):
        trainer().fit(model, datamodule=TwoGaussians(n=64))
    with pytest.raises(UserError, match=r"Linear does not take inputs of shape \[2\]"):
        ERM(2, 2, [2], network=Network.wrap(nn.Linear(3, 4), 4))


def trained(compiled: bool, monkeypatch) -> dict[str, np.ndarray]:
    torch.manual_seed(3)
    model = ERM(2, 2, [2], compile_network=compiled, optimizer="SGD", lr=0.1)
    trainer(max_steps=5).fit(model, datamodule=TwoGaussians(n=96, batch_size=16))
    assert (model.network._compiled_call_impl is not None) == compiled
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_a_compiled_network_trains_the_same_parameters_by_the_same_names(monkeypatch) -> None:
    # The eager backend runs everywhere: what is tested is ours, not torch's code generation.
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **k: compile_(f, backend="eager", **k))
    plain, compiled = trained(False, monkeypatch), trained(True, monkeypatch)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(compiled[name], value, rtol=1e-5, atol=1e-7)


def test_where_torch_cannot_compile_a_line_says_so(monkeypatch) -> None:
    def missing(*args, **kwargs):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", missing)
    with pytest.raises(UserError, match=r"compile_network: .*no C\+\+ compiler.*leave it out"):
        trainer().fit(ERM(2, 2, [2], compile_network=True), datamodule=TwoGaussians(n=64))
    with pytest.raises(UserError, match="IRW needs single layers"):
        trainer().fit(IRW(2, 2, [2], compile_network=True), datamodule=TwoGaussians(n=64))


def test_a_full_disk_is_said_and_books_nothing(in_tmp, monkeypatch, capsys) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    Path("grid.yaml").write_text(
        "base: {trainer.max_epochs: 1, trainer.accelerator: cpu, data.n: 300, data.n_eval: 200}\n"
        "data: {d: {data: Digits}}\nmethods: {ERM: {model: ERM}, DRO: {model: GroupDRO}}\n"
    )
    opened = Path.open

    def open_full(path, mode="r", *args, **kwargs):
        return opened(
            full if ".ckpt" in path.name and "w" in mode else path, mode, *args, **kwargs
        )

    monkeypatch.setattr(Path, "open", open_full)
    for words in ([*FIT, "--run_dir=run"], ["bench", "grid.yaml", "--out=out"]):
        assert main(words) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("frbench: error: the disk is full") and "run the command" in error
    assert Path("out/results.jsonl").read_text() == ""
    assert len(list(Path("out/runs").iterdir())) == 1
