"""The file of a run's predictions, and what half precision does to them."""

import re

import numpy as np
import pytest

from frbench.contracts.errors import UserError
from frbench.report.predictions import KeptPredictions, Predictions, log_scores, read_predictions


@pytest.mark.parametrize("classes", [2, 5])
def test_rounding_keeps_every_decision(classes):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, classes)) * rng.choice([1e-4, 1e-2, 1, 30], (20_000, 1))
    logits[:50] = np.round(logits[:50])  # ties
    scores = log_scores(logits.astype(np.float32))
    logits = logits.astype(np.float32).astype(float)
    assert (scores.argmax(1) == logits.argmax(1)).all()
    assert (log_scores(logits).astype(float) <= 0).all()
    log_p = logits - np.log(np.exp(logits - logits.max(1)[:, None]).sum(1))[:, None]
    log_p -= logits.max(1)[:, None]
    assert np.abs(scores - log_p).max() / np.abs(log_p).max() < 2**-10
    tied = np.sort(scores, 1)[:, -1] == np.sort(scores, 1)[:, -2]
    assert np.mean(tied) < 0.35


def test_scores_are_finite_whatever_the_logits():
    logits = np.array([[np.inf, 0], [-np.inf, 0], [np.nan, 1], [0, 1e30], [3e38, -3e38]])
    scores = log_scores(logits.astype(np.float32))
    assert np.isfinite(scores).all() and scores.argmax(1).tolist() == [0, 1, 1, 1, 0]


def test_what_is_written_is_read(tmp_path):
    rng = np.random.default_rng(1)
    scores = log_scores(rng.normal(size=(6, 300)))
    known = Predictions(scores, np.arange(6) * 50, np.array([0, 1, -1, 0, 1, 0]),
                        np.arange(6), "abc")  # fmt: skip
    shifted = Predictions(scores, np.arange(6), np.zeros(6, int),
                          np.array([0, 2, 4, 6, 70000, 70001]), "d",
                          np.array([0, 299, 0, 1, 1, 1]))  # fmt: skip
    kept = KeptPredictions({"val": known, "test/Q": shifted}, [str(c) for c in range(300)],
                           ["männlich", "w/b"], np.ones((300, 2), int))  # fmt: skip
    file = tmp_path / "predictions.npz"
    kept.write(file)
    kept.write(tmp_path / "again.npz")
    assert file.read_bytes() == (tmp_path / "again.npz").read_bytes()
    found = read_predictions(file)
    assert found.attribute_names == ["männlich", "w/b"] and len(found.class_names) == 300
    assert (found.train_counts == 1).all()
    for name, table in kept.tables.items():
        for key, value in vars(table).items():
            assert np.array_equal(getattr(found.tables[name], key), value), (name, key)
    assert found.tables["test/Q"].decision.tolist() == [0, 299, 0, 1, 1, 1]
    assert np.allclose(found.tables["val"].probabilities.sum(1), 1)
    assert list(read_predictions(file, ["test/Q", "nothing"]).tables) == ["test/Q"]
    with np.load(file) as raw:  # the format is documented: docs/grid_files.md
        assert raw["val/y"].dtype == np.uint8 and raw["val/z"].dtype == np.int8
        assert raw["test/Q/index"].dtype == np.uint32 and "val/index" not in raw.files
        assert "val/decision" not in raw.files and raw["test/Q/decision"].dtype == np.uint16


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_or_missing_file_is_named(tmp_path, content):
    file = tmp_path / "predictions.npz"
    with pytest.raises(UserError, match="keep_predictions"):
        read_predictions(file)
    file.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(file))):
        read_predictions(file)
