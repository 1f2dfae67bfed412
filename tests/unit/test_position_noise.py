"""Refined positions state how exact they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oracle.forward import intensities
from ptychopinn.cli.inspect import _result
from ptychopinn.config import RefineConfig
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import evaluate
from ptychopinn.io.reconstructions import load_reconstruction, save_reconstruction
from ptychopinn.ops.selector import choose, get_ops
from ptychopinn.simulation import simulate
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.position_noise import CALIBRATED, position_covariance
from ptychopinn.solvers.problem import scan_problem
from ptychopinn.workflows.refinement import refine


@pytest.fixture(scope="module")
def truth() -> Scan:
    return simulate(object="leaves", N=32, patterns=121, step_px=3, photons=1e5, seed=3)


@pytest.fixture(scope="module")
def refined(truth: Scan) -> Reconstruction:
    errors = np.random.default_rng(1).normal(scale=0.5, size=truth.positions_px.shape)
    wrong = replace(truth, positions_px=truth.positions_px + errors, object=None)
    config = RefineConfig(passes=40, refine_positions=True)
    return refine(wrong, None, config, no_mend="all")


def test_true_positions_lie_in_their_ellipses(truth: Scan, refined: Reconstruction) -> None:
    """39 % and 86 % of a normal distribution lie within one and two standard deviations."""
    assert refined.position_covariance is not None
    errors = refined.positions_px - truth.positions_px
    terms = np.column_stack([np.ones(truth.M), truth.positions_px])
    errors = errors - terms @ np.linalg.lstsq(terms, errors, rcond=None)[0]
    squares = np.einsum("mi,mij,mj->m", errors, np.linalg.inv(refined.position_covariance), errors)
    assert 0.25 < (squares < 1).mean() < 0.55
    assert 0.7 < (squares < 4).mean() < 0.97


@pytest.mark.parametrize("backend", ["pytorch", "tensorflow", "numpy"])
def test_information_is_that_of_the_forward_model(truth: Scan, backend: Any) -> None:
    """The curvature of the likelihood by finite differences of the oracle, where nobody else sees
    the object, so that nothing is shared with it."""
    obj = np.asarray(truth.object).astype(np.complex128)
    scan = truth.select(np.array([60]))
    prepared = prepare(scan)
    xp = get_ops(*choose(backend, None))
    with xp.running():
        problem, origin = scan_problem(xp, prepared, 1, 1 << 28)
        corner = np.asarray(origin)
        box = tuple(slice(c, c + s) for c, s in zip(corner, problem.shape, strict=True))
        canvas = xp.asarray((obj[box] / prepared.object_scale).astype(np.complex64))
        state = Descent(problem, canvas, False)
        # The illumination of many others, so that the object is known.
        state.illumination = [light * 1e9 for light in state.illumination]
        found = position_covariance(state, 1, 1.0, 1e12)[0]
    photon = 1.0
    expected = intensities(obj, scan.probe, scan.positions_px, np.zeros(2, np.int64))[0]
    slopes = []
    for axis in (0, 1):
        # As the solver takes it: the central difference of the object.
        moved = 0.5 * (np.roll(obj, -1, axis) - np.roll(obj, 1, axis))
        step = 1e-3
        pair = [
            intensities(
                obj + s * step * moved, scan.probe, scan.positions_px, np.zeros(2, np.int64)
            )
            for s in (1, -1)
        ]
        slopes.append((pair[0] - pair[1])[0] / (2 * step))
    information = np.array(
        [[(a * b / (photon * (expected + 1e-3 * photon))).sum() for b in slopes] for a in slopes]
    )
    assert found == pytest.approx(CALIBRATED**2 * np.linalg.inv(information), rel=0.02, abs=1e-6)


def test_files_keep_the_covariances(tmp_path: Path, refined: Reconstruction) -> None:
    path = save_reconstruction(refined, tmp_path / "result.h5")
    again = load_reconstruction(path)
    assert np.array_equal(again.position_covariance, refined.position_covariance)  # type: ignore[arg-type]
    assert again.position_sigma_px is not None
    shown = _result(path)["position_sigma_px"]
    assert shown["median"] == pytest.approx(np.median(again.position_sigma_px))
    without = replace(refined, position_covariance=None)
    path = save_reconstruction(without, tmp_path / "without.h5")
    assert load_reconstruction(path).position_covariance is None
    assert without.position_sigma_px is None and "position_sigma_px" not in _result(path)


def test_what_is_no_covariance_is_refused(refined: Reconstruction) -> None:
    count = len(refined.positions_px)
    for wrong in (
        np.ones((3, 2, 2)),
        np.full((count, 2, 2), np.nan),
        -np.tile(np.eye(2), (count, 1, 1)),
    ):
        with pytest.raises(InputError, match="position_covariance"):
            replace(refined, position_covariance=wrong)


def test_positions_that_stay_have_none(truth: Scan) -> None:
    result = refine(replace(truth, object=None), None, RefineConfig(passes=2), no_mend="all")
    assert result.position_covariance is None


def test_the_evaluation_says_how_sure_positions_are(truth: Scan, refined: Reconstruction) -> None:
    evaluation = evaluate(refined, data=replace(truth, object=None))
    assert evaluation.metrics["position_sigma_px"] > 0
