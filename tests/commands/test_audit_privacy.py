"""What `frbench audit --min_cell` hides cannot be read off, in any form and with any option."""

import csv
import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from frbench.commands.audit import main
from frbench.contracts.errors import UserError
from frbench.metrics import evaluate

LEAST = 20
FORMS = ("table", "markdown", "latex", "csv", "json")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """1,200 people of three large groups; 18 of ``Tiny``, 9 of whom are of ``sex`` F."""
    rng = np.random.default_rng(4)
    n = 1218
    frame = pd.DataFrame({
        "race": np.r_[["Tiny"] * 18, rng.choice(["A", "B", "C"], n - 18)],
        "sex": np.r_[["F", "M"] * 9, rng.choice(["F", "M"], n - 18)],
        "y": rng.choice(["no", "yes"], n),
    })  # fmt: skip
    frame["score"] = np.clip(rng.random(n) * 0.6 + 0.4 * (frame.y == "yes"), 0, 1).round(3)
    frame["p"] = np.where(frame.score > 0.5, "yes", "no")
    frame.loc[:17, "p"] = np.where(np.arange(18) % 3, "no", "yes")  # far from the others
    path = tmp_path_factory.mktemp("privacy") / "people.csv"
    frame.to_csv(path, index=False)
    return path, frame


def outputs(path, columns, tmp_path, capsys):
    """All that is written of a table in every form, with every option."""
    args = [path, "--y", "y", "--pred", "p", "--z", *columns, "--score", "score"]
    args += ["--min_cell", LEAST, "--tolerance", 0.05, "--plan", 0.05, "--resamples", 10]
    found = {}
    for form in FORMS:
        page = tmp_path / f"{'_'.join(columns)}_{form}.html"
        assert main([*map(str, args), "--format", form, "--html", str(page)]) == 0
        said = capsys.readouterr()
        found[form] = said.out + said.err
        found[f"page of {form}"] = page.read_text()
    return found


@pytest.mark.parametrize("columns", [["race"], ["race", "sex"]])
def test_the_same_is_written_whatever_the_hidden_people_are(people, columns, tmp_path, capsys):
    """Nothing can be recovered: other labels, decisions and scores, and other numbers of hidden
    people change no character."""
    _, frame = people
    same = tmp_path / "people.csv"
    frame.to_csv(same, index=False)
    first = outputs(same, columns, tmp_path / "1", capsys)
    other = frame.drop(index=[0, 1, 2, 3, 4])  # 13 people
    hidden = other.race == "Tiny"
    other.loc[hidden, "p"] = np.where(other.p[hidden] == "yes", "no", "yes")
    other.loc[hidden, "y"] = "no"
    other.loc[hidden, "score"] = 0.999
    other.to_csv(same, index=False)
    second = outputs(same, columns, tmp_path / "2", capsys)

    def undated(text):
        return re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d \w+|/[12]/\w+|id=\"\w+\"|#\w{8,}", "", text)

    for form, text in first.items():
        assert undated(text) == undated(second[form]), form


def test_hidden_groups_are_named_with_the_bound_alone(people, tmp_path, capsys):
    path, _ = people
    found = outputs(path, ["race", "sex"], tmp_path, capsys)
    views = json.loads(found["json"][: found["json"].rindex("}") + 1])["attributes"]
    for name, view in views.items():
        hidden = {key: one for key, one in view["metrics"].items() if "Tiny" in key}
        assert bool(hidden) == ("race" in name)
        assert all(set(one.values()) == {None} for one in hidden.values())
        rest = {key: value for key, value in view.items() if key != "metrics"}
        assert "Tiny" not in json.dumps(rest), name
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert all(r["value"] in ("", "nan") for r in rows if "Tiny" in r["metric"])
    for form in ("table", "markdown", "latex", "page of table"):
        for line in re.split(r"\n|<tr>", found[form]):
            if "Tiny" in line:
                values = re.findall(r"(?<![\w.&])\d+(?:\.\d+)?(?![\w.])", line.split("Tiny")[-1])
                assert set(values) <= {str(LEAST)}, line
    assert f"<{LEAST}" in found["table"] and f"&lt;{LEAST}" in found["page of table"]


def test_totals_are_those_of_the_people_shown(people, tmp_path, capsys):
    """No total minus the groups shown gives the hidden ones, also not between two attributes."""
    path, frame = people
    found = outputs(path, ["race", "sex"], tmp_path, capsys)
    views = json.loads(found["json"][: found["json"].rindex("}") + 1])["attributes"]
    shown = frame[frame.race != "Tiny"]
    for name, columns in (("race", "race"), ("sex", "sex"), ("race&sex", ["race", "sex"])):
        expected = evaluate(shown.y, shown.p, shown[columns], shown.score)
        metrics = {k: v["value"] for k, v in views[name]["metrics"].items() if "Tiny" not in k}
        assert metrics == pytest.approx(expected, rel=1e-12)
    assert "1200 rows" in found["table"]


def test_a_group_with_few_of_one_label_is_left_out(tmp_path, capsys):
    y = np.tile([0, 1], 200)
    frame = pd.DataFrame({"y": y, "p": y, "z": np.repeat(["a", "b"], 200)})
    few = pd.DataFrame({"y": np.repeat([0, 1], [30, 4]), "p": 0, "z": "few"})
    pd.concat([frame, few]).to_csv(tmp_path / "t.csv", index=False)
    args = [tmp_path / "t.csv", "--y", "y", "--pred", "p", "--z", "z", "--min_cell", 10]
    assert main([*map(str, args), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 400
    assert found["attributes"]["z"]["metrics"]["selection_rate/z=few"]["value"] is None
    with pytest.raises(UserError, match="--min_cell 300: fewer than two groups") as error:
        main([*map(str, args[:-1]), "300"])
    assert not re.search(r"\b(4|30|34|100)\b", str(error.value))
