"""Rows and columns of the detector that are not where they belong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.data.scan import Scan

NAME = "torn-patterns"
Frames = NDArray[Any]


@pytest.fixture(scope="module", params=[("leaves", 64, 1e5, 0.0), ("grf", 48, 1e4, 0.4)])
def scan(request: pytest.FixtureRequest) -> Scan:
    kind, n, photons, stop = request.param
    return pp.simulate(
        object=kind, N=n, patterns=64, step_px=n / 10, photons=photons, central_stop=stop, seed=4
    )


def other_frame(c: Frames, by: int) -> Frames:
    torn = c.copy()
    torn[:, 1::2] = np.roll(c, by, 0)[:, 1::2]
    return torn


def swapped(c: Frames) -> Frames:
    torn = c.copy()
    torn[:, ::2], torn[:, 1::2] = c[:, 1::2], c[:, ::2]
    return torn


def fields(c: Frames) -> Frames:
    return np.concatenate([c[:, ::2], c[:, 1::2]], axis=1)


def moved(c: Frames) -> Frames:
    torn = c.copy()
    torn[:, ::2] = np.roll(c[:, ::2], 1, axis=2)
    return torn


@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize(
    ("tear", "level", "words"),
    [
        (lambda c: other_frame(c, 1), "fault", "that of another frame"),
        (lambda c: other_frame(c, -3), "fault", "that of another frame"),
        (swapped, "fault", "of each pair are swapped"),
        (fields, "fault", "first come the even"),
        (moved, "doubt", "along itself"),
    ],
    ids=["frame before", "frame after", "pairs", "fields", "moved"],
)
def test_torn_patterns_are_named(
    scan: Scan, tear: Callable[[Frames], Frames], level: str, words: str, columns: bool
) -> None:
    counts = np.array(scan.diffraction[:])
    torn = tear(counts.swapaxes(1, 2)).swapaxes(1, 2) if columns else tear(counts)
    checked = examine(replace(scan, diffraction=np.ascontiguousarray(torn), object=None))
    (found,) = (one for one in checked.findings if one.name == NAME)
    assert (found.level, found.details["axis"]) == (level, "x" if columns else "y")
    assert words in found.message


def test_even_patterns_are_left(scan: Scan) -> None:
    assert NAME not in [one.name for one in examine(scan).findings]
    counts = np.array(scan.diffraction[:])
    mask = np.ones(counts.shape[1:], bool)
    mask[20:22] = mask[:, 31] = False
    counts[:, ~mask] = 0
    assert NAME not in [
        one.name for one in examine(replace(scan, diffraction=counts, mask=mask)).findings
    ]


def test_few_photons_tell_nothing() -> None:
    dim = pp.simulate(object="lines", N=64, patterns=36, photons=100, seed=3)
    assert NAME not in [one.name for one in examine(dim).findings]
    torn = replace(dim, diffraction=swapped(np.array(dim.diffraction[:])), object=None)
    assert NAME not in [one.name for one in examine(torn).findings]
