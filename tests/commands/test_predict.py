"""``frbench predict`` and its neighbours for a lender: label 1 is a default, sex a number."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from frbench.__main__ import main
from frbench.commands.fit import _how_to_go_on

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
BEST = "run/checkpoints/best.ckpt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained run on clients.csv, and applicants.csv without the label."""
    place = tmp_path_factory.mktemp("lender")
    rng = np.random.default_rng(0)
    sex = rng.integers(1, 3, 400)
    late = rng.integers(-1, 4, 400)
    default = (late + rng.normal(size=400) > 1.5).astype(int)
    frame = pd.DataFrame({"LIMIT": rng.normal(9, 2, 400).round(2), "SEX": sex, "PAY_0": late,
                          "default payment": default})  # fmt: skip
    frame.loc[5, "default payment"] = np.nan  # a row that the split leaves out
    frame.to_csv(place / "clients.csv", index=False)
    frame.drop(columns="default payment")[:50].to_csv(place / "applicants.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert not main(["fit", "--data=TableData", "--data.path=clients.csv", "--run_dir=run",
                         "--data.target=default payment", "--data.attribute=SEX",
                         "--trainer.max_epochs=2", "--trainer.accelerator=cpu",
                         "--trainer.enable_progress_bar=false"])  # fmt: skip
    return place


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """A copy of it, which a test may change."""
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def predict(*words):
    return main(["predict", "--ckpt_path", BEST, *words])


def test_predict_writes_over_nothing_and_never_over_what_it_reads(here, capsys):
    before = Path("applicants.csv").read_text()
    for words in ([], ["--force"]):
        assert predict("applicants.csv", "--out=applicants.csv", *words) == 2
        assert "is read by this command" in capsys.readouterr().err
    assert predict("applicants.csv", "--out", BEST, "--force") == 2
    assert predict("--split=test", "--out=clients.csv", "--force") == 2
    assert predict("applicants.csv", "--out=clients.csv") == 2
    assert "clients.csv exists, and is not overwritten" in capsys.readouterr().err
    Path("mine.json").write_text("mine")  # the record beside the table is a file as well
    assert predict("applicants.csv", "--out=mine.csv") == 2
    assert "--force to replace it" in capsys.readouterr().err
    assert predict("applicants.csv", "--out=other.json") == 2
    assert Path("mine.json").read_text() == "mine" and not Path("mine.csv").exists()
    assert Path("applicants.csv").read_text() == before
    assert predict("applicants.csv", "--out=mine.csv", "--force") == 0
    assert json.loads(Path("mine.json").read_text())["rows"] == 50
    assert predict("--split=test") == 0 and predict("--split=test") == 2
    assert predict("--split=test", "--force") == 0


def test_a_second_look_at_a_table_is_refused_after_the_words_were_checked(here, capsys):
    words = ["data", "--check", "clients.csv", "--attribute=SEX"]
    assert main([*words, "--target=default payment"]) == 0
    assert main([*words, "--target=defualt_payment"]) == 2
    assert "no column 'defualt_payment'" in capsys.readouterr().err
    assert main([*words, "--target=default payment"]) == 2
    assert "clients.yaml exists" in capsys.readouterr().err
    assert main([*words, "--target=default payment", "--force"]) == 0


def test_a_report_does_not_take_the_place_of_its_results(tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text("{}\n")
    words = ["report", str(tmp_path), f"--out={tmp_path}/results.jsonl", "--force"]
    assert main(words) == 2 and "is read by this command" in capsys.readouterr().err
    assert (tmp_path / "results.jsonl").read_text() == "{}\n"


def test_fit_test_card_and_page_name_the_positive_class(here, capsys):
    line = "positive class 1: the selection rate is the share of rows decided as 1"
    assert main(["test", "--ckpt_path", BEST]) == 0
    assert line in " ".join(capsys.readouterr().out.split())
    assert main(["test", "--ckpt_path", BEST, "clients.csv"]) == 0
    assert line in " ".join(capsys.readouterr().out.split())
    words = ["--data.path=clients.csv", "--data.target=default payment", "--data.attribute=SEX"]
    assert main(["data", "--data=TableData", *words]) == 0
    out = capsys.readouterr().out
    assert "2 classes, 2 attribute values; positive class 1" in out
    rows = {line.split("  ")[0]: line for line in out.splitlines() if " to " in line}
    assert "whole number" in rows["SEX"] and "whole number" in rows["default payment"]


def test_a_stopped_continuation_says_what_it_continues_from(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("FRBENCH_RUN_DIR", raising=False)
    for words in (["--ckpt_path", BEST], [f"--ckpt_path={BEST}"]):
        assert f"continues from {BEST}" in _how_to_go_on(["fit", *words])
    assert "start again" in _how_to_go_on(["fit", "--ckpt_path", "absent.ckpt"])


def test_a_torchvision_of_another_index_is_one_line(monkeypatch, capsys):
    def main_of_methods(argv):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("frbench.commands.methods.main", main_of_methods)
    assert main(["methods"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for name in ("torch", "torchvision"):
        assert f"{name} {version(name)}" in line
    assert "pip install -U torch torchvision" in line


def test_what_is_wrong_with_new_rows_is_said_of_their_file_with_a_remedy(here, capsys):
    frame = pd.read_csv("applicants.csv", dtype=str)
    frame.assign(PAY_0="unknown").to_csv("bad.csv", index=False)
    frame.drop(columns="PAY_0").to_csv("less.csv", index=False)
    assert predict("bad.csv") == 2
    line = capsys.readouterr().err
    assert "bad.csv: Column 'PAY_0'" in line and "clients.csv" not in line
    assert "leave the cell empty" in line and "categorical" not in line
    assert predict("less.csv") == 2
    assert "less.csv: There is no column 'PAY_0'" in capsys.readouterr().err


def test_new_attribute_values_and_filled_cells_are_counted(here, capsys):
    frame = pd.read_csv("applicants.csv")
    frame.loc[:1, "SEX"] = 3
    frame.loc[4:6, "LIMIT"] = np.nan
    frame.to_csv("odd.csv", index=False)
    assert predict("odd.csv", "--out=o.csv") == 0
    out = capsys.readouterr().out
    assert "2 rows have an attribute value that does not occur in training" in out
    assert "3 rows without a value of LIMIT: filled as in training" in out
    record = json.loads(Path("o.json").read_text())
    assert record["empty_cells"] == {"LIMIT": 3} and record["attributes_unseen_in_training"] == 2


def test_predictions_on_own_rows_say_where_they_stand_in_the_file(here):
    assert predict("--split=test", "--out=t.csv") == 0
    scored, source = pd.read_csv("t.csv"), pd.read_csv("clients.csv")
    assert scored["row"].tolist() == list(range(len(scored)))
    found = source.iloc[scored["file_row"]]
    assert found["SEX"].tolist() == scored["z"].tolist()
    assert found["default payment"].tolist() == scored["y"].tolist()
    assert scored["file_row"].max() > len(scored)
    columns = json.loads(Path("t.json").read_text())["columns"]
    assert "clients.csv, from 0" in columns["file_row"] and "table test" in columns["row"]
