"""Run the notebooks and keep their outputs: ``python -m tests.helpers.notebooks [NOTEBOOK...]``.

Of an output that comes as PNG and as JPEG, the smaller is kept; warnings, which name files of this
machine, are not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).parents[2] / "notebooks"


def run(path: Path) -> None:
    """Execute a notebook where it is, and write it with its outputs.  Raises where a cell does."""
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": path.parent}}, record_timing=False).execute()
    notebook.metadata.language_info = {"name": "python"}
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            pictures = [kind for kind in ("image/png", "image/jpeg") if kind in output.get("data", {})]
            if "text/html" in output.get("data", {}):
                pictures = ["text/html", *pictures]
            for kind in sorted(pictures, key=lambda k: len(output.data[k]))[1:]:
                del output.data[kind]
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        run(Path(name))
