"""The studies run from their YAML, and measure what they say."""

import numpy as np
import pytest
import yaml
from paths import ROOT

from frbench.metrics import evaluate, mutual_information
from studies.__main__ import STUDIES, main
from studies.fr_train_imbalance import contrasts, select
from studies.fr_train_replacement import differences, selected
from studies.game import impact
from studies.information_and_impact import random_tables

CONFIGS = ROOT / "configs" / "papers" / "fr-train"


def small(name):
    """A study's YAML on little generated data."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    rows = {"n": 120, "attribute_as_input": True, "clean_share": 0.1, "batch_size": 108}
    data = {"class_path": "frbench.data.TwoGaussians", "init_args": rows}
    cases = [*config.get("cases", {}).values(), *config.get("trade_off", {}).values()]
    cases += [config["stability"]] if "stability" in config else []
    for case in cases:
        case |= {"data": data, "steps": 24}
        case["model"] |= {"warmup": 6}
        case |= {"every": 2} if "every" in case else {}
        case |= {"lambda_f": case["lambda_f"][:2]} if "lambda_f" in case else {}
    if name == "imbalance":
        config |= {"rates": [0.2, 0.5], "factors": [1], "trials": [0, 1], "steps": 20,
                   "lambda_f": [0.2, 0.6], "data": data}  # fmt: skip
        config["model"] |= {"warmup": 10}
    return config | {key: value for key, value in {"seeds": [0, 1], "phases": [6, 14],
                     "tables": 50, "neighbours": 3}.items() if key in config}  # fmt: skip


FILES = {
    "alignment": {"traces.csv", "alignment.png", "summary.md"},
    "imbalance": {"runs.csv", "selected.csv", "arms.png", "baselines.png", "summary.md", "cells"},
    "information": {"tables.csv", "information_and_impact.png", "summary.md"},
    "replacement": {"trade_off.csv", "stability.csv", "trade_off.png", "stability.png",
                    "summary.md"},
}  # fmt: skip


def test_every_study_has_its_yaml():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} >= set(STUDIES) == set(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_study_writes_its_tables_and_plots(name, tmp_path, capsys):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(small(name)))
    out = tmp_path / "out"
    assert main([str(path), "--out", str(out)]) == 0
    assert {file.name for file in out.iterdir()} == FILES[name]
    printed = capsys.readouterr().out
    assert (out / "summary.md").read_text().strip() in printed
    if name == "imbalance":  # a second run trains nothing
        before = {file: file.stat().st_mtime_ns for file in (out / "cells").iterdir()}
        assert len(before) == 2 and main([str(path), "--out", str(out)]) == 0
        assert before == {file: file.stat().st_mtime_ns for file in (out / "cells").iterdir()}


def test_wrong_files_are_one_line(tmp_path, capsys):
    path = tmp_path / "study.yaml"
    for text, words in ((None, "readable"), ("a: [", "readable"), ("study: nothing", "study"),
                        ("study: information", "options")):  # fmt: skip
        if text:
            path.write_text(text)
        assert main([str(path), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error:") and words in error
        assert not (tmp_path / "out").exists()
    for part, words in (("data", "n_rows"), ("model", "lambda_g")):
        config = small("imbalance")
        options = config["data"]["init_args"] if part == "data" else config["model"]
        options[words] = 1
        path.write_text(yaml.safe_dump(config))
        assert main([str(path), "--out", str(tmp_path / part)]) == 2
        assert words in capsys.readouterr().err


def test_the_vectorised_measures_are_those_of_the_library():
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 2, (2, 4, 300))
    prediction = np.stack([z[0], y[1] | z[1], rng.random(300) < 0.1, np.zeros(300)]).astype(bool)
    found = impact(prediction, y, z)
    for run in range(4):
        known = evaluate(y[run], prediction[run].astype(int), z[run], class_names=["0", "1"])
        for key in ("accuracy", "disparate_impact"):
            assert found[key][run] == pytest.approx(known[key], abs=1e-12), key
        information = mutual_information(prediction[run], z[run])
        assert found["information"][run] == pytest.approx(information, abs=1e-12)
    tables = random_tables(20, rng)
    # The table as 10^5 rows, rounded.
    share, rate, value = (
        tables[k][0] for k in ("attribute_rate", "selection_rate", "information")
    )
    assert 0 <= value <= min(tables["entropy"][0], np.log(2)) and 0 < share < 1 and 0 < rate < 1


def rows_of(case, method, curve, seed=0):
    """Rows of a curve {lambda_f: (val accuracy, val DI, test accuracy, test DI)}."""
    for strength, values in curve.items():
        for table, part in (("val", values[:2]), ("test", values[2:])):
            name = {"case": case, "method": method, "lambda_f": strength, "seed": seed}
            yield name | {"table": table, "accuracy": part[0], "disparate_impact": part[1]}


def test_selection_looks_at_validation_alone_and_curves_are_compared_at_equal_impact():
    one = {0.1: (0.9, 0.5, 0.9, 0.5), 0.2: (0.8, 0.7, 0.7, 0.9)}
    two = {0.1: (0.9, 0.8, 0.9, 0.5), 0.2: (0.8, 0.7, 0.8, 0.9)}
    rows = [*rows_of("c", "a", one), *rows_of("c", "b", two)]
    lines = selected(rows).splitlines()[2:]
    assert [line.split(" | ")[4] for line in lines] == ["0.2", "0.1"]
    # at DI .7: .9 and .7 give .8; .9 and .8 give .85
    line = differences(rows, (0.7,)).splitlines()[2]
    assert line.split(" | ")[2:5] == ["0.800 ± ?", "0.850 ± ?", "0.050 ± ?"]


def test_imbalance_selects_on_validation_and_pairs_data_sets():
    rows = []
    for trial, gain in ((0, 0.1), (1, 0.2)):
        for arm, extra in (("a", 0.0), ("b", gain)):
            for strength, val, test in ((0.3, 0.5, 0.9), (0.6, 0.7, 0.4)):
                name = {"rate": 0.5, "c": 1, "arm": arm, "trial": trial, "lambda_f": strength}
                for table, value in (("val", val), ("test", test + extra)):
                    both = {"accuracy": value, "disparate_impact": value}
                    rows.append(name | {"table": table} | both)
    chosen = select(rows)
    assert len(chosen) == 4 and {row["lambda_f"] for row in chosen} == {0.6}
    assert {row["table"] for row in chosen} == {"test"}
    assert "| 0.3-0.7 | b - a | +0.150" in contrasts(chosen, ["a", "b"])
