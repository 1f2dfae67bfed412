"""A detector that loses photons where they are many is told from objects and probes that are
wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.workflows.dead_time import lost_by_brightest

N = 32


@pytest.fixture(scope="module")
def expected() -> Scan:
    """Expected counts, not yet drawn."""
    options: dict[str, Any] = {"object": "grf", "N": N, "patterns": 100, "photons": 1e6}
    return pp.simulate(**options, step_px=3.0, seed=4, poisson=False)


def refined(scan: Scan, counts: Any, free: bool = False) -> tuple[Scan, Reconstruction]:
    drawn = np.random.default_rng(1).poisson(counts).astype(np.uint32)
    scan = replace(scan, diffraction=drawn, object=None)
    config = pp.RefineConfig(passes=12, refine_probe=free)
    return scan, pp.refine(scan, None, config, backend="numpy", no_mend="all")


def dead(scan: Scan) -> Any:
    counts = np.asarray(scan.diffraction, np.float64)
    return counts - 0.25 * counts**2 / counts.max()


@pytest.mark.parametrize("free", [False, True])
def test_counts_that_fall_behind_are_named(expected: Scan, free: bool) -> None:
    config = pp.RefineConfig(passes=12, refine_probe=free)
    scan = refined(expected, dead(expected))[0]
    fit = pp.refine(scan, None, config, backend="numpy").fit
    assert fit is not None and fit.explained > 0.97
    assert (fit.verdict, fit.likely) == ("doubtful", "dead-time")
    assert fit.cause is not None and "of the brightest readings" in fit.cause


@pytest.mark.parametrize("fault", ["none", "background", "positions", "probe"])
@pytest.mark.parametrize("free", [False, True])
def test_other_faults_do_not_look_like_it(expected: Scan, fault: str, free: bool) -> None:
    scan, counts = expected, np.asarray(expected.diffraction, np.float64)
    if fault == "background":
        y, x = np.indices((N, N)) - N // 2
        ring = np.exp(-0.5 * ((np.hypot(y, x) - N / 4) / 1.5) ** 2)
        counts = counts + 0.03 * counts.mean() * ring / ring.mean()
    if fault == "positions":
        off = np.random.default_rng(2).normal(0, 1, (scan.M, 2))
        scan = replace(scan, positions_px=scan.positions_px + off)
    if fault == "probe":
        scan = replace(scan, probe=np.roll(scan.probe, 1, axis=-1))
    scan, result = refined(scan, counts, free)
    assert lost_by_brightest(scan, result, free) is None
