"""Patterns that were turned: told by the known probe where a free one is slow to follow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import ptychopinn as pp
from ptychopinn.checks.trial_fits import neighbours, residual_of, trial_of
from ptychopinn.checks.upright import LONG, _turned_patterns, right_geometry
from ptychopinn.data.findings import Finding
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps


def test_mirrored_patterns_are_told_by_the_probe() -> None:
    """With a free probe they leave 0.9 of the residual only, and half of the unit 0.8."""
    scan = pp.simulate(N=32, patterns=100, object="leaves", seed=7, step_px=3.5)
    xp, some = NumpyOps(), neighbours(scan, 36)

    def told(scan: Scan) -> Finding | None:
        part = trial_of(scan, some)
        return _turned_patterns(xp, part, residual_of(xp, part, LONG), [])

    assert told(scan) is None
    one = told(replace(scan, diffraction=np.asarray(scan.diffraction)[:, ::-1].copy()))
    assert one is not None
    assert (one.name, one.level, one.details["turned"]) == ("orientation", "mended", "patterns")
    assert one.details["flip_y"] and not (one.details["flip_x"] or one.details["transpose"])
    assert one.details["residual"] < 0.005


def test_a_tilt_of_the_probe_does_not_stay_with_turned_patterns() -> None:
    """Reversed, a pattern of even size has its beam a pixel beside the middle: the probe is tilted
    by that before, and must not be afterwards."""
    scan = pp.simulate(N=32, patterns=100, object="grf", photons=1e4, seed=1732, scan="fermat")
    flipped = np.asarray(scan.diffraction)[:, ::-1].copy()
    looked_at = pp.check_scan(replace(scan, diffraction=flipped, object=None))
    assert [one.name for one in looked_at.findings] == ["beam-off-centre"]
    _, found = right_geometry(NumpyOps(), looked_at.scan)
    assert [(one.name, one.level, one.details["turned"]) for one in found] == [
        ("orientation", "mended", "patterns")
    ]
    assert found[0].details["flip_y"] and not found[0].details["flip_x"]
    # Exactly as they were: the beam is in the middle again.
    assert not found[0].details["about_centre"]
