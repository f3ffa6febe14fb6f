"""What a run keeps and logs of its errors: rows of the worst groups, and figures."""

import base64
import json
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from frbench.data.table import Table
from frbench.report.errors import ERRORS
from frbench.report.predictions import KeptPredictions, Predictions, log_scores
from frbench.runs.errors import LETTERS, figure_loggers, log_figures, shown_row, write_errors


def kept(y, z) -> KeptPredictions:
    """Every row is given to class 0, the surer the later it comes."""
    logits = np.stack([np.linspace(0.1, 3, len(y)), np.zeros(len(y))], 1)
    table = Predictions(log_scores(logits), y, z, np.arange(len(y)))
    return KeptPredictions(
        {"test": table, "val": table}, ["no", "yes"], ["a", "b"], np.ones((2, 2))
    )


def test_the_surest_errors_of_the_worst_group_are_kept_with_their_rows(tmp_path):
    y, z = np.array([0, 1] * 20), np.arange(40) % 4 // 2
    frame = pd.DataFrame({"age": np.arange(40), "job": ["<b>"] * 40, "x": np.arange(40) / 3})
    data = SimpleNamespace(test_names=["test"], splits={"test": Table(frame, y, z)})
    write_errors(kept(y, z), data, 5, tmp_path)
    found = json.loads((tmp_path / ERRORS).read_text())
    assert list(found) == ["test"]  # validation rows chose the checkpoint: not shown
    one = found["test"]
    assert (one["y"], one["z"], one["accuracy"]) == (1, 0, 0.0)
    assert one["columns"] == ["age", "job", "x"]
    indices = [row["index"] for row in one["rows"]]
    assert indices == [i for i in range(39, -1, -1) if y[i] == 1 and z[i] == 0][:8]
    for row in one["rows"]:
        assert row["values"] == [str(row["index"]), "<b>", f"{row['index'] / 3:.6g}"]
        assert row["decision"] == 0 and 0.5 < row["probability"] < 1
    write_errors(kept(y * 0, z), data, 5, tmp_path)
    assert json.loads((tmp_path / ERRORS).read_text()) == {}  # nothing was decided wrongly


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_images_are_shown_as_they_are(channels, kind):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (3, channels, 20, 12)).astype(np.uint8)
    given = x if kind is np.uint8 else (x / 255).astype(kind)
    content = base64.b64decode(shown_row(given, 1)["image"])
    image = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    assert (np.moveaxis(image, 2, 0) == x[1]).all()
    large = shown_row(np.zeros((1, 3, 300, 200), np.uint8), 0)["image"]
    assert Image.open(BytesIO(base64.b64decode(large))).size == (64, 96)


def test_long_texts_are_cut():
    frame = pd.DataFrame({"text": ["word " * 1000]})
    (text,) = shown_row(frame, 0)["values"]
    assert len(text) <= LETTERS + 4 and text.endswith(" ...")


def test_tensorboard_gets_the_figures(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    loggers = [CSVLogger(tmp_path / "csv"), TensorBoardLogger(tmp_path, "", "")]
    assert figure_loggers(loggers) == loggers[1:]
    y, z = np.array([0, 1] * 20), np.arange(40) % 4 // 2
    log_figures(loggers, kept(y, z), 7)
    loggers[1].finalize("success")
    found = events.EventAccumulator(str(tmp_path))
    found.Reload()
    names = {
        f"errors/{table} {kind}"
        for table in ("test", "val")
        for kind in ("confusion matrices", "reliability", "roc curves")
    }
    assert set(found.Tags()["images"]) == names
    (image,) = found.Images("errors/test roc curves")
    assert image.step == 7 and image.width > 300
