"""The laws of the forward model, on every implementation, for the far and the near field."""

from __future__ import annotations

import numpy as np
import pytest
from adapters import Oracle, Physics
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    Experiment,
    assert_same,
    complex_normal,
    energy,
    experiments,
    gaussian_probe,
    laws,
    lossless,
    seeds,
    sizes,
    spaces,
)

from oracle import forward
from oracle.near_field import FreeSpace


@laws
@given(experiments(), spaces)
def test_the_fields_are_those_of_the_oracle(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    given_ = (e.canvas, e.probe, e.positions, e.origin, space)
    expected, rtol = Oracle(), implementation.rtol
    assert_same(implementation.fields(*given_), expected.fields(*given_), rtol)
    assert_same(implementation.intensities(*given_), expected.intensities(*given_), rtol)


@laws
@given(experiments(), lossless)
def test_energy_is_conserved(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    """Through vacuum every pattern holds the counts of the probe, wherever it is."""
    vacuum = np.ones(e.shape, dtype=complex)
    patterns = implementation.intensities(vacuum, e.probe, e.positions, e.origin, space)
    counts = patterns.sum(axis=(1, 2))
    assert_same(counts, np.full(len(counts), energy(e.probe)), implementation.rtol)


@laws
@given(experiments(), lossless)
def test_energy_of_the_exit_waves_arrives_at_the_detector(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    patterns = implementation.intensities(e.canvas, e.probe, e.positions, e.origin, space)
    counts = patterns.sum(axis=(1, 2))
    waves = forward.exit_waves(e.canvas, e.probe, e.positions, e.origin)
    assert_same(counts, (np.abs(waves) ** 2).sum(axis=(1, 2, 3)), implementation.rtol)


@laws
@given(experiments(), spaces)
def test_the_adjoint_is_adjoint(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    """<A O, Psi> = <O, A* Psi>, evanescent waves or not."""
    fields = complex_normal(e.rng, len(e.positions), *e.probe.shape)
    there = implementation.fields(e.canvas, e.probe, e.positions, e.origin, space)
    back = implementation.adjoint(fields, e.probe, e.positions, e.shape, e.origin, space)
    scale = np.sqrt(energy(there) * energy(fields))
    assert abs(np.vdot(fields, there) - np.vdot(back, e.canvas)) <= implementation.rtol * scale


@laws
@given(experiments(), spaces)
def test_modes_add_as_intensities(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    """Never as fields: the pattern of all modes is the sum of the patterns of each."""
    together = implementation.intensities(e.canvas, e.probe, e.positions, e.origin, space)
    each = [
        implementation.intensities(e.canvas, mode[None], e.positions, e.origin, space)
        for mode in e.probe
    ]
    assert_same(together, np.sum(each, axis=0), implementation.rtol)


@laws
@given(experiments(), spaces, st.integers(0, 2**16))
def test_the_mixing_of_modes_is_not_seen(
    implementation: Physics, e: Experiment, space: FreeSpace | None, seed: int
) -> None:
    """A unitary mixture of incoherent modes gives the same patterns."""
    count = len(e.probe)
    mix, _ = np.linalg.qr(complex_normal(np.random.default_rng(seed), count, count))
    mixed = np.einsum("pq,qyx->pyx", mix, e.probe)
    assert_same(
        implementation.intensities(e.canvas, mixed, e.positions, e.origin, space),
        implementation.intensities(e.canvas, e.probe, e.positions, e.origin, space),
        implementation.rtol,
    )


@laws
@given(experiments(), spaces, st.integers(-50, 50), st.integers(-50, 50))
def test_moving_positions_and_origin_together_changes_nothing(
    implementation: Physics, e: Experiment, space: FreeSpace | None, dy: int, dx: int
) -> None:
    shift = np.array([dy, dx])
    assert_same(
        implementation.intensities(e.canvas, e.probe, e.positions + shift, e.origin + shift, space),
        implementation.intensities(e.canvas, e.probe, e.positions, e.origin, space),
        implementation.rtol,
    )


@laws
@given(sizes, seeds)
def test_a_lit_pixel_of_the_object_appears_in_the_patch_where_the_contract_says(
    implementation: Physics, n: int, seed: int
) -> None:
    """At [y0 - r_y + N/2, x0 - r_x + N/2], in the wave that reaches the detector."""
    rng = np.random.default_rng(seed)
    origin = rng.integers(-20, 20, 2)
    lit = rng.integers(n, 2 * n, 2)
    canvas = np.zeros((3 * n, 3 * n + 1), dtype=complex)
    canvas[tuple(lit)] = 1
    position = lit + origin + rng.integers(-n // 2 + 1, n // 2, 2)
    field = implementation.fields(canvas, np.ones((1, n, n), complex), position[None], origin)
    wave = np.abs(forward.ifft(field)[0, 0])
    expected = np.zeros((n, n))
    expected[tuple(lit + origin - position + n // 2)] = 1
    assert_same(wave, expected, implementation.rtol)


@laws
@given(seeds)
def test_a_fractional_position_moves_the_light_the_right_way(
    implementation: Physics, seed: int
) -> None:
    """Where the light falls on the object is the position itself, fractions included."""
    n = 32
    rng = np.random.default_rng(seed)
    position = rng.uniform(40, 45, (1, 2))
    canvas = np.ones((96, 96), complex)
    wave = forward.ifft(
        implementation.fields(canvas, gaussian_probe(n, 3.0), position, np.zeros(2, int))
    )
    density = np.abs(wave[0, 0]) ** 2
    centre = (density * np.indices((n, n))).sum(axis=(1, 2)) / density.sum()
    on_object = centre - n / 2 + np.floor(position[0] + 0.5)
    assert np.abs(on_object - position[0]).max() <= 10 * implementation.rtol


@laws
@given(sizes, seeds)
def test_a_shift_by_whole_pixels_is_a_roll(implementation: Physics, n: int, seed: int) -> None:
    """out(u) = field(u - shift): a lit pixel moves by +shift along (y, x)."""
    rng = np.random.default_rng(seed)
    field, shift = complex_normal(rng, 3, n, n), rng.integers(-n, n, (3, 2))
    rolled = [np.roll(f, tuple(s), axis=(0, 1)) for f, s in zip(field, shift, strict=True)]
    assert_same(
        implementation.fourier_shift(field, shift.astype(float)),
        np.stack(rolled),
        10 * implementation.rtol,
    )


@laws
@given(sizes, seeds)
def test_shifts_add_up_and_conserve_energy(implementation: Physics, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    field, (a, b) = complex_normal(rng, 2, n, n), rng.uniform(-2, 2, (2, 2, 2))
    twice = implementation.fourier_shift(implementation.fourier_shift(field, a), b)
    assert_same(implementation.fourier_shift(field, a + b), twice, 10 * implementation.rtol)
    assert energy(twice) == pytest.approx(energy(field), rel=10 * implementation.rtol)


@laws
@given(sizes, seeds)
def test_a_phase_ramp_moves_the_pattern_towards_higher_index(
    implementation: Physics, n: int, seed: int
) -> None:
    """exp(2 pi i k v / N) puts all light on detector pixel [N/2 + k_y, N/2 + k_x]."""
    rng = np.random.default_rng(seed)
    ky, kx = rng.integers(-n // 2, n // 2, 2)
    y, x = np.indices((n, n))
    ramp = np.exp(2j * np.pi * (ky * y + kx * x) / n)
    position = np.array([[n // 2, n // 2]])
    pattern = implementation.intensities(ramp, np.ones((1, n, n), complex), position, (0, 0))
    expected = np.zeros((n, n))
    expected[n // 2 + ky, n // 2 + kx] = n * n
    assert_same(pattern[0], expected, 10 * implementation.rtol)
