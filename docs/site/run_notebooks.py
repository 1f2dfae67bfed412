"""Runs the notebooks of docs/notebooks and keeps their outputs.

python docs/site/run_notebooks.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "notebooks"


def run(notebook: Path) -> Any:
    """A notebook with the outputs of its cells, run in an empty folder by this Python; nothing in
    it says when or where.

    Raises nbclient's CellExecutionError where a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        NotebookClient(
            content,
            timeout=300,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": place}},
        ).execute()
    content.metadata["language_info"] = {"name": "python"}
    return content


if __name__ == "__main__":
    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(run(path), path)
