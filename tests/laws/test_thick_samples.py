"""The laws of a thick sample, on every implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from adapters import OnOps, Oracle, Physics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import (
    Experiment,
    assert_same,
    complex_normal,
    energy,
    experiments,
    free_spaces,
    laws,
    spaces,
    travelling,
)

from oracle import slices as oracle
from oracle.forward import fourier_shift
from oracle.near_field import HC_EV_M, FreeSpace
from ptychopinn.physics.effects import Effect
from ptychopinn.physics.forward import (
    added_up,
    backward,
    brought_back,
    changed_waves,
    laid,
    modelled,
    patches_of,
)
from ptychopinn.physics.moving_exposure import MovingExposure
from ptychopinn.physics.slices import Slices

Array = NDArray[Any]
counts = st.integers(2, 4)


@dataclass(frozen=True, eq=False)
class Thick:
    """What a batch of an experiment is with slices (K, H, W) on an implementation."""

    on: OnOps
    e: Experiment
    slices: Array
    batch: Any
    propagator: Any

    def modelled(self, slices: Array | None = None) -> tuple[Any, Array, Array]:
        canvas = self.on.to(self.slices if slices is None else slices)
        way, fields, model = modelled(self.on.xp, self.propagator, canvas, self.batch)
        return way, self.on.numpy(fields) * self.unitary, self.outward(model)

    def outward(self, x: Any) -> Array:
        return np.asarray(self.propagator.outward(self.on.numpy(x)))

    @property
    def unitary(self) -> float:
        power = self.propagator.power(self.on.xp, self.e.n)
        return 1.0 if power is None else float(np.sqrt(float(power)))


def thick(
    implementation: Physics,
    e: Experiment,
    count: int,
    between: FreeSpace,
    space: FreeSpace | None = None,
    effects: tuple[Effect, ...] = (),
    slices: Array | None = None,
) -> Thick:
    if not isinstance(implementation, OnOps):
        pytest.skip("the oracle is what slices are compared with")
    on = implementation
    layers = complex_normal(e.rng, count, *e.shape) if slices is None else slices
    propagator = on.propagator(e.n, space)
    batch = on.batch(on.to(e.probe), e.positions, e.shape, e.origin, propagator)
    for effect in (*effects, of(count, between)):
        batch = effect.applied(on.xp, batch, np.arange(len(e.positions)), propagator.inward)
    return Thick(on, e, layers, batch, propagator)


def of(count: int, between: FreeSpace) -> Slices:
    wavelength = float(HC_EV_M) / between.energy_eV
    return Slices.of(count, between.distance_m, between.pixel_size_m, wavelength)


@laws
@given(experiments(), counts, free_spaces(), spaces)
def test_patterns_are_those_of_the_oracle(
    implementation: Physics, e: Experiment, count: int, between: FreeSpace, space: FreeSpace | None
) -> None:
    """In the far field, and in the near field behind the last slice."""
    t = thick(implementation, e, count, between, space)
    waves = oracle.exit_waves(t.slices, e.probe, e.positions, e.origin, between)
    _, fraction = np.divmod(e.positions + 0.5, 1)
    expected = (np.abs(Oracle().propagate(waves, fraction - 0.5, space)) ** 2).sum(axis=1)
    assert_same(t.modelled()[2], expected, 10 * t.on.rtol)


@laws
@given(experiments(), counts, free_spaces())
def test_no_distance_is_the_product_of_the_slices(
    implementation: Physics, e: Experiment, count: int, between: FreeSpace
) -> None:
    nothing = FreeSpace(between.pixel_size_m, 2000.0 * between.energy_eV, 0.0)
    t = thick(implementation, e, count, nothing)
    plain = Oracle().intensities(t.slices.prod(axis=0), e.probe, e.positions, e.origin)
    assert_same(t.modelled()[2], plain, 10 * t.on.rtol)


@laws
@given(experiments(), counts, travelling())
def test_slices_that_only_turn_the_phase_keep_the_light(
    implementation: Physics, e: Experiment, count: int, between: FreeSpace
) -> None:
    phases = np.exp(1j * e.rng.uniform(-3, 3, (count, *e.shape)))
    t = thick(implementation, e, count, between, slices=phases)
    light = t.modelled()[2].sum(axis=(1, 2))
    assert_same(light, np.full(len(light), energy(e.probe)), 10 * t.on.rtol)


@laws
@given(experiments(), counts, free_spaces(), spaces)
def test_going_back_is_the_adjoint_in_each_slice_and_in_the_probe(
    implementation: Physics, e: Experiment, count: int, between: FreeSpace, space: FreeSpace | None
) -> None:
    """<A x, y> = <x, A* y>: the fields are linear in each slice, and in the probe."""
    t = thick(implementation, e, count, between, space)
    on, xp = t.on, t.on.xp
    way, fields, _ = t.modelled()
    y = complex_normal(e.rng, *fields.shape)
    waves, back = backward(xp, t.propagator, on.to(y / t.unitary), t.batch, way)
    size = count * e.shape[0] * e.shape[1]
    spread = xp.plus(None, laid(xp, back, t.batch, size))
    found = on.numpy(xp.reshape(spread, (count, *e.shape)))
    for k in range(count):
        # With what lies behind, the rest of the sample may amplify the rounding.
        scale = np.sqrt(energy(fields) * energy(y))
        there, again = np.vdot(y, fields), np.vdot(found[k], t.slices[k])
        assert abs(there - again) <= 20 * on.rtol * scale
    asked = xp.conj(way.patches[0])[:, None] * waves
    probe = on.numpy(added_up(xp, brought_back(xp, t.batch, asked)))
    assert abs(np.vdot(y, fields) - np.vdot(probe, e.probe)) <= 20 * on.rtol * scale


@laws
@given(experiments(), counts, free_spaces())
def test_waves_change_with_all_slices_at_once(
    implementation: Physics, e: Experiment, count: int, between: FreeSpace
) -> None:
    """To first order, as moves of a position change them: what is left of F(1) - F(-1) and
    F(2) - F(-2) once the third order, which four slices have, is gone."""
    t = thick(implementation, e, count, between)
    on, xp = t.on, t.on.xp
    along = complex_normal(e.rng, *t.slices.shape)
    way, fields, _ = t.modelled()
    waves = changed_waves(xp, t.batch, way, patches_of(xp, on.to(along), t.batch))
    found = on.numpy(t.propagator.forward(xp, waves, t.batch.fraction)) * t.unitary
    at = {s: t.modelled(t.slices + s * along)[1] for s in (-2, -1, 1, 2)}
    expected = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / 12
    scale = max(np.abs(field).max() for field in (fields, *at.values()))
    assert np.abs(found - expected).max() <= 50 * on.rtol * scale


@laws
@given(experiments(), counts, free_spaces())
def test_each_copy_of_a_moving_probe_goes_through_all_slices(
    implementation: Physics, e: Experiment, count: int, between: FreeSpace
) -> None:
    ways = np.broadcast_to(e.rng.uniform(-4, 4, 2), (len(e.positions), 2))
    moving = MovingExposure(np.array(ways))
    t = thick(implementation, e, count, between, effects=(moving,))
    expected = np.zeros((len(e.positions), e.n, e.n))
    for k in range(moving.copies):
        probe = fourier_shift(e.probe, ((k + 0.5) / moving.copies - 0.5) * ways[0])
        waves = oracle.exit_waves(t.slices, probe, e.positions, e.origin, between)
        fields = Oracle().propagate(waves, np.zeros((len(waves), 2)), None)
        expected += (np.abs(fields) ** 2).sum(axis=1) / moving.copies
    assert_same(t.modelled()[2], expected, 20 * t.on.rtol)
