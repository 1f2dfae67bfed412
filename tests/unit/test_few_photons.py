"""Scans with few photons: better than nothing, and never worse than what was known before."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.config import RefineConfig
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation import evaluate
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.simulation import simulate

pytest.importorskip("torch")


@lru_cache
def scan_of(photons: float, kind: str = "leaves") -> Scan:
    return simulate(object=kind, N=32, patterns=196, photons=photons, seed=5)


def decibels(result: Reconstruction, truth: Scan) -> tuple[float, float]:
    """Phase and amplitude."""
    found = evaluate(result, truth=truth).to_json()["metrics"]
    return found["phase_psnr_db"], found["amplitude_psnr_db"]


def refined(scan: Scan, start: Reconstruction | None = None, **options: object) -> Reconstruction:
    config = RefineConfig(**options)
    return pp.refine(replace(scan, object=None), start, config, no_mend="all")


@pytest.mark.parametrize("photons", [100, 300, 1000])
@pytest.mark.parametrize("kind", ["leaves", "grf"])
def test_refinement_is_better_than_a_flat_object_and_than_its_start(
    kind: str, photons: float
) -> None:
    truth = scan_of(photons, kind)
    start = pp.reconstruct(replace(truth, object=None), refine="never", no_mend="all")
    flat = replace(start, object=np.ones_like(start.object))
    for result in (refined(truth), refined(truth, start)):
        phase, amplitude = decibels(result, truth)
        for other in (start, flat):
            assert phase > decibels(other, truth)[0]
            assert amplitude > decibels(other, truth)[1]


def test_the_prior_is_what_helps_and_can_be_left_out() -> None:
    truth = scan_of(300)
    with_prior, without = refined(truth), refined(truth, total_variation=0)
    assert np.all(np.subtract(decibels(with_prior, truth), decibels(without, truth)) > 1)


def test_the_prior_costs_nothing_where_photons_are_many() -> None:
    truth = scan_of(1e7)
    np.testing.assert_array_equal(refined(truth).object, refined(truth, total_variation=0).object)


def test_photon_noise_is_no_beam_current() -> None:
    for photons in (100, 300, 1000):
        assert BeamCurrent.name not in refined(scan_of(photons)).effects


def test_reconstruct_refines_where_the_network_sees_few_photons() -> None:
    untried: Any = {"no_mend": ["alternatives"]}
    few, many = (replace(scan_of(photons), object=None) for photons in (200, 1e6))
    stages = [
        [stage["stage"] for stage in pp.reconstruct(scan, **untried).provenance["stages"]]
        for scan in (few, many)
    ]
    assert stages == [["refinement"], ["network"]]
    kept = pp.reconstruct(few, refine="never", **untried).provenance["stages"]
    assert [stage["stage"] for stage in kept] == ["network"]


def test_a_background_hides_the_object_and_the_prior_knows_it() -> None:
    truth = scan_of(1e5)
    rng = np.random.default_rng(2)
    counts = np.asarray(truth.diffraction)
    level = 0.3 * counts.mean()
    shown = replace(
        truth, diffraction=(counts + rng.poisson(level, counts.shape)).astype(np.uint32)
    )
    found = refined(shown, background=True)
    assert found.effects[Background.name].mean() == pytest.approx(level, rel=0.1)
    # Without any prior the amplitude follows the noise of pixels that the background hides.
    alone = refined(shown, background=True, total_variation=0)
    assert decibels(found, truth)[1] > decibels(alone, truth)[1] + 3
