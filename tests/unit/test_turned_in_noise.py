"""Turned scans where noise is most of what every orientation leaves: told by likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.geometry_mends import turn_of
from ptychopinn.checks.replay import mended_like
from ptychopinn.checks.trial_fits import neighbours, trial_of
from ptychopinn.checks.upright import _far_likelier, right_geometry
from ptychopinn.data.orientation import ORIENTATIONS, Orientation
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps


@pytest.fixture(scope="module")
def scan() -> Scan:
    """Weak structure: swapped axes leave 1.2 times the noise."""
    made = pp.simulate(object="natural", N=64, patterns=144, photons=1e4, seed=1701)
    return replace(made, object=None)


def turned(scan: Scan, orientation: Orientation) -> Scan:
    return replace(scan, positions_px=orientation.of_positions(scan.positions_px))


@pytest.mark.parametrize("orientation", ORIENTATIONS[1:], ids=str)
def test_positions_that_were_turned_are_found(scan: Scan, orientation: Orientation) -> None:
    part = trial_of(turned(scan, orientation), neighbours(scan, 36))
    found = _far_likelier(NumpyOps(), part, [], None)
    assert found is not None and found.details["turned"] == "positions"
    assert turn_of(found.details) == orientation.inverse


def test_as_given_nothing_is_likelier(scan: Scan) -> None:
    part = trial_of(scan, neighbours(scan, 36))
    assert _far_likelier(NumpyOps(), part, [], None) is None


def test_patterns_that_were_turned_are_told_from_positions(scan: Scan) -> None:
    flipped = np.asarray(scan.diffraction)[:, ::-1].copy()
    given = replace(scan, diffraction=flipped)
    upright, found = right_geometry(NumpyOps(), given)
    assert [(one.name, one.level, one.details["turned"]) for one in found] == [
        ("orientation", "mended", "patterns")
    ]
    assert found[0].details["flip_y"] and not found[0].details["undecided"]
    assert "far likelier" in found[0].message
    np.testing.assert_array_equal(upright.positions_px, scan.positions_px)
    np.testing.assert_array_equal(mended_like(given, found).diffraction[:], upright.diffraction[:])


def test_with_a_wrong_probe_none_explains_the_patterns(scan: Scan) -> None:
    """Another orientation may be the likeliest by far then."""
    y, x = np.indices((64, 64)) - 32
    wrong = np.exp(-(y**2 + x**2) / 8.0) * np.linalg.norm(scan.probe[0]) / np.sqrt(np.pi * 4)
    for orientation in ORIENTATIONS:
        part = trial_of(
            replace(turned(scan, orientation), probe=wrong[None].astype(np.complex64)),
            neighbours(scan, 36),
        )
        assert _far_likelier(NumpyOps(), part, [], None) is None


def test_patterns_are_not_turned_as_a_mirrored_probe() -> None:
    """Held, it explains turned patterns at positions that were not."""
    made = pp.simulate(object="lines", N=32, patterns=144, photons=3000, seed=1759, scan="fermat")
    mirrored = np.ascontiguousarray(made.probe.transpose(0, 2, 1))
    found = right_geometry(NumpyOps(), replace(made, probe=mirrored, object=None))[1]
    assert [one for one in found if one.level == "mended"] == []
