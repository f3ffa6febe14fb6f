"""The study of the field, from a small share of the pilot's grid to its tables."""

import csv
import json
from pathlib import Path

import pytest
import yaml
from command import run

from studies.field.__main__ import main

STUDY = Path(__file__).parents[2] / "studies/field"
pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
METHODS = ("ERM", "RWG", "LfF", "DiffEOdd", "Relaxed-0", "Relaxed-1")


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("field")
    grid = yaml.safe_load((STUDY / "pilot-two-classes.yaml").read_text())
    grid["data"] = {"digits": {**grid["data"]["digits"], "data.n": 600, "data.n_eval": 400}}
    grid["methods"] = {name: grid["methods"][name] for name in METHODS}
    grid["random"]["draws"] = 2
    grid["base"] |= {"trainer.max_steps": 4, "trainer.val_check_interval": 2}
    (folder / "small.yaml").write_text(yaml.safe_dump(grid))
    run("bench", folder / "small.yaml", f"--out={folder / 'out'}", "--stack=4")
    assert main([str(STUDY / "plan.yaml"), str(folder / "out"), f"--out={folder / 'a'}"]) == 0
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_winner_of_the_search_is_shown_on_the_final_seeds(answered: Path):
    lines = (answered / "out/results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert all(record["status"] == "ok" for record in records)
    shown = {row["method"]: row for row in
             rows(answered / "a/field-coloured-digits-attributes-known.csv")}  # fmt: skip
    assert set(shown) == set(METHODS)
    for method, row in shown.items():
        own = [record for record in records if record["method"] == method]
        searched = [r for r in own if r["seed"] == 100]
        best = max(r["metrics"]["val/worst_group_accuracy"] for r in searched)
        means = {}
        for record in searched:
            if record["metrics"]["val/worst_group_accuracy"] == best:
                final = [
                    r["metrics"]["test/P0/worst_group_accuracy"]
                    for r in own
                    if r["settings"] == record["settings"] and r["seed"] in (101, 102)
                ]
                means[json.dumps(record["settings"])] = sum(final) / len(final) if final else None
        written = float(row["test/P0/worst_group_accuracy"].split()[0])
        assert any(m is not None and abs(m - written) < 6e-4 for m in means.values()), method
        assert row["n"] == "2"


@pytest.mark.slow
def test_every_question_has_a_table_and_every_prediction_an_outcome(answered: Path):
    tables = {path.stem for path in (answered / "a").glob("*.csv")}
    assert len(tables) >= 11, tables
    planned = yaml.safe_load((STUDY / "plan.yaml").read_text())["predictions"]
    found = rows(answered / "a/field-predictions.csv")
    assert {row["predicted"] for row in found} == set(planned)
    assert {row["outcome"] for row in found} <= {"hit", "miss", "not measured"}
    assert any(row["outcome"] != "not measured" for row in found)
    assert sorted(path.name for path in (answered / "a").glob("*.png")) == [
        "field-cost.png", "field-fairness.png", "field-leaderboard.png", "field-shift.png",
    ]  # fmt: skip


def test_a_plan_with_other_keys_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text("data: {}\n")
    assert main([str(tmp_path / "plan.yaml"), str(tmp_path), f"--out={tmp_path / 'a'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "predictions" in error
