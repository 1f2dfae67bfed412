"""Scans with two faults of their geometry, and with gaps where patterns were left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.checks.numbering import frames_of, partners
from ptychopinn.checks.replay import mended_like
from ptychopinn.checks.upright import right_geometry
from ptychopinn.data.findings import Finding, with_findings
from ptychopinn.data.scan import Scan
from ptychopinn.io.far_positions import far_finding
from ptychopinn.ops.numpy import NumpyOps


@pytest.fixture(scope="module")
def whole() -> Scan:
    scan = pp.simulate(
        N=32, object="leaves", patterns=100, step_px=3, jitter_px=1.0, photons=1e5, seed=3
    )
    return replace(scan, object=None)


def at(scan: Scan, positions: NDArray[np.float64]) -> Scan:
    return replace(scan, positions_px=positions)


def scaled(positions: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    middle = positions.mean(axis=0)
    return np.asarray(middle + factor * (positions - middle))


def apart(scan: Scan, whole: Scan) -> NDArray[np.float64]:
    """How far each pattern is from its true place, but for a common shift."""
    names = {pattern.tobytes(): k for k, pattern in enumerate(whole.diffraction[:])}
    true = whole.positions_px[[names[pattern.tobytes()] for pattern in scan.diffraction[:]]]
    away = scan.positions_px - true
    return np.asarray(np.abs(away - np.median(away, axis=0)).max(axis=1))


def test_another_unit_of_swapped_axes(whole: Scan) -> None:
    given = at(whole, scaled(whole.positions_px, 2)[:, ::-1])
    scan, found = right_geometry(NumpyOps(), given, ["frame-slip"])
    assert {(one.name, one.level) for one in found} == {
        ("orientation", "mended"), ("position-unit", "mended"),
    }  # fmt: skip
    assert apart(scan, whole).max() < 1e-6
    again = mended_like(given, found)
    np.testing.assert_allclose(again.positions_px, scan.positions_px)


def test_positions_of_other_patterns_are_in_no_other_unit(whole: Scan) -> None:
    """Farther apart they contradict each other less, which mends nothing."""
    order = np.random.default_rng(3).permutation(whole.M)
    given = at(whole, whole.positions_px[order])
    assert right_geometry(NumpyOps(), given, ["orientation", "frame-slip"]) == (given, ())


def test_a_lost_frame_of_a_mirrored_scan(whole: Scan) -> None:
    mirrored = whole.positions_px * [1, -1]
    given = replace(
        whole, diffraction=np.delete(whole.diffraction[:], 45, axis=0), positions_px=mirrored[:-1]
    )
    scan, found = right_geometry(NumpyOps(), given, ["frame-offset", "position-unit"])
    assert [(one.name, one.level) for one in found] == [
        ("orientation", "mended"), ("frame-slip", "mended"),
    ]  # fmt: skip
    assert (apart(scan, whole) > 0.01).sum() <= 2


def test_an_offset_after_patterns_that_were_left_out(whole: Scan) -> None:
    """The positions of those are gone: who needs one of them has none."""
    counts = np.roll(whole.diffraction[:], 1, axis=0)
    counts[[20, 70, 71]] = 0
    given = replace(whole, diffraction=counts)
    looked = examine(given)
    scan, (moved,) = right_geometry(NumpyOps(), looked.scan, ["orientation", "position-unit"])
    assert (moved.name, moved.details["frames"]) == ("frame-offset", -1)
    assert moved.details["patterns"] == [0, 21, 72]
    assert "patterns 0, 21, 72 have none and are left out" in moved.message
    assert apart(scan, whole).max() < 1e-6
    again = mended_like(given, (*looked.findings, moved))
    np.testing.assert_array_equal(again.positions_px, scan.positions_px)


def test_frames_count_those_that_were_left_out(whole: Scan) -> None:
    """First those without a position, by the numbers of the file, then by those that are left."""
    far = far_finding(np.full((50, 2), 1e9), np.array([10, 12]))
    gone = Finding("empty-patterns", "mended", "", {"patterns": [0, 11]})
    scan = replace(
        whole.select(slice(0, 46)), provenance=with_findings(whole.provenance, [far, gone])
    )
    numbers = frames_of(scan)
    assert numbers.tolist() == [k for k in range(50) if k not in (0, 10, 12, 13)]
    own = partners(scan, 1)
    assert np.flatnonzero(own < 0).tolist() == [8, 9, 45]  # frames 9, 11 and 49
    assert own[0] == 1
    # Of a part of the scan nobody else has the positions.
    assert partners(scan, -1, 20, 30).tolist() == [*range(20), -1, *range(20, 29), *range(30, 46)]


def test_what_a_wrong_geometry_makes_up_is_not_said(
    whole: Scan, caplog: pytest.LogCaptureFixture
) -> None:
    """With swapped axes the beam seems to change its intensity, until they are turned back."""
    given = at(whole, whole.positions_px[:, ::-1])
    config = pp.PhysicsConfig(passes=30)
    result = pp.refine(given, config=config, backend="numpy", no_mend=("frame-slip",))
    assert [found.name for found in result.findings] == ["orientation"]
    assert "the positions were turned" in caplog.text
    assert "intensity of the beam" not in caplog.text
