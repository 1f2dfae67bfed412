"""A refinement that was left after a few passes lacks nothing but passes, if that is so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.base import LATER
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows.hidden_shifts import lasting, ordered_shifts
from ptychopinn.workflows.too_few_passes import left_too_early


@pytest.fixture(scope="module")
def clean() -> Scan:
    return pp.simulate(object="natural", N=32, patterns=80, seed=1)


def flickering(scan: Scan) -> Scan:
    rng = np.random.default_rng(0)
    counts = np.asarray(scan.diffraction) * rng.uniform(0.6, 1, (scan.M, 1, 1))
    return replace(scan, diffraction=rng.poisson(counts).astype(np.uint32))


def moved(scan: Scan) -> Scan:
    """Half of the patterns, by two pixels of the detector."""
    patterns = np.array(scan.diffraction)
    patterns[scan.M // 2 :] = np.roll(patterns[scan.M // 2 :], 2, axis=2)
    return replace(scan, diffraction=patterns)


def spoilt_at_the_edge(scan: Scan) -> Scan:
    """Three patterns that are not among those around the middle, which alone are tried."""
    patterns = np.array(scan.diffraction)
    edge = np.argsort(np.abs(scan.positions_px - scan.positions_px.mean(0)).max(axis=1))[-3:]
    patterns[edge] = np.random.default_rng(1).permutation(patterns[edge].ravel()).reshape(3, 32, 32)
    return replace(scan, diffraction=patterns)


def left_after(passes: int, scan: Scan) -> tuple[Scan, Reconstruction]:
    config = pp.RefineConfig(passes=passes, beam_current=False)
    result = pp.refine(scan, None, config, backend="numpy", no_mend="all")
    used = replace(scan, probe=result.probe, positions_px=result.positions_px, object=None)
    return used, result


def test_no_fault_is_made_up(clean: Scan) -> None:
    """What the momentum of the first passes leaves looks like a beam that flickers by 10 %."""
    _, result = left_after(10, clean)
    assert result.fit is not None and result.fit.likely == "beam-current"
    config = pp.RefineConfig(passes=10)
    fit = pp.refine(clean, None, config, backend="numpy", no_mend=LATER).fit
    assert fit is not None
    assert (fit.verdict, fit.likely) == ("doubtful", "unfinished")


@pytest.mark.parametrize("changed", [flickering, moved, spoilt_at_the_edge])
def test_no_fault_is_hidden(clean: Scan, changed: Callable[[Scan], Scan]) -> None:
    used, result = left_after(14, changed(clean))
    assert result.fit is not None and result.fit.verdict != "good"
    assert left_too_early(NumpyOps(), used, result) is None


def test_an_object_that_is_explained_nearly_asks_for_no_shifts() -> None:
    """Its patterns go with their number, until physics has gone on."""
    scan = pp.simulate(object="leaves", N=48, patterns=80, seed=5, photons=1e7)
    used, result = left_after(5, scan)
    assert ordered_shifts(used, result) is not None
    assert lasting(NumpyOps(), used, result, ordered_shifts) is None
