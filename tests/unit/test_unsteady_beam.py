"""A beam that jumps in mid-scan, which an object or other scan axes make up for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.workflows.unsteady_beam import unsteady_beam

BEAM = "beam-current"


@pytest.fixture(scope="module")
def expected() -> pp.Scan:
    return pp.simulate(
        N=32, patterns=144, step_px=3.0, photons=1e4, object="grf", seed=7, poisson=False
    )


def drawn(scan: pp.Scan, factors: Any = 1.0) -> pp.Scan:
    mean = np.asarray(scan.diffraction) * np.broadcast_to(factors, scan.M)[:, None, None]
    counts = np.random.default_rng(0).poisson(mean).astype(np.uint32)
    return replace(scan, diffraction=counts, object=None)


@pytest.fixture(scope="module")
def jumped(expected: pp.Scan) -> pp.Scan:
    """The second half of the scan has seven tenths of the beam."""
    return drawn(expected, np.where(np.arange(expected.M) < expected.M // 2, 1.0, 0.7))


def test_a_steady_beam_is_left_alone(expected: pp.Scan) -> None:
    assert unsteady_beam(NumpyOps(), drawn(expected), ()) is None


def test_wrong_positions_are_no_beam(expected: pp.Scan) -> None:
    scan = drawn(expected)
    moved = np.random.default_rng(1).standard_normal(scan.positions_px.shape)
    assert (
        unsteady_beam(NumpyOps(), replace(scan, positions_px=scan.positions_px + moved), ()) is None
    )


def test_a_jump_is_named_and_not_the_axes_that_make_up_for_it(jumped: pp.Scan) -> None:
    found = pp.reconstruct(jumped, backend="numpy", refine="never")
    assert found.fit is not None and found.fit.cause is not None
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", BEAM)
    assert "the intensity of the beam changed" in found.fit.cause
    assert {(one.name, one.level) for one in found.findings} == {(BEAM, "doubt")}
    # A later look says the same.
    assert pp.misfit(found, jumped).likely == BEAM


def test_factors_that_would_still_grow_are_told_and_those_of_a_flicker_are_not(
    expected: pp.Scan, jumped: pp.Scan
) -> None:
    """Beside factors that follow a part of a jump the residual is that of noise."""
    config = pp.RefineConfig(passes=40)
    found = pp.refine(jumped, None, config, backend="numpy", no_mend=("scan-axes",))
    assert found.fit is not None and found.fit.cause is not None
    assert found.fit.excess < 0.1 * found.fit.expected
    assert (found.fit.verdict, found.fit.likely) == ("doubtful", BEAM)
    assert "would still grow" in found.fit.cause
    flicker = drawn(expected, 1 + 0.15 * np.random.default_rng(1).uniform(-1, 1, expected.M))
    fit = pp.refine(flicker, None, config, backend="numpy").fit
    assert fit is not None and fit.verdict == "good"


def test_it_is_not_looked_for_when_that_is_switched_off(jumped: pp.Scan) -> None:
    found = pp.reconstruct(jumped, backend="numpy", refine="never", no_mend=(BEAM,))
    assert found.fit is not None
    assert found.fit.likely != BEAM
