"""Scans in which no pattern verifies another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.evaluation.causes import CAUSES
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.solvers.configs import PhysicsConfig


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="natural", N=32, patterns=100, photons=1e5, seed=2)


@pytest.mark.parametrize("which", ["one", "the same place", "far apart"])
def test_it_is_said_and_not_called_good(which: str, scan: pp.Scan) -> None:
    part = scan.select([5] if which == "one" else [5, 6])
    if which == "the same place":
        part = replace(part, positions_px=np.repeat(part.positions_px[:1], 2, axis=0), object=None)
    if which == "far apart":
        part = replace(part, positions_px=np.array([[20.0, 20.0], [20.0, 60.0]]), object=None)
    found = [(one.name, one.level) for one in examine(part).findings]
    assert ("no-overlap", "doubt") in found
    result = pp.reconstruct(part)
    assert result.fit is not None
    assert (result.fit.verdict, result.fit.likely) == ("doubtful", "alone")
    assert result.fit.cause is not None
    assert CAUSES["alone"].remedy in result.fit.cause
    again = misfit(result, part)
    assert (again.verdict, again.likely) == ("doubtful", "alone")


def test_few_that_overlap_verify_each_other(scan: pp.Scan) -> None:
    part = scan.select([5, 6, 7])
    assert "no-overlap" not in [one.name for one in examine(part).findings]
    result = pp.refine(part, config=PhysicsConfig(passes=3))
    assert result.fit is not None
    assert result.fit.likely != "alone"


def test_a_change_in_mid_scan_is_named(scan: pp.Scan) -> None:
    counts = np.asarray(scan.diffraction[:]).copy()
    counts[60:] = counts[60:].transpose(0, 2, 1)
    fit = pp.reconstruct(replace(scan, diffraction=counts)).fit
    assert fit is not None and fit.cause is not None
    assert (fit.verdict, fit.likely) == ("doubtful", "part-of-scan")
    number = int(fit.cause.split("at about pattern ")[1].split(":")[0])
    assert 40 <= number <= 70
