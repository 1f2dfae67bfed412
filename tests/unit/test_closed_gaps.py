"""Modules of a detector that were pushed together, without the gap between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.checks.closed_gaps import NAME, Opened, closed_gaps
from ptychopinn.checks.replay import mended_like
from ptychopinn.checks.upright import right_geometry
from ptychopinn.data.scan import Scan
from ptychopinn.ops.base import Ops
from ptychopinn.ops.numpy import NumpyOps

Frames = NDArray[Any]


@pytest.fixture(scope="module")
def xp() -> Ops:
    return NumpyOps()


@pytest.fixture(scope="module")
def scan() -> Scan:
    return pp.simulate(object="leaves", N=64, patterns=64, photons=1e5, step_px=5, seed=6)


def closed(frames: Frames, axis: int, at: int, width: int, before: int) -> Frames:
    """The frames (M, N, N) without ``width`` lines from ``at`` on; ``before`` come from the first
    side of the border, the others from the second one."""
    kept = np.delete(frames, range(at, at + width), axis=axis + 1)
    sides = [(0, 0)] * 3
    sides[axis + 1] = (before, width - before)
    return np.ascontiguousarray(np.pad(kept, sides))


@pytest.mark.parametrize(
    "gaps",
    [[(0, 33, 1, 0)], [(1, 26, 3, 1)], [(0, 31, 2, 1), (1, 36, 3, 1)]],
    ids=["one row", "three columns", "a cross"],
)
def test_gaps_are_put_in(xp: Ops, scan: Scan, gaps: list[tuple[int, int, int, int]]) -> None:
    frames, mask = np.array(scan.diffraction[:]), np.ones((64, 64), bool)
    for axis, at, width, before in gaps:
        frames = closed(frames, axis, at, width, before)
        mask[(slice(None), slice(at, at + width))[:: 1 if axis else -1]] = False
    given = replace(scan, diffraction=frames, object=None)
    found = closed_gaps(xp, given)
    assert found is not None and found.level == "mended"
    assert [g[0] for g in found.details["gaps"]] == [g[0] for g in gaps]
    assert [g[2] for g in found.details["gaps"]] == [g[2] for g in gaps]
    mended = mended_like(given, [found])
    seen = mended.good_pixels
    # Lines that were lost beyond the border are 0.
    inner = (slice(4, -4), slice(4, -4))
    assert np.array_equal(seen[inner], mask[inner])
    assert np.array_equal(
        np.where(seen, mended.diffraction, 0)[:, *inner],
        np.where(mask, scan.diffraction, 0)[:, *inner],
    )


def test_nothing_is_put_in_where_nothing_is_missing(xp: Ops, scan: Scan) -> None:
    assert closed_gaps(xp, scan) is None
    assert NAME not in [one.name for one in right_geometry(xp, scan)[1]]


def test_what_is_put_in_is_bad() -> None:
    pattern = np.arange(36).reshape(6, 6)
    opened = Opened(0, 3, 2, 1)
    assert opened(pattern)[:, 0].tolist() == [6, 12, 0, 0, 18, 24]
    assert (
        opened(np.ones((6, 6), bool)).all(axis=1).tolist() == [True] * 2 + [False] * 2 + [True] * 2
    )
