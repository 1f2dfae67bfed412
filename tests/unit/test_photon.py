"""One photon is read off the counts, whatever their unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ptychopinn as pp
from ptychopinn.data.normalization import LARGEST_DOSE, prepare
from ptychopinn.physics.photon import photon_of_patterns, photon_quantum

SCALES = st.floats(-6, 6).map(lambda decade: 10.0**decade)


@given(st.floats(0.01, 1e3), SCALES, st.integers(0, 2**32 - 1), st.booleans())
def test_the_step_of_poisson_counts_is_one_photon(
    mean: float, scale: float, seed: int, as_amplitudes: bool
) -> None:
    rng = np.random.default_rng(seed)
    photons = rng.poisson(mean * rng.exponential(size=(8, 32, 32)))
    photons[0, 0, 0] += 1  # at least one
    counts = (photons * scale).astype(np.float32)
    if as_amplitudes:
        counts = np.sqrt(counts) ** 2
    assert photon_quantum(counts) == pytest.approx(scale, rel=1e-4)


@given(SCALES, st.integers(0, 2**32 - 1))
def test_a_continuum_has_no_step(scale: float, seed: int) -> None:
    counts = scale * np.random.default_rng(seed).exponential(size=(8, 32, 32))
    assert photon_quantum(counts.astype(np.float32)) is None


def test_a_few_interpolated_pixels_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, (8, 32, 32)).astype(np.float32)
    counts.reshape(-1)[::101] = rng.uniform(0, 9, counts.size // 101 + 1)
    assert photon_quantum(counts) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 2.7, 1e-4])
def test_counts_that_were_corrected_have_steps_of_their_own(scale: float) -> None:
    """A flat field changes the step from pixel to pixel, the current from pattern to pattern."""
    rng = np.random.default_rng(0)
    light = 0.02 + 20 * rng.exponential(size=900) ** 3
    photons = rng.poisson(light, (60, 900)) * scale
    pixels, currents = rng.normal(1, 0.04, 900), rng.normal(1, 0.1, (60, 1))
    for corrected in (photons / pixels, photons / currents):
        assert photon_quantum(corrected.astype(np.float32)) is None
        found = photon_of_patterns(corrected.astype(np.float32))
        assert found == pytest.approx(scale, rel=0.05)
    assert photon_of_patterns(photons.astype(np.float32)) == pytest.approx(scale, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_smooth_patterns_have_no_steps_of_their_own_either(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noisy = rng.poisson(9, (60, 900)) + rng.normal(0, 0.4, (60, 900))
    smooth = rng.gamma(2, 3, (60, 900))
    for values in (noisy.clip(0), smooth, np.repeat(smooth[:1], 60, axis=0)):
        assert photon_of_patterns(values.astype(np.float32)) is None


def test_no_light_has_no_step() -> None:
    assert photon_quantum(np.zeros((2, 8, 8))) is None


@pytest.mark.parametrize("photons", [1e3, 1e5, 1e7, 1e9])
def test_a_prepared_scan_knows_its_photons_in_any_unit(photons: float) -> None:
    scan = pp.simulate(N=32, patterns=36, photons=photons, seed=1)
    one = prepare(scan)
    assert (one.photon_scale / one.input_scale) ** 2 == pytest.approx(1, rel=1e-4)
    counts = (np.asarray(scan.diffraction) * 0.037).astype(np.float32)
    other = prepare(replace(scan, diffraction=counts))
    assert other.photon_scale == pytest.approx(one.photon_scale, rel=1e-4)
    assert other.expected_misfit == pytest.approx(one.expected_misfit, rel=1e-3)


def test_patterns_without_steps_have_the_noise_of_a_large_dose() -> None:
    scan = pp.simulate(N=32, patterns=36, photons=1e5, seed=1)
    smooth = np.asarray(scan.diffraction) + np.random.default_rng(0).uniform(size=(36, 32, 32))
    prepared = prepare(replace(scan, diffraction=smooth.astype(np.float32)))
    photon = (prepared.photon_scale / prepared.input_scale) ** 2
    assert photon == pytest.approx(prepared.counts / LARGEST_DOSE)
