"""docs/promises.md names what exists, and says why where it has no number."""

import re
from collections import Counter, defaultdict

import pytest
from promises import DASH, PAGE, PROMISES, SILENT, render, subjects


def tables(text):
    """Kind, columns and rows of each table of the page."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, _, *rows = ([c.strip() for c in line.strip("|\n").split("|")]
                          for line in block.splitlines())  # fmt: skip
        found[head[0]] = head[1:], {row[0]: row[1:] for row in rows}
    return found


def check(text):
    page = tables(text)
    assert list(page) == list(subjects())
    for kind, (columns, rows) in page.items():
        assert columns == list(PROMISES)
        assert list(rows) == subjects()[kind], f"{kind}: run `make promises`"
        for name, cells in rows.items():
            for promise, cell in zip(columns, cells, strict=True):
                where = f"{name}, {promise}"
                if cell == DASH:
                    assert promise in SILENT.get(kind, {}), f"{where}: no test and no reason"
                else:
                    passed, run = re.match(r"(\d+)/(\d+)", cell).groups()
                    assert passed == run, f"{where}: a test failed"


def test_the_page_lists_every_method_and_promise_and_none_that_is_broken():
    check(PAGE.read_text())


@pytest.fixture
def outcomes():
    counts = defaultdict(Counter)
    for names in subjects().values():
        for name in names:
            for promise in PROMISES:
                counts[promise, name]["passed"] += 2
    return counts


def test_a_page_that_is_stale_fails(outcomes):
    check(render(outcomes))
    for wrong, words in [
        (render(outcomes).replace("| GroupDRO |", "| GroupDRO2 |"), "make promises"),
        (render(outcomes | {("input", "ERM"): Counter()}), "ERM, input: no test and no reason"),
        (render(outcomes | {("input", "ERM"): Counter(passed=1, failed=1)}), "a test failed"),
    ]:
        with pytest.raises(AssertionError, match=words):
            check(wrong)


def test_reasons_are_for_kinds_and_promises_that_exist():
    assert SILENT.keys() <= subjects().keys()
    assert all(why.keys() <= PROMISES.keys() for why in SILENT.values())
