"""Blocks of pixels that read more or less together are told from objects that are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.base import CHECKS, LATER
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.misfit import Misfit
from ptychopinn.workflows.common_mode import common_mode

N = 32


@pytest.fixture(scope="module")
def measured() -> Scan:
    return pp.simulate(object="leaves", N=N, patterns=81, photons=2e5, seed=6)


def raised(scan: Scan, blocks: int, axis: int) -> Scan:
    """Each of so many blocks of rows (1) or columns (2) of each pattern by a number of its own."""
    counts = np.asarray(scan.diffraction, np.float64)
    levels = np.random.default_rng(2).uniform(0, 60, (scan.M, blocks)).repeat(N // blocks, axis=1)
    counts = counts + np.expand_dims(levels, 3 - axis)
    return replace(scan, diffraction=np.round(counts).astype(np.uint32), object=None)


def fitted(scan: Scan) -> Misfit:
    config = pp.RefineConfig(passes=8)
    fit = pp.refine(scan, None, config, backend="numpy", no_mend=(*CHECKS, *LATER)).fit
    assert fit is not None
    return fit


@pytest.mark.parametrize("blocks, axis", [(4, 2), (N, 1)])
def test_blocks_that_read_together_are_named(measured: Scan, blocks: int, axis: int) -> None:
    fit = fitted(raised(measured, blocks, axis))
    assert fit.verdict != "good" and fit.likely == "common-mode"
    assert fit.cause is not None and "of their variance in common" in fit.cause


@pytest.mark.parametrize("fault", ["none", "positions", "probe", "beam", "light", "modulus"])
def test_other_faults_leave_residuals_of_both_signs(measured: Scan, fault: str) -> None:
    rng, scan = np.random.default_rng(3), replace(measured, object=None)
    if fault == "positions":
        scan = replace(scan, positions_px=scan.positions_px + rng.normal(0, 2, (scan.M, 2)))
    if fault == "probe":
        scan = replace(scan, probe=scan.probe.conj())
    if fault == "beam":
        factors = rng.uniform(0.5, 1.5, (scan.M, 1, 1))
        scan = replace(scan, diffraction=rng.poisson(factors * scan.diffraction).astype(np.uint32))
    if fault == "light":
        counts = np.array(scan.diffraction)
        counts[rng.choice(scan.M, 5, replace=False)] += rng.poisson(60, (5, N, N)).astype(np.uint32)
        scan = replace(scan, diffraction=counts)
    if fault == "modulus":
        scan = replace(scan, probe=np.abs(scan.probe).astype(np.complex64))
    config = pp.RefineConfig(passes=8)
    found = pp.refine(scan, None, config, backend="numpy", no_mend="all")
    assert common_mode(scan, found) is None
