"""A beam that jumps in mid-scan, which an object or other scan axes make up for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.checks.trial_fits import LIMIT_BYTES
from ptychopinn.data.normalization import prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.workflows.unsteady_beam import (
    GROWING,
    far_from_rest,
    growing_factors,
    unsteady_beam,
)

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


def test_a_change_that_an_object_still_holds_is_told_of_many_photons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The residual is several times that of noise, and yet 99 % of the structure is explained."""
    # As beside slices, where an object keeps what it took up.
    monkeypatch.setattr("ptychopinn.solvers.physics.exchange", lambda *_: None)
    mean = pp.simulate(
        N=32, patterns=100, step_px=3.0, photons=1e8, object="natural", seed=7, poisson=False
    )
    scan = drawn(mean, np.where(np.arange(mean.M) < mean.M // 2, 1.0, 0.7))
    config = pp.RefineConfig(passes=15)
    result = pp.refine(scan, None, config, backend="numpy", no_mend=("alternatives",))
    fit = result.fit
    assert fit is not None
    assert fit.residual > 2 * fit.expected and fit.explained > 0.99
    told = fit.judged(far_from_rest(result))
    assert (told.verdict, told.likely) == ("doubtful", BEAM)


@pytest.mark.parametrize(("step", "told"), [(5e-5, False), (3e-4, True)])
def test_a_step_of_factors_that_nobody_sees_is_no_cause(
    expected: pp.Scan, step: float, told: bool
) -> None:
    """So many photons tell a step of 5e-5 by 20 standard deviations as well."""
    assert expected.object is not None
    times = 1e9 / float(np.asarray(expected.diffraction).sum(axis=(1, 2)).mean())
    slow = np.sqrt(2) * np.sin(np.arange(expected.M) / 20)
    factors = 1 + 0.1 * slow
    scan = drawn(expected, times * (factors + step * slow))
    found = Reconstruction(
        object=expected.object * np.complex64(1),
        origin_px=np.zeros(2, dtype=np.int64),
        weight=np.ones(expected.object.shape, np.float32),
        probe=expected.probe * np.float32(np.sqrt(times)),
        positions_px=expected.positions_px,
        name="result",
        effects={BEAM: factors},
    )
    found = replace(found, fit=misfit(found, scan))
    assert (GROWING in dict(growing_factors(found))) == told


def test_it_is_not_looked_for_when_that_is_switched_off(jumped: pp.Scan) -> None:
    found = pp.reconstruct(jumped, backend="numpy", refine="never", no_mend=(BEAM,))
    assert found.fit is not None
    assert found.fit.likely != BEAM


def test_factors_and_a_free_probe_do_not_drive_each_other_away() -> None:
    mean = pp.simulate(
        N=32, patterns=64, step_px=3.5, photons=1e5, object="lines", seed=3, poisson=False
    )
    factors = 1 + 0.3 * np.sin(np.arange(mean.M) / 7)
    config = PhysicsConfig(passes=20, stagnation=0.0, refine_probe=True)
    known = BeamCurrent(factors / factors.mean())
    solver = PhysicsSolver(NumpyOps(), config, LIMIT_BYTES, effects=(known,))
    part = prepare(drawn(mean, factors))
    losses = solver.solve(part).canvas.losses
    # All of them are right from the start; a first step goes too far.
    assert losses[7:].max() <= losses[3] and losses[-1] < part.expected_misfit


def test_a_factor_goes_less_far_where_the_last_pass_went_too_far() -> None:
    from ptychopinn.physics.effects import Seen

    def pass_of(known: BeamCurrent, measured: Any) -> BeamCurrent:
        none = np.zeros((2, 2))
        return known.advanced(Seen(measured, np.ones(8), none, none, 1e-9), lambda field: field)

    there = np.where(np.arange(8) % 2, 1.1, 0.9)
    first = pass_of(BeamCurrent(1 + 1e-6 * (there - 1)), there)
    np.testing.assert_allclose(first.values, 1 + first.share * (there - 1), atol=1e-6)
    back = pass_of(first, 2 - there)
    assert back.share == pytest.approx(first.share / 2, rel=0.1)
    on = pass_of(back, 2 - there)
    assert on.share == pytest.approx(1.2 * back.share)
