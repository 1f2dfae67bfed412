"""Single photons of a detector that reads with noise become whole numbers of photons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.data.scan import Scan

NAME = "photon-steps"


@pytest.fixture(scope="module")
def scan() -> Scan:
    return pp.simulate(object="lines", N=48, patterns=80, photons=300, seed=4)


def read(scan: Scan, photon: float, noise: float, dtype: str = "u2") -> Scan:
    """What a detector with so many units per photon reads; below 0 is 0."""
    rng = np.random.default_rng(1)
    counts = np.asarray(scan.diffraction[:]) * photon
    readings = np.rint(counts + rng.normal(0, noise, counts.shape)).clip(0).astype(dtype)
    return replace(
        scan, diffraction=readings, object=None, probe=scan.probe * np.float32(np.sqrt(photon))
    )


@pytest.mark.parametrize(("photon", "noise"), [(10, 1), (25, 1), (6, 0.7), (80, 6)])
@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_readings_become_photons(scan: Scan, photon: float, noise: float, dtype: str) -> None:
    checked = examine(read(scan, photon, noise, dtype))
    (found,) = (one for one in checked.findings if one.name == NAME)
    assert found.level == "mended"
    assert found.details["photon"] == pytest.approx(photon, rel=0.01)
    counts = np.asarray(scan.diffraction[:])
    assert (checked.scan.diffraction[:] != counts).mean() < 1e-3
    np.testing.assert_allclose(np.abs(checked.scan.probe), np.abs(scan.probe), rtol=0.01)


def test_other_readings_are_left(scan: Scan) -> None:
    counts = np.asarray(scan.diffraction[:])
    bright = pp.simulate(object="lines", N=48, patterns=80, photons=1e6, seed=4)
    lit = counts + np.random.default_rng(0).poisson(2, counts.shape).astype(counts.dtype)
    for other in (
        scan,
        replace(scan, diffraction=lit, object=None),
        replace(scan, diffraction=counts * np.uint16(10), object=None),
        read(scan, 10, 4),
        read(bright, 10, 1, "u4"),
        *(replace(bright, diffraction=np.minimum(bright.diffraction[:], k)) for k in (20, 60, 150)),
    ):
        assert NAME not in [one.name for one in examine(other).findings]
