import json

import pytest

from frbench.contracts.errors import UserError
from frbench.report import parse_rule, read


def test_later_record_of_a_cell_replaces_the_earlier(record, write):
    runs, notes = read([write([record(seed=0), record(seed=1), record(seed=0, seconds=5.0)])])
    assert [(run.seed, run.seconds) for run in runs] == [(1, 60.0), (0, 5.0)]
    assert not notes


def test_lines_cut_short_are_left_out_with_a_note_wherever_they_stand(record, write):
    # bench starts a new line after the remains of a killed writer
    half = json.dumps(record(seed=7))[:150]
    path = write([record(seed=0)], f"{half}\n{json.dumps(record(seed=1))}\n\n{half}")
    runs, notes = read([path])
    assert [run.seed for run in runs] == [0, 1]
    assert [f"{path}:{n}" in note for n, note in zip((2, 5), notes, strict=True)] == [True] * 2


def test_leftovers_of_an_edited_grid_are_replaced_with_a_note(record, write):
    runs, notes = read([write([record(cell="a" * 16), record(cell="b" * 16)])])
    assert [run.cell for run in runs] == ["b" * 16]
    assert "1 earlier run(s)" in notes[0]


def test_different_software_is_noted(record, write):
    _, notes = read([write([record(), record(seed=1, versions={"torch": "2.6"})])])
    assert "torch 2.6" in notes[0] and "torch 2.15" in notes[0]


def test_folders_of_one_and_of_several_files(record, write, tmp_path):
    write([record(seed=0)], name="a/results.jsonl")
    write([record(seed=1)], name="b/results.jsonl")
    assert [run.seed for run in read([tmp_path / "a"])[0]] == [0]
    assert [run.seed for run in read([tmp_path])[0]] == [0, 1]
    assert [run.seed for run in read([tmp_path / "b", tmp_path / "a"])[0]] == [1, 0]


def test_nan_null_and_failed_records(record, write):
    records = [
        record(metrics={"val/accuracy": float("nan"), "test/accuracy": None}),
        {**record(seed=1), "status": "failed", "error": "boom"},
    ]
    del records[1]["metrics"]
    (good, bad), _ = read([write(records)])
    assert good.metrics["val/accuracy"] != good.metrics["val/accuracy"]
    assert good.metrics["test/accuracy"] != good.metrics["test/accuracy"]
    assert bad.error == "boom" and bad.name == "digits ERM seed 1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no finished run"),
        ("not json\n", ":1 is not JSON"),
        ('{"cell": 1}}\n', ":1 is not JSON"),
        ("[1, 2]\n", ":1 is not a record"),
        ('{"cell": "a", "status": "ok"}\n', ":1 lacks 'metrics'"),
        ('{\n "written_by": "frbench audit 1"\n}\n', "is the output of `frbench audit 1`, not"),
        ("[\n 1\n]\n", "is one JSON document, not results of runs"),
    ],
)
def test_unusable_files_say_where_and_why(write, text, says):
    with pytest.raises(UserError, match=says):
        read([write([], text)])


def test_missing_paths(tmp_path):
    with pytest.raises(UserError, match=r"There is no .*give the --out folder"):
        read([tmp_path / "nothing"])
    with pytest.raises(UserError, match=r"holds no results\.jsonl"):
        read([tmp_path])


METRICS = {
    "val/accuracy": 0.8,
    "val/disparate_impact": 0.5,
    "val/group_accuracy/y=<=5-1,z=a+b": 0.2,
}


@pytest.mark.parametrize(
    ("text", "value", "sign"),
    [
        ("val/accuracy", 0.8, 1),
        ("val/accuracy + val/disparate_impact", 1.3, 1),
        ("val/accuracy+val/disparate_impact", 1.3, 1),
        ("val/accuracy - 0.5*val/disparate_impact", 0.55, 1),
        ("val/accuracy + .5 * val/disparate_impact", 1.05, 1),
        ("-val/accuracy", -0.8, 1),
        ("min: val/accuracy", 0.8, -1),
        ("max:val/group_accuracy/y=<=5-1,z=a+b", 0.2, 1),
        ("val/group_accuracy/y=<=5-1,z=a+b - val/accuracy", -0.6, 1),
    ],
)
def test_rules(text, value, sign):
    rule = parse_rule(text)
    assert rule.value(METRICS) == pytest.approx(value)
    assert rule.sign == sign and not rule.oracle


def test_a_single_metric_has_its_own_direction():
    assert parse_rule("val/demographic_parity_difference").sign == -1
    assert parse_rule("max:val/selection_rate").sign == 1
    with pytest.raises(UserError, match="no better direction"):
        parse_rule("val/selection_rate")


def test_rules_that_reward_the_worse_are_found():
    assert parse_rule("val/accuracy + val/accuracy_gap").against() == ["val/accuracy_gap"]
    assert parse_rule("val/accuracy - val/accuracy_gap").against() == []
    assert parse_rule("min:val/accuracy").against() == ["val/accuracy"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("test/accuracy", "oracle:test/accuracy"),
        ("val/accuracy + test/P0/accuracy", "flatter"),
        ("oracle:val/accuracy", "leave out 'oracle:'"),
        ("accuracy", "val/NAME"),
        ("", "val/NAME"),
        ("val/acuracy", "did you mean: accuracy"),
        ("__import__('os')", "val/NAME"),
    ],
)
def test_rules_that_are_refused(text, says):
    with pytest.raises(UserError, match=says):
        parse_rule(text)


def test_an_oracle_rule_is_marked():
    assert parse_rule("oracle:test/P0/accuracy - test/P0/accuracy_gap").oracle
