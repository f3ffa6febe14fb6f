"""The curves of a metric over a shift family, and the choice of test tables."""

import json
from pathlib import Path

import pytest

from frbench.commands.report import main
from frbench.contracts.errors import UserError
from frbench.report.curves import strength

TABLES = ("P0", "shift=-0.5", "shift=0", "shift=0.5")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    lines = []
    for method, slope in (("ERM", 0.4), ("Q", 0.0)):
        for seed in (0, 1, 2):
            metrics = {"val/worst_group_accuracy": 0.5}
            for table in TABLES:
                shift = strength(f"test/{table}") or 0.0
                metrics[f"test/{table}/accuracy"] = 0.7 + slope * shift + 0.01 * seed
            record = {"cell": f"{method}{seed}", "data": "a", "method": method, "settings": {},
                      "seed": seed, "status": "ok", "metrics": metrics}  # fmt: skip
            lines.append(json.dumps(record))
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_lines_are_the_means_over_the_family(results, tmp_path, monkeypatch, capsys):
    from matplotlib.axes import Axes

    drawn = {}
    plain = Axes.errorbar

    def errorbar(self, x, y, yerr, **options):
        drawn[options["label"]] = (list(x), list(y), list(yerr))
        return plain(self, x, y, yerr, **options)

    monkeypatch.setattr(Axes, "errorbar", errorbar)
    assert main([str(results), "--curves", str(tmp_path / "c.png"), "--tables", "P0"]) == 0
    assert (tmp_path / "c.png").stat().st_size > 5000
    assert drawn["ERM"][0] == [-0.5, 0.0, 0.5]
    assert drawn["ERM"][1] == pytest.approx([0.51, 0.71, 0.91])
    assert drawn["Q"][1] == pytest.approx([0.71] * 3)
    assert drawn["Q"][2] == pytest.approx([4.3027 * 0.01 / 3**0.5] * 3, rel=1e-3)
    out = capsys.readouterr().out
    assert "a, test P0" in out and "shift" not in out


def test_what_cannot_be_drawn_or_shown_is_named(results, tmp_path):
    with pytest.raises(UserError, match="no test table 'test/P1'"):
        main([str(results), "--tables", "P1"])
    with pytest.raises(UserError, match="must end in"):
        main([str(results), "--curves", "c.txt"])
    text = results.read_text().replace("shift=", "shift")
    (tmp_path / "other.jsonl").write_text(text)
    with pytest.raises(UserError, match="shift family"):
        main([str(tmp_path / "other.jsonl"), "--curves", str(tmp_path / "d.png")])
