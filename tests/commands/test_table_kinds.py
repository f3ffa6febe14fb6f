"""Tables as people have them, through the command line: read, named, or refused in one line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from frbench.__main__ import main
from frbench.data import TableData

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
FIT = ("fit", "--data=TableData", "--data.target=y", "--data.attribute=z", "--run_dir=run",
       "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
       "--trainer.enable_model_summary=false", "--trainer.max_epochs=1")  # fmt: skip


@pytest.fixture(autouse=True)
def folder(in_tmp):
    return in_tmp


def people(n=120, **columns):
    i = np.arange(n)
    frame = pd.DataFrame({"x": i % 7, "z": np.where(i % 2, "a", "b"), "y": i // 2 % 2})
    return frame.assign(**{k: [v(j) for j in i] if callable(v) else v for k, v in columns.items()})


def write(frame, path="t.csv", **kwargs):
    frame.to_csv(path, index=False, **kwargs)


def data(**options):
    module = TableData("t.csv", **{"target": "y", "attribute": "z", **options})
    module.tables()
    return module


def refused(capsys, *words):
    """The one line by which a command is refused."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("frbench: error: ") and error.count("\n") == 1
    return error


# ---- how cells are written ------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cell", "looks", "option"),
    [
        (lambda i: f"{i},5", "decimal comma", {"decimal": ",", "sep": ";"}),
        (lambda i: f"{i + 1},000,000", "separator of thousands", {"thousands": ",", "sep": ";"}),
        (lambda i: f"{i}%", "sign of their unit", {"units": ["%"]}),
        (lambda i: f"$ {i}.50", "sign of their unit", {"units": ["$"]}),
    ],
)
def test_numbers_that_are_written_otherwise_are_named_and_read_on_demand(cell, looks, option):
    write(people(x=cell), sep=option.get("sep", ","))
    note = next(note for note in data(sep=option.get("sep")).notes if note.startswith("x: looks"))
    assert looks in note and f"--data.{next(iter(option))}" in note
    module = data(**option)
    assert module.encoder.columns == {"x": True} and module.input_shape == [1]


def test_dates_are_named():
    write(people(x=lambda i: f"2020-01-{i % 28 + 1:02}"))
    assert any("x: looks like dates" in note for note in data().notes)


def test_codes_that_start_with_zeros_are_text():
    write(people(x=lambda i: f"{i % 9:05}"))
    module = data()
    assert module.encoder.columns == {"x": False} and "x=00001" in module.encoder.feature_names
    assert any("start with zeros" in note for note in module.notes)
    assert data(numeric=["x"]).encoder.columns == {"x": True}


def test_words_for_missing_are_named_and_may_be_values():
    write(people(z=lambda i: ("None", "NA", "a")[i % 3]))
    with pytest.raises(ValueError, match="fewer than two values"):
        data()
    module = data(missing_words=[])
    assert module.attribute_names == ("NA", "None", "a")
    write(people(z=lambda i: ("None", "b", "a")[i % 3]))
    assert any("read as missing: 'None' (40)" in note for note in data().notes)


def test_a_map_and_what_differs_in_case_alone():
    write(people(z=lambda i: ("F", "f", "m")[i % 3]))
    assert any("differ in case" in note and "--data.map" in note for note in data().notes)
    module = data(map={"z": {"F": "female", "f": "female"}})
    assert module.attribute_names == ("female", "m")


def test_what_was_learnt_of_cells_travels_in_the_checkpoint(capsys):
    write(people(z=lambda i: ("F", "f", "NA")[i % 3], y=lambda i: 1000 * i))
    assert main([*FIT, "--data.path=t.csv", "--data.map={z: {F: female, f: female}}",
                 "--data.missing_words=[]", "--data.positive=> 50000"]) == 0  # fmt: skip
    write(people(60, z=lambda i: ("F", "NA")[i % 2], y=lambda i: 1001 * i), "new.csv")
    capsys.readouterr()
    assert main(["test", "--ckpt_path=run/checkpoints/best.ckpt", "new.csv"]) == 0
    shown = capsys.readouterr().out
    assert "y=y>50000,z=female" in shown and "y=y<=50000,z=NA" in shown


@pytest.mark.parametrize(
    ("name", "sep"), [("t.tsv", "\t"), ("t.csv", ";"), ("t.csv", "|"), ("t.csv", "\t")]
)
def test_the_separator_is_that_of_name_and_header(name, sep, capsys):
    write(people(p=lambda i: i % 2), name, sep=sep)
    assert main(["audit", name, "--y=y", "--pred=p", "--z=z", "--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_another_encoding_is_named_and_read(capsys):
    write(people(z=lambda i: ("Mädchen", "Junge")[i % 2], p=1), encoding="cp1252")
    words = ("audit", "t.csv", "--y=y", "--pred=p", "--z=z")
    assert "--encoding cp1252" in refused(capsys, *words)
    assert main([*words, "--encoding=cp1252"]) == 0
    assert "Mädchen" in capsys.readouterr().out
    write(people(p=1), encoding="utf-16")
    assert "--encoding utf-16" in refused(capsys, *words)
    assert main([*words, "--encoding=utf-16"]) == 0


# ---- what columns hold ----------------------------------------------------------------------
def test_targets_that_are_measurements_are_refused(capsys):
    write(people(y=lambda i: i + 0.5))
    assert "threshold the column with positive: '> " in refused(capsys, *FIT, "--data.path=t.csv")
    write(people(y=lambda i: i % 2 + 0.5))
    assert data().class_names == ("0.5", "1.5")
    module = data(positive=">= 1")
    assert module.class_names == ("y<1", "y>=1") and module.splits["train"].y.mean() == 0.5


def test_words_that_yaml_reads_as_truth_values(capsys):
    write(people(y=lambda i: ("yes", "no")[i % 2]))
    Path("c.yaml").write_text(
        "data: {class_path: TableData, init_args: {path: t.csv, target: y, attribute: z, "
        "positive: yes}}"
    )
    assert "quote the word" in refused(capsys, "fit", "--config=c.yaml", *FIT[4:])


def test_quantile_bins_in_fit_and_audit(capsys):
    write(people(z=lambda i: i, p=lambda i: i % 2))
    module = data(bins={"z": 4}, drop=["p"])
    assert module.attribute_names == ("z<30", "30<=z<60", "60<=z<90", "z>=90")
    assert module.learnt["bins"] == {"z": [30, 60, 90]}
    words = ("audit", "t.csv", "--y=y", "--pred=p", "--z=z")
    assert "--bins" in refused(capsys, *words)
    assert main([*words, "--bins={z: 4}"]) == 0
    assert "30<=z<60" in capsys.readouterr().out
    assert "must ascend and be finite" in refused(capsys, *words, "--bins={z: [1, .nan]}")


def test_rows_without_labels_have_selection_rates(capsys):
    write(people(p=lambda i: int(i % 3 == 0)).drop(columns="y"))
    assert main(["audit", "t.csv", "--pred=p", "--z=z"]) == 0
    out = capsys.readouterr().out
    assert "demographic_parity_difference" in out and "accuracy" not in out
    assert "--y" in refused(capsys, "audit", "t.csv", "--pred=p", "--z=z", "--plan=.1")


def test_rows_of_training_that_come_back_are_noted():
    frame = people(200, x=lambda i: i)
    write(pd.concat([frame, frame]))
    assert any("rows equal a training row" in note for note in data().notes)


def test_names_are_shown_as_text(capsys):
    write(people(p=1, z=lambda i: ("\x1b[31mred", "[bold]b")[i % 2]))
    assert main(["audit", "t.csv", "--y=y", "--pred=p", "--z=z"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\\x1b[31mred" in out and "[bold]b" in out
    assert main(["data", *FIT[1:4], "--data.path=t.csv", "--data.drop=[p]"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_csv_for_spreadsheets_holds_no_formulas(capsys):
    write(people(p=1, z=lambda i: ("=1+1", "@x")[i % 2]))
    assert main(["audit", "t.csv", "--y=y", "--pred=p", "--z=z", "--format=csv"]) == 0
    cells = [cell for line in capsys.readouterr().out.splitlines() for cell in line.split(",")]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


# ---- frbench data --check -------------------------------------------------------------------
def test_check_lists_everything_and_writes_a_yaml_that_works(capsys):
    frame = people(
        200, pay=lambda i: f"{i},5", name=lambda i: f"person {i}", born=lambda i: f"{i % 9:03}",
        share=lambda i: f"{i}%", z=lambda i: ("F", "f", "m")[i % 3], nothing=None,
    )  # fmt: skip
    write(frame, "people.csv", sep=";", encoding="cp1252")
    assert main(["data", "--check", "people.csv", "--target=y", "--attribute=z"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for words in (
        "column kind levels missing used as",
        "decimal comma",
        "names single rows",
        "start with zeros",
        "sign of their unit",
        "differ in case",
        "nothing: has no",
    ):
        assert words in out, words
    options = yaml.safe_load(Path("people.yaml").read_text())["data"]["init_args"]
    assert options["decimal"] == "," and options["units"] == ["%"]
    assert options["map"] == {"z": {"f": "F"}} and set(options["drop"]) == {"name", "nothing"}
    module = TableData(**options)
    assert module.attribute_names == ("F", "m")
    assert {k: v for k, v in module.encoder.columns.items() if k in ("pay", "share", "born")} == {
        "pay": True, "share": True, "born": False,
    }  # fmt: skip
    assert "exists" in refused(capsys, "data", "--check", "people.csv")
    assert (
        main(
            [
                "data",
                "--data=TableData",
                *(
                    f"--data.{k}={json.dumps(v)}" if not isinstance(v, str) else f"--data.{k}={v}"
                    for k, v in options.items()
                ),
            ]
        )
        == 0
    )


def test_the_schema_is_printed_before_training(capsys):
    write(people())
    assert main([*FIT, "--data.path=t.csv"]) == 0
    out = capsys.readouterr().out
    assert out.index("used as") < out.index("next: frbench test")
