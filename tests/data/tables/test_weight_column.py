"""A column of sample weights, through the command line."""

import numpy as np
import pytest
from command import QUICK, run

from frbench.__main__ import main
from frbench.data import TableData

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")


def write(path, weights):
    rng = np.random.default_rng(0)
    lines = [f"{rng.normal():.3f},{i % 2},{'fm'[i // 2 % 2]},{w}" for i, w in enumerate(weights)]
    path.write_text("\n".join(["x,y,z,w", *lines]))
    return (
        "fit", "--data=TableData", f"--data.path={path}", "--data.target=y",
        "--data.attribute=z", "--data.weight=w", f"--run_dir={path.parent / 'run'}", *QUICK,
    )  # fmt: skip


def test_weights_multiply_the_training_weights_and_are_no_input(tmp_path, capsys):
    path = tmp_path / "t.csv"
    run(*write(path, [1, 3] * 40))
    assert "weights of the column w, for training only" in capsys.readouterr().out
    data = TableData(str(path), "y", "z", weight="w", via="weight")
    table = data.training.table
    assert list(table.x.columns) == ["x"]
    assert np.allclose(data.training.weight, np.where(table.y == 1, 1.5, 0.5))
    batch = next(iter(data.train_dataloader()))
    assert np.allclose(batch.weight.numpy(), np.where(batch.y.numpy() == 1, 1.5, 0.5))
    assert (data.splits["test"].weight == 1).all()
    balanced = TableData(str(path), "y", "z", weight="w", via="weight", balance="class")
    assert np.allclose(balanced.training.weight, 1)  # the balance is that of the weighted table
    changed = TableData(str(path), "y", "z").contents["train"]["columns"]
    assert data.contents["train"]["columns"].keys() - changed.keys() == {"(weight)"}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([-1, 1], "the first '-1', which is negative"),
        (["", 1], "40 rows have another value, the first 'nan', which is no finite number"),
        (["much", 1], "'much', which is no finite number"),
        ([0, 0], "is zero in every training row"),
    ],
)
def test_bad_weights_are_refused(tmp_path, capsys, bad, words):
    assert main(list(write(tmp_path / "t.csv", bad * 40))) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
