"""The graphs of real data sets that ship, their verdicts, and what the data says of them."""

import re

import pytest

from frbench.causal import REAL, CausalTask, analyze, confront, example
from frbench.causal.columns import columns
from frbench.causal.examples import source
from frbench.commands.graph import main
from frbench.runs.build import build_named
from frbench.support.files import find

# action, certified, direction, kinds of the parts
VERDICTS = {
    "adult": ("none", False, "causal", ["core", "core", *["entangled"] * 3]),
    "compas": ("erm", True, "causal", ["core"] * 4),
    "lsac": ("none", False, "common cause", ["entangled", "entangled", "entangled", "other"]),
    "qmnist_writers": ("conditional_mmd", True, "anti-causal", ["core", "spurious", "entangled"]),
}
FILES = {
    "adult": ("Adult", "adult/adult.data"),
    "compas": ("Compas", "compas/compas-scores-two-years.csv"),
    "lsac": ("LawSchool", "law_school/bar_pass_prediction.csv"),
    "qmnist_writers": ("QMNISTWriters", "QMNIST/raw/qmnist-train-labels-idx2-int"),
}


@pytest.mark.parametrize("name", REAL)
def test_verdict(name):
    found = analyze(example(name))
    action, certified, direction, kinds = VERDICTS[name]
    assert (found.recommendation.action, found.recommendation.certified) == (action, certified)
    assert found.direction == direction
    assert list(found.task.kinds.values()) == kinds


def test_what_the_verdicts_rest_on():
    found = {name: analyze(example(name)) for name in REAL}
    assert "a shift of sex moves" in found["adult"].recommendation.reason
    assert "nothing to read" in found["lsac"].recommendation.reason
    # Invariance is not fairness: what predicts rearrest differs by race.
    f_p = found["compas"].predictors["f_P"]
    assert f_p.invariant and not any(f_p.fairness.values())
    assert "says nothing of fairness" in found["compas"].recommendation.caveats[0]
    assert "leaves stroke, form in use" in found["qmnist_writers"].recommendation.reason


@pytest.mark.parametrize("name", REAL)
def test_every_edge_has_a_reason(name):
    lines = [line for line in source(name).splitlines() if line.startswith("- ")]
    assert len(lines) == len(example(name).edges)
    assert all(re.fullmatch(r"- \w+>\w+ # \w.{9,}", line) for line in lines)


@pytest.mark.parametrize("name", REAL)
def test_yaml_keeps_the_reasons(name, capsys, tmp_path):
    main([name, "--format", "yaml"])
    path = tmp_path / "task.yaml"
    path.write_text(capsys.readouterr().out)
    assert path.read_text().count(" # ") == len(example(name).edges)
    assert CausalTask.from_yaml(path) == example(name)


@pytest.mark.parametrize("name", REAL)
def test_nodes_have_columns(name, shared_data):
    data, file = FILES[name]
    if find(file) is None:
        pytest.skip(f"{file} is not here")
    task = example(name)
    values, where = columns(task, build_named(data, []))
    assert where == f"{data} (training split)" and {task.label, *task.attribute} <= set(values)
    if name != "qmnist_writers":  # whose parts are in the pixels
        assert set(values) == set(task.observed)


def test_the_graph_of_law_school_is_refuted_in_small_things(shared_data):
    values, where = columns(example("lsac"), build_named("LawSchool", []))
    found = confront(example("lsac"), values, where)
    assert {str(f.statement) for f in found.refuted} >= {
        "race ⊥ gender",
        "race ⊥ gender | pass_bar",
    }
    assert "All refuted ones are small" in " ".join(found.summary)
