"""Nothing that a file names is executed: checkpoints of a stranger."""

import contextlib
from pathlib import Path

import pytest
import torch
from paths import ROOT

from frbench import UserError, load
from frbench.__main__ import main
from frbench.gan.dcgan import load_gan

OLD = ROOT / "tests/fixtures" / "format1.ckpt"
TOUCH = ["touch", "PWNED"]
POPEN = {"class_path": "subprocess.Popen", "init_args": {"args": TOUCH}}
SYSTEM = {"class_path": "os.system", "init_args": {"command": "touch PWNED"}}


def in_model(**changes):
    def change(checkpoint: dict) -> None:
        checkpoint["frbench"]["model"]["init_args"].update(changes)

    return change


def whole(key: str, value):
    def change(checkpoint: dict) -> None:
        checkpoint["frbench"][key] = value

    return change


def state_keys(checkpoint: dict) -> None:
    checkpoint["state_dict"]["__reduce__"] = torch.zeros(1)
    checkpoint["state_dict"]["os.system('touch PWNED')"] = torch.zeros(1)


def generator(checkpoint: dict) -> None:
    checkpoint["frbench_gan"] = {"model": POPEN}


def dfr(checkpoint: dict) -> None:
    checkpoint["frbench"]["dfr"] = SYSTEM
    checkpoint["frbench"]["selection"] = {"monitor": SYSTEM, "dfr": POPEN}
    checkpoint["frbench"]["model"] = POPEN


def own_class(checkpoint: dict) -> None:
    Path("evil.py").write_text("open('PWNED', 'w').close()\nclass Mine: ...\n")
    checkpoint["frbench"]["model"]["class_path"] = "evil.Mine"


CHANGES = {
    "os.system": whole("model", SYSTEM),
    "popen": whole("model", POPEN),
    "network": in_model(network=POPEN),
    "deep": in_model(
        network={"class_path": "frbench.networks.MLP", "init_args": {"hidden": POPEN}}
    ),
    "list": in_model(penalties=[POPEN]),
    "penalty of another kind": in_model(penalties=[{"class_path": "frbench.networks.MLP"}]),
    "options": in_model(optimizer_options={"lr_lambda": SYSTEM}),
    "name": in_model(optimizer="os.system"),
    "data": whole("data", SYSTEM),
    "step of the data": whole(
        "data", {"class_path": "frbench.data.TwoGaussians", "init_args": {"corrupt": [POPEN]}}
    ),
    "torch that is no module": whole("model", {"class_path": "torch.nn.init.os.system"}),
    "private": whole("model", {"class_path": "frbench.commands.bench.subprocess.Popen",
                               "init_args": {"args": TOUCH}}),
    "state keys": state_keys,
    "generator": generator,
    "dfr": dfr,
    "own class": own_class,
    "no name": whole("model", {"class_path": ["os.system"], "init_args": {}}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_is_executed(change, in_tmp, monkeypatch, capsys):
    monkeypatch.syspath_prepend(in_tmp)
    checkpoint = torch.load(OLD, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, "bad.ckpt")
    words = ["--ckpt_path", "bad.ckpt"]
    for read in (load, load_gan):
        with contextlib.suppress(UserError, RuntimeError):
            read("bad.ckpt")
    quick = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    # fmt: off
    for command in (["test", *words, *quick], ["dfr", *words], ["gan", "metrics", *words],
                    ["predict", *words], ["fit", *words, *quick, "--trainer.max_epochs=2"]):
        # fmt: on
        if change is generator:
            break
        assert main(command) == 2, command
        assert capsys.readouterr().err.count("\n") <= 3
    if change is generator:
        assert main(["gan", "pairs", "--generator", "Trained", "--generator.path", "bad.ckpt",
                     "--target", "a", "--protected", "b", "--out", "pp"]) == 2  # fmt: skip
    assert not Path("PWNED").exists()


def test_a_class_of_ones_own_needs_ones_word(in_tmp, monkeypatch):
    monkeypatch.syspath_prepend(in_tmp)
    Path("own_method.py").write_text(
        "from frbench.objectives import GroupDRO\n\n\nclass Mine(GroupDRO):\n    pass\n"
    )
    checkpoint = torch.load(OLD, weights_only=True)
    checkpoint["frbench"]["model"]["class_path"] = "own_method.Mine"
    torch.save(checkpoint, "own.ckpt")
    with pytest.raises(UserError, match="--trust own_method"):
        load("own.ckpt")
    assert type(load("own.ckpt", trust=["own_method"])).__name__ == "Mine"
    assert main(["predict", "--ckpt_path", "own.ckpt", "--split", "test"]) == 2
    assert main(["predict", "--ckpt_path", "own.ckpt", "--split", "test", "--trust", "own_method",
                 "--run_dir", "out"]) == 0  # fmt: skip
