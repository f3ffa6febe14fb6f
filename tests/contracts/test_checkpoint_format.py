"""Checkpoints of earlier formats load, predict and continue as they did."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command import run
from paths import ROOT

from frbench import UserError, load
from frbench.contracts.checkpoint_format import FORMAT, read_section, write_section
from frbench.runs.checkpoint import read_checkpoint, read_description

#: Two epochs of GroupDRO with ConditionalMMD on two Gaussians, written by commit 6338cad (the
#: folder's name shortened), with logits on fixed inputs and the state after a third epoch.
OLD = ROOT / "tests/fixtures" / "format1.ckpt"
EXPECTED = json.loads(OLD.with_suffix(".json").read_text())


def test_predictions_of_format_1_are_bit_for_bit_the_same():
    x = torch.linspace(-3, 3, 20).reshape(10, 2)
    with torch.no_grad():
        logits = load(OLD)(x).double().tolist()
    assert [[value.hex() for value in row] for row in logits] == EXPECTED["logits"]


@pytest.mark.filterwarnings("ignore")
def test_training_continues_from_format_1(in_tmp):
    Path("r/checkpoints").mkdir(parents=True)
    last = Path("r/checkpoints/last.ckpt")
    shutil.copyfile(OLD, last)
    run("fit", "--ckpt_path", last, "--trainer.max_epochs=3", "--trainer.accelerator=cpu")
    state = read_checkpoint(last)["state_dict"]
    found = {k: [x.hex() for x in v.double().flatten().tolist()] for k, v in state.items()}
    assert found == EXPECTED["continued"]


def test_an_old_checkpoint_says_in_one_line_that_its_encoder_is_learnt_again(tmp_path, capsys):
    shutil.copyfile(OLD, tmp_path / "old.ckpt")
    for _ in range(2):
        model = load(tmp_path / "old.ckpt")
    assert capsys.readouterr().err.count("its encoder is learnt again") == 1
    assert model.data_module is not None and model.data_module.restored is None


def test_format_1_is_upgraded_to_public_names():
    before = torch.load(OLD, weights_only=True)
    assert before["frbench"]["data"]["class_path"] == "frbench.data.synthetic.TwoGaussians"
    section = read_description(OLD)
    assert section["format"] == FORMAT
    assert section["data"]["class_path"] == "frbench.data.TwoGaussians"
    assert section["model"]["class_path"] == "frbench.objectives.GroupDRO"
    penalty = section["model"]["init_args"]["penalties"][0]
    assert penalty["class_path"] == "frbench.penalties.ConditionalMMD"
    assert section["selection"]["monitor"] == "val/worst_group_accuracy"
    assert section["csv_rows"] and section["csv_rows_in_all"]
    for _ in range(2):  # a second reading changes nothing
        found = read_section(before, path=OLD)
        assert {k: found[k] for k in found if k != "training_log"} == {
            k: section[k] for k in section if k != "training_log"
        }


def test_a_moved_class_of_a_user_is_named(tmp_path):
    checkpoint = torch.load(OLD, weights_only=True)
    checkpoint["frbench"]["model"]["class_path"] = "old_place.mine.Method"
    torch.save(checkpoint, tmp_path / "moved.ckpt")
    with pytest.raises(UserError, match=r"Cannot import 'old_place\.mine\.Method'"):
        load(tmp_path / "moved.ckpt", trust=["old_place"])


def test_a_later_format_is_refused(tmp_path):
    checkpoint = torch.load(OLD, weights_only=True)
    checkpoint["frbench"]["format"] = FORMAT + 1
    torch.save(checkpoint, tmp_path / "later.ckpt")
    with pytest.raises(UserError, match=r"later\.ckpt was written by a later frbench"):
        read_checkpoint(tmp_path / "later.ckpt")


def test_what_is_stored_is_of_this_format():
    checkpoint: dict = {}
    write_section(checkpoint, seed=3)
    write_section(checkpoint, csv_rows=[1])
    assert read_section(checkpoint) == {"format": FORMAT, "seed": 3, "csv_rows": [1]}
