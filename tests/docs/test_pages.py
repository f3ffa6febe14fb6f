"""The results pages of the repository are what their records say."""

import json
from pathlib import Path

import pages
import pytest
import yaml
from page import read_page
from paths import ROOT

from frbench.contracts.errors import UserError
from frbench.report import read

GRIDS = sorted(grid for folder in pages.GRIDS for grid in (ROOT / folder).rglob("*.yaml"))


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_pages_are_up_to_date(in_root: None) -> None:
    written = dict(pages.documents())
    stale = [path for path, text in written.items() if path.read_text() != text]
    assert not stale, "run `make results`"
    records = sorted(pages.RECORDS.glob("*.jsonl"))
    kinds = {"", "-predictions", "-published"}
    tables = {path.with_name(f"{path.stem}{kind}.csv") for path in records for kind in kinds}
    assert {path.with_suffix(".csv") for path in records} <= set(written)
    assert set(written) <= tables | {pages.INDEX}


@pytest.mark.parametrize("grid", GRIDS, ids=pages.name_of)
def test_what_a_grid_says_of_its_results_can_be_read(grid: Path) -> None:
    assert read_page(grid).rule.terms


def test_every_grid_is_listed_once(in_root: None) -> None:
    index = pages.INDEX.read_text()
    for grid in GRIDS:
        assert index.count(f"`{'/'.join(grid.parts[-2:])}`") == 1


def test_records_are_small_and_belong_to_a_grid(in_root: None) -> None:
    names = {pages.name_of(grid) for grid in GRIDS}
    records = sorted(pages.RECORDS.glob("*.jsonl"))
    assert records
    for path in records:
        assert path.stem in names and path.stat().st_size <= pages.LARGEST


def test_links_of_hand_written_pages_exist(in_root: None) -> None:
    for entry in yaml.safe_load(pages.WORKS.read_text()).values():
        for text in [entry["title"], *(entry.get("by_hand") or {}).values()]:
            for part in text.split("](")[1:]:
                assert (pages.INDEX.parent / part.split(")")[0]).is_file(), text


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A grid and its results, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    grid = tmp_path / "configs/papers/work/one.yaml"
    grid.parent.mkdir(parents=True)
    entry = {
        "metrics": {"accuracy": "test/accuracy"},
        "predictions": {"good": "ERM[accuracy] >= .8"},
        "published": {"source": "Table 1", "ERM": {"accuracy": 0.9}},
        "reason": "Fewer rows.",
    }
    grid.write_text(yaml.safe_dump({"data": {"d": {}}, "methods": {"ERM": {}}, "report": entry}))
    lines = [
        {
            "cell": str(seed), "data": "d", "method": "ERM", "settings": {}, "seed": seed,
            "status": "ok", "metrics": {"test/accuracy": 0.8123456789, "val/loss": 1.0},
            "selection": {"monitor": "val/loss", "mode": "min"}, "seconds": 2.0,
            "warnings": {"plateau": "text"},
        }
        for seed in (2, 1)
    ]  # fmt: skip
    results = tmp_path / "results/one"
    results.mkdir(parents=True)
    (results / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return results, grid


def test_what_is_kept_is_what_the_page_needs(finished: tuple[Path, Path]) -> None:
    results, grid = finished
    assert pages.main(["keep", str(results), str(grid), "--hardware", "abacus"]) == 0
    runs, notes = read([pages.RECORDS / "work-one.jsonl"])
    assert [run.seed for run in runs] == [1, 2] and not notes
    assert runs[0].metrics == {"test/accuracy": 0.812346}
    assert runs[0].hardware == "abacus" and not runs[0].warnings


def test_the_index_holds_what_was_written_by_hand(finished: tuple[Path, Path], capsys) -> None:
    results, grid = finished
    other = grid.with_name("two.yaml")
    other.write_text("data: {d: {}}\n")
    pages.keep(results, grid, "abacus")
    pages.WORKS.write_text(
        yaml.safe_dump({"work": {"title": "Work", "by_hand": {"two": "needs a GPU"}}})
    )
    pages.INDEX.write_text(f"# Mine\n\n{pages.BEGIN}\nold\n{pages.END}\n\nAlso mine.\n")
    assert pages.main(["write"]) == 0
    text = pages.INDEX.read_text()
    assert text.startswith("# Mine\n") and text.endswith("Also mine.\n") and "old" not in text
    assert "2 runs, seeds 1 to 2, 0 min 4 s of computing |" in text
    assert "| 1 of 1 hit | 1 compared, farthest .088 (ERM accuracy) |" in text
    assert "| `work/two.yaml` | needs a GPU |" in text and "Fewer rows." in text
    assert "[Predictions](results/records/work-one-predictions.csv): 1 of 1 hit." in text
    found = (pages.RECORDS / "work-one-predictions.csv").read_text().splitlines()[1]
    assert found == "good,ERM[accuracy] >= .8,0.812346,0.0,0.812346,0.812346,2,hit"
    found = (pages.RECORDS / "work-one-published.csv").read_text().splitlines()[1]
    assert found == "d,ERM,accuracy,0.812346,0.0,0.9,,-0.087654"
    table = (pages.RECORDS / "work-one.csv").read_text()
    assert table == "data,row,n,accuracy,accuracy sd\nd,ERM,2,0.812346,0.0\n"
    assert pages.main(["write"]) == 0 and pages.INDEX.read_text() == text


def test_what_cannot_be_kept_is_said(finished: tuple[Path, Path], monkeypatch, capsys) -> None:
    results, grid = finished
    monkeypatch.setattr(pages, "LARGEST", 10)
    assert pages.main(["keep", str(results), str(grid)]) == 2
    assert "keep fewer metrics" in capsys.readouterr().err
    grid.write_text("data: {d: {}}\n")
    with pytest.raises(UserError, match="its results would be empty"):
        pages.keep(results, grid, "")
