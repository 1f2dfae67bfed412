"""What a start probe is made of, where patterns or pixels of a scan are spoilt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.data.normalization import mean_pattern
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.probes.pupils import find_pupil
from ptychopinn.probes.search import find_probe
from ptychopinn.probes.start import OF_PROBE, _in_focus
from ptychopinn.probes.usual import usual_pattern

Y, X = np.indices((32, 32)) - 16


@pytest.fixture(scope="module")
def scan() -> Scan:
    return pp.simulate(N=32, patterns=60, seed=7, step_px=3.5, object="leaves")


def test_flooded_patterns_and_hot_pixels_are_no_beam(scan: Scan) -> None:
    counts = scan.diffraction.astype(np.uint32)
    counts[:, 3, 4], counts[:, 16, 16], counts[:, 20, 20:22] = 6000, 90_000, 80_000
    counts[59], counts[0] = 40_000, 0
    spoilt = replace(scan, diffraction=counts)
    pattern, tells = usual_pattern(spoilt)
    assert sorted(map(tuple, np.argwhere(~tells))) == [(3, 4), (16, 16), (20, 20), (20, 21)]
    assert np.allclose(pattern[tells], mean_pattern(scan)[tells], rtol=0.1, atol=5)
    # What is made of it does not hide them from the look either.
    found = examine(replace(spoilt, probe=_in_focus(spoilt)), OF_PROBE).findings
    assert {one.name for one in found} == {"empty-patterns", "flooded-patterns", "hot-pixels"}


@pytest.mark.parametrize("photons", [50, 1e4, 1e9])
@pytest.mark.parametrize("stop", [0.0, 0.4])
def test_of_a_clean_scan_all_pixels_tell(stop: float, photons: float) -> None:
    for kind in ("aperture", "gaussian"):
        weak = pp.simulate(
            N=32, patterns=40, central_stop=stop, photons=photons, probe=kind, seed=2,
            amplitude=(0.95, 1.0), phase=(-0.1, 0.1), step_px=3.5,
        )  # fmt: skip
        assert usual_pattern(weak)[1].all()


def test_behind_a_beam_stop_the_pupil_goes_on(scan: Scan) -> None:
    """Scattered light would reach the middle of a ring; it does not reach behind a stop."""
    behind = np.hypot(Y, X) < 4
    shadowed = replace(scan, diffraction=np.where(behind, 0, scan.diffraction))
    assert (~usual_pattern(shadowed)[1] == behind).all()
    assert find_pupil(*usual_pattern(shadowed)).stop == 0


@pytest.mark.parametrize("bad", [np.hypot(Y, X) < 4, (Y >= -3) & (Y < 2)], ids=["stop", "gap"])
def test_masked_pixels_within_the_light_are_filled(scan: Scan, bad: np.ndarray) -> None:
    whole = find_pupil(mean_pattern(scan)).amplitude
    pupil = find_pupil(np.where(bad, 0, mean_pattern(scan)), ~bad)
    lit = whole > 0.5 * whole.max()
    assert pupil.stop == 0 and abs(pupil.radius - find_pupil(mean_pattern(scan)).radius) <= 1
    assert np.abs(pupil.amplitude - whole)[bad & lit].mean() < 0.2 * whole[lit].mean()


def test_a_probe_is_found_where_the_middle_of_the_detector_is_masked(scan: Scan) -> None:
    """A probe that lights up nothing else would leave trials nothing to begin with."""
    part = replace(scan.select(np.arange(6)), mask=np.hypot(Y, X) > 2)
    assert find_probe(NumpyOps(), part).residual < 0.03
