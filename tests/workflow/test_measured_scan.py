"""A measured scan, not a simulated one: the command explains it, with and without a good probe."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.cli import run
from ptychopinn.workflows import after_network

pytest.importorskip("torch", reason="the stages of the command are compared with one backend")


@pytest.mark.parametrize("probe", ["probeRecon", "probeGuess"])
def test_the_star_is_explained(
    star: Path, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, probe: str
) -> None:
    """The analytic probe does not fit: it is noticed, and refined together with the object. The
    trials of the verdict, which take longest, are made once."""
    judged: list[Any] = []
    made = after_network.judged
    monkeypatch.setattr(
        after_network, "judged", lambda *given: judged.append(given) or made(*given)
    )
    output = tmp_path / "result"
    options = ["--probe", f"{star}:{probe}", "--backend", "pytorch", "--quiet"]
    assert run(["reconstruct", str(star), "-o", str(output), *options]) == 0
    record = json.loads((output / "run.json").read_text())
    # With the good probe what the detector has beside the beam is followed.
    assert [stage["refine_probe"] for stage in record["stages"]] == [probe == "probeGuess"]
    followed = {finding["name"] for finding in record["findings"]}
    assert ("background" in followed) == (probe == "probeRecon")
    assert record["fit"]["residual"] < 0.012
    # Systematic residuals that no other probe or geometry lowers are no reason to doubt.
    assert record["fit"]["verdict"] == "good"
    assert len(judged) == 1


def test_a_wrong_flip_of_the_star_is_not_good(star: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = pp.load_scan(star, probe=f"{star}:probeRecon")
    y, x = scan.positions_px.T
    flipped = replace(scan, positions_px=np.stack([y.max() + y.min() - y, x], 1), object=None)
    config = pp.RefineConfig(passes=12, refine_probe=True)
    with caplog.at_level(logging.INFO):
        found = pp.refine(flipped, None, config, backend="pytorch", no_mend=["orientation"])
    # It takes a while.
    assert caplog.text.count("looking for the cause") == 1
    assert found.fit is not None and found.fit.verdict != "good"
    assert found.fit.likely == "geometry-or-probe"
