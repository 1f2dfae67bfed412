"""The laws of the update of an object and of its low-frequency phase, on every implementation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from adapters import Oracle, Physics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from strategies import (
    Experiment,
    assert_same,
    complex_normal,
    energy,
    experiments,
    few,
    gaussian_probe,
    laws,
    seeds,
    smooth_object,
    spaces,
)

from oracle import forward, low_frequency
from oracle.near_field import FreeSpace
from ptychopinn.physics.geometry import fast_length

Array = NDArray[Any]


def expected_counts(e: Experiment, space: FreeSpace | None = None) -> Array:
    """Counts (M, N, N) of an experiment without noise."""
    return Oracle().intensities(e.canvas, e.probe, e.positions, e.origin, space)


def measured(e: Experiment, space: FreeSpace | None = None) -> Array:
    """Counts (M, N, N) up to a factor of two off those of the experiment."""
    counts = expected_counts(e, space)
    return counts * e.rng.uniform(0.5, 2, counts.shape)


def in_network_units(e: Experiment, space: FreeSpace | None = None) -> Experiment:
    """Patterns with a mean of about 1/4, as in the networks, where single precision is at home."""
    return replace(e, probe=e.probe * 0.5 / np.sqrt(expected_counts(e, space).mean()))


def need_gradients(implementation: Physics) -> None:
    if not implementation.differentiates:
        pytest.skip(f"{implementation.name} knows no derivatives")


@laws
@given(experiments(), st.sampled_from((1e-12, 1e-6, 1e-2)), spaces, st.booleans())
def test_an_update_is_that_of_the_oracle(
    implementation: Physics, e: Experiment, spare: float, space: FreeSpace | None, photons: bool
) -> None:
    """Of object, probe and positions, and the misfits; by the moduli and by the photons."""
    e = in_network_units(e, space)
    given_ = (e.canvas, measured(e, space), e.probe, e.positions, e.mask, e.origin)
    problem = (*given_, spare, space, photons)
    found, expected = implementation.modulus_step(*problem), Oracle().modulus_step(*problem)
    assert set(found) == set(expected)
    # Both sides of the equations of the moves are sums in which much cancels.
    found["sides"] = found["sides"] / np.abs(expected["matrices"]).max()
    expected["sides"] = expected["sides"] / np.abs(expected["matrices"]).max()
    for name, value in expected.items():
        allowed = 30 * implementation.rtol * (1 if name == "sides" else np.abs(value).max())
        assert np.abs(found[name] - value).max() <= allowed, name


@laws
@given(experiments())
def test_a_step_by_photons_follows_the_likelihood(implementation: Physics, e: Experiment) -> None:
    """An eighth of the slope of the deviance (which is per count), where no step is too bold; exact
    at any distance from the object, which a step by the moduli is not."""
    e = in_network_units(e)
    model = expected_counts(e)
    counts = np.where(e.rng.random(model.shape) < 0.5, 0.0, 2 * model)
    problem = (e.canvas, counts, e.probe, e.positions, e.mask, e.origin)
    expected = -Oracle().deviance_gradient(*problem) * counts[:, e.mask].sum() / 8
    found = implementation.modulus_step(*problem, 1e-12, None, True)["object"]
    by_moduli = implementation.modulus_step(*problem, 1e-12)["object"]
    size = np.abs(expected).max()
    assert np.abs(found - expected).max() <= max(1e-4, 30 * implementation.rtol) * size
    assert np.abs(by_moduli - expected).max() > 0.05 * size


@laws
@given(experiments(), spaces)
def test_the_update_is_zero_at_the_true_object_and_blind_to_bad_pixels(
    implementation: Physics, e: Experiment, space: FreeSpace | None
) -> None:
    e = in_network_units(e, space)
    counts = expected_counts(e, space)
    spoiled = np.where(e.mask, counts, 1e4)
    found = implementation.modulus_step(
        e.canvas, spoiled, e.probe, e.positions, e.mask, e.origin, space=space
    )
    fields = Oracle().fields(e.canvas, e.probe, e.positions, e.origin, space)
    back = Oracle().adjoint(fields, e.probe, e.positions, e.shape, e.origin, space)
    assert np.abs(found["object"]).max() <= 30 * implementation.rtol * np.abs(back).max()
    for misfit in ("misfit", "plain"):
        assert found[misfit] <= 30 * implementation.rtol * counts.sum()


@laws
@given(experiments(), st.sampled_from((1e-6, 1e-2)))
def test_the_equations_of_the_axes_are_those_of_the_oracle(
    implementation: Physics, e: Experiment, photon: float
) -> None:
    """Which finds the best object for each affine map at length."""
    e = in_network_units(e)
    # Both sides know of illuminated pixels in their own way: none lies at the limit here.
    probe = e.probe * (1 + 0.1 * e.rng.random(e.probe.shape)) + 0.5 * np.abs(e.probe).max()
    problem = (e.canvas, measured(e), probe, e.positions, e.mask, e.origin, photon)
    found = implementation.affine_equations(*problem)
    expected = Oracle().affine_equations(*problem)
    assert set(found) == set(expected)
    # Distances of up to 24 pixels are squared, and for patterns at one place all of it cancels.
    size = (np.abs(probe) ** 2).sum() * len(e.positions) * 24**2 * np.abs(e.canvas).max() ** 2
    for name, value in expected.items():
        allowed = {"matrix": size, "right": size, "noise": 24**2 * e.canvas.size}[name]
        assert np.abs(found[name] - value).max() <= implementation.rtol * allowed, name


@laws
@given(experiments(), spaces)
def test_gradients_agree(implementation: Physics, e: Experiment, space: FreeSpace | None) -> None:
    """The gradient of the deviance by the canvas: automatic, or written down with the adjoint."""
    need_gradients(implementation)
    e = in_network_units(e, space)
    problem = (e.canvas, measured(e, space), e.probe, e.positions, e.mask, e.origin, space)
    found = implementation.deviance_gradient(*problem)
    # Backends put a floor under dark pixels, which is seen in the fifth digit.
    assert_same(found, Oracle().deviance_gradient(*problem), max(1e-4, 10 * implementation.rtol))


@few
@given(experiments())
def test_gradients_are_the_slope_of_the_loss(implementation: Physics, e: Experiment) -> None:
    need_gradients(implementation)
    if implementation.rtol > 1e-6:
        pytest.skip("differences of a loss in single precision are too coarse")
    e = in_network_units(e)
    counts = measured(e)
    gradient = implementation.deviance_gradient(
        e.canvas, counts, e.probe, e.positions, e.mask, e.origin
    )
    direction, step = complex_normal(e.rng, *e.shape), 1e-6

    def loss(canvas: Array) -> float:
        model = implementation.intensities(canvas, e.probe, e.positions, e.origin)
        return implementation.poisson_deviance(model, counts, e.mask)

    slope = (loss(e.canvas + step * direction) - loss(e.canvas - step * direction)) / (2 * step)
    expected = float(np.vdot(gradient, direction).real)
    norm = np.sqrt(energy(gradient) * energy(direction))
    assert slope == pytest.approx(expected, abs=1e-4 * norm)


def raster(side: int, step: float, rng: np.random.Generator) -> Array:
    """Positions (side^2, 2) on a grid, jittered by a tenth of the step."""
    grid = step * np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    return grid + rng.uniform(-0.1, 0.1, grid.shape) * step + 100


def rough_object(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Fine structure in modulus and phase."""
    return np.exp(0.2 * complex_normal(rng, *shape))


@laws
@given(experiments())
def test_the_low_frequency_phase_is_that_of_the_oracle(
    implementation: Physics, e: Experiment
) -> None:
    e = in_network_units(e)
    modelled = forward.intensities(e.canvas, e.probe, e.positions, e.origin)
    counts = measured(e)
    gradients = implementation.phase_gradients(modelled, counts, e.mask)
    expected = low_frequency.phase_gradients(modelled, counts, e.mask)
    assert np.abs(gradients - expected).max() <= 30 * implementation.rtol
    place = (e.positions, e.probe, e.shape, e.origin)
    assert_same(
        implementation.missing_phase(expected, *place),
        low_frequency.missing_phase(expected, *place),
        30 * implementation.rtol,
    )


def test_transforms_are_as_long_as_scipy_has_them() -> None:
    lengths = [next_fast_len(n, real=True) for n in range(1, 2000)]
    assert [fast_length(n) for n in range(1, 2000)] == lengths


@laws
@given(experiments())
def test_no_phase_is_missing_at_the_true_object(implementation: Physics, e: Experiment) -> None:
    """For any probe and object, and blind to bad pixels."""
    e = in_network_units(e)
    counts = forward.intensities(e.canvas, e.probe, e.positions, e.origin)
    spoiled = np.where(e.mask, counts, 1e4)
    gradients = implementation.phase_gradients(counts, spoiled, e.mask)
    assert np.all(gradients == 0)
    place = (e.positions, e.probe, e.shape, e.origin)
    assert np.all(implementation.missing_phase(gradients, *place) == 0)


@few
@given(seeds)
def test_a_smooth_phase_is_found(implementation: Physics, seed: int) -> None:
    """What a smooth phase on top of a rough object does to the centres of mass gives it back."""
    rng = np.random.default_rng(seed)
    n, probe = 32, gaussian_probe(32, 3.0, 2, 0.02)
    positions = raster(11, 4.0, rng)
    shape, origin = forward.canvas_for(positions, n)
    y, x = np.indices(shape) / 45
    phi = 0.5 * np.sin(2 * np.pi * (y * rng.choice((-1, 1)) + rng.uniform()))
    phi += 0.5 * np.sin(2 * np.pi * (x + rng.uniform()))
    known = rough_object(shape, rng)
    place = (probe, positions, origin)
    modelled = forward.intensities(known, *place)
    counts = forward.intensities(known * np.exp(1j * phi), *place)
    mask = np.ones((n, n), bool)
    gradients = implementation.phase_gradients(modelled, counts, mask)
    found = implementation.missing_phase(gradients, positions, probe, shape, origin)
    (low, high) = (np.round(f(positions, axis=0) - origin).astype(int) for f in (np.min, np.max))
    box = (slice(low[0], high[0]), slice(low[1], high[1]))
    assert np.corrcoef(found[box].ravel(), phi[box].ravel())[0, 1] > 0.95
    slope = np.polyfit(phi[box].ravel(), found[box].ravel(), 1)[0]
    assert 0.5 < slope < 1.1


@laws
@given(seeds, st.floats(-0.1, 0.1), st.floats(-0.1, 0.1))
def test_a_ramp_of_the_phase_is_its_gradient(
    implementation: Physics, seed: int, dy: float, dx: float
) -> None:
    """A phase that rises along +y or +x has a positive gradient there, of the right size."""
    rng = np.random.default_rng(seed)
    n, probe = 64, gaussian_probe(64, 6.0)
    positions = rng.uniform(-20, 20, (6, 2))
    shape, origin = forward.canvas_for(positions, n)
    y, x = np.indices(shape)
    known = smooth_object(y, x, rng)
    modelled = forward.intensities(known, probe, positions, origin)
    ramp = np.exp(1j * (dy * y + dx * x))
    counts = forward.intensities(known * ramp, probe, positions, origin)
    unit = 0.25 / counts.mean()
    mask = np.ones((n, n), bool)
    gradients = implementation.phase_gradients(unit * modelled, unit * counts, mask)
    np.testing.assert_allclose(gradients, np.tile([dy, dx], (6, 1)), atol=2e-4)
