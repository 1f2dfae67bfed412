"""The scripts in examples/ run as they stand and say that their results fit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import warm_processes
from ptychopinn.report.figure_names import KINDS

EXAMPLES = Path(__file__).parents[2] / "examples"
# Script -> the file that it writes into the folder where it runs.
WRITES = {
    "every_figure.py": "every_figure",
    "first_picture.py": "first_picture.png",
    "many_scans.py": "many_scans",
    "near_field.py": "near_field.h5",
    "own_data.py": "own_data.h5",
    "train_and_compare.py": "model.zip",
}


def run(script: str, folder: Path, *arguments: str) -> str:
    done = warm_processes.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(script: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training and a good speed need a framework")
    if script == "many_scans.py":
        pytest.importorskip("distributed", reason="many scans need distributed: the extra batch")
    printed = run(script, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [WRITES[script]]
    assert "poor" not in printed
    assert "nan" not in printed


def test_the_gallery_has_every_figure() -> None:
    code = (EXAMPLES / "every_figure.py").read_text(encoding="utf-8")
    assert [name for name in KINDS if f'"{name}"' not in code] == []


def test_the_first_picture_of_a_measured_scan(star: Path, tmp_path: Path) -> None:
    """Of a part of it, with a probe that fits: test_measured_scan.py reconstructs the whole, with
    another one as well."""
    with np.load(star) as stored:
        arrays = {key: stored[key] for key in ("diff3d", "xcoords", "ycoords")}
        arrays["probeGuess"] = stored["probeRecon"]
    for key in ("diff3d", "xcoords", "ycoords"):
        arrays[key] = arrays[key][:20]
    part = tmp_path / "part.npz"
    np.savez(part, **arrays)
    run("first_picture.py", tmp_path, str(part), "star.png")
    assert (tmp_path / "star.png").stat().st_size > 10_000
