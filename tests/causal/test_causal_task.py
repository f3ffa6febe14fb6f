"""Tasks: what they accept, what they refuse, and what they derive."""

import pytest

from frbench.causal import EXAMPLES, CausalTask, example
from frbench.contracts.errors import UserError

GOOD = {
    "edges": ["U>Y", "U>Z", "Y>XZ", "Z>XY"],
    "label": "Y",
    "attribute": "Z",
    "parts": ["XZ", "XY"],
    "latents": ["U"],
    "undesired": ["U>Y", "U>Z"],
}


def written(tmp_path, text):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    return path


def test_edges_may_be_arrows_chains_or_pairs():
    arrows = CausalTask(**GOOD)
    mixed = CausalTask(**GOOD | {"edges": [["U", "Y"], "U -> Z > XY", ("Y", "XZ")]})
    assert set(arrows.edges) == set(mixed.edges)
    assert arrows.shifting == ("Z",)
    assert set(arrows.cut.edges) == {("Y", "XZ"), ("Z", "XY")}
    assert arrows.observed == ("Y", "Z", "XZ", "XY")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edges": [*GOOD["edges"], "XY>U"]}, ["a cycle, ", "XY>U", "Z>XY", "remove or turn"]),
        ({"edges": [*GOOD["edges"], "Y>Y"]}, ["a cycle, Y>Y:"]),
        ({"label": None}, ["exactly one label", "`label`"]),
        ({"label": ["Y", "XZ"]}, ["exactly one label", "Y, XZ"]),
        ({"attribute": None}, ["no attribute", "`attribute`"]),
        ({"parts": []}, ["no parts of X", "`parts`"]),
        ({"edges": [*GOOD["edges"], "Y>XX"]}, ["unknown node 'XX'", "list it under", "parts"]),
        ({"latents": ["UU"]}, ["unknown node 'U'", "did you mean 'UU'?"]),
        ({"shifting": ["W"]}, ["unknown node 'W'", "shifting", "Y, Z, XZ, XY, U"]),
        ({"undesired": ["Z>Y"]}, ["Z>Y undesired, which is no edge", "Y>XZ"]),
        ({"latents": ["U", "Z"]}, ["'Z' two roles", "attribute and latents"]),
        ({"edges": ["U"]}, ["cannot read 'U'", "arrow such as 'Y>X'"]),
        ({"edges": "U>Y"}, ["needs a list in `edges`"]),
        ({"edges": ["U>"]}, ["cannot read 'U>'"]),
        ({"parts": ["XZ", True]}, ["node names in `parts`", "quotes"]),
    ],
)
def test_one_error_names_what_is_wrong_and_the_remedy(change, words):
    CausalTask(**GOOD)
    with pytest.raises(UserError) as caught:
        CausalTask(**GOOD | change)
    message = str(caught.value)
    assert message.startswith("Causal task 'task' ") and "\n" not in message
    assert message.endswith(".") and len(message) < 250
    for word in words:
        assert word in message


@pytest.mark.parametrize("name", EXAMPLES)
def test_yaml_gives_the_same_task(name, tmp_path):
    task = example(name)
    assert CausalTask.from_yaml(written(tmp_path, task.to_yaml())) == task


def test_yaml_of_an_empty_shift_and_a_joint_factor(tmp_path):
    still = CausalTask(**GOOD, shifting=[])
    assert CausalTask.from_yaml(written(tmp_path, still.to_yaml())).shifting == ()
    joint = example("c2").with_factor("V")
    assert joint.attribute == ("Z", "V") and joint.latents == ()
    assert CausalTask.from_yaml(written(tmp_path, joint.to_yaml())) == joint


def test_yaml_takes_its_name_from_the_file(tmp_path):
    path = written(tmp_path, "edges: [Y>X, Y>Z]\nlabel: Y\nattribute: Z\nparts: X\n")
    task = CausalTask.from_yaml(path)
    assert (task.name, task.parts) == ("task", ("X",))


def test_yaml_of_earlier_releases_calls_the_attribute_a_factor(tmp_path):
    text = "edges: [Y>X, Y>Z]\nlabel: Y\n{key}: Z\nparts: X\n"
    old, new = (
        CausalTask.from_yaml(written(tmp_path, text.format(key=key)))
        for key in ("factor", "attribute")
    )
    assert old == new and old.attribute == ("Z",)
    both = text.format(key="factor") + "attribute: Z\n"
    with pytest.raises(UserError, match="unknown role 'factor'"):
        CausalTask.from_yaml(written(tmp_path, both))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "edges: [Y>X]\nlable: Y\n",
            ["unknown role 'lable'", "did you mean 'label'?", "attribute"],
        ),
        ("edges: [Y>X]\nattribute: Z\nparts: [X]\n", ["exactly one label"]),
        ("edges: [Y>X]\nlabel: Y\nparts: [X]\n", ["has no attribute"]),
        ("- Y>X\n", ["holds no task", "edges"]),
        ("edges: [Y>X\n", ["not valid YAML"]),
    ],
)
def test_yaml_errors(text, words, tmp_path):
    with pytest.raises(UserError) as caught:
        CausalTask.from_yaml(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"No file .*nothing\.yaml"):
        CausalTask.from_yaml(tmp_path / "nothing.yaml")


def test_no_such_example():
    with pytest.raises(UserError, match="No example graph 'z': use one of a, a2"):
        example("z")


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        *((name, "XZ core, XY spurious") for name in ("a", "a2", "a3", "b")),
        *((name, "XZ core, XY spurious, XV other") for name in ("c", "c2", "c3")),
        ("d", "XZ core, XYZ entangled"),
        ("e", "XZ core, XY spurious, XYZ entangled"),
        # An undesired path from Z into X entangles it (ex3); a path through Y does not (ex2).
        *((name, "X entangled") for name in ("ex1", "ex3", "ex4")),
        ("ex2", "X core"),
    ],
)
def test_kinds_of_parts(name, kinds):
    assert ", ".join(f"{k} {v}" for k, v in example(name).kinds.items()) == kinds


@pytest.mark.parametrize(
    ("edges", "more", "kinds"),
    [
        # From Z through Y only: the part knows of Z what Y does.
        (["Z>Y>A"], {}, {"A": "core"}),
        # A common cause outside X ties a part to the label; one inside X says it all by itself.
        (["U>Y", "U>A", "Y>Z"], {"latents": ["U"]}, {"A": "core"}),
        (["U>Y", "U>A", "Y>Z"], {"measured": ["U"]}, {"A": "core"}),
        (["U>Y", "U>A", "Y>Z"], {"parts": ["A", "U"]}, {"A": "other", "U": "core"}),
        # An undesired tie to the label does not count, one to the attribute does.
        (["U>Y", "U>A", "Y>Z"], {"latents": ["U"], "undesired": ["U>A"]}, {"A": "other"}),
        (["Y>A", "Z>A"], {"undesired": ["Z>A"]}, {"A": "entangled"}),
    ],
)
def test_what_ties_a_part_to_label_and_factor(edges, more, kinds):
    assert CausalTask(edges, "Y", "Z", **{"parts": ["A"]} | more).kinds == kinds


@pytest.mark.parametrize("role", ["latents", "shifting", "undesired", "edges"])
def test_aliases_that_unfold_are_not_written_out(tmp_path, role):
    """Nine levels of nine aliases stand for 9^9 names."""
    levels = ["- &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    lists = {role: "\n  ".join(["", *levels])}
    fields = {"label": "Y", "factor": "Z", "parts": "[X]", "edges": "[Y>X, Z>X]"} | lists
    path = tmp_path / "task.yaml"
    path.write_text("\n".join(f"{key}: {value}" for key, value in fields.items()))
    with pytest.raises(UserError, match="aliases written out") as error:
        CausalTask.from_yaml(path)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(("left", "right"), ["[]", ("{a: ", "}")])
def test_nesting_that_cannot_be_read_is_said(tmp_path, left, right):
    path = tmp_path / "task.yaml"
    path.write_text(f"edges: {left * 5000}{right * 5000}")
    with pytest.raises(UserError, match="nested too deeply"):
        CausalTask.from_yaml(path)
