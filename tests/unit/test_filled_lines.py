"""Pixels without a reading of their own: constants, lines copied from others or put between."""

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

Frames = NDArray[Any]
NAMES = ("constant-pixels", "filled-lines")


@pytest.fixture(scope="module", params=[("leaves", 64, 1e5), ("grf", 48, 1e4)])
def scan(request: pytest.FixtureRequest) -> Scan:
    kind, n, photons = request.param
    return pp.simulate(object=kind, N=n, patterns=64, step_px=n / 10, photons=photons, seed=4)


def found(scan: Scan, counts: Frames) -> dict[str, Any]:
    checked = examine(replace(scan, diffraction=counts))
    return {one.name: one for one in checked.findings if one.name in NAMES}


def interpolated(c: Frames, first: int, width: int) -> Frames:
    made = c.astype(float)
    before, after = made[:, first - 1], made[:, first + width]
    for k in range(width):
        made[:, first + k] = before + (after - before) * (k + 1) / (width + 1)
    return np.rint(made).astype(c.dtype)


def nearest(c: Frames, first: int) -> Frames:
    made = c.copy()
    made[:, first : first + 3] = c[:, first - 1 : first]
    return made


@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize(
    ("fill", "offsets"),
    [
        (lambda c, k: interpolated(c, k, 1), (0,)),
        (lambda c, k: interpolated(c, k, 4), (0, 1, 2, 3)),
        (nearest, (-1, 0, 1, 2)),
    ],
    ids=["one", "four", "nearest"],
)
def test_lines_made_of_others_are_masked(
    scan: Scan, fill: Callable[[Frames, int], Frames], offsets: tuple[int, ...], columns: bool
) -> None:
    counts, first = np.asarray(scan.diffraction), scan.N // 2 + 2
    made = fill(counts.swapaxes(1, 2) if columns else counts, first)
    said = found(scan, made.swapaxes(1, 2).copy() if columns else made)["filled-lines"]
    assert said.level == "mended"
    lines = said.details["columns" if columns else "rows"]
    assert lines == [first + k for k in offsets]
    assert said.details["count"] == len(lines) * scan.N


def test_enlarged_and_mirrored_patterns_are_a_fault(scan: Scan) -> None:
    counts, half = np.asarray(scan.diffraction), scan.N // 2
    middle = counts[:, half // 2 : half // 2 + half, half // 2 : half // 2 + half]
    large = found(scan, np.repeat(np.repeat(middle, 2, 1), 2, 2))["filled-lines"]
    assert large.level == "fault" and "enlarged 2 times" in large.message
    assert "option bin=2" in large.message
    if scan.N == 64:
        # Dark lines tell nothing: they are there twice all the same.
        sums = counts.reshape(-1, half, 2, half, 2).sum(axis=(2, 4))
        again = np.repeat(np.repeat(sums, 2, 1), 2, 2).astype(counts.dtype)
        assert "enlarged 2 times" in found(scan, again)["filled-lines"].message
    folded = counts.copy()
    folded[:, half:] = counts[:, :half][:, ::-1]
    mirrored = found(scan, folded)["filled-lines"]
    assert mirrored.level == "fault" and "mirror image" in mirrored.message
    # Through the middle of the beam.
    symmetric = counts.copy()
    symmetric[:, half + 1 :] = counts[:, 1:half][:, ::-1, ::-1]
    assert "mirror image" in found(scan, symmetric)["filled-lines"].message


def test_a_border_of_a_constant_is_masked(scan: Scan) -> None:
    counts = np.asarray(scan.diffraction)
    for level, width in ((1, 6), (5, 3), (40, 12)):
        framed = np.full_like(counts, level)
        inner = slice(width, scan.N - width)
        framed[:, inner, inner] = counts[:, inner, inner]
        said = found(scan, framed)["constant-pixels"]
        assert said.level == "mended" and said.details["values"] == [level]
        assert said.details["count"] >= scan.N**2 - (scan.N - 2 * width) ** 2 - 4


@pytest.mark.parametrize(
    "change",
    [
        {"photons": 300.0}, {"photons": 3e6}, {"poisson": False}, {"background": 3.0},
        {"object": "natural", "photons": 1e7}, {"object": "points", "central_stop": 0.5},
        {"beam_stop_px": 12}, {"probe": "gaussian", "diameter": 0.15, "photons": 1e6},
        {"modes": 3},
    ],
    ids=lambda change: "-".join(f"{k}{v}" for k, v in change.items()),
)  # fmt: skip
def test_what_is_measured_is_left(change: dict[str, Any]) -> None:
    scan = pp.simulate(**({"N": 64, "patterns": 64, "photons": 1e5, "seed": 3} | change))
    counts = np.asarray(scan.diffraction)
    assert not found(scan, counts)
    if "poisson" in change:
        assert not found(scan, np.rint(counts).astype(np.uint32))
    else:
        assert not found(scan, np.minimum(counts, np.uint32(np.quantile(counts, 0.99) + 1)))
        assert not found(scan, np.minimum(counts, np.uint32(np.quantile(counts, 0.9) + 1)))


def test_a_wide_pixel_shared_by_two_is_left(scan: Scan) -> None:
    """As between the chips of a detector: both hold half of its counts, and one may be odd."""
    counts, k = np.asarray(scan.diffraction).copy(), scan.N // 2
    wide = counts[:, k : k + 2].sum(axis=1)
    counts[:, k], counts[:, k + 1] = wide // 2, wide - wide // 2
    assert not found(scan, counts)
