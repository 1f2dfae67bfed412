"""Detectors that do not count: their noise is measured, and no wrong object passes for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.normalization import mean_counts, noise_of
from ptychopinn.data.scan import Scan
from ptychopinn.physics.noise import noise_of_amplitude
from ptychopinn.physics.readout import DetectorNoise, noise_of_patterns


@pytest.fixture(scope="module")
def counted() -> Scan:
    return pp.simulate(object="leaves", N=32, patterns=81, photons=1e5, seed=3)


def read(scan: Scan, gain: float, sigma: float, *, digits: bool = False) -> Scan:
    """The scan on a detector that adds normal noise to every reading; negative ones are 0."""
    rng = np.random.default_rng(1)
    readings = gain * scan.diffraction + rng.normal(0, sigma, scan.diffraction.shape)
    readings = np.maximum(readings, 0)
    stored = readings.round().astype(np.uint32) if digits else readings.astype(np.float32)
    return replace(scan, diffraction=stored)


@pytest.mark.parametrize(
    ("gain", "sigma", "digits"), [(1, 1, False), (1, 4, False), (10, 3, False), (8, 4, True)]
)
def test_gain_and_noise_of_reading_are_measured(
    counted: Scan, gain: float, sigma: float, digits: bool
) -> None:
    scan = read(counted, gain, sigma, digits=digits)
    found = noise_of(scan, mean_counts(scan))
    assert found.photon == pytest.approx(gain, rel=0.15)
    assert found.readout == pytest.approx(sigma, rel=0.2)


def test_a_counting_detector_keeps_its_photons(counted: Scan) -> None:
    assert noise_of(counted, mean_counts(counted)) == DetectorNoise(1.0)


def test_patterns_without_noise_have_none(counted: Scan) -> None:
    from ptychopinn.ops.numpy import NumpyOps
    from ptychopinn.physics import forward

    assert counted.object is not None
    frames = forward.predict(
        NumpyOps(), counted.object, counted.probe, counted.positions_px, np.zeros(2, np.int64),
        counted.propagator, 20, [],
    )  # fmt: skip
    exact = np.concatenate([block for _, block in frames])
    found = noise_of_patterns(exact, counted.good_pixels)
    assert found is None or found.photon < 0.02


@pytest.mark.parametrize("added", [0.0, 9.0])
@pytest.mark.parametrize(("photon", "readout"), [(1.0, 3.0), (10.0, 3.0), (2.0, 20.0)])
def test_expected_noise_of_amplitudes(photon: float, readout: float, added: float) -> None:
    rng = np.random.default_rng(0)
    light = np.array([0.0, 2.0, 10.0, 60.0, 500.0, 20_000.0])
    photons = rng.poisson(light / photon, (200_000, len(light)))
    readings = np.maximum(photon * photons + rng.normal(0, readout, photons.shape), 0)
    mean = readings.mean(axis=0)
    measured = ((np.sqrt(readings + added) - np.sqrt(mean + added)) ** 2).mean(axis=0)
    expected = DetectorNoise(photon, readout).of_amplitude(mean, added)
    np.testing.assert_allclose(expected, measured, rtol=0.05)


def test_without_noise_of_reading_it_is_that_of_photons() -> None:
    counts = np.array([0.0, 3.0, 100.0])
    np.testing.assert_allclose(
        DetectorNoise(2.0).of_amplitude(counts), 2 * noise_of_amplitude(counts / 2)
    )


def test_a_right_picture_is_good_and_a_wrong_one_is_not(counted: Scan) -> None:
    scan = read(counted, 1, 3)
    right = pp.reconstruct(scan, backend="numpy")
    assert right.fit is not None and right.fit.verdict == "good"
    assert "background" in {found.name for found in right.findings}
    # Without a background for it the phase has 27 dB.
    assert pp.evaluate(right, counted).metrics["phase_psnr_db"] > 31
    swapped = replace(scan, positions_px=scan.positions_px[:, ::-1].copy(), object=None)
    wrong = pp.reconstruct(swapped, backend="numpy", no_mend=["orientation"])
    assert wrong.fit is not None and wrong.fit.verdict != "good"


@pytest.mark.parametrize(
    ("gain", "sigma", "digits"), [(10, 1, False), (10, 1, True), (200, 9, False)]
)
def test_single_photons_far_above_the_noise_of_a_reading_are_no_zingers(
    gain: float, sigma: float, digits: bool
) -> None:
    few = pp.simulate(object="leaves", N=32, patterns=100, photons=200, seed=3)
    scan = read(few, gain, sigma, digits=digits)
    found = noise_of(scan, mean_counts(scan))
    assert found.photon == pytest.approx(gain, rel=0.15)
    assert found.readout == pytest.approx(sigma, rel=0.2)
    assert "zingers" not in {one.name for one in pp.check_scan(scan).findings}
    # A spike that holds some tens of photons is one all the same.
    struck = scan.diffraction.copy()
    struck[40, 3, 4] = 100 * gain
    assert "zingers" in {
        one.name for one in pp.check_scan(replace(scan, diffraction=struck)).findings
    }
