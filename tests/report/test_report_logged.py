import csv
import math

from frbench.report.logged import read_curves


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


HEADER = [
    "step", "epoch", "val/accuracy", "val/group_accuracy/y=a,z=0", "val/group_accuracy/y=a,z=1",
    "train/group_loss/y=a,z=0", "train/q/y=a,z=0", "test/P/group_accuracy/y=a,z=0",
]  # fmt: skip


def test_curves_by_table_metric_and_group(tmp_path):
    path = tmp_path / "metrics.csv"
    write(path, HEADER, [
        [10, 0, 0.5, 0.6, "nan", "", "", ""],
        [5, 0, "", "", "", "", 0.5, ""],
        [20, 1, 0.5, 0.8, 0.3, 1.5, "", ""],
        [10, 1, "", "", "", "", 0.6, ""],
        [20, 2, 0.9, 0.7, 0.9, "", "", 0.4],  # the chosen checkpoint, after training
    ])  # fmt: skip
    found = {(c.table, c.metric): c for c in read_curves(path)}
    assert found.keys() == {("val", "group_accuracy"), ("train", "q")}  # one step is no curve
    curve = found["val", "group_accuracy"]
    assert curve.steps == [10, 20] and curve.groups["y=a,z=0"] == [0.6, 0.8]
    assert math.isnan(curve.groups["y=a,z=1"][0]) and curve.groups["y=a,z=1"][1] == 0.3
    assert found["train", "q"].steps == [5, 10] and found["train", "q"].groups == {
        "y=a,z=0": [0.5, 0.6]
    }


def test_a_test_table_that_is_evaluated_while_training_is_a_curve(tmp_path):
    path = tmp_path / "metrics.csv"
    write(path, HEADER, [[s, 0, "", "", "", "", "", s / 100] for s in (10, 20)])
    (curve,) = read_curves(path)
    assert (curve.table, curve.groups) == ("test/P", {"y=a,z=0": [0.1, 0.2]})


def test_long_curves_are_thinned_with_their_ends_kept(tmp_path):
    path = tmp_path / "metrics.csv"
    write(path, HEADER, [[s, 0, "", s / 1000, "", "", "", ""] for s in range(1, 1001)])
    (curve,) = read_curves(path, points=7)
    assert len(curve.steps) == 7 and curve.steps[0] == 1 and curve.steps[-1] == 1000
    assert curve.groups["y=a,z=0"] == [step / 1000 for step in curve.steps]


def test_a_row_of_a_killed_writer_a_missing_and_an_empty_file(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_curves(path) == []
    path.write_text("")
    assert read_curves(path) == []
    write(path, HEADER, [[s, 0, "", 0.5, "", "", "", ""] for s in (1, 2)])
    with path.open("a") as file:
        file.write("3,0,0.5,0.")
    (curve,) = read_curves(path)
    assert curve.steps == [1, 2]
