"""Beam current and background: when they are followed, what a result keeps and says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks.base import chosen_names
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import PASSES, BeamCurrent
from ptychopinn.physics.effects import Seen, restored, stored
from ptychopinn.simulation import simulate
from ptychopinn.workflows.refinement import refine

M, N = 60, 8
PIXELS = np.ones((N, N))
PLACES = np.random.default_rng(8).uniform(0, 40, (M, 2))


def seen(counts: NDArray[Any], modelled: NDArray[Any], photon: float) -> Seen:
    """A pass in which pattern j had these counts; the pixels say nothing."""
    return Seen(counts, modelled, 0 * PIXELS, PIXELS, photon)


def after(passes: int, counts: NDArray[Any], photon: float) -> BeamCurrent:
    current = BeamCurrent.none(PLACES, N)
    for _ in range(passes):
        current = current.advanced(seen(counts, current.values, photon), np.asarray)
    return current


def test_photon_noise_is_no_beam_current() -> None:
    photons = 1e4
    counts = np.random.default_rng(0).poisson(photons, M) / photons
    assert not after(20, counts, 1 / photons).changes


def test_a_scatter_that_rests_changes_without_its_noise() -> None:
    photons, rng = 1e4, np.random.default_rng(0)
    true = 1 + 0.1 * rng.normal(size=M)
    counts = rng.poisson(photons * true) / photons
    assert not after(PASSES, counts, 1 / photons).changes
    found = after(PASSES + 5, counts, 1 / photons)
    assert found.values.mean() == pytest.approx(1)
    error = found.values - true / true.mean()
    assert error.std() < (counts - true).std()
    assert found.settled


def test_a_scatter_that_falls_is_that_of_an_object_that_is_being_found() -> None:
    rough = np.random.default_rng(0).normal(size=M)
    current = BeamCurrent.none(PLACES, N)
    for k in range(20):
        counts = 1 + 0.1 * 0.8**k * rough
        current = current.advanced(seen(counts, current.values, 1e-12), np.asarray)
    assert not current.changes


def test_patterns_without_light_have_the_factor_one() -> None:
    counts = 1 + 0.1 * np.random.default_rng(0).normal(size=M)
    counts[7] = 0
    found = after(PASSES + 3, counts, 1e-6)
    assert found.changes
    assert np.isfinite(found.values).all()
    assert found.values[7] == pytest.approx(1, abs=0.1)


def test_a_background_is_never_negative_and_follows_the_dark_pixels() -> None:
    background = Background(0.2 * PIXELS)
    down = Seen(np.ones(M), np.ones(M), -10 * PIXELS, PIXELS, 1.0)
    assert (background.advanced(down, np.asarray).values == 0).all()
    # A bright pixel asks for much, but knows little.
    surplus, information = 0.3 * PIXELS, PIXELS.copy()
    surplus[4, 4], information[4, 4] = 0.01, 1e-4
    up = Seen(np.ones(M), np.ones(M), surplus, information, 1.0)
    assert background.advanced(up, np.asarray).values == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"beam-current": np.ones(3)}, "one for each pattern"),
        ({"beam-current": np.zeros(M)}, "positive"),
        ({"background": np.full((N, N), np.nan)}, "background"),
        ({"background": np.ones(N)}, "shape"),
        ({"drift": np.ones(M)}, "received drift"),
    ],
)
def test_numbers_that_do_not_suit_the_patterns_are_refused(
    values: dict[str, Any], word: str
) -> None:
    with pytest.raises(InputError, match=word):
        restored(values, M, N)


def test_background_is_in_counts_and_factors_are_not() -> None:
    effects = restored({"beam-current": np.ones(M), "background": PIXELS}, M, N)
    scaled = stored(effect.scaled(3.0) for effect in effects)
    assert (scaled["beam-current"] == 1).all()
    assert (scaled["background"] == 3).all()


@pytest.fixture(scope="module")
def scan() -> Scan:
    return simulate(object="leaves", N=32, patterns=144, photons=1e5, seed=4)


@pytest.fixture(scope="module")
def faulty(scan: Scan) -> Scan:
    """With a beam that changes and a background of 2 counts."""
    rng = np.random.default_rng(1)
    factors = 1 + 0.25 * np.sin(np.arange(scan.M) / 5)
    counts = np.asarray(scan.diffraction) * factors[:, None, None] / factors.mean() + 2.0
    return replace(scan, diffraction=rng.poisson(counts).astype(np.uint32), object=None)


@pytest.fixture(scope="module")
def refined(faulty: Scan) -> Reconstruction:
    return refine(faulty, backend="numpy")


def test_refine_finds_them_by_itself_and_says_so(faulty: Scan, refined: Reconstruction) -> None:
    assert {found.name for found in refined.findings} >= {"beam-current", "background"}
    assert refined.effects["background"].mean() == pytest.approx(2, rel=0.15)
    assert refined.fit is not None
    assert refined.fit.verdict == "good"
    assert refined.effects["beam-current"].std() == pytest.approx(0.18, rel=0.1)


def test_what_is_switched_off_is_not_found(faulty: Scan, refined: Reconstruction) -> None:
    config = pp.RefineConfig(beam_current=False, background=False)
    result = refine(faulty, None, config, backend="numpy", no_mend=["alternatives"])
    assert not result.effects
    assert result.fit is not None
    assert refined.fit is not None
    assert result.fit.residual > 1.5 * refined.fit.residual


def test_an_ideal_scan_has_none(scan: Scan) -> None:
    result = refine(scan, backend="numpy")
    assert not result.effects
    assert not {"beam-current", "background"} & {found.name for found in result.findings}


def test_the_file_of_a_result_keeps_them(
    tmp_path: Path, faulty: Scan, refined: Reconstruction
) -> None:
    found = pp.load_reconstruction(refined.save(tmp_path))
    for name, values in refined.effects.items():
        np.testing.assert_array_equal(found.effects[name], values)
    assert refined.fit is not None
    again = misfit(found, faulty)
    assert again.residual == pytest.approx(refined.fit.residual, rel=1e-4)
    alone = misfit(replace(found, effects={}), faulty)
    assert alone.residual > 3 * again.residual


def test_a_refinement_goes_on_with_them(faulty: Scan, refined: Reconstruction) -> None:
    assert refined.fit is not None
    further = refine(faulty, refined, pp.RefineConfig(passes=2), backend="numpy")
    assert further.fit is not None
    assert further.fit.residual <= 1.05 * refined.fit.residual
    assert set(further.effects) == {"beam-current", "background"}


def test_effects_can_be_left_out_by_their_names() -> None:
    assert chosen_names(["background", "beam-current"]) == {"background", "beam-current"}
