"""The report page as text: whole, escaped, and honest about what it lacks."""

import base64
import csv
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from frbench.commands.report import main
from frbench.contracts.errors import UserError
from frbench.report.errors import ERRORS
from frbench.report.html import figures
from frbench.report.html.markup import Markup, tag
from frbench.report.predictions import FILE, KeptPredictions, Predictions, log_scores
from frbench.report.results import read

#: Names that would do harm in a page that does not escape them.
HOSTILE = [
    "<script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=2>',
    "</script><b>&amp;'",
    "__proto__",
]
GROUPS = ["y=<b>a</b>,z=\u2028</script>", 'y="a",z=1']
CLASSES, VALUES = ["<b>a</b>", '"a"'], ["\u2028</script>", "$1$"]
#: A PNG of one pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)


def hostile_records(record):
    """Four methods over three seeds with an undefined value; every text is hostile."""
    rng = np.random.default_rng(0)
    out = []
    for i, method in enumerate(["ERM", *HOSTILE]):
        for seed in range(3):
            metrics = {"val/worst_group_accuracy": 0.5 + 0.01 * i}
            for table in ("test/P", "test/<P0>"):
                metrics |= {
                    f"{table}/accuracy": 0.9 - 0.1 * i + 0.004 * rng.normal(),
                    f"{table}/worst_group_accuracy": 0.2 + 0.15 * i + 0.004 * rng.normal(),
                    f"{table}/demographic_parity_difference": float("nan") if i == 2 else 0.1 * i,
                }
                for group in GROUPS:
                    metrics[f"{table}/group_accuracy/{group}"] = 0.3 + 0.1 * i
            out.append(record(
                "<i>a&b", method, {"model.lr": "<u>1</u>"} if i else {}, seed, metrics=metrics,
                warnings={"bad/<b>": f"<script>window.pwned=3</script> {seed}"} if i == 1 else {},
                groups={"names": GROUPS, "counts": {"train": [7000, 3], "<val>": [4, 2]},
                        "Q": [0.75, 0.25], "notes": ["<em>note</em>"]},
                hardware="<hw>", commit="<sha>", finished="2026-01-0<",
            ))  # fmt: skip
    failed = record("<i>a&b", "ERM", {}, 9, error="<script>window.pwned=4</script>")
    return [*out, failed | {"status": "failed"}]


def write_run(folder: Path, image: bool = False) -> None:
    """Write the files of a run: curves of two groups with weights, predictions, worst errors."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [f"{t}/group_accuracy/{g}" for t in ("train", "val") for g in GROUPS]
    columns += [f"train/q/{g}" for g in GROUPS]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *columns])
        for step in (10, 20, 30):
            writer.writerow([step, *(0.01 * step + 0.02 * i for i in range(len(columns)))])
    (folder / "config.yaml").write_text(
        f"run_dir: {folder}\nmodel: <script>window.pwned=5</script>\n"
    )
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 2, (2, 200))
    scores = log_scores(rng.normal(0, 1, (200, 2)) + np.eye(2)[y])
    table = Predictions(scores, y, z, np.arange(200))
    kept = KeptPredictions({"test/P": table, "val": table}, CLASSES, VALUES, np.ones((2, 2)))
    kept.write(folder / FILE)
    row = {"image": PIXEL} if image else {"values": ["<img src=x>", "<b>" * 50]}
    errors = {
        "y": 0,
        "z": 0,
        "accuracy": 0.25,
        "columns": [] if image else ["<i>age</i>", "text"],
        "rows": [{"index": k, "decision": 1, "probability": 0.9, **row} for k in range(8)],
    }
    (folder / ERRORS).write_text(json.dumps({"test/P": errors}))


@pytest.fixture
def results(record, write) -> Path:
    records = hostile_records(record)
    path = write(records)
    for entry in records[:6]:
        write_run(path.parent / "runs" / entry["cell"])
    (path.parent / "grid.yaml").write_text("methods: <b>\n")
    return path


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leave out the figures, which take most of the time of a page."""
    monkeypatch.setattr(figures, "comparison", lambda *_: Markup(""))
    monkeypatch.setattr(figures, "inside", lambda *_: (Markup(""), []))


def page(results: Path, *words: str) -> str:
    out = results.parent / "page.html"
    assert main([str(results), "--html", str(out), "--force", *words]) == 0
    return out.read_text()


class Reader(HTMLParser):
    """Checks that elements nest, and keeps their names, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        self.texts.setdefault(name, [])
        if name not in ("meta", "link", "img"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]].append(data)


def test_elements_nest_and_no_name_becomes_one(results):
    reader = Reader(page(results))
    names = {name for name, _ in reader.elements}
    assert not names & {"b", "i", "u", "em", "img", "hw", "sha"}
    assert [name for name, _ in reader.elements].count("script") == 1
    allowed = {
        "http-equiv", "content", "charset", "name", "rel", "href", "lang", "class", "id", "type",
        "tabindex", "role", "scope", "title", "open",
    }  # fmt: skip
    drawn = {
        "viewbox", "xmlns", "d", "x", "y", "width", "height", "fill", "stroke", "stroke-width",
        "stroke-dasharray", "stroke-dashoffset", "stroke-miterlimit", "opacity", "fill-opacity",
        "stroke-opacity", "clip-path", "transform", "font-size", "text-anchor", "href", "id",
        "role",
    }  # fmt: skip
    for name, attributes in reader.elements:
        if name in ("svg", "g", "path", "use", "defs", "clippath", "rect", "text"):
            assert attributes.keys() <= drawn | {"aria-label"}, (name, attributes)
            assert attributes.get("href", "#").startswith("#")
            continue
        for key in attributes:
            assert key in allowed or key.startswith(("aria-", "data-")), (name, key)
    headers = [text for text in reader.texts["th"] if text in HOSTILE]
    assert sorted(headers) == sorted(2 * HOSTILE)  # as they are, once for each test table
    long = "\n".join(reader.texts["div"])
    assert "<script>window.pwned=3</script> 0 [seed 0]" in long and "model.lr=<u>1</u>" in long
    assert any("window.pwned=4" in text for text in reader.texts["li"])
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = {a["href"][1:] for name, a in reader.elements if name == "a"}
    assert targets <= set(ids)


def test_the_policy_allows_this_script_and_style_and_nothing_else(results, undrawn):
    text = page(results)
    reader = Reader(text)
    policy = next(a["content"] for n, a in reader.elements if "http-equiv" in a and n == "meta")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[-1]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    for content, directive in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    # No address but the name of SVG's elements.
    assert not re.findall(r"https?://[^\"]*", text)


def test_the_figures_show_what_is_there_and_no_more(results):
    reader = Reader(page(results))
    labels = [a["aria-label"] for name, a in reader.elements if name == "svg"]
    assert len(set(labels)) == len(labels)
    planes = [label for label in labels if label.startswith("accuracy against")]
    assert planes == [
        f"accuracy against {metric}: <i>a&b, test/{table}"
        for table in ("P", "<P0>")
        for metric in ("worst group accuracy", "demographic parity difference")
    ]
    texts = reader.texts["text"]
    for name in HOSTILE:
        assert texts.count(name.replace("__", "\u2009__", 1)) >= 4, name
    runs = [label for label in labels if label.startswith("ROC curves, test P: ")]
    assert len(runs) == 2 and "$1$" in " ".join(texts)  # a name, not a formula
    assert sum(label.startswith("Accuracy of each group over training") for label in labels) == 2


def test_rows_of_the_data_are_shown_or_left_out(results):
    text = page(results)
    assert text.count("lowest accuracy (0.250)") == 2 * 2  # caption and label
    assert text.count(">row 5<") == 2 and ">row 6<" not in text
    assert "&lt;i&gt;age&lt;/i&gt;" in text and "<i>age" not in text
    with pytest.raises(UserError, match="--errors must be at least 0"):
        main([str(results), "--errors", "-1"])


def test_no_row_and_pictures_of_rows(results, undrawn, monkeypatch):
    run = read([results])[0][0]
    write_run(run.folder, image=True)
    text = figures.gallery(run, "test/P", CLASSES, VALUES, 3)
    sources = [attributes["src"] for name, attributes in Reader(text).elements if name == "img"]
    assert sources == [f"data:image/png;base64,{PIXEL}"] * 3
    given = []

    def inside(report, data, errors):
        given.append(errors)
        return Markup(""), []

    monkeypatch.setattr(figures, "inside", inside)
    page(results, "--errors", "0")
    assert given == [0]


@pytest.mark.parametrize(
    "content",
    ["[", "[]", '{"test/P": {"y": 9}}', '{"test/P": 3}', "hostile"],
)
def test_a_broken_file_of_errors_is_named(results, content):
    run = read([results])[0][0]
    path = run.folder / ERRORS
    errors = json.loads(path.read_text())
    errors["test/P"]["rows"] = [
        {**row, "image": '"><script>window.pwned=6</script>'} for row in errors["test/P"]["rows"]
    ]
    path.write_text(json.dumps(errors) if content == "hostile" else content)
    with pytest.raises(UserError, match=r"errors.json cannot be read"):
        figures.gallery(run, "test/P", CLASSES, VALUES, 6)


def test_marks_are_the_corrected_p_values(results, capsys, undrawn):
    text = page(results, "--format", "json")
    rows = json.loads(capsys.readouterr().out)["rows"]
    key = "test/P/worst_group_accuracy"
    p = {row["method"]: row["differences"].get(key, {}).get("p_holm") for row in rows}
    assert p["ERM"] is None and all(p[name] < 0.05 for name in HOSTILE)
    board = text.split('data-table="test/P"')[1].split("</table>")[0]
    assert board.count("▲ better") == 4 and board.count("▼ worse") == 4
    assert "corrected by Holm&#x27;s method for the 4 methods" in text
    other = page(results, "--baseline", "__proto__")
    assert "difference to the baseline __proto__" in other.lower()


def test_warnings_quote_the_chosen_setting_and_count_the_others(record, write, undrawn):
    records = [
        record(
            "adult",
            "ERM",
            {"model.lr": lr},
            seed,
            metrics={f"{table}/worst_group_accuracy": lr for table in ("val", "test")},
            warnings={"small": "few rows"} | ({"flat": f"still at {lr}"} if lr < 0.3 else {}),
        )
        for lr in (0.1, 0.2, 0.3)
        for seed in (0, 1)
    ]
    text = page(write(records)).partition('id="warnings"')[2].partition("</section>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in text.split("<tr>")[2:]]
    assert [" ".join(row) for row in rows] == [
        "adult ERM small 2 6 few rows [seed 0, 1]",
        "adult ERM flat 0 4 still at 0.1 [seed 0, another setting]",
    ]


def test_another_baseline_and_chosen_tables(results, undrawn):
    text = page(results, "--tables", "P", "--metrics", "worst_group_accuracy")
    assert 'data-table="test/P"' in text and "test/&lt;P0&gt;" not in text
    header = text.split("<thead>")[1].split("</thead>")[0]
    assert "worst group accuracy" in header and header.count("<th ") == 3


def test_the_page_says_what_is_gone(record, write, monkeypatch):
    monkeypatch.setattr(figures, "comparison", lambda *_: Markup(""))
    text = page(write(hostile_records(record)))
    lacks = text.split("What this page lacks")[1]
    assert lacks.count("Training curves of") == 5 and lacks.count("metrics.csv") == 5
    assert lacks.count("the run has kept no predictions") == 5
    assert lacks.count("no /") >= 6 and "grid.yaml" in lacks and "its hash is" in lacks
    assert ">Groups</h3>" in text  # they are in the records
    old = [
        {k: v for k, v in r.items() if k not in ("groups", "commit", "finished", "hardware")}
        for r in hostile_records(record)
    ]
    text = page(write(old, name="old/results.jsonl"))
    assert ">Groups</h3>" not in text and "of an older frbench, has none" in text
    assert "unknown" in text.split("Where the runs were made")[-1]


def test_the_page_of_whole_results_lacks_nothing(record, write):
    records = hostile_records(record)[:-1]
    path = write(records)
    for entry in records:
        write_run(path.parent / "runs" / entry["cell"])
    (path.parent / "grid.yaml").write_text("methods: <b>\n")
    text = page(path)
    assert "lacks" not in text
    assert "run_dir: &lt;run&gt;" in text and str(path.parent / "runs") not in text
    assert len(text) < 600_000


def test_only_markup_is_not_escaped():
    assert tag("p", "<b>", Markup("<i></i>"), 1, None) == "<p>&lt;b&gt;<i></i>1</p>"
    assert tag("td", title="\"'<") == '<td title="&quot;&#x27;&lt;"></td>'


def test_the_name_must_end_in_html(results):
    with pytest.raises(UserError, match=r"must end in \.html"):
        main([str(results), "--html", "page.txt"])
