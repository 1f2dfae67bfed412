"""Frames in another order than the positions are told by the patterns alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.scan import Scan
from ptychopinn.ops.options import NumpyExecution
from ptychopinn.workflows.alternatives import judged
from ptychopinn.workflows.likeness import likeness


def made(**how: Any) -> Scan:
    known = {"N": 32, "patterns": 90, "photons": 1e5, "step_px": 3.0, "seed": 5, **how}
    return replace(pp.simulate(**known), object=None)


def interleaved(scan: Scan) -> Scan:
    order = np.r_[np.arange(0, scan.M, 2), np.arange(1, scan.M, 2)]
    return replace(scan, positions_px=scan.positions_px[order])


@pytest.mark.parametrize(
    ("name", "kind"), [("natural", "raster"), ("siemens", "raster"), ("siemens", "fermat")]
)
def test_interleaved_frames_are_told(name: str, kind: str) -> None:
    found = likeness(interleaved(made(object=name, scan=kind)))
    assert found is not None and found.nearest < 0.2 * found.following


@pytest.mark.parametrize("kind", ["raster", "fermat"])
@pytest.mark.parametrize("name", ["natural", "siemens", "lines", "leaves"])
def test_frames_in_order_are_not_doubted(name: str, kind: str) -> None:
    # Straight lines are alike far from each other too.
    assert likeness(made(object=name, scan=kind)) is None


def test_few_photons_tell_nothing() -> None:
    assert likeness(interleaved(made(object="natural", photons=100))) is None


def test_turned_or_stretched_positions_are_in_order() -> None:
    scan = made(object="natural")
    y, x = scan.positions_px.T
    for places in (np.stack([x, y], 1), np.stack([-y, x], 1), np.stack([2 * y, 2 * x], 1)):
        assert likeness(replace(scan, positions_px=places)) is None


def test_images_that_move_with_their_positions_are_in_order() -> None:
    """A near field that is taken for a far field: its nearest patterns alone are alike."""
    known: dict[str, Any] = {"N": 64, "patterns": 64, "photons": 1e6, "seed": 1400}
    scan = pp.simulate(object="natural", propagator="near-field", **known)
    assert likeness(replace(scan, propagation="far-field")) is None


def test_the_verdict_names_the_order() -> None:
    scan = interleaved(made(object="natural", patterns=64))
    result = pp.refine(scan, None, pp.RefineConfig(passes=6), backend="numpy", no_mend="all")
    fit = judged(result, scan, "numpy", NumpyExecution()).fit
    assert fit is not None and fit.likely == "frame-order"
    assert fit.cause is not None and "in different orders" in fit.cause
