"""Runs the notebooks of docs/notebooks and keeps their outputs.

python docs/site/run_notebooks.py
"""

from __future__ import annotations

import base64
import io
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
            timeout=None,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": place}},
        ).execute()
    content.metadata["language_info"] = {"name": "python"}
    for cell in content.cells:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    return content


def smaller(picture: str) -> str:
    """A picture in 256 colours, a third of its size."""
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    file = io.BytesIO()
    # Of the ways to choose the colours the one whose largest error is the smallest.
    way = Image.Quantize.MAXCOVERAGE
    reduced = image.quantize(256, way, kmeans=3, dither=Image.Dither.NONE)
    reduced.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    import nbformat

    for path in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(run(path), path)
