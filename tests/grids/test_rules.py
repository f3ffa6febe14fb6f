"""Several rules from the same runs: each chooses the step and the setting."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from command import fit, run

from frbench.report.records import Results

pytestmark = [
    pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning"),
    pytest.mark.slow,
]

RULES = ["val/worst_group_accuracy", "val/accuracy", "val/demographic_parity_difference"]
FEW = ("--trainer.max_epochs=4", "--data.batch_size=50", "--model.lr=0.02")


def best(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def same(one: Path, other: Path) -> None:
    """Assert that two checkpoints are of one step, weights, and rule."""
    a, b = best(one), best(other)
    assert a["global_step"] == b["global_step"]
    assert a["frbench"]["selection"] == b["frbench"]["selection"]
    assert a["state_dict"].keys() == b["state_dict"].keys()
    assert all(torch.equal(v, b["state_dict"][k]) for k, v in a["state_dict"].items())


def test_each_checkpoint_is_that_of_a_run_by_its_rule_alone(in_tmp):
    also = f"--checkpoint.also={json.dumps(RULES)}"
    fit(*FEW, also, "--run_dir=all")
    steps = set()
    for number, rule in enumerate(RULES):
        fit(*FEW, f"--checkpoint.monitor={rule}", f"--run_dir=one{number}")
        name = "best" if rule == RULES[0] else f"best-{rule.replace('/', '-')}"
        alone = Path(f"one{number}/checkpoints/best.ckpt")
        same(Path("all/checkpoints") / f"{name}.ckpt", alone)
        steps.add(best(alone)["global_step"])
    assert len(steps) > 1  # else the test says little
    # Continued from the end of the second epoch.
    fit(*FEW[1:], "--trainer.max_epochs=2", also, "--run_dir=part")
    fit(also, "--trainer.max_epochs=4", "--ckpt_path=part/checkpoints/last.ckpt", "--run_dir=part")
    for rule in RULES[1:]:
        name = f"checkpoints/best-{rule.replace('/', '-')}.ckpt"
        same(Path("all") / name, Path("part") / name)


GRID = {
    "base": {"data.n": 400, "data.n_eval": 400, "data.batch_size": 50, "trainer.max_epochs": 4,
             "trainer.accelerator": "cpu"},
    "data": {"d": {"data": "Digits"}},
    "methods": {"ERM": {"model": "ERM"},
                "AFR": {"after": "ERM", "postprocess": "AFR", "share": 0.5}},
    "grid": {"model.lr": [0.02]},
    "seeds": [0, 1],
}  # fmt: skip


def bench(out: str, *words: str, **changes) -> dict:
    """Run a grid; return metrics by method, setting and seed, or by rule under these."""
    Path(f"{out}.yaml").write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    run("bench", f"{out}.yaml", "--out", out, *words)
    records = Results(Path(out) / "results.jsonl").latest().values()
    assert all(r["status"] == "ok" for r in records)
    return {(r["method"], r["settings"]["model.lr"], r["seed"]): r for r in records}


@pytest.mark.parametrize("words", [(), ("--stack=4",)], ids=["alone", "stacks"])
def test_a_grid_of_rules_has_the_numbers_of_a_grid_for_each(in_tmp, words):
    together = bench("all", *words, select=RULES)
    differs = 0
    for rule in RULES[1:]:
        alone = bench("one" + rule.replace("/", ""), *words,
                      base={**GRID["base"], "checkpoint.monitor": rule})  # fmt: skip
        for name, record in alone.items():
            found = together[name]["selected"]
            assert list(found) == RULES
            metrics = found[rule].get("metrics", together[name]["metrics"])
            assert metrics == pytest.approx(record["metrics"], abs=1e-6, nan_ok=True)
            differs += "metrics" in found[rule]
        out = "one" + rule.replace("/", "")
        for folder in ("all", out):
            run("report", folder, "--select", rule, "--out", f"{folder}.json", "--force")
        a, b = (json.loads(Path(f"{f}.json").read_text())["rows"] for f in ("all", out))
        for ours, theirs in zip(a, b, strict=True):
            assert ours["settings"] == theirs["settings"] and ours["method"] == theirs["method"]
            for key, value in theirs["metrics"].items():
                assert ours["metrics"][key]["mean"] == pytest.approx(value["mean"], abs=1e-6)
    assert differs
    # The report's rule is the first of the grid unless it names another.
    run("report", "all", "--out", "first.json")
    assert json.loads(Path("first.json").read_text())["select"] == RULES[0]
