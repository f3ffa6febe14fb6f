"""Sheets: every form holds the same content, and nothing in the content is markup."""

import csv
import io
import json
import math

import pytest

from frbench.support.sheet import FORMS, Cell, Sheet, document, show

SHEET = Sheet(
    "A title",
    ["group", "rows", "share", "note"],
    [
        ["a", 1234, 0.12345678, Cell("0.5", "[0.4, 0.6]", "bold")],
        ["b", None, math.nan, Cell("0.2")],
    ],
    ["A sentence."],
)
HOSTILE = [
    "[red]x[/red]",
    "a|b",
    "[text](http://x)",
    "<b>",
    "one\ntwo",
    "\x1b[31mred",
    "_em_",
    "`c`",
]


def test_people_see_rounded_numbers_and_machines_exact_ones():
    assert list(csv.reader(io.StringIO(SHEET.render("csv")))) == [
        ["group", "rows", "share", "note"],
        ["a", "1234", "0.12345678", "0.5"],
        ["b", "", "nan", "0.2"],
    ]
    assert json.loads(SHEET.render("json"))[1] == {
        "group": "b", "rows": None, "share": None, "note": "0.2",
    }  # fmt: skip
    for form in ("table", "markdown", "latex"):
        text = SHEET.render(form)
        assert "A title" in text and "A sentence." in text
        for part in ("1,234", "0.123", "undefined"):
            assert part in text and "0.1234" not in text
        assert ("0.4…0.6" if form == "table" else "[0.4, 0.6]") in text
    assert "**0.5** [0.4, 0.6]" in SHEET.render("markdown")
    assert r"\textbf{0.5} {\scriptsize [0.4, 0.6]}" in SHEET.render("latex")


def test_columns_of_numbers_are_aligned_right():
    assert "|:---|---:|---:|---:|" in SHEET.render("markdown")
    assert r"\begin{tabular}{lrrr}" in SHEET.render("latex")
    assert "|:---|:---|" in Sheet("", ["a", "b"], [["1", "x"]]).render("markdown")


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_never_markup(text):
    sheet = Sheet(text, ["k", text], [["r", text]], [text])
    plain = text.replace("\n", "\\n").replace("\x1b", "\\x1b")
    table = sheet.render("table", color=False)
    assert table.count(plain) == 4 and "\x1b" not in table
    whole = sheet.render("markdown")
    head, row = (line for line in whole.splitlines() if line.startswith("| "))
    assert len(head.replace(r"\|", "").split("|")) == len(row.replace(r"\|", "").split("|")) == 4
    for char in "|[]<`_":
        if char != "|":
            assert whole.count(char) == whole.count(f"\\{char}") == 4 * plain.count(char)
    assert json.loads(sheet.render("json")) == [{"k": "r", text: text}]
    assert list(csv.reader(io.StringIO(sheet.render("csv"))))[1] == ["r", text]


def test_latex_comments_and_captions_stay_on_their_line():
    text = document([SHEET, Sheet(lines=["50 % of\nall"])], "latex", "One\ntwo")
    assert text.startswith("% needs") and "% One\\ntwo\n" in text
    assert "% 50 % of\\nall\n" in text and r"\caption{A title. A sentence.}" in text
    assert "\\midrule\n{[}b] \\\\\n" in Sheet("", ["a"], [["[b]"]]).render("latex")


def test_a_sheet_without_rows_keeps_its_columns():
    for form in FORMS[:-1]:
        assert "empty" in Sheet("", ["empty", "columns"]).render(form)


def test_wide_sheets_are_divided_and_lose_nothing(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    tables = [f"test/table-{i}" for i in range(6)]
    rows = [["accuracy", *(i / 10 for i in range(6))], ["first only", 0.75, *[None] * 5]]
    show(Sheet("", ["metric", *tables], rows, digits=4).parts(40))
    out = capsys.readouterr().out
    assert all(len(line) <= 40 for line in out.splitlines())
    words = out.split()
    assert [w for w in words if w.startswith("test/")] == tables
    assert [w for w in words if w.startswith("0.")][:1] == ["0.0000"]
    assert {f"{i / 10:.4f}" for i in range(6)} <= set(words) and words.count("first") == 1
