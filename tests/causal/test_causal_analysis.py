"""Every verdict of the catalogue: section 2.2 and 2.3 of the specification, by hand."""

import pytest

from frbench.causal import EXAMPLES, CausalTask, analyze, example
from frbench.causal.independence import Independence, minimal

# XZ ⊥ Z | Y in P and Q, XZ ⊥ Z in P and Q, Corollary's first premise, XZ sufficient in Q,
# Q obeys G0, f_P, f_Q, f_Q invariant, g invariant.
TABLE = """
a  | T T | F T | T     | T | yes | XZ XY     | XZ        | no>yes | yes
a2 | T T | F T | T     | T | yes | XZ XY     | XZ        | no>yes | yes
a3 | F F | F F | T     | F | no  | XZ XY     | XZ XY     | no>no  | yes
b  | F F | T F | T     | F | no  | XZ XY     | XZ XY     | no>no  | yes
c  | T T | F T | F:XV  | F | no  | XZ XY XV  | XZ XY XV  | no>no  | yes
c2 | T T | F T | F:XV  | F | no  | XZ XY XV  | XZ XV     | no>no  | yes
c3 | F F | F F | F:XV  | F | no  | XZ XY XV  | XZ XY XV  | no>no  | yes
d  | T T | F T | F:XYZ | F | yes | XZ XYZ    | XZ XYZ    | no>no  | yes
e  | F F | T F | F:XYZ | F | no  | XZ XY XYZ | XZ XY XYZ | no>no  | no
"""
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
ACTIONS = {
    "a": ("joint_balancing", True),
    "a2": ("joint_balancing", True),
    "a3": ("none", False),
    "b": ("marginal_mmd_without_balancing", True),
    "c": ("extra_factor", True),
    "c2": ("extra_factor", True),
    "c3": ("extra_factor", False),
    "d": ("conditional_mmd", True),
    "e": ("none", False),
    # X is the core and its law with Y never moves: ERM is right, and balancing would harm.
    "ex2": ("erm", True),
    "ex1": ("none", False),
    "ex3": ("none", False),
    "ex4": ("none", False),
}


@pytest.fixture(scope="module")
def found():
    return {name: analyze(example(name)) for name in EXAMPLES}


def holds(law, text):
    """Check a statement such as ``XZ ⊥ Z | Y``."""
    pair, _, given = text.partition("|")
    return law.independent(*pair.split("⊥")[0].split(), *pair.split("⊥")[1].split(), given.split())


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_table_of_verdicts(found, row):
    name, conditional, marginal, first, sufficient, obeys, f_p, f_q, invariant, core = row
    one = found[name]
    p, q = one.laws["P"], one.laws["Q"]
    assert [holds(law, "XZ ⊥ Z | Y") for law in (p, q)] == [x == "T" for x in conditional.split()]
    assert [holds(law, "XZ ⊥ Z") for law in (p, q)] == [x == "T" for x in marginal.split()]

    rest, tied = one.corollary.premises
    assert rest.holds == (first == "T") and tied.holds == conditional.startswith("T")
    assert rest.broken_by == tuple(first.split(":")[1:])
    assert one.corollary.holds == (rest.holds and tied.holds)

    tied, enough = one.proposition.premises
    assert enough.holds == (sufficient == "T") and tied.holds == conditional.endswith("T")
    assert one.proposition.holds == (enough.holds and tied.holds)
    assert set(one.proposition.failed) == {p for p in (tied, enough) if not p.holds}

    assert one.q_obeys_cut_graph == (obeys == "yes")
    assert one.predictors["f_P"].support == tuple(f_p.split())
    assert one.predictors["f_Q"].support == tuple(f_q.split())
    assert one.predictors["g"].support == ("XZ",)
    assert [one.predictors[f].invariant for f in ("f_P", "f_Q")] == [
        word == "yes" for word in invariant.split(">")
    ]
    assert one.predictors["g"].invariant == (core == "yes")


def test_which_parts_break_sufficiency(found):
    broken = {n: found[n].proposition.premises[-1].broken_by for n in ("b", "c", "c2", "d", "e")}
    assert broken == {
        "b": ("XY",),
        "c": ("XV",),
        "c2": ("XV",),
        "d": ("XYZ",),
        "e": ("XY", "XYZ"),
    }


def test_statements_of_the_cut_graph_that_balancing_breaks(found):
    assert set(map(str, minimal(found["b"].violated))) == {
        "Z ⊥ XZ",
        "XZ ⊥ XY",
        "Y ⊥ Z | XZ",
        "Y ⊥ XY | XZ",
    }
    for name in ("c", "c2"):
        assert "Y ⊥ XV" in map(str, found[name].violated)
    for name in ("a", "a2", "d", "ex4"):
        assert found[name].violated == ()
    for name in ("ex1", "ex2", "ex3"):
        assert not found[name].q_obeys_cut_graph
    # Whatever Q loses, it never loses what balancing is for.
    assert all(one.laws["Q"].independent("Y", "Z") for one in found.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_action(found, name):
    advice = found[name].recommendation
    assert (advice.action, advice.certified) == ACTIONS[name]
    assert advice.reason


def test_joint_factor_is_tried_again(found):
    for name, action in (
        ("c", "joint_balancing"),
        ("c2", "joint_balancing"),
        ("c3", "none"),
    ):
        advice = found[name].recommendation
        assert advice.extra == ("V",) and advice.then.action == action
        joint = analyze(example(name).with_factor("V"))
        assert joint.recommendation == advice.then
        assert joint.corollary.holds == advice.certified
        assert advice.reason.endswith("a certificate." if advice.certified else "either.")
    for name in ("a", "b", "d", "e"):
        assert found[name].recommendation.then is None


def test_wording_of_optimality(found):
    """Balancing is not best on every member of the family: never claim it."""
    (claim, *_) = found["a"].recommendation.caveats
    assert "optimal on P0, minimax" in claim and "other models can be better" in claim


def test_reasons_name_what_they_rest_on(found):
    def said(name):
        return " ".join([found[name].recommendation.reason, *found[name].recommendation.caveats])

    assert "accuracy can be constant while the log-loss is not" in said("b")
    assert "mechanism P(Z | its causes)" in said("b")
    assert "label noise" in said("a3") and "training on P as it is" in said("a3")
    assert "leaves XYZ in use" in said("d")
    assert "mechanism of V shifts" in said("c")
    assert "cannot touch XV" in said("c2") and "cannot touch" not in said("c")
    assert "shift of Z moves the law of (XZ, Y)" in said("e")


@pytest.mark.parametrize(
    ("name", "conditional", "marginal"),
    [
        ("a", "valid valid", "signal valid"),
        ("a2", "valid valid", "signal valid"),
        ("a3", "signal signal", "signal signal"),
        ("b", "signal signal", "valid signal"),
        ("c", "shifts shifts", "signal shifts"),
        ("c2", "leaves leaves", "signal leaves"),
        ("d", "valid valid", "signal valid"),
        ("e", "signal signal", "invariant signal"),
        ("ex3", "without without", "without without"),
    ],
)
def test_penalties_before_and_after_balancing(found, name, conditional, marginal):
    for penalty, words in (("conditional", conditional), ("marginal", marginal)):
        for law, word in zip("PQ", words.split(), strict=True):
            one = found[name].regularisers[penalty, law]
            assert one.valid == (word == "valid"), (penalty, law, one.objections)
            assert word == "valid" or word in one.objections[0]


def test_untouched_parts(found):
    def untouched(name, law="P"):
        return found[name].regularisers["conditional", law].untouched

    assert untouched("c2") == untouched("c2", "Q") == ("XV",)
    assert all(not untouched(name) for name in ("a", "a2", "b", "c", "d", "e"))


def test_fairness_of_the_core(found):
    for name in ("a", "a2", "c", "c2", "d"):
        assert all(found[name].predictors["g"].fairness.values())
    for name in ("a3", "b", "c3", "e"):
        assert not any(found[name].predictors["g"].fairness.values())
    # Fairness is not invariance: f_Q of c2 is fair in Q and moves with V.
    f_q = found["c2"].predictors["f_Q"]
    assert all(f_q.fairness.values()) and f_q.moved_by == ("V",)
    assert not any(found["a"].predictors["f_P"].fairness.values())


def test_direction(found):
    directions = {name: one.direction for name, one in found.items()}
    for name in ("a", "a2", "c", "c2", "d", "ex4"):
        assert directions[name] == "anti-causal"
    for name in ("b", "e", "ex1", "ex2", "ex3"):
        assert directions[name] == "causal"
    assert directions["a3"] == directions["c3"] == "common cause"
    both = CausalTask(["A>Y", "Y>B", "Y>Z"], "Y", "Z", ["A", "B"])
    assert analyze(both).direction == "mixed"
    assert analyze(CausalTask(["Y>Z", "Z>X"], "Y", "Z", ["X"])).direction == "none"


def test_nothing_shifts_or_nothing_is_wrong():
    task = example("d")
    still = CausalTask(**task.to_dict() | {"shifting": []})
    assert analyze(still).recommendation.action == "erm"
    apart = CausalTask(["Y>XZ", "Z>XY"], "Y", "Z", ["XZ", "XY"])
    assert analyze(apart).recommendation.action == "erm"


def test_a_core_of_which_one_part_is_redundant_is_balanced():
    task = CausalTask(["Y>A>B", "Y>Z>S"], "Y", "Z", ["A", "B", "S"], undesired=["Y>Z"])
    found = analyze(task)
    assert task.of_kind("core") == ("A", "B")
    assert found.predictors["f_Q"].support == ("A",)
    assert found.recommendation.action == "joint_balancing"


def test_shift_of_a_part_has_no_remedy():
    task = CausalTask(**example("d").to_dict() | {"shifting": ["Z", "XYZ"]})
    advice = analyze(task).recommendation
    assert (advice.action, advice.extra) == ("none", ())
    assert "no node is left" in advice.reason


def test_an_untouched_part_names_its_driver():
    task = CausalTask(**example("c2").to_dict() | {"shifting": ["Z"]})
    assert analyze(task).recommendation.extra == ("V",)


def test_a_core_that_shifts_itself_has_no_remedy():
    """Balancing leaves the core alone in use, and its law with the label moves all the same."""
    task = CausalTask(**example("a").to_dict() | {"shifting": ["Z", "XZ"]})
    found = analyze(task)
    assert found.proposition.holds and found.predictors["f_Q"].support == ("XZ",)
    assert (found.recommendation.action, found.recommendation.certified) == ("none", False)
    assert "a shift of XZ moves" in found.recommendation.reason


def test_statements_with_larger_conditions_are_left_out():
    one, other = Independence("A", "B", ("C",)), Independence("A", "B", ("D",))
    both, else_ = Independence("A", "B", ("C", "D")), Independence("A", "C", ("B", "D"))
    assert minimal([both, one, other, else_]) == [one, other, else_]
