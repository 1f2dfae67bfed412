"""A whole row of a raster that was lost is found at the border of the two rows beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.row_slips import row_slip
from ptychopinn.checks.slips import mend_of_slip
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps

COLUMNS, ROW = 10, 4


@pytest.fixture(scope="module")
def even() -> Scan:
    return pp.simulate(object="leaves", N=32, patterns=100, step_px=3.5, jitter_px=0, seed=7)


def without_row(scan: Scan, of: str) -> Scan:
    """The scan without the patterns, or the positions, of a row, cut to the same number."""
    gone = np.arange(ROW * COLUMNS, (ROW + 1) * COLUMNS)
    patterns, positions = np.asarray(scan.diffraction), scan.positions_px
    if of == "patterns":
        patterns, positions = np.delete(patterns, gone, 0), positions[:-COLUMNS]
    else:
        patterns, positions = patterns[:-COLUMNS], np.delete(positions, gone, 0)
    return replace(scan, diffraction=patterns, positions_px=positions, object=None)


@pytest.mark.parametrize("of", ["patterns", "positions"])
def test_a_row_that_was_lost_is_put_in_its_place(even: Scan, of: str) -> None:
    scan = without_row(even, of)
    found = row_slip(NumpyOps(), scan)
    assert found is not None and found.level == "mended"
    assert found.details["start"] == ROW * COLUMNS
    mended = mend_of_slip(found.details, scan).of(scan)
    assert mended.M == 100 - 2 * COLUMNS
    for counts, position in zip(mended.diffraction[:], mended.positions_px, strict=True):
        same = (np.asarray(even.diffraction) == counts).all(axis=(1, 2))
        np.testing.assert_allclose(even.positions_px[int(np.flatnonzero(same)[0])], position)


def test_no_row_is_missing_in_a_scan_whose_beam_jumps(even: Scan) -> None:
    part = np.where(np.arange(100) < 50, 1.0, 0.6)[:, None, None]
    counts = np.random.default_rng(0).binomial(np.asarray(even.diffraction), part)
    jumped = replace(even, diffraction=counts.astype(np.uint32), object=None)
    assert row_slip(NumpyOps(), jumped) is None
