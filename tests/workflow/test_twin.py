"""Patterns turned by 180 degrees look like the complex conjugates of probe and object: found where
the probe tells, and said where nothing does."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.findings import Finding
from ptychopinn.data.orientation import Orientation
from ptychopinn.physics.twin import likeness, of_reversed_positions, of_turned_patterns, strongest

FREE = pp.RefineConfig(refine_probe=True, passes=12)
HALF_TURN = Orientation(flip_y=True, flip_x=True)


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="grf", scan="fermat", N=32, patterns=81, step_px=3.0, seed=31)


def turned(scan: pp.Scan) -> pp.Scan:
    return replace(scan, diffraction=HALF_TURN.of_patterns(scan.diffraction[:]), object=None)


def twin(result: pp.Reconstruction) -> Finding | None:
    return next((found for found in result.findings if found.name == "twin"), None)


def test_a_probe_from_the_patterns_cannot_tell_and_the_result_says_so(
    scan: pp.Scan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pp.save_scan(turned(scan), tmp_path / "scan.h5")
    given = pp.load_scan(tmp_path / "scan.h5", probe="auto")
    with caplog.at_level(logging.INFO):
        result = pp.refine(given, None, FREE, backend="numpy")
    found = twin(result)
    assert found is not None and (found.level, found.details["told"]) == ("note", False)
    assert "nothing tells the object from its complex conjugate" in found.message
    # It is no fault of the scan: no warning.
    (record,) = [r for r in caplog.records if "complex conjugate" in r.getMessage()]
    assert record.levelno == logging.INFO
    # Further iterations with the probe of the file know no more, and it is kept in the file.
    result.save(tmp_path / "r.h5")
    earlier = pp.load_reconstruction(tmp_path / "r.h5")
    further = pp.refine(turned(scan), earlier, FREE, no_mend=["alternatives"])
    assert twin(further) == found


def test_a_known_probe_tells(scan: pp.Scan) -> None:
    untried: Any = {"backend": "numpy", "no_mend": ["alternatives"]}
    assert twin(pp.refine(scan, None, FREE, **untried)) is None
    assert twin(pp.reconstruct(scan, refine="never", **untried)) is None


@pytest.mark.parametrize("what", ["patterns", "positions"])
def test_a_known_probe_speaks_for_the_conjugate(
    what: str, scan: pp.Scan, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the orientation is not tried, the refined probe shows what was turned."""
    given = (
        turned(scan)
        if what == "patterns"
        else replace(scan, positions_px=-scan.positions_px, object=None)
    )
    known = scan.probe
    # As iterations end that went the other way: with the probe that explains the patterns.
    other = of_turned_patterns if what == "patterns" else of_reversed_positions
    start = replace(given, probe=np.stack([other(known[0])]).astype(np.complex64), object=None)
    found = pp.refine(start, None, FREE, backend="numpy", no_mend="all")
    assert found.fit is not None and found.fit.verdict == "good"
    from ptychopinn.workflows.twin_image import with_twin

    said = twin(with_twin(found, replace(given, object=None)))
    assert said is not None and (said.level, said.details["told"]) == ("doubt", True)
    assert f"where the {what} were turned by 180 degrees" in said.message
    assert any(r.levelno == logging.WARNING for r in caplog.records)


def test_a_probe_like_its_conjugate_cannot_tell(scan: pp.Scan) -> None:
    real = np.abs(scan.probe).astype(np.complex64)
    result = pp.refine(replace(scan, probe=real, object=None), None, backend="numpy", no_mend=[
        "orientation", "frame-offset", "position-unit", "alternatives",
    ])  # fmt: skip
    found = twin(result)
    assert found is not None and found.level == "note"
    assert "hardly differs from its conjugate" in found.message


def test_likeness_is_blind_to_shifts_and_tilts(scan: pp.Scan) -> None:
    mode = strongest(scan.probe)
    ramp = np.exp(2j * np.pi * np.arange(32) / 32)
    moved = 0.3 * np.exp(1j) * np.roll(mode, (2, -3), (0, 1)) * ramp
    assert likeness(mode, moved) == pytest.approx(1)
    assert likeness(mode, of_turned_patterns(mode)) < 0.9
    assert likeness(mode, of_reversed_positions(mode)) < 0.9
