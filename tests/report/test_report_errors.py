"""The figures of errors: their numbers against slow loops and scikit-learn, and what they draw."""

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from frbench.metrics import wilson
from frbench.metrics.calibration import reliability
from frbench.report.canvas import plain, svg
from frbench.report.error_plots import error_figures
from frbench.report.errors import confident_errors, confusion, roc, thinned
from frbench.report.predictions import KeptPredictions, Predictions, log_scores

N = 400


def predictions(classes: int, values: int, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, classes, N), rng.integers(0, values, N)
    logits = rng.normal(0, 1, (N, classes)) + np.eye(classes)[y] * (1 + z[:, None])
    return Predictions(log_scores(logits.round(1)), y, z, np.arange(N))


def kept(classes: int = 2, values: int = 3, **changes) -> KeptPredictions:
    table = predictions(classes, values)
    table = Predictions(**{**table.__dict__, **changes})
    names = [f"c{i}" for i in range(classes)], [f"v{i}" for i in range(values)]
    return KeptPredictions({"test": table}, *names, np.ones((classes, values)))


@pytest.mark.parametrize("classes", [2, 3])
def test_confusion_is_that_of_scikit_learn(classes):
    found = predictions(classes, 3)
    z = np.where(np.arange(N) % 17, found.z, -1)  # some are unknown
    counts = confusion(found.y, z, found.decision, (classes, 3))
    for value in range(3):
        own = z == value
        expected = confusion_matrix(found.y[own], found.decision[own], labels=range(classes))
        assert (counts[value] == expected).all()


def test_reliability_is_that_of_a_loop():
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.uniform(0, 1, 200) ** 3, [0.0, 1.0, 0.1, 0.3]])
    true = rng.uniform(0, 1, len(p)) < p
    found = reliability(p, true)
    expected = []
    for i in range(10):
        inside = [(a, t) for a, t in zip(p, true, strict=True) if min(int(a * 10), 9) == i]
        if inside:
            hits, n = sum(t for _, t in inside), len(inside)
            low, high = wilson(np.array([hits]), np.array([n]))[0]
            expected.append([sum(a for a, _ in inside) / n, hits / n, low, high, n])
    assert pytest.approx(np.array(expected)) == np.array(found).T
    assert (found.low >= 0).all() and (found.high <= 1).all()
    assert found.rows.sum() == len(p)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_roc_is_that_of_scikit_learn(seed):
    found = predictions(2, 2, seed)  # scores of one decimal: many ties
    score, positive = np.subtract(*found.scores.T[::-1].astype(float)), found.y == 1
    x, y = roc(score, positive)
    expected = roc_curve(positive, score, drop_intermediate=False)
    assert x == pytest.approx(expected[0]) and y == pytest.approx(expected[1])
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(positive, score))
    few = thinned(x, y, 30)
    assert len(few[0]) <= 32 and {(0.0, 0.0), (1.0, 1.0)} <= {*zip(*few, strict=True)}
    assert {*zip(*few, strict=True)} <= {*zip(x, y, strict=True)}
    assert np.trapezoid(few[1], few[0]) == pytest.approx(np.trapezoid(y, x), abs=0.02)


def test_the_worst_group_and_its_surest_errors_are_those_of_a_loop():
    found = predictions(3, 2)
    p, decision = found.probabilities, found.decision
    group, rows = confident_errors(p, decision, found.y, found.z, least=5, most=4)
    accuracy = {}
    for y in range(3):
        for z in range(2):
            own = [i for i in range(N) if found.y[i] == y and found.z[i] == z]
            accuracy[y, z] = sum(decision[i] == y for i in own) / len(own)
    assert group == min(accuracy, key=accuracy.get)
    wrong = [i for i in range(N) if (found.y[i], found.z[i]) == group and decision[i] != group[0]]
    assert rows.tolist() == sorted(wrong, key=lambda i: -p[i, decision[i]])[:4]
    # Small groups and rows of unknown attribute are not looked at; no error, nothing to show.
    assert confident_errors(p, decision, found.y, found.z, least=N) is None
    assert confident_errors(p, found.y, found.y, found.z) is None
    assert confident_errors(p, decision, found.y, np.full(N, -1)) is None


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_marks_and_curves_lie_where_the_predictions_say():
    given = kept()
    found = given.tables["test"]
    figures = dict(error_figures(given, "test"))
    assert list(figures) == ["Confusion matrices", "Reliability", "ROC curves"]
    texts = [t.get_text() for ax in figures["Confusion matrices"].axes for t in ax.texts]
    counts = confusion(found.y, found.z, found.decision, (2, 3))
    assert [int(t.split("\n")[1]) for t in texts] == counts.ravel().tolist()
    for value in range(3):
        own = found.z == value
        y, p = found.y[own], found.probabilities[own, 1]
        line = lines(figures["Reliability"])[f"z=v{value}"]
        bins = reliability(p, y == 1)
        assert line.get_xdata() == pytest.approx(bins.predicted)
        assert line.get_ydata() == pytest.approx(bins.happened)
        area = roc_auc_score(y, p)
        assert f"z=v{value}, area {area:.3f}" in lines(figures["ROC curves"])
    marks = [
        (*line.get_xdata(), *line.get_ydata())
        for line in figures["ROC curves"].axes[0].lines
        if len(line.get_xdata()) == 1
    ]
    rates = [(c[0, 1] / c[0].sum(), c[1, 1] / c[1].sum()) for c in counts]
    assert np.array(marks) == pytest.approx(np.array(rates))


def test_decisions_after_postprocessing_are_those_that_are_shown():
    given = kept(decisions=np.ones(N, int))
    figures = dict(error_figures(given, "test"))
    texts = [t.get_text() for ax in figures["Confusion matrices"].axes for t in ax.texts]
    assert {t.split(" %")[0] for t in texts[1::2]} == {"100"}
    assert any("postprocessing" in t.get_text() for t in figures["ROC curves"].texts)


def test_more_classes_and_values_than_fit():
    names = [name for name, _ in error_figures(kept(10, 9), "test")]
    assert names == ["Confusion matrices", "Reliability"]  # ROC curves are of two classes
    figure = dict(error_figures(kept(10, 9), "test"))["Confusion matrices"]
    assert len(figure.axes) == 6 and "3 left out" in figure.texts[-1].get_text()
    one_class = kept(y=np.zeros(N, int))
    assert len(dict(error_figures(one_class, "test"))) == 3
    assert not list(error_figures(kept(z=np.full(N, -1)), "test"))


def test_svg_follows_the_page_and_holds_texts():
    given = kept()
    figure = dict(error_figures(given, "test"))["Confusion matrices"]
    text = svg(figure, "a & b")
    assert "style" not in text and "font-family" not in text and "#0072b2" not in text
    assert "var(--c0)" in text and "var(--paper)" in text and ">z=v1" in text
    assert 'aria-label="a &amp; b"' in text and "metadata" not in text
    again = svg(dict(error_figures(given, "test"))["Confusion matrices"], "a & b")
    assert again == text  # the same figure, the same bytes


def test_names_are_no_formulas():
    from frbench.report.canvas import panels

    figure, (ax,) = panels(1, (3, 3))
    hostile = "<script>$x_1$</script>\x00"
    ax.set_title(plain(hostile))
    assert "&lt;script&gt;$x_1$&lt;/script&gt;\\x00" in svg(figure, json.dumps(hostile))
