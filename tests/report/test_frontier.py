"""Trade-offs of two metrics over the settings of a grid."""

import json
from dataclasses import replace

import numpy as np
import pytest

from frbench.commands.report import main
from frbench.contracts.errors import UserError
from frbench.report import frontier_plot
from frbench.report.frontier import frontiers
from frbench.report.records import Results
from frbench.report.results import read

DP = "demographic_parity_difference"
GROUPS = {"names": ["y=0,z=a", "y=0,z=b", "y=1,z=a", "y=1,z=b"],
          "counts": {"test": [30, 30, 20, 20]}, "Q": [0.25] * 4}  # fmt: skip


def write(folder, *records):
    """Write records of runs: method, settings, seed, accuracy and gap on test and val, more."""
    results = Results(folder / "results.jsonl")
    for i, (method, settings, seed, accuracy, gap, *more) in enumerate(records):
        results.append({
            "cell": f"c{i}", "status": "ok", "data": "d", "method": method, "settings": settings,
            "seed": seed, "fold": None, "seconds": 1.0, "peak_memory_mb": 1.0, "warnings": {},
            "selection": {"monitor": "val/accuracy", "mode": "max"}, "groups": GROUPS,
            "metrics": {"val/accuracy": accuracy, "val/worst_group_accuracy": accuracy,
                        "test/accuracy": accuracy, f"test/{DP}": gap},
            **(more[0] if more else {}),
        })  # fmt: skip
    return folder


@pytest.fixture
def results(tmp_path):
    relaxed = [
        ("R", {"postprocess.tolerance": t, **own}, s, a + shift + s / 100, g, {"after": after})
        for after, shift, own in (("c0", 0.0, {}), ("c2", 0.05, {"w": 1}))
        for t, a, g in ((0.0, 0.7, 0.0), (0.1, 0.78, 0.1), (1.0, 0.8, 0.3))
        for s in (0, 1)
    ]
    return write(
        tmp_path,
        ("ERM", {}, 0, 0.8, 0.3), ("ERM", {}, 1, 0.82, 0.32),
        ("Gap", {"w": 1}, 0, 0.85, 0.35), ("Gap", {"w": 2}, 0, 0.7, 0.2),
        ("Gap", {"w": 3}, 0, 0.65, 0.25), ("Gap", {"w": 4}, 0, 0.6, 0.05),
        *relaxed,
    )  # fmt: skip


def found(folder):
    runs, _ = read([folder])
    (one,) = frontiers(runs, "accuracy", DP)
    return one


def test_fronts_are_of_the_settings_means(results):
    one = found(results)
    assert one.signs == (1, -1)
    assert [p.mean for p in one.methods["ERM"]] == [pytest.approx((0.81, 0.31))]
    names = [one.methods["Gap"][i].name for i in one.fronts["Gap"]]
    assert names == ["w=4", "w=2", "w=1"]  # w=3 is worse than w=2 in both
    for i, point in enumerate(one.methods["Gap"]):
        dominated = any(
            q.mean[0] >= point.mean[0] and q.mean[1] <= point.mean[1] and q.mean != point.mean
            for q in one.methods["Gap"]
        )
        assert dominated != (i in one.fronts["Gap"])


def test_the_relaxed_curve_is_that_of_the_best_model_without_constraint(results):
    one = found(results)
    assert one.base == "Gap w=1"
    assert [p.name for p in one.unprocessed] == ["tolerance 1", "tolerance 0.1", "tolerance 0"]
    assert [p.x.n for p in one.unprocessed] == [2, 2, 2]
    assert one.unprocessed[0].mean == pytest.approx((0.855, 0.3))


def test_the_constant_class_is_marked(results):
    assert found(results).constant == (0.6, 0.0)  # 60 of 100 rows are of class 0, none selected


def test_it_is_printed_and_drawn(results, tmp_path, capsys):
    words = [str(results), "--frontier", "accuracy", DP]
    assert (
        main([*words, "--html", str(tmp_path / "p.html"), "--plot", str(tmp_path / "f.png")]) == 0
    )
    text = capsys.readouterr().out
    assert "unprocessed Gap w=1" in text and "constant class" in text and "tolerance 0.1" in text
    page = (tmp_path / "p.html").read_text()
    assert 'id="frontier"' in page and 'aria-label="Trade-offs of all settings' in page
    assert (tmp_path / "f.png").stat().st_size > 5000
    assert main([*words, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    rows = rows if isinstance(rows, list) else next(iter(rows.values()))
    erm = next(r for r in rows if r["method"] == "ERM")
    assert erm["accuracy"] == pytest.approx(0.81) and erm["front"] == "*"


def test_without_relaxed_runs_there_is_no_curve(tmp_path):
    one = found(write(tmp_path, ("ERM", {}, 0, 0.8, 0.3)))
    assert one.base == "" and one.unprocessed == []


@pytest.mark.parametrize(
    ("pair", "words"),
    [(("accuracy", "nothing"), "nothing"), (("accuracy", "selection_rate"), "selection_rate")],
)
def test_metrics_that_cannot_be_traded_are_said(results, pair, words):
    runs, _ = read([results])
    with pytest.raises(UserError, match=words):
        frontiers(runs, *pair)


def test_values_that_are_missing_are_left_out(tmp_path):
    one = found(write(tmp_path, ("A", {"w": 1}, 0, 0.8, 0.3), ("A", {"w": 2}, 0, np.nan, 0.1)))
    assert [p.name for p in one.methods["A"]] == ["w=1"]


def axes_of(one):
    plt = pytest.importorskip("matplotlib.pyplot")
    _, ax = plt.subplots()
    frontier_plot._draw(ax, one, list(one.methods))
    return ax


def test_the_figure_is_made_for_the_methods(results):
    """A constant class that is far from all of them stands at the edge, with its values."""
    one = found(results)
    near, far = (axes_of(replace(one, constant=c)) for c in ((0.6, 0.0), (0.1, 0.0)))
    labels = [ax.get_legend_handles_labels()[1] for ax in (near, far)]
    assert labels[0][-1] == "constant class (0.6, 0)"
    assert labels[1][-1] == "constant class (0.1, 0),\noutside, at the nearest edge"
    means = np.array([p.mean for points in one.methods.values() for p in points])
    assert far.get_xlim()[0] > 0.5 and near.get_xlim()[0] < 0.6 < means[:, 0].min() + 1e-9
    for ax in (near, far):
        for side, (low, high) in enumerate((ax.get_xlim(), ax.get_ylim())):
            assert low < means[:, side].min() and means[:, side].max() < high
    assert labels[0][0] == "unprocessed Gap w=1"
    assert [t.get_text() for t in near.texts] == ["tolerance 1", "tolerance 0"]
