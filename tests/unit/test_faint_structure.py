"""Patterns that show little more than noise tell the geometry of their scan all the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.frame_order import EXCHANGED, MEANDER, exchanged, order, partners_in
from ptychopinn.checks.position_unit import unit
from ptychopinn.checks.replay import mended_like
from ptychopinn.checks.trial_fits import beyond_noise, scaled
from ptychopinn.checks.upright import right_geometry
from ptychopinn.data.scan import Scan
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows.checking import suspicious

# What needs a reconstruction and is not looked for here.
OTHERS = ["probe-plane", "closed-gap", "frame-offset", "frame-slip", "position-unit"]


@pytest.fixture(scope="module")
def faint() -> Scan:
    """A raster of 12 rows and 10 columns, where a flat object leaves but little beyond noise."""
    whole = pp.simulate(
        N=32, object="leaves", amplitude=(0.85, 1.0), phase=(-0.2, 0.2), patterns=144, photons=3e4,
        step_px=3.2, jitter_px=0.0, seed=2,
    )  # fmt: skip
    return replace(whole.select(np.flatnonzero(np.arange(144) % 12 < 10)), object=None)


def test_rows_that_are_walked_to_and_fro(faint: Scan) -> None:
    places = faint.positions_px[partners_in(faint, MEANDER)]
    found = order(NumpyOps(), replace(faint, positions_px=places))
    assert found is not None and found.details["order"] == MEANDER
    assert order(NumpyOps(), faint) is None


def test_rows_and_columns_that_were_exchanged(faint: Scan) -> None:
    rows, columns = np.divmod(np.arange(faint.M), 12)
    rng = np.random.default_rng(1).normal(0, 0.3, (faint.M, 2))
    given = replace(faint, positions_px=3.2 * np.stack([rows, columns], axis=1) + 20.0)
    scan, (found,) = right_geometry(NumpyOps(), given, OTHERS)
    assert (found.name, found.details["order"]) == ("frame-order", EXCHANGED)
    assert exchanged(replace(faint, positions_px=faint.positions_px + rng)) is None
    np.testing.assert_array_equal(mended_like(given, [found]).positions_px, scan.positions_px)
    apart = scan.positions_px - faint.positions_px
    np.testing.assert_allclose(apart, apart[:1].repeat(len(apart), 0), atol=1e-6)


def test_another_unit(faint: Scan) -> None:
    small = replace(faint, positions_px=scaled(faint.positions_px, 0.1))
    found = unit(NumpyOps(), small)
    assert found is not None and found.details["scale"] == 10.0


def test_a_fit_that_leaves_faint_structure_is_suspicious(faint: Scan) -> None:
    """It leaves less than half of the noise, and less than 0.002 of the counts."""
    config = pp.PhysicsConfig(passes=5)
    right = pp.refine(faint, config=config, no_mend="all")
    rng = np.random.default_rng(1)
    wrong = replace(faint, positions_px=rng.permutation(faint.positions_px))
    other = pp.refine(wrong, config=config, no_mend="all")
    assert right.fit is not None and other.fit is not None
    assert np.isnan(other.fit.explained)
    assert not suspicious(right.fit)
    assert suspicious(other.fit)

    # Half of the noise is followed by both: nothing tells them apart.


def test_what_is_left_beyond_noise() -> None:
    assert beyond_noise(0.3, 0.6, 0.0) == 0.5
    # Both are below what a fit leaves of noise, which tells nothing.
    assert beyond_noise(0.05, 0.05, 0.1) == 1.0
    assert beyond_noise(0.09, 0.13, 0.1) == pytest.approx(0.01 / 0.05)
