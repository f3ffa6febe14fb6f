"""``frbench card``: what a model card says is what the checkpoint and an audit of it say."""

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from frbench.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")


@pytest.fixture
def trained(in_tmp):
    """A run on a table of a user, and rows that it has not seen."""
    rng = np.random.default_rng(0)
    z = rng.choice(["f", "m"], 600)
    y = np.where(rng.random(600) < np.where(z == "f", 0.3, 0.6), "yes", "no")
    x = rng.normal(size=600) + (y == "yes")
    frame = pd.DataFrame({"x": x, "sex": z, "hired": y})
    frame[:400].to_csv("train.csv", index=False)
    frame[400:].to_csv("new.csv", index=False)
    words = ["--data.target=hired", "--data.attribute=sex", "--trainer.accelerator=cpu"]
    assert not main(["fit", "--data=TableData", "--data.path=train.csv", *words, "--run_dir=run",
                     "--trainer.max_epochs=2", "--trainer.logger=false"])  # fmt: skip
    return in_tmp / "run" / "checkpoints" / "best.ckpt"


def read(path):
    _, front, body = path.read_text().split("---\n", 2)
    return yaml.safe_load(front), body


def test_of_the_runs_own_test_rows(trained):
    assert main(["card", str(trained)]) == 0
    front, body = read(trained.parent / "README.md")
    (model,) = front["model-index"]
    assert model["name"] == "ERM on TableData"
    values = {m["type"]: m["value"] for m in model["results"][0]["metrics"]}
    assert main(["test", "--ckpt_path", str(trained)]) == 0
    tested = json.loads((trained.parents[1] / "test.json").read_text())["metrics"]
    for name, value in values.items():
        assert value == pytest.approx(tested[f"test/{name}"], abs=1e-5), name
    assert "The attribute is not read when a decision is made." in body
    assert "path: `train.csv`" in body and str(trained.parents[1]) not in body
    assert "selected: the step with the largest `val/worst_group_accuracy`" in body


def test_of_a_file_with_the_intervals_of_an_audit(trained, capsys):
    assert main(["card", str(trained), "new.csv", "--out=card.md"]) == 0
    _, body = read(trained.parents[2] / "card.md")
    assert main(["predict", "--ckpt_path", str(trained), "new.csv", "--out=scored.csv"]) == 0
    capsys.readouterr()
    assert main(["audit", "scored.csv", "--y=y", "--pred=prediction", "--z=z", "--positive=yes",
                 "--score=p(yes)", "--format=json"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)["attributes"]["z"]["metrics"]
    for key in ("accuracy", "group_accuracy/y=yes,z=f", "demographic_parity_difference", "auroc"):
        name = key.removeprefix("group_accuracy/").replace("_", " ")
        (line,) = (text for text in body.splitlines() if text.startswith(f"| {name} |")
                   and "\\[" in text)  # fmt: skip
        for end in ("value", "low", "high"):
            assert f"{found[key][end]:.3f}" in line, key
    assert "has under 100 rows of y=no,z=f" in body


def test_nothing_is_overwritten_without_a_word(trained, capsys):
    card = trained.parent / "README.md"
    card.write_text("mine")
    assert main(["card", str(trained)]) == 2
    assert "--force" in capsys.readouterr().err and card.read_text() == "mine"
    assert main(["card", str(trained), "--force"]) == 0
    assert card.read_text() != "mine"


def test_wrong_input(trained, capsys):
    for words in (["absent.ckpt"], [str(trained), "absent.csv"], [str(trained), "--size=3"]):
        assert main(["card", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_decision_that_reads_the_attribute_is_said_in_bold(trained):
    assert main(["postprocess", "--ckpt_path", str(trained), "--method=ThresholdOptimizer",
                 "--out=after.ckpt"]) == 0  # fmt: skip
    assert main(["card", "after.ckpt", "--out=card.md"]) == 0
    _, body = read(trained.parents[2] / "card.md")
    assert "**The attribute is read when a decision is made**" in body
    assert "postprocessing: ThresholdOptimizer" in body


def test_rates_by_attribute_value_inputs_date_and_the_four_fifths_rule(trained, capsys):
    assert main(["card", str(trained), "new.csv", "--out=card.md"]) == 0
    _, body = read(trained.parents[2] / "card.md")
    assert main(["predict", "--ckpt_path", str(trained), "new.csv", "--out=scored.csv"]) == 0
    capsys.readouterr()
    assert main(["audit", "scored.csv", "--y=y", "--pred=prediction", "--z=z", "--positive=yes",
                 "--format=json"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)["attributes"]["z"]
    for value in ("f", "m"):
        (line,) = (row for row in body.splitlines() if row.startswith(f"| {value} |"))
        for name in ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate"):
            for end in ("value", "low", "high"):
                assert f"{found['metrics'][f'{name}/z={value}'][end]:.3f}" in line, name
    rule = found["four_fifths"][0]
    assert f"Four-fifths rule: {rule['verdict']}; " in body and f"{rule['ratio']:.3f}" in body
    assert "Positive class yes: the selection rate is the share of rows decided as yes" in body
    assert "attribute: `sex`" in body and "attribute values: f, m" in body
    assert "input columns: x\n" in body
    assert f"Evaluated on {datetime.now(UTC).date()}" in body


def test_limits_name_no_warning_of_the_training(trained):
    checkpoint = torch.load(trained, weights_only=True)
    for key, state in checkpoint["callbacks"].items():
        if key.startswith("SanityCheck"):
            state["raised"] = {"falling_worst_group": "patience", "constant_predictor/test": "one"}
    torch.save(checkpoint, trained)
    assert main(["card", str(trained), "--out=card.md"]) == 0
    _, body = read(trained.parents[2] / "card.md")
    assert "- one\n" in body and "patience" not in body
