"""Eigenprobes: found where the probe changes during the scan, harmless where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.physics.effects import restored
from ptychopinn.physics.forward import intensities
from ptychopinn.physics.varying_probe import VaryingProbe, knots, of_one_pupil
from ptychopinn.simulation import simulate
from ptychopinn.workflows.refinement import refine

ONE = pp.RefineConfig(refine_probe=True)
SOME = pp.RefineConfig(refine_probe=True, eigenprobes=3)


@pytest.fixture(scope="module")
def truth() -> Scan:
    return simulate(object="leaves", N=32, patterns=144, photons=1e6, seed=4)


@pytest.fixture(scope="module")
def varying(truth: Scan) -> Scan:
    """Its defocus comes and goes twice."""
    pupil, k = np.fft.fft2(truth.probe[0]), np.fft.fftfreq(32)
    square = k[:, None] ** 2 + k**2
    square /= (square * np.abs(pupil) ** 2).sum() / (np.abs(pupil) ** 2).sum()
    counts = np.zeros((truth.M, 32, 32))
    for j in range(truth.M):
        phase = 0.6 * np.sin(4 * np.pi * j / truth.M) * square
        probe = np.fft.ifft2(pupil * np.exp(1j * phase))[None]
        (counts[j],) = intensities(np.asarray(truth.object), probe, truth.positions_px[j : j + 1])
    drawn = np.random.default_rng(0).poisson(counts).astype(np.uint32)
    return replace(truth, diffraction=drawn, object=None)


@pytest.fixture(scope="module")
def found(varying: Scan) -> Reconstruction:
    return refine(varying, None, SOME, backend="numpy", no_mend="all")


def phase_db(result: Reconstruction, truth: Scan) -> float:
    return float(evaluate(result, truth=truth).to_json()["metrics"]["phase_psnr_db"])


def test_refine_gains_from_them(truth: Scan, varying: Scan, found: Reconstruction) -> None:
    one = refine(varying, None, ONE, backend="numpy", no_mend="all")
    assert one.fit is not None
    assert found.fit is not None
    assert found.fit.residual < 0.6 * one.fit.residual
    assert phase_db(found, truth) > phase_db(one, truth) + 3
    assert VaryingProbe.name in {item.name for item in found.findings}


def test_an_ideal_scan_loses_nothing(truth: Scan) -> None:
    ideal = replace(truth, object=None)
    one, some = (refine(ideal, None, c, backend="numpy", no_mend="all") for c in (ONE, SOME))
    assert phase_db(some, truth) > phase_db(one, truth) - 0.5


def test_the_file_of_a_result_keeps_them(
    tmp_path: Path, varying: Scan, found: Reconstruction
) -> None:
    again = pp.load_reconstruction(found.save(tmp_path))
    assert found.fit is not None
    assert misfit(again, varying).residual == pytest.approx(found.fit.residual, rel=1e-3)
    alone = misfit(replace(again, effects={}), varying)
    assert alone.residual > 1.5 * found.fit.residual


def test_changes_keep_the_modulus_of_the_pupil_and_are_orthogonal_to_the_probe() -> None:
    rng = np.random.default_rng(0)
    probe, changes = (rng.normal(size=(2, k, 64)) for k in (1, 7))
    wave = (probe[0] + 1j * probe[1])[0]
    wave /= np.linalg.norm(wave)
    shares = knots(42).mean(axis=0)
    once = of_one_pupil(wave, 0.01 * (changes[0] + 1j * changes[1]), shares)
    assert np.abs(once @ wave.conj()).max() < 1e-12
    assert np.abs(shares @ once).max() < 1e-12
    pupils = np.abs(np.fft.fft2((wave + once).reshape(-1, 8, 8)))
    before = np.abs(np.fft.fft2((wave + 0.01 * changes[0]).reshape(-1, 8, 8)))
    assert pupils.std(axis=0).mean() < 0.2 * before.std(axis=0).mean()


def test_a_refinement_goes_on_with_them_beside_positions(
    varying: Scan, found: Reconstruction
) -> None:
    config = pp.RefineConfig(passes=3, refine_positions=True, positions_from=1)
    further = refine(varying, found, config, backend="numpy", no_mend="all")
    assert found.fit is not None
    assert further.fit is not None
    assert further.fit.residual < 1.2 * found.fit.residual
    with pytest.raises(InputError, match="one mode"):
        refine(varying, found, backend="numpy", modes="auto")
    with pytest.raises(InputError, match="uncertainty"):
        refine(varying, found, backend="numpy", uncertainty=True)


def test_numbers_that_do_not_suit_the_patterns_are_refused() -> None:
    with pytest.raises(InputError, match="eigenprobes"):
        restored({"varying-probe": np.zeros((2, 9, 8, 1))}, 60, 8)


def test_a_probe_of_several_modes_is_refused(varying: Scan) -> None:
    with pytest.raises(InputError, match="one mode"):
        refine(varying, None, SOME, backend="numpy", modes=2, no_mend="all")
    with pytest.raises(InputError, match="one mode"):
        refine(varying, None, SOME, backend="numpy", modes="auto", no_mend="all")
    with pytest.raises(InputError, match="uncertainty"):
        refine(varying, None, SOME, backend="numpy", uncertainty=True, no_mend="all")
