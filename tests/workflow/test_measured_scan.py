"""A measured scan, not a simulated one: the command explains it, with and without a good probe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptychopinn.cli import run

pytest.importorskip("torch", reason="the stages of the command are compared with one backend")


@pytest.mark.parametrize("probe", ["probeRecon", "probeGuess"])
def test_the_star_is_explained(star: Path, tmp_path: Path, elsewhere: Path, probe: str) -> None:
    """The analytic probe does not fit: it is noticed, and refined together with the object."""
    output = tmp_path / "result"
    options = ["--probe", f"{star}:{probe}", "--backend", "pytorch", "--quiet"]
    assert run(["reconstruct", str(star), "-o", str(output), *options]) == 0
    record = json.loads((output / "run.json").read_text())
    stages = [stage["stage"] for stage in record["stages"]]
    assert stages == (["network"] if probe == "probeRecon" else ["refinement"])
    assert record["fit"]["residual"] < 0.012
