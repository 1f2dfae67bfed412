"""What the noise of patterns tells of what was done to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine

NEW = ("afterglow", "quiet-counts", "scaled-patterns", "clipped-counts")


def names(scan: pp.Scan, counts: Any) -> list[str]:
    changed = replace(scan, diffraction=np.rint(counts).astype(np.uint32))
    return [found.name for found in examine(changed).findings if found.name in NEW]


@pytest.fixture(scope="module")
def scan() -> pp.Scan:
    return pp.simulate(object="natural", N=64, patterns=100, photons=2e5, seed=2)


def test_a_pattern_that_holds_a_part_of_the_one_before(scan: pp.Scan) -> None:
    counts = np.asarray(scan.diffraction[:]).astype(float)
    before = np.concatenate([counts[:1], counts[:-1]])
    for glow in (counts + 0.15 * before, (counts + before) / 2 * 4):
        assert "afterglow" in names(scan, glow)
    # What all have in common is none.
    assert "afterglow" not in names(scan, counts * np.linspace(0.9, 1.1, 64))
    glowing = replace(scan, diffraction=np.rint(counts + 0.3 * before).astype(np.uint16))
    fit = pp.reconstruct(glowing).fit
    assert fit is not None
    assert (fit.verdict, fit.likely) == ("doubtful", "afterglow")


def test_counts_that_were_divided_vary_too_little(scan: pp.Scan) -> None:
    counts = np.asarray(scan.diffraction[:]).astype(float)
    for quiet in (counts // 16, counts // 2, counts / 10):
        assert "quiet-counts" in names(scan, quiet)
    assert "quiet-counts" not in names(scan, 3 * counts)


def test_patterns_that_were_scaled_to_their_own_maximum(scan: pp.Scan) -> None:
    counts = np.asarray(scan.diffraction[:]).astype(float)
    own = counts.max(axis=(1, 2), keepdims=True)
    assert "scaled-patterns" in names(scan, 255 * counts / own)
    top = np.quantile(own, 0.2)
    for other in (np.minimum(counts, top), 255 * counts / own.max()):
        assert "scaled-patterns" not in names(scan, other)


@pytest.mark.parametrize("photons", [3e3, 1e6])
@pytest.mark.parametrize("kind", ["lines", "grf", "points"])
def test_whole_counts_are_left_alone(kind: Any, photons: float) -> None:
    scan = pp.simulate(object=kind, N=64, patterns=80, photons=photons, seed=4)
    counts = np.asarray(scan.diffraction[:]).astype(float)
    beam = np.random.default_rng(0).uniform(0.7, 1.3, (len(counts), 1, 1))
    drawn = np.random.default_rng(1).poisson(beam * counts)
    for other in (
        counts,
        counts[::-1],
        drawn,
        counts + np.random.default_rng(2).poisson(0.5, counts.shape),
    ):
        assert names(scan, other) == []
