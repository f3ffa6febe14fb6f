"""Every notebook runs from top to bottom, and is stored with the outputs of its own sources."""

from pathlib import Path

import nbformat
import pytest

import notebooks

NOTEBOOKS = sorted(notebooks.FOLDER.glob("*.ipynb"))

# The kernel's own machinery, not ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def shows_a_picture(notebook) -> bool:
    return any("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_its_outputs_are_those_of_its_sources(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebooks.stored_digest(notebook) == notebooks.digest(notebook), "run `make notebooks`"
    assert shows_a_picture(notebook)
    assert all(output.output_type != "error" for output in outputs(notebook))
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_small_and_names_no_folder_of_the_machine(path):
    text = path.read_text()
    assert len(text) <= notebooks.LARGEST
    assert "/tmp/" not in text and "/home/" not in text and "/root/" not in text


def test_a_changed_source_is_seen():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    notebooks.tidy(notebook, Path("/nowhere"))
    assert notebooks.stored_digest(notebook) == notebooks.digest(notebook)
    notebook.cells[0].source = "2"
    assert notebooks.stored_digest(notebook) != notebooks.digest(notebook)


def test_what_is_stored_has_neither_bars_nor_paths():
    cell = nbformat.v4.new_code_cell("1")
    bar = nbformat.v4.new_output("stream", name="stderr", text="50 %")
    line = nbformat.v4.new_output("stream", name="stdout", text="written to /place/run/x.json")
    cell.outputs = [bar, line]
    notebooks.tidy(nbformat.v4.new_notebook(cells=[cell]), Path("/place"))
    assert [output.text for output in cell.outputs] == ["written to run/x.json"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs(path, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = notebooks.execute(path, tmp_path)
    assert shows_a_picture(notebook)
    errors = [
        o["text"] for o in outputs(notebook) if o.get("name") == "stderr" and "Error" in o["text"]
    ]
    assert not errors
