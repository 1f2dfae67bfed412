"""A refinement that was left after a few passes lacks nothing but passes, if that is so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.scan import Scan


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


def left_after(passes: int, scan: Scan, **options: bool) -> tuple[str, str | None]:
    config = pp.RefineConfig(passes=passes, **options)
    geometry = ["orientation", "scan-axes", "outlying-patterns"]
    fit = pp.refine(scan, None, config, backend="numpy", no_mend=geometry).fit
    assert fit is not None
    return fit.verdict, fit.likely


def test_no_fault_is_made_up(clean: Scan) -> None:
    """What the momentum of the first passes leaves looks like a beam that flickers by 10 %."""
    assert left_after(10, clean) == ("doubtful", "unfinished")


@pytest.mark.parametrize(
    ("changed", "likely"), [(flickering, "beam-current"), (moved, "pattern-shift")]
)
def test_no_fault_is_hidden(clean: Scan, changed: Callable[[Scan], Scan], likely: str) -> None:
    assert left_after(10, changed(clean), beam_current=False) == ("doubtful", likely)


def test_other_patterns_may_be_at_fault(clean: Scan) -> None:
    """Those around the middle would be explained by more passes."""
    patterns = np.array(clean.diffraction)
    edge = np.argsort(np.abs(clean.positions_px - clean.positions_px.mean(0)).max(axis=1))[-3:]
    patterns[edge] = np.random.default_rng(1).permutation(patterns[edge].ravel()).reshape(3, 32, 32)
    assert left_after(14, replace(clean, diffraction=patterns)) == ("doubtful", "patterns")


def test_an_object_that_is_explained_nearly_asks_for_no_shifts() -> None:
    """Its patterns go with their number, until physics has gone on."""
    scan = pp.simulate(object="leaves", N=48, patterns=80, seed=5, photons=1e7)
    assert left_after(5, scan) == ("doubtful", "unfinished")
