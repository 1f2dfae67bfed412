"""A drift that a refined probe hides from trials shows by the order of the shifts asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.trial_fits import neighbours
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows import hidden_shifts as hidden
from ptychopinn.workflows.hidden_shifts import hidden_shifts, ordered_shifts


@pytest.fixture(scope="module")
def expected() -> pp.Scan:
    return pp.simulate(
        N=32, patterns=100, step_px=3.0, photons=1e7, object="lines", seed=1, defocus=0.45,
        poisson=False,
    )  # fmt: skip


def drifting(scan: pp.Scan, pixels: float) -> pp.Scan:
    """So far along y, and half as far back along x, from the first pattern to the last."""
    u = (np.arange(scan.N) - scan.N // 2) / scan.N
    obj, means = np.asarray(scan.object, dtype=np.complex128), []
    for at, way in zip(scan.positions_px, pixels * np.linspace(0, 1, scan.M), strict=True):
        ramp = np.exp(2j * np.pi * way * (u[:, None] - u[None] / 2))
        means.append(pp.intensities(obj, scan.probe * ramp, at[None])[0])
    counts = np.random.default_rng(0).poisson(np.stack(means)).astype(np.uint32)
    return replace(scan, diffraction=counts, object=None)


def refined(scan: pp.Scan) -> pp.Reconstruction:
    config = pp.RefineConfig(passes=15, refine_probe=True)
    return pp.refine(scan, None, config, backend="numpy")


def test_a_slow_drift_behind_a_refined_probe_is_named(expected: pp.Scan) -> None:
    found = refined(drifting(expected, 0.25))
    assert found.fit is not None and found.fit.explained > 0.99
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", "pattern-shift")
    truth = pp.evaluate(found, truth=expected).metrics
    assert truth["phase_psnr_db"] < 30


def test_shifts_that_explain_hardly_anything_are_no_cause(expected: pp.Scan) -> None:
    scan = drifting(expected, 0.25)
    found = refined(scan)
    assert found.fit is not None and ordered_shifts(scan, found) is not None
    worse = replace(found.fit, residual=40 * found.fit.residual, excess=40 * found.fit.excess)
    assert ordered_shifts(scan, replace(found, fit=worse)) is None


def test_patterns_in_place_ask_for_none(expected: pp.Scan) -> None:
    scan = drifting(expected, 0.0)
    found = refined(scan)
    assert found.fit is not None and found.fit.verdict == "good"
    assert ordered_shifts(replace(scan, probe=found.probe), found) is None


def test_positions_that_are_off_ask_without_order(expected: pp.Scan) -> None:
    scan = drifting(expected, 0.0)
    moved = scan.positions_px + np.random.default_rng(1).standard_normal((scan.M, 2))
    scan = replace(scan, positions_px=moved)
    found = pp.refine(scan, None, pp.RefineConfig(passes=15), backend="numpy", no_mend="all")
    assert ordered_shifts(scan, found) is None


def test_what_a_network_leaves_of_a_slow_phase_is_no_shift() -> None:
    """Large patterns near together ask for it until physics goes on, which drifts outlast."""
    scan = pp.simulate(
        object="leaves", N=128, patterns=100, seed=0, step_px=6.8195, jitter_px=1.3639,
        photons=12096, phase=(-1.4475, 1.4475),
    )  # fmt: skip
    result = pp.reconstruct(scan, refine="never", no_mend="all")
    used = replace(scan, probe=result.probe, object=None)
    asked = hidden._asked(used, result, neighbours(used))
    assert asked.width > hidden.ASKED_PX and asked.square > hidden.ASKED
    assert hidden_shifts(NumpyOps(), used, result) is None
