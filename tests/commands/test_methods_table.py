"""``frbench methods``: every method is there, once, with what its class says of itself."""

import csv
import io
import runpy

import pytest
from paths import ROOT

from frbench.commands.methods import main
from frbench.contracts.errors import UserError
from frbench.runs.catalogue import exported
from frbench.runs.methods import AXES, methods


def test_every_class_is_listed_once():
    found = methods()
    names = [method.name for method in found]
    assert len(names) == len(set(names))
    for axis, kind in (("objective", "model"), ("penalty", "penalty"), ("mixing", "mixing"),
                       ("group inference", "infer"), ("postprocessing",) * 2):  # fmt: skip
        known = [name for name in exported(kind) if name != "Postprocessor"]
        assert [m.name for m in found if m.axis == axis] == known
    assert {method.axis for method in found} == {*AXES}
    assert all(method.summary and "`" not in method.summary for method in found)


def test_labels_and_sources_are_those_of_the_class(capsys):
    assert main(["--format", "csv"]) == 0
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    wanted = {
        "ERM": ("y", "–"), "GroupDRO": ("y, z", "arXiv 1911.08731, 2303.05809"),
        "SpectralDecoupling": ("y", "arXiv 2011.09468"), "IRM": ("y, z", "arXiv 1907.02893"),
        "Errors": ("y", "arXiv 2107.09044"), "LISA": ("y, z", "arXiv 2201.00299"),
        "DFR": ("y", "arXiv 2204.02937"), "balance: class": ("y", "arXiv 2406.17433"),
    }  # fmt: skip
    for name, (training, source) in wanted.items():
        assert (rows[name]["training"], rows[name]["source"]) == (training, source), name
    assert [rows[name]["selection"] for name in ("DFR", "AFR", "CRT")] == ["y, z", "y", "–"]
    assert (rows["ThresholdOptimizer"]["test"], rows["DFR"]["test"]) == ("z", "–")
    assert "ICML 2021" in rows["BPF"]["source"]


def test_one_axis_and_an_unknown_one(capsys):
    assert main(["--axis", "mixing", "--format", "markdown"]) == 0
    assert "LISA" in (text := capsys.readouterr().out) and "GroupDRO" not in text
    with pytest.raises(UserError, match="unknown axis 'none'; axes: training distribution, "):
        main(["--axis", "none"])


def test_the_page_is_that_of_the_classes():
    page = runpy.run_path(str(ROOT / "docs/_tools/methods.py"))["page"]()
    assert (ROOT / "docs/methods.md").read_text(encoding="utf-8") == page
