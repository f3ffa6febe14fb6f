"""Verdicts against exact enumeration of random conditional tables."""

import numpy as np
import pytest
from enumerated import statements
from exact import Exact, draw_tables, members, random_task

from frbench.causal import EXAMPLES, CausalTask, analyze, example
from frbench.causal.independence import IndependenceModel, laws

TABLES = 12  # random tables per graph
SAME, DIFFERENT = 1e-12, 1e-9  # rounding errors are below the first, effects above the second
WITH_CORE = ("a", "a2", "a3", "b", "c", "c2", "c3", "d", "e")


def mismatches(task, law, tables):
    """List the statements on which the rule and the tables disagree, and the number checked."""
    wrong, checked = [], 0
    for s in statements(task.observed):
        sizes = [table.dependence([s.a], [s.b], s.given) for table in tables]
        checked += 1
        # All tables must agree with an independence; a dependence must show in each of them.
        agrees = max(sizes) < SAME if law.independent(*s) else min(sizes) > DIFFERENT
        wrong += [] if agrees else [(str(s), sizes)]
    return wrong, checked


def draw(task, rng, count=TABLES, graph=None):
    graph = task.graph if graph is None else graph
    return [Exact.of(graph, draw_tables(graph, rng)) for _ in range(count)]


def drawn(task, rng, count):
    """Draw joint tables together with the conditional tables that they come from."""
    for _ in range(count):
        tables = draw_tables(task.graph, rng)
        yield Exact.of(task.graph, tables), tables


def balanced(task, tables):
    return [table.balanced(task.label, task.attribute) for table in tables]


@pytest.mark.parametrize("name", EXAMPLES)
def test_rule_equals_enumeration(name):
    task, rng = example(name), np.random.default_rng(1)
    p = draw(task, rng)
    tables = {"P": p, "Q": balanced(task, p), "G0": draw(task, rng, graph=task.cut)}
    for law, rule in laws(task).items():
        wrong, checked = mismatches(task, rule, tables[law])
        assert not wrong, (law, wrong)
        assert checked >= 6


@pytest.mark.parametrize("name", ["c", "c2", "c3"])
def test_rule_equals_enumeration_with_a_joint_factor(name):
    task, rng = example(name).with_factor("V"), np.random.default_rng(2)
    q = balanced(task, draw(task, rng))
    law = laws(task)["Q"]
    wrong, checked = mismatches(task, law, q)
    assert not wrong and checked == 240
    for part in task.parts:
        for given in ([], ["Y"]):
            size = max(table.dependence([part], task.attribute, given) for table in q)
            assert law.independent(part, task.attribute, given) == (size < SAME)
    assert max(table.dependence(["Y"], task.attribute) for table in q) < SAME


@pytest.mark.slow
def test_rule_equals_enumeration_on_random_graphs():
    checked = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        task = random_task(rng)
        p = draw(task, rng, 6)
        for law, tables in (("P", p), ("Q", balanced(task, p))):
            wrong, n = mismatches(task, laws(task)[law], tables)
            # A dependence through many weak links can be small; none may be missing.
            real = [w for w in wrong if max(w[1]) < DIFFERENT or min(w[1]) > SAME]
            assert not real, (seed, law, real)
            checked += n
    assert checked == 40 * 2 * 80


def test_simpler_rules_would_be_caught():
    """The cut graph is not a model of Q, nor is conditioning on a selection node."""
    rng = np.random.default_rng(3)
    for name in ("a3", "b", "c", "c2", "e"):
        task = example(name)
        assert mismatches(task, IndependenceModel(task.cut), balanced(task, draw(task, rng)))[0], (
            name
        )
    task = example("a")
    selection = task.graph.copy()
    selection.add_edges_from([("Y", "S"), ("Z", "S")])
    q = balanced(task, draw(task, rng))
    assert not IndependenceModel(selection).independent("Y", "Z", ["S"])
    assert mismatches(task, IndependenceModel(selection), q)[0]


@pytest.mark.parametrize(
    ("edges", "latents", "pair"),
    [
        # P is balanced already, so Q is P.
        ("U>Z U>A C>Z", "U", "AC"),
        # Z is drawn from Y alone, so Q is P without that edge.
        ("A>Y B>Y U>Y U>B Y>Z Y>C A>C", "U", "AB"),
        # Y is drawn from Z alone.
        ("A>Z B>Z Z>Y Y>C A>C", "", "AB"),
    ],
)
def test_orders_that_start_with_label_and_factor_are_not_enough(edges, latents, pair):
    """Graphs built from Z and Y on, as in section 2.1 of the specification, miss A ⊥ B here."""
    parts = sorted({"A", "B", "C"} & set(edges))
    task = CausalTask(edges.split(), "Y", "Z", parts, latents=list(latents))
    q = balanced(task, draw(task, np.random.default_rng(4)))
    assert max(table.dependence(*pair) for table in q) < SAME
    assert laws(task)["Q"].independent(*pair)
    assert not mismatches(task, laws(task)["Q"], q)[0]


def task_of(name):
    """Look up an example; ``c+V`` is c with the joint attribute (Z, V)."""
    name, _, extra = name.partition("+")
    return example(name).with_factor(*extra) if extra else example(name)


@pytest.mark.parametrize("name", [*WITH_CORE, "c+V", "c2+V", "c3+V"])
def test_certificate_of_invariance(name):
    """A certified predictor has one risk over the family; without a certificate it varies."""
    task, rng = task_of(name), np.random.default_rng(5)
    found = analyze(task)
    spreads = {(f, loss): [] for f in found.predictors for loss in ("log", "square", "accuracy")}
    for p, tables in drawn(task, rng, 6):
        fitted_on = {"P": p, "Q": p.balanced(task.label, task.attribute)}
        family = members(task, tables, rng, 6)
        for (key, loss), held in spreads.items():
            one = found.predictors[key]
            f = fitted_on[one.law].predictor("Y", one.support)
            held.append(np.ptp([member.risk("Y", f, loss) for member in family]))
    for (key, loss), held in spreads.items():
        if found.predictors[key].invariant:
            assert max(held) < SAME, (key, loss)
        elif loss != "accuracy":  # which can be constant by itself
            assert max(held) > 1e-6 and min(held) > DIFFERENT, (key, loss, held)


@pytest.mark.parametrize("name", WITH_CORE)
def test_supports(name):
    """E[Y | X] does not change with the parts outside its support, and does with each inside."""
    task, rng = example(name), np.random.default_rng(6)
    found = analyze(task)
    for p in draw(task, rng, 5):
        for one, table in (("f_P", p), ("f_Q", p.balanced("Y", ["Z"]))):
            support = found.predictors[one].support
            f = table.predictor("Y", task.parts)
            assert np.allclose(f, table.predictor("Y", support), atol=1e-12)
            for part in support:
                axis = table.nodes.index(part)
                assert np.ptp(f, axis=axis).max() > 1e-6


@pytest.mark.parametrize("name", EXAMPLES)
def test_fairness(name):
    """The criteria hold for the values of E[Y | support] themselves, not only for its inputs."""
    task, rng = example(name), np.random.default_rng(7)
    found = analyze(task)
    for p in draw(task, rng, 5):
        for one in found.predictors.values():
            table = p if one.law == "P" else p.balanced("Y", ["Z"])
            measured = {
                "demographic_parity": table.dependence(one.support, ["Z"]),
                "equalized_odds": table.dependence(one.support, ["Z"], ["Y"]),
                "predictive_parity": table.dependence(["Y"], ["Z"], one.support),
            }
            for criterion, size in measured.items():
                assert (size < SAME) == one.fairness[criterion], (one.name, criterion, size)


@pytest.mark.parametrize("name", ["a", "a2"])
def test_balanced_optimum_is_minimax_but_not_best_everywhere(name):
    """Erratum 1: best on P0, minimax, best among invariant; members have better models."""
    task, rng = example(name), np.random.default_rng(8)
    beaten = 0
    for _ in range(20):
        tables = draw_tables(task.graph, rng)
        q = Exact.of(task.graph, tables).balanced("Y", ["Z"])
        f_q = q.predictor("Y", task.parts)
        family = members(task, tables, rng, 4)
        worst = max(member.risk("Y", f_q) for member in family)
        for member in family:
            own = member.predictor("Y", task.parts)
            # Q is the family's member without dependence, and what P0 looks like.
            assert q.risk("Y", own) >= q.risk("Y", f_q)
            assert max(q.risk("Y", own), *(m.risk("Y", own) for m in family)) >= worst - SAME
            beaten += member.risk("Y", own) < member.risk("Y", f_q) - 1e-9
    assert beaten > 70  # of 80


@pytest.mark.slow
def test_propositions_on_random_graphs():
    """Corollary 4.3 implies Proposition 4.2, and that f_Q has one risk where g has."""
    applies = {"proposition": 0, "corollary": 0}
    for seed in range(90):
        rng = np.random.default_rng(seed)
        task = random_task(rng)
        found = analyze(task)
        assert found.proposition.holds or not found.corollary.holds, task.edges
        if not found.proposition.holds or found.predictors["g"].moved_by:
            continue
        ((p, tables),) = drawn(task, rng, 1)
        f = p.balanced("Y", ["Z"]).predictor("Y", task.parts)
        risks = [member.risk("Y", f) for member in members(task, tables, rng, 5)]
        assert np.ptp(risks) < SAME, (seed, task.edges)
        applies["proposition"] += 1
        applies["corollary"] += found.corollary.holds
    assert applies["proposition"] > applies["corollary"] > 3, applies


def test_conditional_constraint_alone_gives_one_risk():
    """Erratum 6: f ⊥ Z | Y suffices for every P'(Z | Y), in every graph, even where it costs."""
    rng = np.random.default_rng(9)
    for _ in range(20):
        p_y, f = rng.uniform(0.2, 0.8), rng.dirichlet(np.ones(4), 2)
        loss = rng.uniform(0, 5, (2, 1, 4))  # of each label and each value of f
        risks = []
        for _ in range(5):
            p_z = rng.uniform(0.05, 0.95, 2)
            joint = np.einsum("y,yz,yk->yzk", [1 - p_y, p_y], np.stack([1 - p_z, p_z], 1), f)
            risks.append(float((joint * loss).sum()))
        assert np.ptp(risks) < SAME


def causal_model(strength, share=0.6):
    """Task b of section 6.2: Y copies U with `share`, else XZ; Z copies U with `strength`."""
    graph = example("b").graph
    noise = (1 - abs(strength)) / 2
    copied = np.array([0.0, 1.0]) if strength >= 0 else np.array([1.0, 0.0])
    xz_u = np.add.outer(np.array([0.0, 1 - share]), np.array([0.0, share]))
    assert list(graph.predecessors("Y")) == ["XZ", "U"]
    tables = {
        "XZ": np.array(0.5),
        "U": np.array(0.5),
        "Y": xz_u,
        "Z": noise + abs(strength) * copied,
        "XY": np.array([0.0, 1.0]),
    }
    return Exact.of(graph, tables)


def test_accuracy_can_be_constant_while_the_log_loss_is_not():
    """Erratum 3, with the numbers of section 6.3 for task b."""
    p = causal_model(0.9)
    q = p.balanced("Y", ["Z"])
    f_p, f_q = p.predictor("Y", ["XZ", "XY"]), q.predictor("Y", ["XZ", "XY"])
    family = [causal_model(strength) for strength in (-0.9, -0.45, 0.0, 0.45, 0.9)]
    ranges = {
        (name, loss): np.ptp([m.risk("Y", f, loss) for m in family])
        for name, f in (("f_P", f_p), ("f_Q", f_q))
        for loss in ("accuracy", "log")
    }
    assert ranges["f_Q", "accuracy"] < SAME and ranges["f_Q", "log"] == pytest.approx(
        0.362, abs=1e-3
    )
    assert ranges["f_P", "accuracy"] == pytest.approx(0.54, abs=1e-3)
    assert ranges["f_P", "log"] == pytest.approx(1.015, abs=1e-3)
    p0 = family[2]
    assert p.risk("Y", f_p, "accuracy") == pytest.approx(0.770, abs=1e-3)
    assert q.risk("Y", f_q, "accuracy") == pytest.approx(0.782, abs=1e-3)
    assert p0.risk("Y", f_q, "log") == pytest.approx(0.695, abs=1e-3)
    core = p.predictor("Y", ["XZ"])
    assert p0.risk("Y", core, "accuracy") == pytest.approx(0.7)
    assert p0.risk("Y", core, "log") == pytest.approx(0.611, abs=1e-3)
    # The core is invariant in both senses; the analyzer's verdict on f_Q is about the loss.
    assert np.ptp([m.risk("Y", core) for m in family]) < SAME
    assert not analyze(example("b")).predictors["f_Q"].invariant
