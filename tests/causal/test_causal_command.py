"""``frbench graph``: what is printed, written and refused."""

import itertools
import json

import numpy as np
import pytest
import yaml

from frbench.causal import EXAMPLES, REAL, CausalTask, analyze, example
from frbench.causal.plot import layout
from frbench.causal.render import render
from frbench.commands.graph import main
from frbench.contracts.errors import UserError


def run(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def test_report_leads_with_the_recommendation(capsys):
    text = run(capsys, "b")
    assert text.index("Recommendation") < text.index("Do not balance") < text.index("Graph")
    assert "label Y, attribute Z: causal" in text
    assert "undesired: U>Y, U>Z" in text and "hidden: U" in text
    assert "Proposition 4.2 does not apply: XZ ⊥ Z | Y in Q fails (XZ)" in text
    assert "Y ⊥ XY | XZ" in text.split("does not obey G0")[1].splitlines()[0]
    lines = text.splitlines()
    # rows: XZ is core, tied to Z given Y in P and Q, free of Z in P and not in Q
    (row,) = [line.split() for line in lines if " core: " in line]
    assert row[-4:] == ["no", "no", "yes", "no"]
    (f_q,) = [line for line in lines if line.startswith("f_Q")]
    assert "no: moved by Z" in f_q
    assert all(len(line) <= 140 for line in lines)


def test_proposition_that_holds(capsys):
    text = run(capsys, "a")
    assert "Proposition 4.2 holds" in text and "Corollary 4.3 holds" in text
    assert "Q has every independence" in text


@pytest.mark.parametrize("name", EXAMPLES)
def test_json_is_the_analysis(name, capsys):
    found = json.loads(run(capsys, name, "--format", "json"))
    one = analyze(example(name))
    assert found == json.loads(json.dumps(one.to_dict()))
    assert found["recommendation"]["action"] == one.recommendation.action
    assert found["independences"]["Q"] == list(
        map(str, one.laws["Q"].statements(one.task.observed))
    )
    assert {r["penalty"] + r["law"]: r["valid"] for r in found["regularisers"]} == {
        "".join(key): r.valid for key, r in one.regularisers.items()
    }


def test_markdown_tables_are_whole(capsys):
    text = run(capsys, "c", "--format", "markdown")
    assert text.startswith("# c: a further confounded factor V\n\n## Recommendation\n\n")
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        bars = {line.replace("\\|", "").count("|") for line in table}
        assert len(bars) == 1 and set(table[1]) <= set("|-:")


def test_long_tables_say_what_is_left_out(capsys):
    parts = ["A", "B", "C", "D", "E"]
    task = CausalTask([f"Y>{p}" for p in parts] + ["Y>Z"], "Y", "Z", parts)
    assert "more rows in --format json" not in run(capsys, "c")
    shown = render(analyze(task), "table")
    table = shown.split("\nstatement")[1]
    rows = [line for line in table.splitlines() if "⊥" in line]
    listed = analyze(task)
    total = {s for held in listed.independences.values() for s in held}
    assert len(rows) == 20 < len(total)
    assert "more rows in --format json" in shown


def test_yaml_is_a_task_to_start_from(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(run(capsys, "d", "--format", "yaml"))
    assert CausalTask.from_yaml(path) == example("d")
    assert run(capsys, path, "--format", "json") == run(capsys, "d", "--format", "json")
    changed = yaml.safe_load(path.read_text()) | {"edges": ["U>Y", "U>Z", "Y>XZ", "Z>XYZ"]}
    path.write_text(yaml.safe_dump(changed))
    found = json.loads(run(capsys, path, "--format", "json"))
    assert found["recommendation"]["action"] == "joint_balancing"


def test_without_a_task_the_examples_are_listed(capsys):
    text = run(capsys)
    first = [line.split()[0] for line in text.splitlines() if line[:1].strip()]
    assert first[0] == "example" and first[2:] == [*EXAMPLES, *REAL]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["z"], "No task 'z': give a YAML file or one of the examples a, a2"),
        (["none.yaml"], "No file 'none.yaml'"),
        (["--format", "json"], "Name the task"),
        (["a", "--plot", "no/such/folder.png"], "Cannot write 'no/such/folder.png'"),
        (["a", "--plot", "picture.xyz"], "Cannot write 'picture.xyz'.*png"),
    ],
)
def test_errors(words, message, capsys):
    with pytest.raises(UserError, match=message):
        main(words)


def test_plot_is_written(capsys, tmp_path):
    path = tmp_path / "graph.svg"
    run(capsys, "c", "--plot", path)
    text = path.read_text()
    assert text.count("stroke-dasharray") >= 6  # the undesired edges, and the hidden nodes
    run(capsys, "c", "--plot", tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def distance(point, a, b):
    along = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(point - a - along * (b - a))


def cross(a, b, c, d):
    def side(p, q, r):
        return np.linalg.det([q - p, r - p])

    return side(a, b, c) * side(a, b, d) < -1e-9 and side(c, d, a) * side(c, d, b) < -1e-9


@pytest.mark.parametrize("name", [*EXAMPLES, *REAL])
def test_layout_is_readable(name):
    """Causes above effects, no two nodes in one place, no edge through a node, few crossings."""
    task = example(name)
    routes = {edge: np.array(route) for edge, route in layout(task).items()}
    places = {node: routes[node, node][0] for node in task.nodes}
    assert len({tuple(place) for place in places.values()}) == len(places)
    segments = []
    for edge in task.edges:
        route = routes[edge]
        assert (route[0] == places[edge[0]]).all() and (route[-1] == places[edge[1]]).all()
        assert (np.diff(route[:, 1]) == -1).all()
        segments += itertools.pairwise(route)
        # The arc that is drawn, see frbench.causal.plot.curve.
        middle = (route[(len(route) - 1) // 2] + route[len(route) // 2]) / 2
        control = 2 * middle - (route[0] + route[-1]) / 2
        t = np.linspace(0, 1, 41)[:, None]
        arc = (1 - t) ** 2 * route[0] + 2 * t * (1 - t) * control + t**2 * route[-1]
        for node in set(task.nodes) - set(edge):
            assert all(distance(places[node], *part) > 0.25 for part in itertools.pairwise(arc))
    crossings = sum(cross(*one, *two) for one, two in itertools.combinations(segments, 2))
    # Six edges around three causes and three effects need two.
    assert crossings <= (2 if name == "c" else 0) or name in REAL


def test_nothing_heavy_is_imported():
    """The report needs neither torch nor matplotlib."""
    import subprocess
    import sys

    code = (
        "import sys; from frbench.commands.graph import main; "
        "main(['c', '--format', 'markdown']); "
        "print(sorted({'torch', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
