"""Another orientation within the noise: told by likelihoods where photons are enough for that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.likelier import likelier_orientation
from ptychopinn.ops.numpy import NumpyOps


@pytest.mark.parametrize("swapped", [True, False])
def test_swapped_axes_are_told_within_the_noise(swapped: bool) -> None:
    scan = pp.simulate(N=32, patterns=100, object="grf", photons=300, seed=6, step_px=2.5)
    if swapped:
        scan = replace(scan, positions_px=np.ascontiguousarray(scan.positions_px[:, ::-1]))
    assert (likelier_orientation(NumpyOps(), replace(scan, object=None)) is not None) is swapped


def test_fewer_photons_than_pixels_of_the_object_tell_none() -> None:
    """Any orientation may follow their noise best."""
    options = {"N": 64, "patterns": 100, "object": "natural", "photons": 50, "modes": 2}
    scan = pp.simulate(**options, seed=5, step_px=5.12)
    assert likelier_orientation(NumpyOps(), replace(scan, object=None)) is None


def test_of_a_hundred_photons_one_that_is_hardly_above_the_next_is_none() -> None:
    scan = pp.simulate(
        N=32, patterns=100, object="natural", photons=100, modes=3, seed=10, step_px=2.5
    )
    assert likelier_orientation(NumpyOps(), replace(scan, object=None)) is None
