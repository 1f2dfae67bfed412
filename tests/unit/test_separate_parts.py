"""Positions in parts that are far from each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.data.scan import Scan

NAME = "separate-parts"


@pytest.fixture(scope="module")
def scan() -> Scan:
    return pp.simulate(object="leaves", N=32, patterns=64, step_px=3.2, photons=1e4, seed=4401)


def test_coordinates_without_their_sign_are_told(scan: Scan) -> None:
    centred = scan.positions_px - scan.positions_px.mean(axis=0)
    wrapped = np.where(centred < 0, centred + 655.36, centred)
    found = examine(replace(scan, positions_px=wrapped, object=None)).findings
    (one,) = (one for one in found if one.name == NAME)
    assert one.level == "doubt" and one.details["parts"] == [16, 16, 16, 16]


def test_one_part_is_left(scan: Scan) -> None:
    """Gaps that a pattern bridges, and single patterns far away, are no parts."""
    bridged = scan.positions_px + np.array([0.0, 20.0]) * (np.arange(scan.M) >= 32)[:, None]
    away = scan.positions_px.copy()
    away[7] += 400
    for positions in (scan.positions_px, bridged, away):
        found = examine(replace(scan, positions_px=positions, object=None)).findings
        assert NAME not in [one.name for one in found]
