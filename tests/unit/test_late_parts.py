"""A part of the detector that is a few frames early or late."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks import examine
from ptychopinn.data.scan import Scan

NAME = "late-part"


@pytest.fixture(scope="module", params=[("leaves", 64, 1e5), ("lines", 48, 1e8)])
def scan(request: pytest.FixtureRequest) -> Scan:
    kind, n, photons = request.param
    return pp.simulate(object=kind, N=n, patterns=64, step_px=n / 12, photons=photons, seed=4)


@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("late", [1, -2])
@pytest.mark.parametrize("half", [False, True], ids=["whole", "quadrant"])
def test_a_late_part_is_named(scan: Scan, late: int, half: bool, columns: bool) -> None:
    counts = np.array(scan.diffraction[:])
    border = scan.N // 2 - 3
    part = (slice(None), slice(border, None), slice(scan.N // 2 if half else 0, None))
    torn = counts.swapaxes(1, 2).copy() if columns else counts.copy()
    torn[part] = np.roll(torn, late, axis=0)[part]
    torn = np.ascontiguousarray(torn.swapaxes(1, 2)) if columns else torn
    checked = examine(replace(scan, diffraction=torn, object=None))
    (found,) = (one for one in checked.findings if one.name == NAME)
    assert found.level == "fault"
    # Of a quadrant both borders tell.
    known = {"axis": "x" if columns else "y", "border": border, "frames": late}
    assert half or known.items() <= found.details.items()
    assert found.details["frames"] == late
    assert f"{abs(late)} frame" in found.message and ("late," in found.message) == (late > 0)


def test_what_belongs_together_is_left(scan: Scan) -> None:
    """All late alike is another fault, a closed gap none of time; a beam may change."""
    counts = np.array(scan.diffraction[:])
    closed = np.delete(counts, slice(scan.N // 2, scan.N // 2 + 4), axis=1)
    closed = np.pad(closed, ((0, 0), (2, 2), (0, 0)))
    beam = 1 + 0.5 * np.sin(np.arange(scan.M) / 3)[:, None, None]
    changing = (counts * beam).astype(counts.dtype)
    for kept in (
        counts,
        np.roll(counts, 1, axis=0),
        np.repeat(counts[:32], 2, axis=0),
        closed,
        changing,
    ):
        found = examine(replace(scan, diffraction=kept, object=None)).findings
        assert NAME not in [one.name for one in found]


def test_few_photons_tell_nothing() -> None:
    dim = pp.simulate(object="lines", N=64, patterns=36, photons=100, seed=3)
    counts = np.array(dim.diffraction[:])
    counts[:, 32:] = np.roll(counts, 1, axis=0)[:, 32:]
    assert NAME not in [one.name for one in examine(replace(dim, diffraction=counts)).findings]


@pytest.mark.parametrize(("seed", "step", "top"), [(4301, 3.2, 100), (4602, 1.6, 60)])
def test_readings_that_are_cut_off_are_not_late(seed: int, step: float, top: int) -> None:
    """What pixels that are never saturated show beside a saturated part is not what light does."""
    kind = "leaves" if seed % 2 else "textures"
    bright = pp.simulate(object=kind, N=32, patterns=100, photons=1e5, step_px=step, seed=seed)
    counts = np.minimum(bright.diffraction[:], top)
    found = examine(replace(bright, diffraction=counts, object=None)).findings
    assert NAME not in [one.name for one in found]
    assert "saturated-pixels" in [one.name for one in found]
