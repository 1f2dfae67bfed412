"""Patterns that were turned: told by the known probe where a free one is slow to follow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import ptychopinn as pp
from ptychopinn.checks.trial_fits import neighbours, residual_of, trial_of
from ptychopinn.checks.upright import LONG, _turned_patterns
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
