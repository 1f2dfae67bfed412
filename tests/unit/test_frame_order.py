"""Frames that are in another order than their positions are put in order, and a scan of large
patterns is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.frame_order import COLUMNS, MEANDER, REVERSED, order, partners_in, row_length
from ptychopinn.checks.replay import mended_like
from ptychopinn.checks.upright import right_geometry
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps

NO_SLIPS = ["frame-slip", "position-unit"]


def scan_of(**options: Any) -> Scan:
    options = {"patterns": 64, "step_px": 3.2} | options
    return pp.simulate(object="leaves", N=32, photons=1e5, seed=5, **options)


def in_order(scan: Scan, name: str) -> Scan:
    """The scan with its positions in this order; all of them are their own opposite on a square."""
    places = scan.positions_px[partners_in(scan, name)]
    return replace(scan, positions_px=places, object=None)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("raster", REVERSED), ("raster", MEANDER), ("raster", COLUMNS), ("fermat", REVERSED)],
)
def test_frames_are_put_in_order(kind: str, name: str) -> None:
    scan = scan_of(scan=kind, **({"jitter_px": 0.8} if kind == "raster" else {}))
    given = in_order(scan, name)
    assert (given.positions_px != scan.positions_px).any()
    found = order(NumpyOps(), given)
    assert found is not None
    assert (found.name, found.level, found.details["order"]) == ("frame-order", "mended", name)
    assert "to make that permanent, put the positions" in found.message
    np.testing.assert_array_equal(mended_like(given, [found]).positions_px, scan.positions_px)


@pytest.mark.parametrize("name", [REVERSED, COLUMNS])
def test_it_is_no_turn_where_single_positions_tell(name: str) -> None:
    """Turned positions leave but the scatter of the single ones."""
    scan = scan_of(scan="raster", jitter_px=0.8)
    turned, (found,) = right_geometry(NumpyOps(), in_order(scan, name), NO_SLIPS)
    assert (found.name, found.details["order"]) == ("frame-order", name)
    np.testing.assert_array_equal(turned.positions_px, scan.positions_px)


def test_on_an_even_raster_the_opposite_order_is_a_turn() -> None:
    """Nothing tells them apart, and nothing needs to: the positions are the same."""
    scan = scan_of(scan="raster", jitter_px=0.0)
    turned, (found,) = right_geometry(NumpyOps(), in_order(scan, REVERSED), NO_SLIPS)
    assert found.name == "orientation"
    assert "or the frames are in the opposite order of the positions" in found.message
    apart = turned.positions_px - scan.positions_px
    np.testing.assert_allclose(apart, apart[:1].repeat(len(apart), 0), atol=1e-9)


def test_frames_in_order_are_left_alone() -> None:
    """So are those whose positions are not exact, and a slip is no other order."""
    scan = scan_of(scan="raster", jitter_px=0.8)
    slipped = np.concatenate([scan.positions_px[:30], scan.positions_px[31:]])
    rng = np.random.default_rng(1)
    for given in (
        scan,
        replace(scan, positions_px=scan.positions_px + rng.normal(0, 1, (64, 2)), object=None),
        replace(scan.select(np.arange(63)), positions_px=slipped, object=None),
    ):
        assert order(NumpyOps(), given) is None


def test_patterns_that_were_left_out_keep_their_places() -> None:
    """Of 64 frames in the opposite order three had no beam."""
    scan = scan_of(scan="raster", jitter_px=0.8)
    counts = np.array(scan.diffraction[:])
    counts[[2, 20, 63]] = 0
    given = in_order(replace(scan, diffraction=counts), REVERSED)
    checked = pp.check_scan(given)
    assert [found.name for found in checked.findings] == ["empty-patterns"]
    turned, (found,) = right_geometry(NumpyOps(), checked.scan, NO_SLIPS)
    assert found.details["patterns"] == [0, 43, 61]
    kept = np.setdiff1d(np.arange(64), [2, 20, 63, 0, 43, 61])
    np.testing.assert_array_equal(turned.positions_px, scan.positions_px[kept])


def test_large_patterns_one_frame_off_are_moved() -> None:
    """Trials take their middle, and positions in its coarser pixels."""
    scan = pp.simulate(object="leaves", N=128, patterns=64, photons=1e6, seed=5)
    given = replace(scan, positions_px=np.roll(scan.positions_px, 1, 0), object=None)
    _, (found,) = right_geometry(NumpyOps(), given, [*NO_SLIPS, "orientation", "frame-order"])
    assert (found.name, found.details["frames"]) == ("frame-offset", 1)


def test_rows_are_told_by_the_positions() -> None:
    y, x = (axis.ravel() * 4.0 for axis in np.indices((7, 11)))
    meander = np.where(y % 8 == 4, 40 - x, x)
    scatter = np.random.default_rng(2).uniform(-1, 1, (77, 2))
    for slow, fast in ((y, x), (-y, x), (y, meander)):
        for places in (np.stack([slow, fast], 1), np.stack([fast, slow], 1)):
            assert row_length(places) == row_length(places + scatter) == 11
            assert row_length(places[:-3]) == 11
    assert row_length(np.random.default_rng(3).uniform(0, 50, (80, 2))) == 0
    assert row_length(np.zeros((80, 2))) == row_length(np.zeros((2, 2))) == 0
