"""A near field of another distance than is given is told by its patterns."""

from __future__ import annotations

from dataclasses import replace

import pytest

import ptychopinn as pp
from ptychopinn.checks.near_distance import distance
from ptychopinn.checks.replay import mended_like
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps


@pytest.fixture(scope="module")
def scan() -> Scan:
    found = pp.simulate(
        N=32, object="leaves", patterns=36, step_px=3.0, photons=1e5, seed=2,
        propagator="near-field",
    )  # fmt: skip
    return replace(found, object=None)


@pytest.mark.parametrize(
    ("factor", "focus_m"),
    # The last one is a cone beam like a parallel one of 1.3 times the distance.
    [(1.2, None), (0.2, None), (None, 4e-3)],
)
def test_another_distance_is_found(factor: float | None, focus_m: float | None, scan: Scan) -> None:
    assert scan.distance_m is not None
    far = 0.1 if factor is None else factor * scan.distance_m
    wrong = replace(scan, distance_m=far, focus_distance_m=focus_m)
    found = distance(NumpyOps(), wrong)
    assert found is not None and (found.name, found.level) == ("distance", "mended")
    mended = mended_like(wrong, [found])
    assert mended.distance_m == pytest.approx(scan.distance_m, rel=0.03)
    assert mended.focus_distance_m is None


def test_the_right_one_is_left_alone(scan: Scan) -> None:
    """A far field has none."""
    assert distance(NumpyOps(), scan) is None
    assert distance(NumpyOps(), pp.simulate(N=32, patterns=36, seed=1)) is None
