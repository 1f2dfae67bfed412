"""Counts from which a background was subtracted until they were negative, and set to 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.physics.readout import beyond_counting


def names(scan: pp.Scan) -> dict[str, str]:
    return {found.name: found.message for found in examine(scan).findings}


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="natural", N=32, patterns=100, photons=1e5, seed=2)


@pytest.mark.parametrize("how", ["subtracted", "cut off"])
def test_they_are_the_cause_and_not_the_probe(how: str, scan: pp.Scan) -> None:
    counts = np.asarray(scan.diffraction[:]).astype(int)
    clipped = np.maximum(counts - 6, 0) if how == "subtracted" else np.where(counts < 8, 0, counts)
    changed = replace(scan, diffraction=clipped.astype(np.uint16))
    words = "a background was subtracted" if how == "subtracted" else "none is between 0 and 8"
    assert words in names(changed)["clipped-counts"]
    fit = pp.reconstruct(changed).fit
    assert fit is not None
    assert (fit.verdict, fit.likely) == ("doubtful", "clipped-counts")


@pytest.mark.parametrize("photons", [1e4, 1e6])
@pytest.mark.parametrize("kind", ["leaves", "grf", "points"])
def test_counts_as_they_were_measured_are_left_alone(kind: str, photons: float) -> None:
    whole = pp.simulate(object=kind, N=64, patterns=64, photons=photons, seed=5)
    counts = np.asarray(whole.diffraction[:]).astype(float)
    rng = np.random.default_rng(0)
    lit = rng.poisson(2, counts.shape)
    read = np.maximum(counts + rng.normal(0, 1.5, counts.shape), 0)
    for other in (counts, counts + lit, np.maximum(read, 0), np.rint(read)):
        part = replace(whole, diffraction=other.astype(np.float32))
        assert "clipped-counts" not in names(part)


def test_the_share_is_that_of_what_is_missing(scan: pp.Scan) -> None:
    counts, good = np.asarray(scan.diffraction[:]).astype(float), np.ones((32, 32), bool)
    shares = [beyond_counting(np.maximum(counts - k, 0), good) for k in (0, 1, 5)]
    assert None not in shares
    plain, less, clipped = (float(share or 0) for share in shares)
    assert abs(plain) < 0.1 < less < clipped
