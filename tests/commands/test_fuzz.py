"""Commands fed with inputs from a grammar: a result or one readable line, within seconds."""

import contextlib
import io
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from frbench.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
LIMIT = 5.0  # seconds of CPU for one input

#: Text that has broken programs.
WORDS = [
    "", " ", "a", "b", "yes", "no", "NA", "None", "nan", "inf", "-1", "0", "1", "007", "1,5",
    "12%", "1e308", "1e-320", "9" * 40,
    "=1+1", "[/red]", "\x1b[31mred", "\x00", "é", "日本", "a" * 300,
    "../x", "a&b", 'q"q', "'", "#", "\\t", "{a: b}", "[[[[", "*a", "&a x", "2020-01-01", "a\nb",
    "\ufeffg", "true", "~", "-", "--", "%s", "$HOME", "🙂", "missing", "other",
]  # fmt: skip
NUMBERS = ["0", "1", "2", "3", "0.5", "-1", "1e9", "1e308", "1e-320", "nan", "inf", "-inf",
           "1000000000000", "9" * 50, "x", ""]  # fmt: skip


def mostly(rng, usual, odd, share=0.15):
    return rng.choice(odd) if rng.random() < share else rng.choice(usual)


def table(rng, columns, rows=None):
    """A text file of a table with a few odd cells; sometimes damaged."""
    sep = mostly(rng, [","], [";", "\t", "|"])
    odd = rng.choice([0, 0, 0, 0.02, 0.3])
    names = [mostly(rng, [name], WORDS, 0.03) for name in columns]
    kinds = {name: ["0.1", "0.9", "0.5"] if name in "swx" else
             mostly(rng, [["0", "1"]], [["a", "b", "c"], ["1", "2", "30"], ["0.5", "x"]])
             for name in columns}  # fmt: skip
    kinds |= {"p": kinds["y"]} if {"p", "y"} <= set(columns) else {}
    lines = [sep.join(names)]
    for _ in range(rng.choice([0, 2, 20, 40, 40, 40]) if rows is None else rows):
        cells = [mostly(rng, kinds[name], WORDS, odd) for name in columns]
        lines.append(sep.join(cells[: rng.choice([99] * 600 + [1])]))
    text = "\n".join(lines) + rng.choice(["\n", ""])
    content = text.encode(mostly(rng, ["utf-8"], ["utf-16", "latin-1", "utf-8-sig"], 0.1),
                          "replace")  # fmt: skip
    if rng.random() < 0.05:
        content = content[: rng.randrange(len(content) + 1)] + rng.randbytes(rng.choice([0, 9]))
    return content


def value(rng, depth=0):
    """A value of YAML, as text in flow style."""
    if depth < 4 and rng.random() < 0.4:
        inner = [value(rng, depth + 1) for _ in range(rng.randrange(4))]
        if rng.random() < 0.5:
            return f"[{', '.join(inner)}]"
        return f"{{{', '.join(f'{json.dumps(rng.choice(WORDS[:12]))}: {v}' for v in inner)}}}"
    return mostly(rng, [json.dumps(rng.choice(WORDS)), rng.choice(NUMBERS)], WORDS, 0.05)


def options(rng, known, share=0.2):
    """Some of the known options, each with a usual or an odd value."""
    words = []
    for name, usual in known.items():
        if rng.random() < share:
            words += [name, *([mostly(rng, usual, NUMBERS + WORDS, 0.2)] if usual else [])]
    return words


CELLS = {"--sep": [",", ";", "\\t"], "--decimal": [",", "."], "--thousands": [",", "'"],
         "--units": ["%", "$"], "--encoding": ["utf-8", "latin-1"], "--missing_words": ["NA"],
         "--map": ["{z: {a: b}}", "{y: {0: no}}"]}  # fmt: skip


def audit(rng):
    Path("t.csv").write_bytes(table(rng, ["y", "p", "z", "s", "w", "k"]))
    words = [
        "audit",
        "t.csv",
        "--pred",
        "p",
        "--z",
        *mostly(rng, [["z"], ["z", "k"]], [["y"], ["w"]]),
    ]
    words += ["--y", "y"] if rng.random() < 0.9 else []
    words += ["--resamples", mostly(rng, ["5"], NUMBERS, 0.03)]
    return words + options(rng, {
        "--score": ["s"], "--weight": ["w"], "--positive": ["1", "a"], "--min_cell": ["2"],
        "--tolerance": ["0.1"], "--plan": ["0.2"], "--bins": ["{w: 2}", "{z: [0.5]}", "{z: [a]}"],
        "--format": ["json", "csv", "markdown", "latex"], **CELLS,
    }, 0.08)  # fmt: skip


def alpha(rng):
    if rng.random() < 0.5:
        Path("t.csv").write_bytes(table(rng, ["g", "h"]))
        words = ["alpha", "t.csv", "--column", mostly(rng, ["g"], WORDS)]
    else:
        words = ["alpha", *(mostly(rng, ["5", "30", "400"], NUMBERS) for _ in range(3))]
    return words + options(rng, {
        "--groups": ["3", "5"], "--epsilon": ["1", "2"], "--level": ["0.9"], "--seed": ["1"],
        "--bound": ["normal"], "--simulate": ["10"], "--members": ["sampled"],
        "--format": ["json", "csv"],
    })  # fmt: skip


def data(rng):
    Path("t.csv").write_bytes(table(rng, ["x", "y", "z", "k"]))
    Path("t.yaml").unlink(missing_ok=True)
    return ["data", "--check", "t.csv", *options(rng, {
        "--target": ["y", "x"], "--attribute": ["z"], **CELLS,
    }, 0.2)]  # fmt: skip


def debias(rng):
    Path("t.csv").write_bytes(table(rng, ["y", "z", "k"], 30))
    Path("o.csv").unlink(missing_ok=True)
    return ["data", "debias", "t.csv", "--protected", "z", "--target", "y", "--out", "o.csv",
            *options(rng, {
                "--n": ["20"], "--smoothing": ["0.1", "0"], "--tau": ["0.9"], "--band": ["0"],
                "--bins": ["k=0.5"], "--marginals": ["data", "y=0:0.5,1:0.5"], "--drop": ["k"],
                "--via": ["weight"], "--seed": ["3"], "--max-bins": ["3"],
            })]  # fmt: skip


def graph(rng):
    nodes = ["Z", "Y", "U", "V", "X", "W"]
    pairs = [sorted(rng.sample(range(6), 2)) for _ in range(5)]  # mostly without cycles
    edges = [f"{nodes[a]}>{mostly(rng, [nodes[b]], WORDS, 0.01)}" for a, b in pairs]
    edges += ["Y>X", "Z>X"]
    if rng.random() < 0.05:
        edges += ["V>U", "X>Y"]
    task = {
        "edges": json.dumps(edges), "label": "Y", "attribute": "Z",
        "parts": "[X]", "latents": "[U]", "measured": mostly(rng, ["[V, W]"], ["[V]"]),
        "undesired": json.dumps(edges[:1]),
        "shifting": "[]",
    }  # fmt: skip
    for key in list(task):
        if rng.random() < 0.04:
            task[mostly(rng, [key], WORDS, 0.3)] = value(rng)
    text = "\n".join(f"{k}: {v}" for k, v in task.items())
    if rng.random() < 0.1:
        text = text[: rng.randrange(len(text))] + rng.choice(WORDS)
    Path("t.yaml").write_text(text, errors="replace")
    words = ["graph", "t.yaml", "--format", rng.choice(["table", "json", "markdown", "yaml"])]
    if rng.random() < 0.1:
        Path("d.csv").write_bytes(table(rng, ["X", "Y", "Z"]))
        words += ["--data", "d.csv", *options(rng, {"--level": ["0.1"], "--given": ["1"]})]
    return words


def report(rng):
    lines = []
    for i in range(rng.randrange(1, 8)):
        record = {
            "cell": f"c{i}", "data": "d", "method": rng.choice("mn"), "settings": {}, "seed": i,
            "fold": None, "status": "ok", "seconds": 1.0, "config_hash": str(i), "data_hash": "d",
            "selection": {"monitor": "val/accuracy", "mode": "max", "oracle": False},
            "metrics": {"val/accuracy": 0.5, "val/worst_group_accuracy": rng.random(),
                        "test/accuracy": 0.5 + i / 20,
                        "test/worst_group_accuracy": 0.4},
            "versions": {"frbench": "0.1.0"}, "peak_memory_mb": 9.0, "warnings": {},
        }  # fmt: skip
        if rng.random() < 0.5:
            key = rng.choice([*record, *record, rng.choice(WORDS)])
            with contextlib.suppress(ValueError):
                record[key] = json.loads(value(rng))
        line = json.dumps(record, ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace")
        if rng.random() < 0.1:
            line = line[: rng.randrange(len(line))] + rng.choice([b"", b"\xff", b"[1"])
        lines.append(line)
    Path("r").mkdir(exist_ok=True)
    Path("r/results.jsonl").write_bytes(b"\n".join(lines))
    return ["report", "r", *options(rng, {
        "--format": ["csv", "json", "markdown"], "--select": ["val/accuracy"],
        "--metrics": ["accuracy"], "--folds": ["2"],
    })]  # fmt: skip


def bench(rng):
    grid = {
        "base": "{data.n: 64, trainer.max_epochs: 1, model.network: MLP}",
        "data": "{d: {data: TwoGaussians}}", "methods": "{m: {}, g: {model: GroupDRO}}",
        "seeds": "[0, 1]",
    }  # fmt: skip
    for key in [*grid, "grid", "random", "configs", "folds", "metrics", "report"]:
        if rng.random() < 0.15:
            grid[mostly(rng, [key], WORDS, 0.1)] = value(rng)
    Path("g.yaml").write_text("\n".join(f"{k}: {v}" for k, v in grid.items()), errors="replace")
    known = {"--shard": ["0/2"], "--index": ["0"], "--jobs": ["2"]}
    return ["bench", "g.yaml", "--list", *options(rng, known)]


def predict(rng):
    Path("t.csv").write_bytes(table(rng, ["x", "y", "z", "k"]))
    for path in Path().glob("o.*"):
        path.unlink()
    return ["predict", "--ckpt_path", "run/checkpoints/best.ckpt", "t.csv", "--out", "o.csv",
            *options(rng, {
                "--keep": ["[k]", "all"], "--threshold": ["0.4"], "--top_k": ["3"],
                "--selection_rate": ["0.2"], "--data.sep": [","], "--data.encoding": ["utf-8"],
            })]  # fmt: skip


def train():
    """A model for `predict`."""
    rows = [f"{i % 3 / 2},{i % 2},{i // 2 % 2},{'ab'[i % 2]}" for i in range(80)]
    Path("train.csv").write_text("\n".join(["x,y,z,k", *rows]))
    quick = ("--trainer.max_epochs=1", "--trainer.accelerator=cpu",
             "--trainer.enable_progress_bar=false")  # fmt: skip
    assert main(["fit", "--data=TableData", "--data.path=train.csv", "--data.target=y",
                 "--data.attribute=z", "--run_dir=run", *quick]) == 0  # fmt: skip


class Slow(Exception):
    pass


def outcome(words):
    """What a command did that it must not; nothing if all is well."""
    out, err = io.StringIO(), io.StringIO()

    def late(*_):
        raise Slow

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
    except SystemExit as error:
        status = error.code
    except Slow:
        return "took too long"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if "\x1b" in out.getvalue() + err.getvalue():
        return "terminal codes"
    lines = [line for line in err.getvalue().splitlines() if not line.startswith("note: ")]
    if status == 2 and not (len(lines) == 1 and lines[0].startswith("frbench: error: ")):
        return f"not one line: {err.getvalue()[:300]}"
    return "" if status in (0, 2) else f"status {status}: {err.getvalue()[-300:]}"


FUZZED = [(audit, 1000), (alpha, 1000), (data, 1000), (debias, 200), (graph, 1000), (report, 1000),
          (bench, 200), (predict, 200)]  # fmt: skip


@pytest.mark.parametrize(("make", "count"), FUZZED, ids=lambda v: getattr(v, "__name__", ""))
def test_a_result_or_one_line(make, count, in_tmp, monkeypatch):
    monkeypatch.setenv("FRBENCH_CACHE", str(in_tmp / "cache"))
    only = os.environ.get("FRBENCH_FUZZ")  # one seed, to look into it
    if make is predict:
        train()
    wrong = {}
    begin = time.process_time()
    for seed in [int(only)] if only else range(count):
        rng = random.Random(f"{make.__name__} {seed}")
        words = make(rng)
        if what := outcome(words):
            wrong[seed] = (what, words[:20])
    print(f"{make.__name__}: {count} inputs, {time.process_time() - begin:.0f} s of CPU")
    kinds = {what.split(":")[0]: (seed, what, words) for seed, (what, words) in wrong.items()}
    assert not wrong, f"{len(wrong)} of {count}, such as {kinds}"
