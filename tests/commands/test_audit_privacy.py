"""What `frbench audit --min_cell` hides cannot be read off, in any form and with any option."""

import contextlib
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


def outputs(path, columns):
    """All that is written of a table in every form, with every option."""
    args = [path.name, "--y", "y", "--pred", "p", "--z", *columns, "--score", "score"]
    args += ["--min_cell", LEAST, "--tolerance", 0.05, "--plan", 0.05, "--resamples", 2]
    found = {}
    for form in FORMS:
        out, err = io.StringIO(), io.StringIO()
        page = path.with_name("page.html")
        more = ["--html", page.name] if form == "table" else []
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.chdir(path.parent)
            patch.setenv("COLUMNS", "200")
            assert main([*map(str, args), "--format", form, *map(str, more)]) == 0
        found |= {form: out.getvalue(), f"notes of {form}": err.getvalue()}
        if more:
            found["page"] = page.read_text()
            page.unlink()
    return found


@pytest.fixture(scope="module")
def written(people):
    path, _ = people
    return outputs(path, ["race", "sex"])


def test_the_same_is_written_whatever_the_hidden_people_are(people, written, tmp_path):
    """Nothing can be recovered: other labels, decisions and scores, and other numbers of hidden
    people change no character."""
    path, frame = people
    other = frame.drop(index=[0, 1, 2, 3, 4])  # 13 people
    hidden = other.race == "Tiny"
    other.loc[hidden, "p"] = np.where(other.p[hidden] == "yes", "no", "yes")
    other.loc[hidden, "y"] = "no"
    other.loc[hidden, "score"] = 0.999
    other.to_csv(tmp_path / path.name, index=False)
    second = outputs(tmp_path / path.name, ["race", "sex"])

    def bare(text):
        return re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d \w+", "", text)

    for form, text in written.items():
        assert bare(text) == bare(second[form]), form


def test_hidden_groups_are_named_with_the_bound_alone(written):
    found = written
    views = json.loads(found["json"])["attributes"]
    for name, view in views.items():
        hidden = {key: one for key, one in view["metrics"].items() if "Tiny" in key}
        assert bool(hidden) == ("race" in name)
        assert all(set(one.values()) == {None} for one in hidden.values())
        rest = {key: value for key, value in view.items() if key != "metrics"}
        assert "Tiny" not in json.dumps(rest), name
    rows = list(csv.DictReader(io.StringIO(found["csv"])))
    assert all(r["value"] in ("", "nan") for r in rows if "Tiny" in r["metric"])
    for form in ("table", "markdown", "latex", "page"):
        for line in re.split(r"\n|</tr>", found[form]):
            if "Tiny" in line:
                values = re.findall(r"(?<![\w.&])\d+(?:\.\d+)?(?![\w.])", line.split("Tiny")[-1])
                assert set(values) <= {str(LEAST)}, line
    assert f"<{LEAST}" in found["table"] and f"&lt;{LEAST}" in found["page"]


def test_totals_are_those_of_the_people_shown(people, written):
    """No total minus the groups shown gives the hidden ones, also not between two attributes."""
    _, frame = people
    views = json.loads(written["json"])["attributes"]
    shown = frame[frame.race != "Tiny"]
    for name, columns in (("race", "race"), ("sex", "sex"), ("race&sex", ["race", "sex"])):
        expected = evaluate(shown.y, shown.p, shown[columns], shown.score)
        metrics = {k: v["value"] for k, v in views[name]["metrics"].items() if "Tiny" not in k}
        assert metrics == pytest.approx(expected, rel=1e-12)
    assert "1200 rows" in written["table"]


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
