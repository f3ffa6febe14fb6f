"""What stands beside a mean in a report: --spread."""

import math
import statistics

import pytest
from command import run

from frbench.report import estimate
from frbench.report.sheets import cell

VALUES = [0.8, 0.82, 0.87, 0.9]


@pytest.mark.parametrize(
    ("spread", "width", "interval"),
    [("both", 1, True), ("sd", 1, False), ("se", 2, False), ("interval", 0, True)],
)
def test_a_cell_shows_the_spread_that_was_asked_for(spread, width, interval):
    shown = cell(estimate(VALUES), spread=spread)
    mean = f"{statistics.mean(VALUES):.3f}"
    beside = (
        statistics.stdev(VALUES) / math.sqrt(len(VALUES))
        if width == 2
        else (statistics.stdev(VALUES))
    )
    assert shown.text == (f"{mean} ± {beside:.3f}" if width else mean)
    assert bool(shown.interval) == interval


@pytest.mark.parametrize(
    ("spread", "words", "absent"),
    [
        ("sd", "mean ± sd over n seeds", "t-interval"),
        ("se", "standard error", "t-interval"),
        ("interval", "95 % t-interval", "±"),
    ],
)
def test_the_report_says_what_it_shows(grid, write, tmp_path, spread, words, absent):
    out = tmp_path / "table.md"
    run("report", write(grid), "--spread", spread, "--out", out)
    text = out.read_text()
    assert words in text and absent not in text
