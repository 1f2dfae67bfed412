"""A slowly varying amplitude goes from factors of patterns to the object, on each framework."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ptychopinn as pp
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.solvers.descent import Descent
from ptychopinn.solvers.problem import scan_problem
from ptychopinn.solvers.slow_amplitude import exchange, missing_gradients

from adapters import Networks  # isort: skip

LIMIT = 512 << 20
SLOPE = np.array([0.004, -0.002])


@pytest.fixture(scope="module")
def truth() -> pp.Scan:
    return pp.simulate(N=32, patterns=64, step_px=4, photons=1e7, object="leaves", seed=2)


@pytest.fixture(scope="module")
def prepared(truth: pp.Scan) -> PreparedScan:
    return prepare(replace(truth, object=None))


def wave(y: Any, x: Any) -> Any:
    """A log amplitude that varies slowly."""
    return SLOPE[0] * y + SLOPE[1] * x + 0.02 * np.sin(y / 9) * np.cos(x / 11)


def made_up(
    networks: Networks, truth: pp.Scan, prepared: PreparedScan, **options: Any
) -> tuple[Descent, NDArray[np.int64], NDArray[np.float64]]:
    """The true object without that amplitude, and factors that make up for it."""
    xp = networks.xp
    problem, origin = scan_problem(xp, prepared, 4, LIMIT)
    (top, left), (height, width) = origin, problem.shape
    assert truth.object is not None
    obj = np.ones(problem.shape, np.complex64)
    known = truth.object[max(top, 0) : top + height, max(left, 0) : left + width]
    at = max(-top, 0), max(-left, 0)
    obj[at[0] : at[0] + known.shape[0], at[1] : at[1] + known.shape[1]] = known
    y, x = np.arange(height)[:, None] + top, np.arange(width)[None] + left
    positions = truth.positions_px
    levels = wave(*positions.T)
    canvas = obj / prepared.object_scale * np.exp(-wave(y, x) + levels.mean())
    factors = np.exp(2 * (levels - levels.mean()))
    current = BeamCurrent(factors / factors.mean())
    start = xp.asarray(canvas.astype(np.complex64))
    return Descent(problem, start, effects=(current,), **options), origin, levels


def scatter(state: Descent) -> float:
    return float(np.std(np.log(state.effects[0].values)))


def misfit(state: Descent) -> float:
    return float(sum(float(state.misfit(k, state.canvas)) for k in range(4)))


def test_factors_that_make_up_for_the_object_become_part_of_it(
    networks: Networks, truth: pp.Scan, prepared: PreparedScan
) -> None:
    state, origin, _ = made_up(networks, truth, prepared)
    asked = missing_gradients(state, truth.M)
    assert asked[:, :2].mean(axis=0) == pytest.approx(SLOPE, rel=0.35)
    before, found = scatter(state), misfit(state)
    for _ in range(4):
        exchange(state, truth.positions_px, origin)
    assert scatter(state) < 0.35 * before
    assert misfit(state) < 0.7 * found


def test_what_is_right_stays(networks: Networks, truth: pp.Scan, prepared: PreparedScan) -> None:
    state, origin, _ = made_up(networks, truth, prepared)
    right, _, levels = made_up(networks, truth, prepared)
    y, x = (np.arange(side) + o for side, o in zip(right.problem.shape, origin, strict=True))
    grown = np.exp(wave(y[:, None], x[None]) - levels.mean()).astype(np.float32)
    right.canvas = right.xp.scaled(right.canvas, right.xp.asarray(grown))
    right.effects = (BeamCurrent(np.ones(truth.M)),)
    missed = np.abs(missing_gradients(state, truth.M)).mean()
    assert np.abs(missing_gradients(right, truth.M)).mean() < 0.05 * missed
    exchange(right, truth.positions_px, origin)
    assert scatter(right) == 0  # factors of 1 make up for nothing


def test_a_plane_is_left_to_a_free_probe(
    networks: Networks, truth: pp.Scan, prepared: PreparedScan
) -> None:
    state, origin, levels = made_up(networks, truth, prepared, refine_probe=True)
    places = np.column_stack([np.ones(truth.M), truth.positions_px])

    def plane() -> NDArray[np.float64]:
        logs = np.log(state.effects[0].values) / 2
        return np.asarray(np.linalg.lstsq(places, logs, rcond=None)[0][1:])

    before = plane()
    exchange(state, truth.positions_px, origin)
    assert plane() == pytest.approx(before, abs=2e-4)
    assert not np.allclose(levels - levels.mean(), np.log(state.effects[0].values) / 2, atol=1e-3)


def test_a_beam_that_changes_slowly_is_told_from_the_object(truth: pp.Scan) -> None:
    factors = 1 + 0.3 * np.sin(np.arange(truth.M) / 6)
    factors /= factors.mean()
    share = (factors / factors.max())[:, None, None]
    counts = np.random.default_rng(0).binomial(np.asarray(truth.diffraction, np.int64), share)
    scan = replace(truth, diffraction=counts.astype(np.uint32), object=None)
    result = pp.refine(scan, None, pp.PhysicsConfig(passes=40), backend="numpy", no_mend="all")
    found = result.effects["beam-current"] / factors
    assert np.std(found / found.mean()) < 0.01
    assert pp.evaluate(result, truth=truth).metrics["phase_psnr_db"] > 48
