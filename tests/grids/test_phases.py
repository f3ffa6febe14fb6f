"""Grids of two phases: a search, then the winners of its rules on the final seeds."""

import itertools
import json
from pathlib import Path

import pytest
import yaml
from command import run

from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.grids.grid import read_grid
from frbench.grids.phases import Phases
from frbench.grids.study import read_study
from frbench.report import parse_rule, read, summarise
from frbench.report.records import Results

RULES = ["val/accuracy", "val/worst_class_accuracy", "min: val/demographic_parity_difference"]
GRID = {
    "base": {"data.n": 200, "data.n_eval": 200, "trainer.max_epochs": 1,
             "trainer.accelerator": "cpu"},
    "data": {"a": {"data": "Digits"}, "b": {"data": "Digits"}},
    "methods": {
        "ERM": {"model": "ERM"},
        "DRO": {"model": "GroupDRO", "grid": {"model.eta": [0.1, 0.2]}},
        "AFR": {"after": "ERM", "postprocess": "AFR", "grid": {"postprocess.gamma": [0, 4]}},
    },
    "grid": {"model.lr": [0.01, 0.02, 0.04]},
    "seeds": {"search": [0, 5], "final": [5, 6, 7]},
    "select": RULES,
}  # fmt: skip


def phases(grid=GRID, **changes) -> Phases:
    Path("g.yaml").write_text(yaml.safe_dump({**grid, **changes}, sort_keys=False))
    return Phases("g.yaml")


def record_of(cell, **extra) -> dict:
    """Return a record whose metrics are pseudorandom, of a few values: there are ties."""
    number = int(cell.key, 16)
    metrics = {rule.split()[-1]: number // 7**i % 7 / 7 for i, rule in enumerate(RULES)}
    metrics |= {"val/worst_group_accuracy": 0.5, "test/accuracy": number % 101 / 101}
    return {"cell": cell.key, "status": "ok", "data": cell.data, "method": cell.method,
            "settings": cell.settings, "seed": cell.seed, "fold": cell.fold,
            "phases": cell.phases, "metrics": metrics, **extra}  # fmt: skip


def slow_winners(records: list[dict]) -> set[str]:
    """Choose by loops over settings, with frbench's order of equal ones: by name."""
    found = set()
    for data, method, rule in itertools.product("ab", ("ERM", "DRO", "AFR"), RULES):
        best = None
        own = [r for r in records if (r["data"], r["method"]) == (data, method)]
        settings = {json.dumps(r["settings"]) for r in own}
        by_name = {", ".join(f"{k}={v}" for k, v in sorted(json.loads(s).items())): s
                   for s in settings}  # fmt: skip
        for name in sorted(by_name):
            runs = [r for r in own if json.dumps(r["settings"]) == by_name[name]]
            if {r["seed"] for r in runs} != {0, 5} or any(r["status"] != "ok" for r in runs):
                continue
            value = sum(r["metrics"][rule.split()[-1]] for r in runs) / 2
            value = -value if rule.startswith("min") else value
            if best is None or value > best[0] + 1e-12:
                best = (value, by_name[name])
        if best is not None:
            found.add(json.dumps([data, method, json.loads(best[1])]))
    return found


@pytest.mark.parametrize("failed", [0, 1, 4])
def test_the_winner_of_each_rule_runs_on_the_final_seeds(in_tmp, failed):
    grid = phases()
    results = Results(in_tmp / "results.jsonl")
    assert {c.seed for c in grid.search} == {0, 5} and len(grid.search) == 2 * 2 * (3 + 6 + 6)
    records = []
    for number, cell in enumerate(grid.search):
        assert grid.cells(results) == grid.search  # until all have a record
        status = {"status": "failed", "error": "x"} if number < failed else {}
        records.append(record_of(cell, **status))
        results.append(records[-1])
    cells = grid.cells(results)
    final = cells[len(grid.search) :]
    assert cells[: len(grid.search)] == grid.search
    assert [c.index for c in cells] == list(range(len(cells)))
    assert len({c.key for c in cells}) == len(cells)
    assert {c.seed for c in final} == {6, 7}  # 5 is a run of the search
    winners = slow_winners(records)
    for seed in (6, 7):
        here = [c for c in final if c.seed == seed]
        behind = {c.parent.key for c in here if c.parent}
        names = {json.dumps([c.data, c.method, c.settings]) for c in here}
        assert winners <= names
        # Beside the winners there is only what winners start from, and it comes first.
        more = [c for c in here if json.dumps([c.data, c.method, c.settings]) not in winners]
        assert {c.key for c in more} <= behind and behind <= {c.key for c in here}
    order = [c.key for c in final]
    assert all(order.index(c.parent.key) < order.index(c.key) for c in final if c.parent)


def test_a_report_chooses_on_the_search_and_shows_the_final_seeds(in_tmp):
    grid = phases()
    results = Results(in_tmp / "results.jsonl")
    for cell in grid.search:
        results.append(record_of(cell))
    for cell in grid.cells(results)[len(grid.search) :]:
        results.append(record_of(cell))
    runs, _ = read([in_tmp])
    by_name: dict = {}
    for r in runs:
        by_name.setdefault((r.data, r.method, r.setting), {})[r.seed] = r.metrics
    for text in RULES:
        rule = parse_rule(text)
        report = summarise(runs, rule, ["accuracy"])
        assert len(report.rows) == 6
        for row in report.rows:
            tried = {setting: (own[0][rule.terms[0][1]] + own[5][rule.terms[0][1]]) / 2
                     for (data, method, setting), own in by_name.items()
                     if (data, method) == (row.data, row.method)}  # fmt: skip
            best = max(rule.sign * value for value in tried.values())
            assert rule.sign * tried[row.runs[0].setting] == pytest.approx(best)
            shown = by_name[row.data, row.method, row.runs[0].setting]
            values = [shown[seed]["test/accuracy"] for seed in (5, 6, 7)]
            assert row.metrics["test/accuracy"].mean == pytest.approx(sum(values) / 3)
            assert row.metrics["test/accuracy"].n == 3 and row.given == len(tried)
    run("report", in_tmp, "--out", "table.json")
    found = json.loads(Path("table.json").read_text())
    assert found["select"] == RULES[0]  # the first of the grid's
    text = " ".join(found["notes"])
    assert "search (seeds 0, 5) chose" in text and "final seeds (5, 6, 7) alone" in text
    assert "Of these, 5 took part in the search" in text
    # A rule that the grid does not name may choose a setting that was never run on them.
    run("report", in_tmp, "--select", "max: val/demographic_parity_difference", "--out", "t.json")
    text = " ".join(json.loads(Path("t.json").read_text())["notes"])
    assert "no result on the final seeds" in text and "`select` names the rule" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": {"search": [0]}}, "search and final"),
        ({"seeds": {"search": [0], "final": []}}, "seeds.final must be a list of distinct"),
        ({"seeds": {"search": [0], "final": [1], "x": [1]}}, "search and final"),
        ({"select": ["test/accuracy"]}, "test data"),
        ({"select": ["oracle: test/accuracy"]}, "test data"),
        ({"select": "val/acuracy"}, "accuracy"),
        ({"select": {"val": 1}}, "must be a list of rules"),
    ],
)
def test_wrong_seeds_and_rules_are_refused(in_tmp, changes, words):
    with pytest.raises(UserError, match=words):
        phases(**changes)
    with pytest.raises(UserError, match=words):
        read_grid("g.yaml")


def test_a_study_has_its_own_confirmation(in_tmp):
    text = {k: v for k, v in GRID.items() if k not in ("grid", "select")}
    text |= {"search": {"space": {"model.lr": {"uniform": [0.1, 1]}}}}
    Path("s.yaml").write_text(yaml.safe_dump(text))
    with pytest.raises(UserError, match="the seeds of a search are a list"):
        read_study(Path("s.yaml"))


SMALL = {**GRID, "data": {"a": {"data": "Digits"}}, "grid": {"model.lr": [0.01, 0.02]},
         "seeds": {"search": [0], "final": [0, 1, 2]}, "select": "val/accuracy",
         "methods": {"ERM": {"model": "ERM"}, "DRO": {"model": "GroupDRO"},
                     "TO": {"after": "ERM", "postprocess": "AFR", "share": 1}}}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
@pytest.mark.parametrize("words", [(), ("--stack=4",)], ids=["alone", "stacks"])
def test_bench_runs_both_phases_and_a_second_call_nothing(in_tmp, capsys, words):
    phases(SMALL)
    assert main(["bench", "g.yaml", "--list", "--out=out"]) == 0
    assert "then, when these are done, the chosen settings" in capsys.readouterr().out
    # The first call ends after the search of one method: as if interrupted there.
    assert main(["bench", "g.yaml", "--index=0", "--out=out", *words]) == 0
    assert "when the whole search is done" in capsys.readouterr().out
    run("bench", "g.yaml", "--out=out", *words)
    assert "a ERM, val/accuracy: seeds 0, 1, 2 run model.lr=" in capsys.readouterr().out
    records = list(Results(in_tmp / "out/results.jsonl").latest().values())
    assert all(r["status"] == "ok" for r in records), records
    # TO may have chosen another setting of ERM than ERM itself.
    assert len(records) - 6 - 6 in (0, 2)
    assert all(r["phases"]["final"] == [0, 1, 2] for r in records)
    before = (in_tmp / "out/results.jsonl").read_text()
    run("bench", "g.yaml", "--out=out", *words)
    assert (in_tmp / "out/results.jsonl").read_text() == before
    run("report", "out", "--out", "table.json")
    rows = json.loads(Path("table.json").read_text())["rows"]
    assert [(r["method"], r["seeds"]) for r in rows] == [
        (name, [0, 1, 2]) for name in ("ERM", "DRO", "TO")
    ]
    # A final run that was lost is run again, by a call of its own.
    lines = before.splitlines()
    (in_tmp / "out/results.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    run("bench", "g.yaml", "--out=out", *words)
    again = Results(in_tmp / "out/results.jsonl").latest()
    assert {r["cell"] for r in records} == {*again}
