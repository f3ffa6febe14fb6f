"""Run the notebooks and store their outputs: ``python docs/_tools/notebooks.py [NAME.ipynb ...]``.

A notebook stores the hash of its cells' sources beside the outputs, so that a fast test sees
outputs that are older than the code (`make notebooks`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[2] / "notebooks"
#: Largest stored notebook, in bytes.
LARGEST = 300_000


def digest(notebook: Any) -> str:
    """Hash the cells' kinds and sources."""
    cells = [[cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def stored_digest(notebook: Any) -> str | None:
    """Return the hash of the sources that made the stored outputs, None if there are none."""
    found: str | None = notebook.metadata.get("frbench", {}).get("sources")
    return found


def execute(path: Path, folder: Path) -> Any:
    """Run a notebook in a folder and return it with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    os.environ.pop("MPLBACKEND", None)  # plots are shown, not drawn for files
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    return notebook


def small(picture: str) -> str:
    """Store a picture, PNG in base64, with 64 colours, where that is shorter."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image, io.BytesIO() as file:
        image.convert("RGB").quantize(64).save(file, "PNG", optimize=True)
        return min(picture, base64.b64encode(file.getvalue()).decode(), key=len)


def tidy(notebook: Any, folder: Path) -> None:
    """Keep what a reader needs: no progress bars, times, or paths of this machine."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept = [o for o in cell.outputs if o.get("name") != "stderr"]
        text = json.dumps(kept).replace(f"{folder}/", "").replace(str(folder), ".")
        text = re.sub(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/", "", text)
        cell.outputs = [nbformat.from_dict(output) for output in json.loads(text)]
        for data in (output.get("data", {}) for output in cell.outputs):
            if "image/png" in data:
                data["image/png"] = small(data["image/png"])
    notebook.metadata["frbench"] = {"sources": digest(notebook)}


def main(names: list[str]) -> int:
    """Run and store the named notebooks, all without names."""
    for path in [Path(name) for name in names] or sorted(FOLDER.glob("*.ipynb")):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(path, Path(folder))
            tidy(notebook, Path(folder))
        text = nbformat.writes(notebook) + "\n"
        if len(text) > LARGEST:
            raise SystemExit(f"{path}: {len(text)} bytes with outputs; make its pictures smaller.")
        path.write_text(text, encoding="utf-8")
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {len(text)} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
