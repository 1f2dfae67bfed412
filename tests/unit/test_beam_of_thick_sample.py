"""What slices have not found yet is no beam that changes, and one that does change is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Seen
from ptychopinn.physics.propagators import HC

PATTERNS = 100
PLACES = np.random.default_rng(8).uniform(0, 40, (PATTERNS, 2))
SPACING_M = 12.4e-16 * 8000.0 / HC


def asked(scatters: NDArray[np.float64], true: NDArray[np.float64]) -> BeamCurrent:
    """The factors after passes that miss so much beside those that are true."""
    missing = np.random.default_rng(0).normal(size=PATTERNS)
    current, nothing = BeamCurrent.none(PLACES, 8), np.zeros((8, 8))
    for scatter in scatters:
        counts = true * (1 + scatter * missing)
        seen = Seen(counts, current.values, nothing, nothing, 1e-12)
        current = current.advanced(seen, np.asarray)
    return current


def test_what_fades_slower_and_slower_is_no_beam() -> None:
    fading = 0.3 / np.arange(4, 100)
    assert fading[30] > 0.008  # more than what is followed
    assert not asked(fading, np.ones(PATTERNS)).changes
    true = 1 + 0.05 * np.random.default_rng(1).normal(size=PATTERNS)
    assert asked(fading, true).values == pytest.approx(true / true.mean(), abs=0.02)


@pytest.fixture(scope="module")
def thick() -> pp.Scan:
    return pp.simulate(
        N=32, patterns=PATTERNS, step_px=4, photons=1e6, object="natural", seed=1,
        slices=2, pixel_size_m=1e-8, energy_eV=8000.0, slice_spacing_m=SPACING_M,
        poisson=False,
    )  # fmt: skip


def refined(truth: pp.Scan, factors: NDArray[np.float64]) -> tuple[pp.Reconstruction, float]:
    """The result of a scan with these factors, and its amplitude in dB."""
    mean = np.asarray(truth.diffraction) * factors[:, None, None]
    counts = np.random.default_rng(0).poisson(mean).astype(np.uint32)
    config = pp.PhysicsConfig(passes=50, slices=2, slice_spacing_m=SPACING_M)
    scan = replace(truth, diffraction=counts, object=None)
    result = pp.refine(scan, None, config, backend="numpy", no_mend="all")
    score = pp.evaluate(result, truth=truth).metrics["amplitude_psnr_db"]
    return result, score


def test_slices_that_part_slowly_get_no_factors(thick: pp.Scan) -> None:
    result, score = refined(thick, np.ones(PATTERNS))
    assert "beam-current" not in result.effects
    assert score > 34


def test_a_beam_that_changes_is_found_beside_slices(thick: pp.Scan) -> None:
    true = 1 + 0.2 * np.sin(np.arange(PATTERNS) / 9)
    result, score = refined(thick, true / true.mean())
    found = result.effects["beam-current"]
    assert np.corrcoef(found, true)[0, 1] > 0.8
    assert score > 26
