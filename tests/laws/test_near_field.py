"""The laws of free space behind the object, on every implementation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from adapters import Oracle, Physics
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
    fresnel,
    gaussian_probe,
    laws,
    modes,
    seeds,
    sizes,
    smooth_object,
    travelling,
)

from oracle import forward
from oracle.near_field import HC_EV_M, FreeSpace
from ptychopinn.physics.propagators import near_field

Array = NDArray[Any]


def split(e: Experiment) -> Array:
    """Remainders (M, 2) of the positions of an experiment."""
    return forward.split_positions(e.positions, e.n)[1]


def waves_of(rng: np.random.Generator, n: int, count: int) -> tuple[Array, Array]:
    """Random waves (3, count, n, n) and remainders (3, 2)."""
    return complex_normal(rng, 3, count, n, n), rng.uniform(-0.5, 0.5, (3, 2))


@laws
@given(sizes, modes, seeds, free_spaces())
def test_waves_travel_as_those_of_the_oracle(
    implementation: Physics, n: int, count: int, seed: int, space: FreeSpace
) -> None:
    waves, fraction = waves_of(np.random.default_rng(seed), n, count)
    for verb in ("propagate", "propagate_back"):
        expected = getattr(Oracle(), verb)(waves, fraction, space)
        assert_same(
            getattr(implementation, verb)(waves, fraction, space), expected, implementation.rtol
        )


@laws
@given(experiments())
def test_no_distance_is_the_exit_wave_moved_back(implementation: Physics, e: Experiment) -> None:
    """What was moved by the remainder of the position is seen where the probe is."""
    space = FreeSpace(40e-9, 8000.0, 0.0)
    found = implementation.fields(e.canvas, e.probe, e.positions, e.origin, space)
    waves = forward.exit_waves(e.canvas, e.probe, e.positions, e.origin)
    expected = forward.fourier_shift(waves, -split(e)[:, None])
    assert_same(found, expected, implementation.rtol)


@laws
@given(sizes, seeds, travelling(), st.floats(0, 1))
def test_two_distances_add_up(
    implementation: Physics, n: int, seed: int, space: FreeSpace, share: float
) -> None:
    """Half the way and half the way again, or any two parts."""
    waves, fraction = waves_of(np.random.default_rng(seed), n, 2)
    still = np.zeros_like(fraction)
    for part in (0.5, share):
        first = replace(space, distance_m=part * space.distance_m)
        rest = replace(space, distance_m=space.distance_m - first.distance_m)
        there = implementation.propagate(waves, fraction, first)
        twice = implementation.propagate(there, still, rest)
        once = implementation.propagate(waves, fraction, space)
        assert_same(twice, once, 3 * implementation.rtol)


@laws
@given(sizes, seeds, travelling())
def test_back_is_the_inverse_where_no_wave_is_evanescent(
    implementation: Physics, n: int, seed: int, space: FreeSpace
) -> None:
    waves, fraction = waves_of(np.random.default_rng(seed), n, 2)
    there = implementation.propagate(waves, fraction, space)
    assert_same(
        implementation.propagate_back(there, fraction, space), waves, 3 * implementation.rtol
    )
    assert np.isclose(energy(there), energy(waves), rtol=implementation.rtol)


@laws
@given(sizes, seeds, st.floats(0.3, 0.69), st.floats(0, 30))
def test_evanescent_waves_do_not_arrive(
    implementation: Physics, n: int, seed: int, pixel: float, number: float
) -> None:
    """Of each plane wave all arrives, or, beyond the wave number of the light, nothing."""
    rng = np.random.default_rng(seed)
    wavelength = float(HC_EV_M) / 2.0
    space = fresnel(number, pixel * wavelength, 2.0)
    my, mx = rng.integers(-(n // 2), n - n // 2, 2)
    across = np.hypot(my, mx) / (n * pixel)
    if abs(across - 1) < 1e-6:
        return  # exactly at the border rounding decides
    y, x = np.indices((n, n))
    wave = np.exp(2j * np.pi * (my * y + mx * x) / n)[None, None]
    still = np.zeros((1, 2))
    there = implementation.propagate(wave, still, space)
    if across > 1:
        assert np.abs(there).max() < 10 * implementation.rtol
        assert np.abs(implementation.propagate_back(wave, still, space)).max() < (
            10 * implementation.rtol
        )
    else:
        # A plane wave stays what it is, but for its phase.
        phase = 2 * np.pi * space.distance_m / wavelength * (np.sqrt(1 - across**2) - 1)
        assert_same(there, wave * np.exp(1j * phase), max(1e-8, 10 * implementation.rtol))


@laws
@given(seeds, st.floats(0, 20), modes)
def test_the_pattern_of_vacuum_is_the_same_at_every_position(
    implementation: Physics, seed: int, number: float, count: int
) -> None:
    """The detector stays with the probe: fractions of a pixel, too, move the object only."""
    rng = np.random.default_rng(seed)
    n = 24
    positions = np.concatenate([[[40.0, 40.0]], rng.uniform(30, 50, (5, 2))])
    given_ = (np.ones((80, 80), complex), complex_normal(rng, count, n, n), positions, (0, 0))
    patterns = implementation.intensities(*given_, fresnel(number))
    assert_same(patterns, np.broadcast_to(patterns[:1], patterns.shape), implementation.rtol)


@laws
@given(
    seeds,
    st.floats(0, 3),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3)) | st.tuples(st.just(2.0), st.just(-1.0)),
)
def test_object_and_positions_moved_together_change_nothing(
    implementation: Physics, seed: int, number: float, shift: tuple[float, float]
) -> None:
    """By whole pixels or fractions: the probe sees the same part of the object."""
    rng = np.random.default_rng(seed)
    probe, space = gaussian_probe(48, 4.0, 2, 0.02), fresnel(number)
    positions = rng.uniform(40, 50, (3, 2))
    y, x = np.indices((96, 96)).astype(float)

    def patterns(by: tuple[float, float]) -> Array:
        canvas = smooth_object(y - by[0], x - by[1], np.random.default_rng(seed))
        return implementation.intensities(canvas, probe, positions + np.array(by), (0, 0), space)

    assert_same(patterns(shift), patterns((0.0, 0.0)), max(2e-5, 10 * implementation.rtol))


@laws
@given(seeds, st.floats(0, 3))
def test_the_shadow_of_a_spot_lies_where_the_spot_is(
    implementation: Physics, seed: int, number: float
) -> None:
    """At [y0 - r_y + N/2, x0 - r_x + N/2], fractions included, whatever the distance: object,
    probe and thus the wave have no phase that would move it."""
    rng = np.random.default_rng(seed)
    n, spot = 64, rng.uniform(48, 50, 2)
    position = rng.uniform(46, 52, (1, 2))
    y, x = np.indices((100, 100))
    canvas = np.exp(-((y - spot[0]) ** 2 + (x - spot[1]) ** 2) / 18).astype(complex)
    # A plane wave would go on at the border of the array, so the probe is a wide Gauss.
    (pattern,) = implementation.intensities(
        canvas, gaussian_probe(n, 8.0), position, (0, 0), fresnel(number)
    )
    centre = (pattern * np.indices((n, n))).sum(axis=(1, 2)) / pattern.sum()
    # The centre of a product of two Gauss functions lies between them.
    share = 64 / (64 + 9)
    expected = n / 2 + share * (spot - position[0])
    assert np.abs(centre - expected).max() < max(1e-6, 100 * implementation.rtol)


def test_large_pixels_and_short_waves_lose_no_digits() -> None:
    """The phase is small against the one along the axis by ten orders of magnitude."""
    n, pixel, energy_eV = 8, 10e-6, 100e3
    wavelength = float(HC_EV_M) / energy_eV
    distance = 4 * pixel**2 / (np.pi * wavelength) * 20
    kernel = near_field(n, pixel, energy_eV, distance, np.complex128).kernel
    k = np.fft.fftfreq(n, pixel)
    # Fresnel's approximation, whose error is 1e-12 here.
    fresnel_phase = -np.pi * wavelength * distance * (k[:, None] ** 2 + k**2)
    assert np.abs(kernel - np.exp(1j * fresnel_phase)).max() < 1e-10
