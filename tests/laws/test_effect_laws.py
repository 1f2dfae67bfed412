"""The laws of what beam and detector do beyond the probe, on every implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from adapters import OnOps, Oracle, Physics
from hypothesis import given
from numpy.typing import NDArray
from strategies import (
    Experiment,
    assert_same,
    complex_normal,
    energy,
    experiments,
    few,
    laws,
    spaces,
)

from oracle import forward
from oracle.near_field import FreeSpace
from ptychopinn.data.normalization import prepare
from ptychopinn.data.scan import Scan
from ptychopinn.physics.background import Background
from ptychopinn.physics.beam_current import BeamCurrent
from ptychopinn.physics.effects import Effect, Seen, seen
from ptychopinn.physics.forward import added_up, brought_back, modelled
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.pattern_shift import PatternShift, displacement
from ptychopinn.physics.point_spread import PointSpread
from ptychopinn.physics.varying_probe import VaryingProbe
from ptychopinn.simulation import simulate
from ptychopinn.solvers.configs import PhysicsConfig
from ptychopinn.solvers.physics import PhysicsSolver
from ptychopinn.solvers.projections import projection

Array = NDArray[Any]
LIMIT = 512 << 20


def on_ops(implementation: Physics) -> OnOps:
    if not isinstance(implementation, OnOps):
        pytest.skip("the oracle is what effects are compared with")
    return implementation


def some_effects(e: Experiment) -> tuple[BeamCurrent, Background]:
    factors = e.rng.uniform(0.5, 1.5, len(e.positions))
    return BeamCurrent(factors / factors.mean()), Background(e.rng.uniform(0, 2, (e.n, e.n)))


def batch_of(
    on: OnOps, e: Experiment, space: FreeSpace | None, counts: Array, effects: tuple[Effect, ...]
) -> tuple[Any, Any]:
    """A batch with effects, and the propagator."""
    propagator = on.propagator(e.n, space)
    batch = on.batch(on.to(e.probe), e.positions, e.shape, e.origin, propagator, counts)
    for effect in effects:
        batch = effect.applied(on.xp, batch, np.arange(len(e.positions)), propagator.inward)
    return batch, propagator


@laws
@given(experiments(), spaces)
def test_intensities_are_multiplied_and_added_to(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    on, (current, background) = on_ops(implementation), some_effects(e)
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin, space)
    batch, propagator = batch_of(on, e, space, plain, (current, background))
    found = modelled(on.xp, propagator, on.to(e.canvas), batch)[2]
    expected = plain * current.values[:, None, None] + background.values
    assert_same(propagator.outward(on.numpy(found)), expected, on.rtol)


@laws
@given(experiments(), spaces)
def test_a_moving_exposure_adds_the_intensities_along_its_way(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    """Those of a probe that is moved against the object, in each mode."""
    on = on_ops(implementation)
    moving = MovingExposure(e.rng.uniform(-4, 4, (len(e.positions), 2)))
    count = moving.copies
    _, fraction = forward.split_positions(e.positions, e.n, e.origin)
    corner = forward.split_positions(e.positions, e.n, e.origin)[0]
    patches = forward.extract_patches(e.canvas, corner, e.n)
    expected = np.zeros((len(e.positions), e.n, e.n))
    for k in range(count):
        shift = fraction + ((k + 0.5) / count - 0.5) * moving.values
        waves = forward.fourier_shift(e.probe[None], shift[:, None]) * patches[:, None]
        # The beam stays where it is; in the near field the detector sees that.
        fields = Oracle().propagate(waves, shift, space)
        expected += (np.abs(fields) ** 2).sum(axis=1) / count
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin, space)
    batch, propagator = batch_of(on, e, space, plain, (moving,))
    found = modelled(on.xp, propagator, on.to(e.canvas), batch)[2]
    assert_same(propagator.outward(on.numpy(found)), expected, 3 * on.rtol)


@laws
@given(experiments())
def test_a_shift_moves_each_pattern(implementation: Physics, e: Experiment) -> None:
    """By whole pixels, over the border, in each mode."""
    on = on_ops(implementation)
    shifts = e.rng.integers(-3, 4, (len(e.positions), 2))
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin, None)
    batch, propagator = batch_of(on, e, None, plain, (PatternShift(shifts.astype(float)),))
    found = propagator.outward(on.numpy(modelled(on.xp, propagator, on.to(e.canvas), batch)[2]))
    moved = [np.roll(one, by, axis=(0, 1)) for one, by in zip(plain, shifts, strict=True)]
    assert_same(found, np.stack(moved), 3 * on.rtol)


@laws
@given(experiments())
def test_patterns_ask_for_the_shift_they_have(implementation: Physics, e: Experiment) -> None:
    """To first order: intensities that differ by a small part of their gradient."""
    on = on_ops(implementation)
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin, None) + 1.0
    by = e.rng.uniform(-1e-2, 1e-2, (len(plain), 2))
    slopes = np.stack(
        [0.5 * (np.roll(plain, -1, axis) - np.roll(plain, 1, axis)) for axis in (-2, -1)], axis=1
    )
    moved = plain - np.einsum("ja,jayx->jyx", by, slopes)
    good, nothing = on.to(np.ones((e.n, e.n))), on.to(np.zeros(()))
    asked = on.numpy(
        on.xp.call(displacement, on.to(np.sqrt(moved)), (), on.to(plain), good, nothing)
    )
    curvature = asked[:, [2, 3, 3, 4]].reshape(-1, 2, 2)
    found = np.linalg.solve(curvature, asked[:, :2, None])[..., 0]
    assert np.abs(found - by).max() < max(1e-6, 3e4 * on.rtol * np.abs(by).max())


def spread_by(width: float, pixels: Array) -> Array:
    """Pixels (M, N, N) convolved with a Gaussian that the borders fold back, by its sum."""
    n = pixels.shape[-1]
    distance = np.arange(-6 * n, 6 * n + 1)
    weight = np.exp(-(distance**2) / (2 * width**2))
    weight /= weight.sum()
    found = np.zeros_like(pixels)
    for dy, wy in zip(distance, weight, strict=True):
        if wy > 1e-14:
            found += wy * np.roll(pixels, dy, axis=-2)
    again = np.zeros_like(pixels)
    for dx, wx in zip(distance, weight, strict=True):
        if wx > 1e-14:
            again += wx * np.roll(found, dx, axis=-1)
    return again


@laws
@given(experiments(), spaces)
def test_a_point_spread_convolves_the_intensities(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    """And keeps their sum; the sampled Gaussian and its transform agree where it is wide enough."""
    on, width = on_ops(implementation), float(e.rng.uniform(2.0, 3.0))
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin, space)
    batch, propagator = batch_of(on, e, space, plain, (PointSpread(np.array([width])),))
    found = propagator.outward(on.numpy(modelled(on.xp, propagator, on.to(e.canvas), batch)[2]))
    assert_same(found, spread_by(width, plain), max(1e-7, 10 * on.rtol))
    assert_same(found.sum(axis=(1, 2)), plain.sum(axis=(1, 2)), 10 * on.rtol)


@laws
@given(experiments(), spaces)
def test_what_is_asked_of_a_wave_is_the_adjoint_of_the_spread(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    """The slope of the misfit of the moduli along any change of the canvas, by differences."""
    on = on_ops(implementation)
    if on.rtol > 1e-6:
        pytest.skip("differences in single precision are too coarse")
    effects = (PointSpread(np.array([1.3])),)
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin, space)
    batch, propagator = batch_of(on, e, space, plain * e.rng.uniform(0.5, 2, plain.shape), effects)
    good = on.to(propagator.inward(e.mask.astype(float)))
    spare = 1e-3 * float(plain.mean())

    def asked(canvas: Array) -> Any:
        return projection(on.xp, propagator, on.to(canvas), batch, good, spare)

    def misfit(canvas: Array) -> float:
        return float((on.numpy(asked(canvas).difference) ** 2).sum())

    numerator = on.xp.plus(None, on.xp.spread(asked(e.canvas).back, batch.places, e.canvas.size))
    numerator = on.numpy(numerator).reshape(e.canvas.shape)
    direction, step = complex_normal(e.rng, *e.shape), 1e-6
    slope = (misfit(e.canvas + step * direction) - misfit(e.canvas - step * direction)) / step / 2
    expected = -2 * float(np.vdot(numerator, direction).real)
    assert slope == pytest.approx(
        expected, abs=1e-4 * np.sqrt(energy(numerator) * energy(direction))
    )


@laws
@given(experiments(), spaces)
def test_a_varying_probe_is_another_one_for_each_pattern(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    on, m, probe = on_ops(implementation), len(e.positions), e.probe[:1]
    rows, fields = complex_normal(e.rng, m, 2), complex_normal(e.rng, 2, e.n, e.n)
    strength = np.sqrt(energy(probe))
    changes = strength * np.tensordot(rows, fields, 1)
    expected = [
        Oracle().intensities(e.canvas, probe + change, e.positions[j : j + 1], e.origin, space)[0]
        for j, change in enumerate(changes)
    ]
    propagator = on.propagator(e.n, space)
    nothing = np.ones((m, e.n, e.n))
    batch = on.batch(on.to(probe), e.positions, e.shape, e.origin, propagator, nothing)
    numbers = np.arange(m)
    for varying, counts in (
        (VaryingProbe.of(rows, fields), np.stack(expected)),
        (
            VaryingProbe.of(0 * rows, fields),
            Oracle().intensities(e.canvas, probe, e.positions, e.origin, space),
        ),
    ):
        varying.check(m, e.n)
        with_it = varying.applied(on.xp, batch, numbers, propagator.inward)
        found = modelled(on.xp, propagator, on.to(e.canvas), with_it)[2]
        assert_same(propagator.outward(on.numpy(found)), counts, 5 * on.rtol)


@laws
@given(experiments())
def test_collecting_the_copies_of_a_probe_is_the_adjoint_of_making_them(
    implementation: Physics, e: Experiment
) -> None:
    on = on_ops(implementation)
    moving = MovingExposure(e.rng.uniform(-4, 4, (len(e.positions), 2)))
    batch, _ = batch_of(on, e, None, np.ones((len(e.positions), e.n, e.n)), (moving,))
    there = on.numpy(batch.probes)
    waves = complex_normal(e.rng, *there.shape)
    back = on.numpy(added_up(on.xp, brought_back(on.xp, batch, on.to(waves))))
    scale = np.sqrt(energy(there) * energy(waves))
    assert abs(np.vdot(waves, there) - np.vdot(back, e.probe)) <= 3 * on.rtol * scale


@laws
@given(experiments())
def test_the_projection_keeps_the_phase_of_the_brightened_wave(
    implementation: Physics, e: Experiment
) -> None:
    """chi = F^-1 (sqrt(I) / sqrt(J) - 1) sqrt(g) Psi, and sum sqrt(g) conj(P) chi goes back."""
    on, effects = on_ops(implementation), some_effects(e)
    current, background = effects
    fields = Oracle().fields(e.canvas, e.probe, e.positions, e.origin)
    fields = fields * np.sqrt(current.values)[:, None, None, None]
    model = (np.abs(fields) ** 2).sum(axis=1) + background.values
    counts = model * e.rng.uniform(0.5, 2, model.shape)
    chi = forward.ifft(fields * (e.mask * (np.sqrt(counts / model) - 1))[:, None])
    _, fraction = forward.split_positions(e.positions, e.n, e.origin)
    probes = forward.fourier_shift(e.probe[None], fraction[:, None])
    probes = probes * np.sqrt(current.values)[:, None, None, None]
    batch, propagator = batch_of(on, e, None, counts, effects)
    good = on.to(propagator.inward(e.mask.astype(float)))
    found = projection(on.xp, propagator, on.to(e.canvas), batch, good, 1e-12)
    scale = np.abs(probes).max() * np.abs(fields).max()
    difference = on.numpy(found.back) - (probes.conj() * chi).sum(axis=1)
    assert np.abs(difference).max() <= 10 * on.rtol * scale


def counts_of(on: OnOps, e: Experiment, counts: Array, effects: tuple[Effect, ...]) -> Seen:
    """What a pass over all patterns at the true object sees."""
    batch, propagator = batch_of(on, e, None, counts, effects)
    model = modelled(on.xp, propagator, on.to(e.canvas), batch)[2]
    good = on.to(propagator.inward(e.mask.astype(float)))
    parts = [
        np.asarray(on.numpy(part), np.float64)
        for part in seen(on.xp, batch.amplitudes, batch.bounds, model, good, on.to(np.zeros(())))
    ]
    return Seen(parts[0], parts[1], parts[2], parts[3], 1e-12)


@few
@given(experiments())
def test_a_factor_is_found_in_one_step_where_the_object_is_known(
    implementation: Physics, e: Experiment
) -> None:
    on, (current, _) = on_ops(implementation), some_effects(e)
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin)
    # Factors that are followed already.
    start = BeamCurrent(current.values[::-1] ** 0.5 / (current.values**0.5).mean())
    if not start.changes:
        return
    sees = counts_of(on, e, plain * current.values[:, None, None], (start,))
    found = start.advanced(sees, on.propagator(e.n, None).outward)
    assert_same(found.values, current.values, 10 * on.rtol)


@few
@given(experiments())
def test_the_true_effects_stay(implementation: Physics, e: Experiment) -> None:
    on, (current, _) = on_ops(implementation), some_effects(e)
    effects = current, Background(np.full((e.n, e.n), 0.7))
    background = effects[1]
    plain = Oracle().intensities(e.canvas, e.probe, e.positions, e.origin)
    counts = plain * current.values[:, None, None] + background.values
    sees, outward = counts_of(on, e, counts, effects), on.propagator(e.n, None).outward
    for effect in effects:
        found = effect.advanced(sees, outward).values
        assert np.abs(found - effect.values).max() <= 1e3 * on.rtol * np.abs(effect.values).max()


@pytest.fixture(scope="module")
def faulty() -> tuple[Scan, Array]:
    """A scan whose beam current changes, on a background, and the factors."""
    scan = simulate(object="leaves", N=32, patterns=144, photons=1e6, seed=4)
    rng = np.random.default_rng(1)
    factors = 1 + 0.2 * np.sin(np.arange(scan.M) / 5) + 0.05 * rng.normal(size=scan.M)
    factors /= factors.mean()
    counts = np.asarray(scan.diffraction) * factors[:, None, None] + 40.0
    drawn = rng.poisson(counts).astype(np.uint32)
    return Scan(drawn, scan.positions_px, scan.probe, name="faulty"), factors


def test_iterations_find_both_effects(implementation: Physics, faulty: tuple[Scan, Array]) -> None:
    on, (scan, factors) = on_ops(implementation), faulty
    if on.rtol < 1e-6:
        pytest.skip("solvers compute in single precision")
    prepared = prepare(scan)
    nothing = (
        BeamCurrent.none(scan.positions_px, scan.N),
        Background.none(scan.positions_px, scan.N),
    )

    def solved(effects: tuple[Effect, ...]) -> Any:
        return PhysicsSolver(on.xp, PhysicsConfig(), LIMIT, effects=effects).solve(prepared)

    without, found = solved(()), solved(nothing)
    assert found.canvas.losses[-1] < 0.25 * without.canvas.losses[-1]
    assert found.canvas.losses[-1] < 1.5 * prepared.expected_misfit
    current, background = found.effects
    assert np.corrcoef(current.values, factors)[0, 1] > 0.97
    level = background.values.mean() / prepared.input_scale**2
    assert level == pytest.approx(40, rel=0.1)


def test_they_are_followed_beside_a_free_probe(
    implementation: Physics, faulty: tuple[Scan, Array]
) -> None:
    on, (scan, _) = on_ops(implementation), faulty
    if on.rtol < 1e-6:
        pytest.skip("solvers compute in single precision")
    nothing = (
        BeamCurrent.none(scan.positions_px, scan.N),
        Background.none(scan.positions_px, scan.N),
    )
    config = PhysicsConfig(passes=12, refine_probe=True, refine_positions=True)
    found = PhysicsSolver(on.xp, config, LIMIT, effects=nothing).solve(prepare(scan))
    assert found.canvas.losses[-1] < 0.3 * found.canvas.losses[3]
    assert found.effects[1].values.mean() > 0
