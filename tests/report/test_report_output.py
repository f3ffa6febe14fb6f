import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frbench.commands.report import main
from frbench.contracts.errors import UserError
from frbench.report import parse_rule, read, summarise
from frbench.report.canvas import panels


@pytest.fixture
def results(grid, write, record):
    grid[0]["warnings"] = {"constant_predictor/test": "predicts one class"}
    grid[3]["warnings"] = {"constant_predictor/test": "predicts one class"}
    failed = {**record(method="Broken_One"), "status": "failed", "error": "UserError: no rows"}
    return str(write([*grid, failed]))


def shown(capsys, *argv):
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def test_the_terminal_shows_tables_protocol_warnings_and_failures(results, capsys):
    out = shown(capsys, results)
    first = out.split("digits, test P: difference to ERM")[0].splitlines()
    names = [line.split()[0] for line in first if re.match(r"[A-Z]?\w+ +3 ", line)]
    assert names == ["joint_weight", "GroupDRO", "ERM"]  # by the first metric
    assert "adult, test" in out and "digits, test P0" in out
    text = " ".join(out.split())
    assert re.search(r"joint_weight 2 model.lr=0.1 0\.\d{3} ± 0\.\d{3}", text)
    assert "the highest mean val/worst_group_accuracy on validation data" in text
    assert "n − 1 in the denominator" in text and "seeds (0, 1, 2)" in text
    assert "Checkpoint inside a run: val/accuracy (max)" in text
    assert (
        "digits ERM: constant_predictor/test in 1 of the 3 runs shown, 2 of all 6; seed 0: "
        "predicts one class" in text
    )
    assert "FAILED digits Broken_One seed 0: UserError: no rows" in text
    assert "37 runs, 1 failed; 37 min 0 s of computing, peak memory 512 MB." in text
    assert "ORACLE" not in out


def test_markdown_tables_are_whole_and_mark_the_best(results, capsys):
    out = shown(capsys, results, "--format", "markdown", "--metrics", "accuracy", "loss")
    blocks = [block.splitlines() for block in out.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 8  # leaderboard and differences of three tables, two choices
    for block in blocks:
        assert len({line.count("|") for line in block}) == 1
    first = blocks[0]
    assert first[0] == "| method | n | accuracy | loss |"
    assert first[2].startswith(r"| joint\_weight | 3 | **0.8")
    assert not first[4].startswith("| ERM | 3 | **")
    assert all("| 0.300 ± 0.000 " in line for line in first[2:])  # none is ahead
    assert "ERM" in first[4] and "[" in first[4]


def test_differences_are_decided_by_the_p_value_that_is_printed(results, capsys):
    words = ("--metrics", "accuracy", "--data", "adult")
    text = " ".join(shown(capsys, results, "--format", "markdown", *words).split())
    found = json.loads(shown(capsys, results, "--format", "json", *words))["rows"]
    decided = {
        row["method"]: row["differences"]["test/accuracy"]["p_holm"]
        for row in found
        if row["differences"]
    }
    assert len(decided) == 2
    for p in decided.values():
        cell = f"p = {p:.3f}".replace("0.", ".") if p >= 0.001 else "p &lt; .001"
        assert cell in text or cell.replace("&lt;", "<") in text
    lines = [line for line in text.split("| ") if ", p " in line]
    assert sum("**" in line for line in lines) == sum(p < 0.05 for p in decided.values())
    assert "The p-value decides" in text and "Holm's method" in text


def test_the_protocol_names_the_positive_class_of_each_data_set(write, record, capsys):
    metrics = {"val/accuracy": 0.5, "test/accuracy": 0.6}
    metrics |= {f"test/statistical_rate/y={name}": 0.5 for name in ("paid", "late")}
    one = write([record("loans", metrics=metrics)])
    assert "Positive class late: " in shown(capsys, str(one), "--select", "val/accuracy")
    two = write([record("loans", metrics=metrics), record("cards", metrics=metrics)])
    out = shown(capsys, str(two), "--select", "val/accuracy", "--metrics", "accuracy")
    assert "loans: positive class late: " in out and "cards: positive class late: " in out


def test_best_is_lowest_where_lower_is_better_and_nothing_without_direction(results, capsys):
    metrics = ("demographic_parity_difference", "selection_rate")
    out = shown(capsys, results, "--format", "markdown", "--metrics", *metrics)
    lines = out.split("\n\n")[1].splitlines()
    assert lines[2].startswith("| GroupDRO | 3 | **0.0") and lines[2].count("**") == 2
    assert "**" not in "".join(lines[3:])


def test_latex_has_booktabs_escapes_and_balanced_environments(results, capsys):
    out = shown(capsys, results, "--format", "latex")
    body = [line for line in out.splitlines() if not line.startswith("%")]
    text = "\n".join(body)
    assert not re.search(r"(?<!\\)[_%#]", text)
    assert text.isascii()
    for rule in ("toprule", "midrule", "bottomrule", "begin{tabular}", "end{tabular}"):
        assert text.count(f"\\{rule}") == 8
    for table in text.split("\\begin{tabular}")[1:]:
        columns = len(re.match(r"\{([lr]+)\}", table)[1])
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert {line.count("&") for line in rows} == {columns - 1}
    assert r"joint\_weight & 3 & \textbf{0.8" in text
    assert r"$-$0." in text and r"$\pm$" in text


def test_csv_and_json_hold_full_numbers(results, capsys):
    runs = read([Path(results)])[0]
    report = summarise(runs, parse_rule("val/worst_group_accuracy"), ["accuracy", "loss"])
    argv = (results, "--metrics", "accuracy", "loss")
    lines = list(csv.DictReader(io.StringIO(shown(capsys, *argv, "--format", "csv"))))
    document = json.loads(shown(capsys, *argv, "--format", "json"))
    assert len(lines) == 2 * 3 * 3 and len(document["rows"]) == len(report.rows) == 6
    assert document["select"] == "val/worst_group_accuracy" and not document["oracle"]
    assert document["failed"] == ["digits Broken_One seed 0"]
    for row, found in zip(report.rows, document["rows"], strict=True):
        for key, expected in row.metrics.items():
            assert found["metrics"][key] == expected._asdict()
            table, metric = key.rsplit("/", 1)
            (line,) = [
                line
                for line in lines
                if (line["data"], line["method"]) == (row.data, row.method)
                and (line["table"], line["metric"]) == (table, metric)
            ]
            assert float(line["mean"]) == expected.mean and float(line["high"]) == expected.high
            if row.method != "ERM":
                assert float(line["difference_mean"]) == row.differences[key].mean
            assert line["settings"] == "model.lr=0.1" and line["oracle"] == "False"


def test_undefined_values_show_their_n_and_are_null_in_json(record, write, capsys):
    values = [0.5, math.nan, 0.7]
    records = [
        record(
            seed=seed,
            metrics={
                "val/worst_group_accuracy": 0.5,
                "test/accuracy": 0.5,
                "test/accuracy_gap": value,
                "test/auroc": math.nan,
            },
        )
        for seed, value in enumerate(values)
    ]
    argv = (str(write(records)), "--metrics", "accuracy", "accuracy_gap", "auroc")
    out = shown(capsys, *argv, "--format", "markdown")
    assert "0.600 ± 0.141 (n=2)" in out and "| – |" in out
    assert "chosen settings" not in out and "(one each)" in out
    metrics = json.loads(shown(capsys, *argv, "--format", "json"))["rows"][0]["metrics"]
    assert metrics["test/auroc"] == {"mean": None, "sd": None, "n": 0, "low": None, "high": None}


def test_oracle_choices_are_marked(results, capsys):
    oracle = ("--select", "oracle:test/P0/accuracy")
    with pytest.raises(UserError, match=r"no run on adult has 'test/P0/accuracy'.*--data"):
        main([results, *oracle])
    out = shown(capsys, results, *oracle, "--format", "markdown", "--data", "digits")
    titles = [line for line in out.splitlines() if line.startswith("##")]
    assert titles and all("ORACLE (settings chosen on test data)" in line for line in titles)
    assert "on TEST data" in out


def test_a_grid_whose_runs_all_failed_says_why(write, record):
    path = write([{**record(), "status": "failed", "error": "no rows"}])
    with pytest.raises(UserError, match="All 1 runs failed, the first with: no rows"):
        main([str(path)])


def test_out_follows_the_ending_and_never_overwrites(results, tmp_path, capsys):
    for ending, start in ((".tex", "% needs"), (".md", "## "), (".csv", "data,"), (".json", "{")):
        path = tmp_path / "new" / f"table{ending}"
        assert shown(capsys, results, "--out", str(path)) == ""
        assert path.read_text().startswith(start)
    with pytest.raises(UserError, match="not overwritten; give another name, or --force"):
        main([results, "--out", str(path)])
    assert main([results, "--out", str(path), "--format", "table", "--force"]) == 0
    assert path.read_text().startswith("digits, test P")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--plot", "a.txt"], r"must end in \.png"),
        (["--folds", "1"], "at least 2"),
        (["--data", "digit"], "no data set 'digit'; did you mean digits"),
        (["--select", "test/accuracy"], "oracle:test/accuracy"),
        (["--metrics", "worst_grup_accuracy"], "did you mean: worst_group_accuracy"),
        (["--out", "/proc/none/a.md"], "Cannot write"),
    ],
)
def test_wrong_options(results, argv, says):
    with pytest.raises(UserError, match=says):
        main([results, *argv])


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_plot(results, tmp_path, capsys, ending):
    path = tmp_path / f"plot.{ending}"
    shown(capsys, results, "--plot", str(path), "--x", "demographic_parity_difference")
    assert path.stat().st_size > 10_000
    if ending == "png":
        from matplotlib.image import imread

        image = imread(path)[..., :3]
        assert min(image.shape[:2]) > 500
        blue = np.abs(image - np.array([0x00, 0x72, 0xB2]) / 255).max(-1) < 0.02
        assert blue.sum() > 300  # the first method's marker, in each panel


def test_a_single_run_is_plotted_without_bars(record, write, tmp_path, capsys):
    metrics = {"val/worst_group_accuracy": 0.5, "test/accuracy": 0.5}
    results = str(write([record(metrics=metrics | {"test/worst_group_accuracy": 0.4})]))
    shown(capsys, results, "--plot", str(tmp_path / "plot.png"))
    results = str(write([record(metrics=metrics | {"test/worst_group_accuracy": math.nan})]))
    with pytest.raises(UserError, match="choose others with --x and --y"):
        main([results, "--plot", str(tmp_path / "none.png")])


def test_the_key_names_every_method_once_and_cuts_none():
    from frbench.report.canvas import finish, keyed, panels, plain

    names = [f"method {i} with a name of some length" for i in range(9)] + ["_a", "$b$", "c"]
    figure, (one, other) = panels(2, (4.4, 3), below=keyed(names, 8.8))
    for ax in (one, other):
        for i, name in enumerate(names):
            ax.plot([0, 1], [i, i], label=plain(name))
    finish(figure, "a caption")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [plain(name) for name in names]
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    for ax in (one, other):
        assert box.y1 <= ax.get_tightbbox().y0
    assert figure.texts[0].get_window_extent().y1 <= box.y0 + 3


def test_no_torch_no_pandas_and_no_matplotlib_without_plot(results):
    code = (
        "import sys\n"
        "for name in ('torch', 'pytorch_lightning', 'matplotlib', 'pandas'):\n"
        "    sys.modules[name] = None\n"
        "from frbench.__main__ import main\n"
        f"sys.exit(main(['report', {results!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "chosen settings" in done.stdout


def test_help_is_short_and_has_examples(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    out = capsys.readouterr().out
    assert done.value.code == 0 and len(out.splitlines()) < 56 and "examples:" in out


def test_the_report_says_where_the_models_lie(write, record, capsys):
    one = record("loans", metrics={"val/accuracy": 0.5, "test/accuracy": 0.6})
    path = write([one])
    words = (str(path), "--select", "val/accuracy")
    assert "Checkpoints" not in shown(capsys, *words)
    model = path.parent / "runs" / one["cell"] / "checkpoints" / "best.ckpt"
    model.parent.mkdir(parents=True)
    model.touch()
    assert f"loans ERM {model}" in " ".join(shown(capsys, *words).split())


def test_the_last_tick_is_not_cut():
    figure, (ax,) = panels(1, (4.2, 3.2), 1)
    ax.plot([0.733, 0.7901], [0, 1])
    ax.set_xlim(0.733, 0.7901)
    figure.canvas.draw()
    ticks = [tick for tick in ax.get_xticklabels() if tick.get_position()[0] <= 0.7901]
    ends = [tick.get_window_extent().x1 for tick in ticks]
    assert max(ends) <= figure.bbox.x1
