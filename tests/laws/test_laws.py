"""The laws of the physics, on every implementation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from adapters import Networks, Physics
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import (
    Experiment,
    Groups,
    complex_normal,
    experiments,
    few,
    gaussian_probe,
    group_offsets,
    laws,
    seeds,
    sizes,
    small_scan,
    smooth_object,
)

from ptychopinn.config import ModelConfig
from ptychopinn.data.sampling import ordered_subsets, reading_order
from ptychopinn.networks.unrolled import (
    DAMP_UNIT,
    PHASE_TOLERANCE,
    RIM,
    spare_intensity,
    subset_count,
)
from ptychopinn.physics import forward, groups, losses, low_frequency
from ptychopinn.physics.scaling import check_probe_power, global_scale, reconcile_probe
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.solvers.probe_check import check_probe
from ptychopinn.physics.stitching import Stitcher

Array = NDArray[Any]


def assert_same(found: Array, expected: Array, rtol: float) -> None:
    """Equal up to ``rtol`` times the largest expected value."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= rtol * np.abs(expected).max()


def energy(field: Array) -> float:
    return float((np.abs(field) ** 2).sum())


# --- far field -----------------------------------------------------------------------------------


@laws
@given(experiments())
def test_the_far_field_is_that_of_the_oracle(implementation: Physics, e: Experiment) -> None:
    given_ = (e.canvas, e.probe, e.positions, e.origin)
    assert_same(
        implementation.far_field(*given_), forward.forward_linear(*given_), implementation.rtol
    )
    assert_same(
        implementation.intensities(*given_), forward.intensities(*given_), implementation.rtol
    )


@laws
@given(experiments())
def test_energy_is_conserved(implementation: Physics, e: Experiment) -> None:
    """Through vacuum every pattern holds the counts of the probe, wherever it is."""
    vacuum = np.ones(e.shape, dtype=complex)
    counts = implementation.intensities(vacuum, e.probe, e.positions, e.origin).sum(axis=(1, 2))
    assert_same(counts, np.full(len(counts), energy(e.probe)), implementation.rtol)


@laws
@given(experiments())
def test_energy_of_the_exit_waves_arrives_at_the_detector(
    implementation: Physics, e: Experiment
) -> None:
    counts = implementation.intensities(e.canvas, e.probe, e.positions, e.origin).sum(axis=(1, 2))
    waves = forward.exit_waves(e.canvas, e.probe, e.positions, e.origin)
    assert_same(counts, (np.abs(waves) ** 2).sum(axis=(1, 2, 3)), implementation.rtol)


@laws
@given(experiments())
def test_the_adjoint_is_adjoint(implementation: Physics, e: Experiment) -> None:
    """<A O, Psi> = <O, A* Psi>."""
    fields = complex_normal(e.rng, len(e.positions), *e.probe.shape)
    there = implementation.far_field(e.canvas, e.probe, e.positions, e.origin)
    back = implementation.adjoint(fields, e.probe, e.positions, e.shape, e.origin)
    scale = np.sqrt(energy(there) * energy(fields))
    assert abs(np.vdot(fields, there) - np.vdot(back, e.canvas)) <= implementation.rtol * scale


@laws
@given(experiments())
def test_modes_add_as_intensities(implementation: Physics, e: Experiment) -> None:
    """Never as fields: the pattern of all modes is the sum of the patterns of each."""
    together = implementation.intensities(e.canvas, e.probe, e.positions, e.origin)
    each = [
        implementation.intensities(e.canvas, mode[None], e.positions, e.origin) for mode in e.probe
    ]
    assert_same(together, np.sum(each, axis=0), implementation.rtol)


@laws
@given(experiments(), st.integers(0, 2**16))
def test_the_mixing_of_modes_is_not_seen(implementation: Physics, e: Experiment, seed: int) -> None:
    """A unitary mixture of incoherent modes gives the same patterns."""
    count = len(e.probe)
    mix, _ = np.linalg.qr(complex_normal(np.random.default_rng(seed), count, count))
    mixed = np.einsum("pq,qyx->pyx", mix, e.probe)
    assert_same(
        implementation.intensities(e.canvas, mixed, e.positions, e.origin),
        implementation.intensities(e.canvas, e.probe, e.positions, e.origin),
        implementation.rtol,
    )


@laws
@given(experiments(), st.integers(-50, 50), st.integers(-50, 50))
def test_moving_positions_and_origin_together_changes_nothing(
    implementation: Physics, e: Experiment, dy: int, dx: int
) -> None:
    shift = np.array([dy, dx])
    assert_same(
        implementation.intensities(e.canvas, e.probe, e.positions + shift, e.origin + shift),
        implementation.intensities(e.canvas, e.probe, e.positions, e.origin),
        implementation.rtol,
    )


# --- signs and origins: one lit pixel ------------------------------------------------------------


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
    field = implementation.far_field(canvas, np.ones((1, n, n), complex), position[None], origin)
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
        implementation.far_field(canvas, gaussian_probe(n, 3.0), position, np.zeros(2, int))
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


# --- groups: merge and extract -------------------------------------------------------------------


def weight_on_canvas(g: Groups, weight: Array) -> Array:
    """Share of the largest weight on the group canvases (B, L, L)."""
    whole, fraction = groups.split_offsets(g.offsets)
    moved = groups.shift_weight(weight, fraction)
    below = np.zeros((len(g.offsets), g.n + 2 * g.reach, g.n + 2 * g.reach))
    for b, c in np.ndindex(*g.offsets.shape[:2]):
        y, x = whole[b, c] + g.reach
        below[b, y : y + g.n, x : x + g.n] += moved[b, c]
    return below / weight.max()


@laws
@given(group_offsets())
def test_merging_is_that_of_the_oracle(implementation: Physics, g: Groups) -> None:
    patches = complex_normal(g.rng, *g.offsets.shape[:2], g.n, g.n)
    weight = groups.merge_weight(gaussian_probe(g.n, g.n / 5, 2))
    # Where only rounding errors of the weight are left, single precision cannot say who is meant.
    seen = weight_on_canvas(g, weight) > (0 if implementation.rtol < 1e-6 else 1e-2)
    merged = implementation.merge(patches, g.offsets, weight, g.reach)
    expected = groups.merge(patches, g.offsets, weight, g.reach)
    assert_same(merged[seen], expected[seen], 30 * implementation.rtol)


@laws
@given(group_offsets(), st.booleans())
def test_a_constant_object_stays_that_constant_whatever_the_weight(
    implementation: Physics, g: Groups, rough: bool
) -> None:
    value = complex(*g.rng.normal(size=2))
    patches = np.full((*g.offsets.shape[:2], g.n, g.n), value)
    weight = (
        g.rng.uniform(0.01, 1, (g.n, g.n))
        if rough
        else groups.merge_weight(gaussian_probe(g.n, g.n / 5))
    )
    share = weight_on_canvas(g, weight)
    merged = implementation.merge(patches, g.offsets, weight, g.reach)
    seen = share > 0
    assert_same(merged[seen], np.full(seen.sum(), value), 10 * implementation.rtol)
    assert np.all(merged[~seen] == groups.FILL)


@laws
@given(group_offsets(n=st.sampled_from([16, 32])))
def test_merging_never_amplifies(implementation: Physics, g: Groups) -> None:
    """Patches of modulus 1, rough as an untrained network may make them: the merged object stays
    bounded where the weight fades, and the patterns hold no more counts than the probe."""
    phase = g.rng.uniform(-1, 1, (*g.offsets.shape[:2], g.n, g.n))
    patches, probe = np.exp(1j * phase), gaussian_probe(g.n, g.n / 7, 2)
    merged = implementation.merge(patches, g.offsets, groups.merge_weight(probe), g.reach)
    assert np.abs(merged).max() < 10
    counts = implementation.group_intensities(patches, g.offsets, probe).sum(axis=(2, 3))
    assert counts.max() <= 1.2 * energy(probe)


@laws
@given(group_offsets(kind=st.just("integer")))
def test_extract_cuts_what_merge_put_together(implementation: Physics, g: Groups) -> None:
    """Whole-pixel offsets, any object: patches of one object, merged and cut, come back."""
    canvas = complex_normal(g.rng, len(g.offsets), g.n + 2 * g.reach, g.n + 2 * g.reach)
    patches = implementation.extract(canvas, g.offsets, g.n, g.reach)
    y, x = (g.offsets[0, 0] + g.reach).astype(int)
    assert_same(patches[0, 0], canvas[0, y : y + g.n, x : x + g.n], implementation.rtol)
    weight = g.rng.uniform(0.1, 1, (g.n, g.n))
    merged = implementation.merge(patches, g.offsets, weight, g.reach)
    again = implementation.extract(merged, g.offsets, g.n, g.reach)
    assert_same(again, patches, 10 * implementation.rtol)


@laws
@given(group_offsets(kind=st.just("integer")), st.integers(1, 3))
def test_patches_of_any_object_reproduce_every_pattern_at_whole_pixels(
    implementation: Physics, g: Groups, count: int
) -> None:
    canvas = complex_normal(g.rng, len(g.offsets), g.n + 2 * g.reach, g.n + 2 * g.reach)
    patches = groups.extract(canvas, g.offsets, g.n, g.reach)
    probe = complex_normal(g.rng, count, g.n, g.n)
    expected = (np.abs(forward.fft(probe * patches[:, :, None])) ** 2).sum(axis=2)
    modelled = implementation.group_intensities(
        patches, g.offsets, probe, g.rng.uniform(0.1, 1, (g.n, g.n))
    )
    assert_same(modelled, expected, 10 * implementation.rtol)


@laws
@given(group_offsets(n=st.sampled_from([32, 48, 64])), st.integers(1, 3))
def test_patches_of_a_smooth_object_reproduce_every_pattern_at_any_position(
    implementation: Physics, g: Groups, count: int
) -> None:
    """The true object, sampled at the exact position of each patch, gives the measured patterns."""
    seed = int(g.rng.integers(2**32))
    u = np.arange(g.n) - g.n / 2
    y = u[:, None] + g.offsets[..., 0, None, None]
    x = u[None, :] + g.offsets[..., 1, None, None]
    patches = np.stack(
        [smooth_object(a, b, np.random.default_rng(seed)) for a, b in zip(y, x, strict=True)]
    )
    probe = gaussian_probe(g.n, g.n / 12, count, 0.02)
    expected = (np.abs(forward.fft(probe * patches[:, :, None])) ** 2).sum(axis=2)
    modelled = implementation.group_intensities(patches, g.offsets, probe)
    assert_same(modelled, expected, max(1e-5, implementation.rtol))


@laws
@given(group_offsets())
def test_a_group_does_not_see_the_rest_of_the_batch(implementation: Physics, g: Groups) -> None:
    patches = complex_normal(g.rng, *g.offsets.shape[:2], g.n, g.n)
    probe = gaussian_probe(g.n, g.n / 5, 2)
    together = implementation.group_intensities(patches, g.offsets, probe)
    for b in range(len(patches)):
        alone = implementation.group_intensities(patches[b : b + 1], g.offsets[b : b + 1], probe)
        assert_same(together[b], alone[0], 10 * implementation.rtol)


@pytest.mark.parametrize(("batch", "size"), [(15, 4), (16, 4), (17, 4), (70, 4), (8, 9), (130, 1)])
def test_a_group_does_not_see_a_large_batch(implementation: Physics, batch: int, size: int) -> None:
    """Around and beyond 64 patches, where a chunked implementation would start to mix them."""
    rng = np.random.default_rng(batch)
    n = 16
    offsets = rng.uniform(-5, 5, (batch, size, 2))
    offsets -= offsets.mean(axis=1, keepdims=True)
    patches, probe = complex_normal(rng, batch, size, n, n), gaussian_probe(n, 3.0, 2)
    together = implementation.group_intensities(patches, offsets, probe)
    for b in (0, 1, batch // 2, batch - 1):
        alone = implementation.group_intensities(patches[b : b + 1], offsets[b : b + 1], probe)
        assert_same(together[b], alone[0], 10 * implementation.rtol)


# --- losses --------------------------------------------------------------------------------------

PAIRED = ("poisson_deviance", "amplitude_residual", "amplitude_mae")


def noisy_patterns(seed: int) -> tuple[Array, Array, Array]:
    """Expected and measured counts (3, 16, 16), bright and dark, many zeros; a mask."""
    rng = np.random.default_rng(seed)
    level = 10.0 ** rng.uniform(-1, 3)
    model = rng.gamma(2.0, level, size=(3, 16, 16)) + 0.1 * level
    counts = rng.poisson(model).astype(float)
    counts[:, 0, 0] += 1
    mask = rng.random((16, 16)) < 0.8
    mask[0, 0] = True
    return model, counts, mask


@laws
@given(seeds)
def test_losses_are_those_of_the_oracle(implementation: Physics, seed: int) -> None:
    model, counts, mask = noisy_patterns(seed)
    for name in PAIRED:
        for good in (None, mask):
            expected = getattr(losses, name)(model, counts, good)
            found = getattr(implementation, name)(model, counts, good)
            assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@laws
@given(seeds)
def test_losses_are_zero_at_a_perfect_fit(implementation: Physics, seed: int) -> None:
    _, counts, mask = noisy_patterns(seed)
    for name in PAIRED:
        assert getattr(implementation, name)(counts, counts, mask) == pytest.approx(0, abs=1e-12)


@laws
@given(seeds)
def test_bad_pixels_enter_no_loss(implementation: Physics, seed: int) -> None:
    model, counts, mask = noisy_patterns(seed)
    spoiled_counts, spoiled_model = np.where(mask, counts, 1e7), np.where(mask, model, 1e-9)
    for name in PAIRED:
        loss = getattr(implementation, name)
        expected = loss(model, counts, mask)
        assert loss(spoiled_model, counts, mask) == pytest.approx(expected, rel=1e-6)
        assert loss(model, spoiled_counts, mask) == pytest.approx(expected, rel=1e-6)


@laws
@given(seeds, st.floats(-3, 3))
def test_losses_do_not_depend_on_the_flux(
    implementation: Physics, seed: int, decade: float
) -> None:
    model, counts, mask = noisy_patterns(seed)
    for name in PAIRED:
        loss, flux = getattr(implementation, name), 10.0**decade
        assert loss(flux * model, flux * counts, mask) == pytest.approx(
            loss(model, counts, mask), rel=1e-5
        )


@laws
@given(seeds)
def test_image_losses_are_those_of_the_oracle(implementation: Physics, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, truth = complex_normal(rng, 2, 3, 11, 14)
    assert implementation.total_variation(image) == pytest.approx(
        losses.total_variation(image), rel=1e-5
    )
    assert implementation.realspace_mae(image, truth) == pytest.approx(
        losses.realspace_mae(image, truth), rel=1e-5
    )
    assert implementation.total_variation(np.full((3, 8, 8), 0.3 - 2j)) == pytest.approx(
        0, abs=2e-6
    )
    assert implementation.realspace_mae(image, image) == pytest.approx(0, abs=2e-6)


# --- gradients and the update of a canvas --------------------------------------------------------


def measured(e: Experiment) -> Array:
    """Counts (M, N, N) up to a factor of two off those of the experiment."""
    counts = forward.intensities(e.canvas, e.probe, e.positions, e.origin)
    return counts * e.rng.uniform(0.5, 2, counts.shape)


def in_network_units(e: Experiment) -> Experiment:
    """Patterns with a mean of about 1/4, as in the networks, where single precision is at home."""
    counts = forward.intensities(e.canvas, e.probe, e.positions, e.origin)
    return replace(e, probe=e.probe * 0.5 / np.sqrt(counts.mean()))


@laws
@given(experiments(), st.sampled_from((1e-12, 1e-6, 1e-2)))
def test_the_update_of_a_canvas_is_that_of_the_oracle(
    implementation: Physics, e: Experiment, spare: float
) -> None:
    from adapters import Oracle

    e = in_network_units(e)
    problem = (e.canvas, measured(e), e.probe, e.positions, e.mask, e.origin, spare)
    update, misfit = implementation.modulus_step(*problem)
    expected, expected_misfit = Oracle().modulus_step(*problem)
    assert_same(update, expected, 30 * implementation.rtol)
    assert misfit == pytest.approx(expected_misfit, rel=30 * implementation.rtol)


@laws
@given(experiments())
def test_the_update_is_zero_at_the_true_object_and_blind_to_bad_pixels(
    implementation: Physics, e: Experiment
) -> None:
    e = in_network_units(e)
    counts = forward.intensities(e.canvas, e.probe, e.positions, e.origin)
    spoiled = np.where(e.mask, counts, 1e4)
    update, misfit = implementation.modulus_step(
        e.canvas, spoiled, e.probe, e.positions, e.mask, e.origin
    )
    scale = np.abs(
        forward.adjoint_linear(
            forward.forward_linear(e.canvas, e.probe, e.positions, e.origin),
            e.probe,
            e.positions,
            e.shape,
            e.origin,
        )
    ).max()
    assert np.abs(update).max() <= 30 * implementation.rtol * scale
    assert misfit <= 30 * implementation.rtol * counts.sum()


@laws
@given(experiments())
def test_gradients_agree(implementation: Physics, e: Experiment) -> None:
    """The gradient of the deviance by the canvas: automatic, or written down with the adjoint."""
    from adapters import Oracle

    e = in_network_units(e)
    problem = (e.canvas, measured(e), e.probe, e.positions, e.mask, e.origin)
    found = implementation.deviance_gradient(*problem)
    # Backends put a floor under dark pixels, which is seen in the fifth digit.
    assert_same(found, Oracle().deviance_gradient(*problem), max(1e-4, 10 * implementation.rtol))


@few
@given(experiments())
def test_gradients_are_the_slope_of_the_loss(implementation: Physics, e: Experiment) -> None:
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


# --- the low-frequency phase ---------------------------------------------------------------------


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


# --- scales: flux and probe ----------------------------------------------------------------------


@laws
@given(seeds, st.floats(-3, 3), st.booleans())
def test_the_network_input_does_not_depend_on_the_flux(
    seed: int, decade: float, masked: bool
) -> None:
    scan, flux = small_scan(seed, masked=masked), 10.0**decade
    brighter = replace(scan, diffraction=np.float32(flux) * np.asarray(scan.diffraction))
    one, two = prepare(scan), prepare(brighter)
    index = np.arange(scan.M)
    assert_same(two.amplitudes(index), one.amplitudes(index), 1e-6)
    assert np.array_equal(two.probe, one.probe)
    assert two.object_scale == pytest.approx(one.object_scale * np.sqrt(flux), rel=1e-6)
    assert (one.amplitudes(index) ** 2).sum() == pytest.approx(scan.M * scan.N**2 / 4, rel=1e-5)


@laws
@given(seeds, st.integers(-6, 6), st.booleans())
def test_the_network_probe_does_not_depend_on_the_scale_of_the_probe(
    seed: int, decade: int, masked: bool
) -> None:
    scan, scale = small_scan(seed, masked=masked, count=2), 10.0**decade
    one = prepare(scan)
    two = prepare(replace(scan, probe=(scan.probe * scale).astype(np.complex64)))
    assert_same(two.probe, one.probe, 1e-6)
    assert two.object_scale == pytest.approx(one.object_scale / scale, rel=1e-6)
    probe, factor = reconcile_probe(
        (scan.probe * scale).astype(np.complex64), one.counts, scan.mask
    )
    reference, unscaled = reconcile_probe(scan.probe, one.counts, scan.mask)
    assert_same(probe, reference, 1e-6)
    assert factor * scale == pytest.approx(unscaled, rel=1e-6)
    check_probe_power(probe, one.counts, scan.mask)


@laws
@given(seeds)
def test_the_object_scale_leads_back_to_the_measured_counts(seed: int) -> None:
    """Modulus 1 in network units, object_scale in physical ones, explains the mean counts."""
    scan = small_scan(seed, masked=True)
    prepared = prepare(scan)
    shape, origin = forward.canvas_for(scan.positions_px, scan.N)
    canvas = np.full(shape, prepared.object_scale, dtype=complex)
    modelled = forward.intensities(canvas, scan.probe, scan.positions_px, origin)
    total = float(np.asarray(scan.diffraction)[:, scan.good_pixels].sum(dtype=float))
    found = global_scale(total, float(modelled[:, scan.good_pixels].sum()))
    assert found == pytest.approx(1, rel=0.02)


@few
@given(seeds)
def test_bad_pixels_enter_no_statistic(seed: int) -> None:
    scan = small_scan(seed, masked=True)
    spoiled = replace(
        scan,
        diffraction=np.where(scan.good_pixels, scan.diffraction, 1e9).astype(np.float32),
    )
    one, two = prepare(scan), prepare(spoiled)
    index = np.arange(scan.M)
    assert one.counts == two.counts
    assert np.array_equal(one.amplitudes(index), two.amplitudes(index))
    assert np.array_equal(one.probe, two.probe)
    assert check_probe(one) == check_probe(two)


# --- whole reconstructions -----------------------------------------------------------------------

UNROLLED = ModelConfig(architecture="unrolled", iterations=3, width=4, levels=3)
CNN = {c: ModelConfig(architecture="cnn", N=32, gridsize=c, n_filters_scale=0.1) for c in (1, 2)}
MODELS = {"unrolled": UNROLLED, "cnn1": CNN[1], "cnn2": CNN[2]}


def lively_weights(networks: Networks, model: ModelConfig) -> dict[str, NDArray[np.float32]]:
    """Initial weights with a random last layer, so that the learned part takes part."""
    rng = np.random.default_rng(5)
    return {
        name: w
        if w.any() and name.endswith(".weight")
        else w + rng.normal(0, 0.05, w.shape).astype("f")
        for name, w in networks.initial_weights(model, 1).items()
    }


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> ModelConfig:
    return MODELS[request.param]


def test_a_reconstruction_does_not_depend_on_the_memory(
    networks: Networks, model: ModelConfig
) -> None:
    """All patterns at once, four at a time, or one by one."""
    scan = prepare(small_scan(1, m=30, count=2))
    weights = lively_weights(networks, model)
    whole = networks.reconstruct(model, weights, scan)
    assert np.abs(whole.object - 1).max() > 0.01
    for memory in (1, 0):
        parts = networks.reconstruct(model, weights, scan, memory)
        assert_same(parts.object, whole.object, 2e-5)
        assert_same(parts.weight, whole.weight, 2e-5)
        assert np.array_equal(parts.origin_px, whole.origin_px)
        np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-4)


def test_a_reconstruction_does_not_depend_on_the_order_of_the_patterns(
    networks: Networks, model: ModelConfig
) -> None:
    scan = small_scan(2, m=30)
    weights = lively_weights(networks, model)
    one = networks.reconstruct(model, weights, prepare(scan))
    shuffled = scan.select(np.random.default_rng(0).permutation(scan.M))
    two = networks.reconstruct(model, weights, prepare(shuffled))
    if model.gridsize == 1:
        assert_same(two.object, one.object, 2e-5)
    assert np.array_equal(one.origin_px, two.origin_px)
    assert_same(two.weight, one.weight, 2e-5)


def test_moving_the_scan_by_whole_pixels_moves_only_the_origin(
    networks: Networks, model: ModelConfig
) -> None:
    scan = small_scan(3, m=20)
    weights = lively_weights(networks, model)
    shift = np.array([-1234, 77])
    one = networks.reconstruct(model, weights, prepare(scan))
    moved = replace(scan, positions_px=scan.positions_px + shift)
    two = networks.reconstruct(model, weights, prepare(moved))
    assert np.array_equal(two.origin_px - one.origin_px, shift)
    assert_same(two.object, one.object, 2e-5)
    assert_same(two.weight, one.weight, 2e-5)


@pytest.mark.parametrize("decade", [-6, -3, 3, 6])
def test_the_object_scales_with_the_probe_and_nothing_else_changes(
    networks: Networks, model: ModelConfig, decade: int
) -> None:
    """Twelve decades of probe scale: the same object up to the known factor."""
    scan = small_scan(4, m=12, count=2)
    weights = lively_weights(networks, model)
    one, two = prepare(scan), prepare(replace(scan, probe=scan.probe * np.float32(10.0**decade)))
    a, b = (networks.reconstruct(model, weights, s) for s in (one, two))
    well = a.weight > 0.05 * a.weight.max()
    assert_same(b.object[well], a.object[well], 5e-5)
    assert_same(b.weight, a.weight, 2e-5)
    assert two.object_scale * 10.0**decade == pytest.approx(one.object_scale, rel=1e-6)


@pytest.mark.parametrize("decade", [-3, 3])
def test_the_object_scales_with_the_flux_and_nothing_else_changes(
    networks: Networks, model: ModelConfig, decade: int
) -> None:
    """How noisy the patterns are is read off the steps of the counts, whatever their unit."""
    scan = small_scan(5, m=12)
    weights = lively_weights(networks, model)
    brighter = replace(scan, diffraction=np.asarray(scan.diffraction) * np.float32(10.0**decade))
    one, two = prepare(scan), prepare(brighter)
    a, b = (networks.reconstruct(model, weights, s) for s in (one, two))
    well = a.weight > 0.05 * a.weight.max()
    assert_same(b.object[well], a.object[well], 5e-5)
    np.testing.assert_allclose(b.losses, a.losses, rtol=1e-4)
    assert b.corrections == a.corrections
    assert two.object_scale == pytest.approx(one.object_scale * 10.0 ** (decade / 2), rel=1e-6)


def test_bad_pixels_do_not_change_a_reconstruction(networks: Networks, model: ModelConfig) -> None:
    scan = small_scan(6, m=12, masked=True)
    spoiled = replace(
        scan,
        diffraction=np.where(scan.good_pixels, scan.diffraction, 1e9).astype(np.float32),
    )
    weights = lively_weights(networks, model)
    one, two = (networks.reconstruct(model, weights, prepare(s)) for s in (scan, spoiled))
    assert np.array_equal(one.object, two.object)
    assert np.array_equal(one.losses, two.losses)


@pytest.mark.parametrize("batch", [1, 16, 17, 40])
def test_predictions_in_training_do_not_depend_on_the_batch(networks: Networks, batch: int) -> None:
    """With gridsize 2, sixteen groups are 64 patches: none may see another group."""
    scan = prepare(small_scan(7, m=20))
    weights = lively_weights(networks, CNN[2])
    rng = np.random.default_rng(batch)
    chosen = np.stack([rng.choice(20, 4, replace=False) for _ in range(batch)])
    together = networks.predict(CNN[2], weights, scan, chosen)
    for b in {0, batch // 2, batch - 1}:
        alone = networks.predict(CNN[2], weights, scan, chosen[b : b + 1])
        assert_same(together[b], alone[0], 2e-5)


def test_the_untrained_canvas_network_is_the_physics_alone(networks: Networks) -> None:
    """The correction starts at zero; what remains are steps that NumPy can take in float64."""
    scan = small_scan(8, m=40, count=2, masked=True)
    prepared = prepare(scan)
    weights = networks.initial_weights(UNROLLED, 0)
    result = networks.reconstruct(UNROLLED, weights, prepared)
    canvas, misfits = physics_alone(prepared, UNROLLED, weights)
    assert_same(result.object, canvas, 1e-4)
    np.testing.assert_allclose(result.losses, misfits, rtol=1e-4)
    _, origin = forward.canvas_for(scan.positions_px, scan.N)
    assert np.array_equal(result.origin_px, origin)
    assert result.corrections == (1.0,) * UNROLLED.iterations


def physics_alone(
    prepared: PreparedScan, model: ModelConfig, weights: Mapping[str, NDArray[np.float32]]
) -> tuple[Array, list[float]]:
    """The formula of ptychopinn.networks.unrolled without its correction, with the oracle."""
    from adapters import Oracle

    scan = prepared.scan
    shape, origin = forward.canvas_for(scan.positions_px, scan.N)
    probe, good = prepared.probe.astype(np.complex128), scan.good_pixels
    counts = prepared.amplitudes(np.arange(scan.M)).astype(float) ** 2
    overlap = forward.mean_overlap(scan.positions_px, probe)
    count = subset_count(overlap, scan.M, model.updates)
    spare = spare_intensity(prepared.photon_scale / 2)
    subsets = ordered_subsets(scan.positions_px, count, np.random.default_rng(0))
    assert count > 1

    def light(chosen: Array) -> Array:
        corner, fraction = forward.split_positions(scan.positions_px[chosen], scan.N, origin)
        density = (np.abs(forward.fourier_shift(probe[None], fraction[:, None])) ** 2).sum(axis=1)
        return forward.scatter_patches(density, corner, shape)

    def step(canvas: Array, chosen: Array) -> tuple[Array, float]:
        return Oracle().modulus_step(
            canvas, counts[chosen], probe, scan.positions_px[chosen], good, origin, spare
        )

    canvas, velocity, misfits = np.ones(shape, complex), np.zeros(shape, complex), []
    follows = True
    for u, (a, m, b, w) in enumerate(
        zip(*(weights[k] for k in ("step", "momentum", "phase_gain", "damp")), strict=True)
    ):
        chosen, following = subsets[u % count], subsets[(u + 1) % count]
        positions = scan.positions_px[chosen]
        modelled = forward.intensities(canvas, probe, positions, origin)
        update, misfit = step(canvas, chosen)
        misfits.append(misfit * count / model.updates / (counts.size / 4))
        lit = light(chosen)
        damping = DAMP_UNIT * w * (prepared.photon_scale / 2) ** 2
        velocity = m * velocity + a * update / (lit + RIM * lit.max() + damping)
        canvas = canvas + velocity
        gradients = low_frequency.phase_gradients(modelled, counts[chosen], good)
        phase = low_frequency.missing_phase(gradients, positions, probe, shape, origin)
        rotation = np.exp(1j * b * phase)
        if (u + 1) % model.updates == 0:
            plain, turned = step(canvas, following)[1], step(canvas * rotation, following)[1]
            follows = bool(turned <= plain * (1 + PHASE_TOLERANCE))
        if follows:
            canvas, velocity = canvas * rotation, velocity * rotation
    passes = np.reshape(misfits, (model.iterations, model.updates)).sum(axis=1)
    return canvas, passes.tolist()


@pytest.mark.parametrize("gridsize", [1, 2])
def test_a_patch_network_is_its_patches_merged_and_stitched(
    networks: Networks, gridsize: int
) -> None:
    """Network, merge, extract at whole offsets from the centre of the group, stitch there."""
    scan, model, size = small_scan(9, m=20), CNN[gridsize], gridsize**2
    prepared, weights = prepare(scan), lively_weights(networks, CNN[gridsize])
    result = networks.reconstruct(model, weights, prepared)
    distance = np.linalg.norm(scan.positions_px[:, None] - scan.positions_px, axis=2)
    chosen = reading_order(scan.positions_px, np.argsort(distance, axis=1)[:, :size])
    modulus, phase = networks.apply(model, weights, {"patterns": prepared.amplitudes(chosen)})
    centre = scan.positions_px[chosen].mean(axis=1, keepdims=True)
    offsets = scan.positions_px[chosen] - centre
    whole = np.floor(offsets + 0.5)
    weight, reach = groups.merge_weight(prepared.probe), int(np.abs(whole).max())
    merged = groups.merge(modulus * np.exp(1j * phase), offsets, weight, reach)
    patches = groups.extract(merged, offsets, scan.N, reach)
    stitcher = Stitcher(scan.positions_px, weight)
    stitcher.add(patches.reshape(-1, scan.N, scan.N), (centre + whole).reshape(-1, 2))
    canvas, seen = stitcher.result()
    assert np.array_equal(stitcher.origin_px, result.origin_px)
    assert_same(result.weight, seen, 1e-5)
    well = seen > 0.05 * seen.max()
    assert_same(result.object[well], canvas[well], 1e-4)


# --- stitching -----------------------------------------------------------------------------------


def hann(n: int) -> Array:
    window = np.sin(np.pi * np.arange(n) / n) ** 2
    return np.outer(window, window)


@laws
@given(sizes.filter(lambda n: n >= 10), seeds)
def test_a_lit_pixel_of_a_patch_is_stitched_where_the_contract_says(n: int, seed: int) -> None:
    """Pixel u of a patch at r belongs to r + (u - N/2)."""
    rng = np.random.default_rng(seed)
    positions = rng.integers(-30, 30, (3, 2)).astype(float)
    lit = rng.integers(n // 4, 3 * n // 4, 2)
    patch = np.zeros((1, n, n), complex)
    patch[0, lit[0], lit[1]] = 1
    stitcher = Stitcher(positions, hann(n))
    stitcher.add(patch, positions[1:2])
    canvas, weight = stitcher.result()
    canvas = np.where(weight > 0, canvas, 0)
    found = np.array(np.unravel_index(np.abs(canvas).argmax(), canvas.shape))
    assert np.array_equal(found + stitcher.origin_px, positions[1] + lit - n // 2)
    assert np.abs(canvas).sum() == pytest.approx(1, abs=1e-3)


@laws
@given(seeds)
def test_a_fractional_position_is_stitched_the_right_way(seed: int) -> None:
    """Patches of a smooth object at exact fractional positions stitch to that object."""
    n = 32
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-6, 6, (12, 2))
    u = np.arange(n) - n / 2
    y = u[:, None] + positions[:, 0, None, None]
    x = u[None, :] + positions[:, 1, None, None]
    patches = smooth_object(y, x, np.random.default_rng(seed))
    stitcher = Stitcher(positions, groups.merge_weight(gaussian_probe(n, n / 6)))
    stitcher.add(patches, positions)
    canvas, weight = stitcher.result()
    (height, width), (top, left) = canvas.shape, stitcher.origin_px
    truth = smooth_object(
        np.arange(top, top + height)[:, None],
        np.arange(left, left + width)[None, :],
        np.random.default_rng(seed),
    )
    well = weight > 0.05 * weight.max()
    assert_same(canvas[well], truth[well], 2e-3)


@laws
@given(seeds, st.integers(1, 11))
def test_stitching_does_not_depend_on_batches_and_order(seed: int, split: int) -> None:
    n = 16
    rng = np.random.default_rng(seed)
    positions, patches = rng.uniform(-9, 9, (12, 2)), complex_normal(rng, 12, n, n)
    whole, parts = Stitcher(positions, hann(n)), Stitcher(positions, hann(n))
    whole.add(patches, positions)
    order = rng.permutation(12)
    for part in (order[:split], order[split:]):
        parts.add(patches[part], positions[part])
    (canvas, weight), (other, other_weight) = whole.result(), parts.result()
    assert np.array_equal(weight > 0, other_weight > 0)
    assert_same(other_weight, weight, 1e-6)
    well = weight > 0.05
    assert_same(other[well], canvas[well], 1e-5)


@laws
@given(seeds)
def test_stitching_never_amplifies(seed: int) -> None:
    """Rough patches of modulus 1 stay bounded where the weight fades."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(-9, 9, (20, 2))
    weight = groups.merge_weight(gaussian_probe(32, 4.0))
    stitcher = Stitcher(positions, weight)
    stitcher.add(np.exp(1j * rng.uniform(-1, 1, (20, 32, 32))), positions)
    assert np.abs(stitcher.result()[0]).max() < 5


@laws
@given(seeds)
def test_stitching_keeps_a_constant_and_fills_what_was_never_seen(seed: int) -> None:
    n = 16
    rng = np.random.default_rng(seed)
    positions = np.concatenate([rng.uniform(-9, 9, (5, 2)), [[60.0, 60.0]]])
    value = complex(*rng.normal(size=2))
    stitcher = Stitcher(positions, hann(n))
    stitcher.add(np.full((6, n, n), value), positions)
    canvas, weight = stitcher.result()
    seen = weight > 0
    assert_same(canvas[seen], np.full(seen.sum(), value), 2e-3)
    assert np.all(canvas[~seen] == groups.FILL)
    assert np.all(weight >= 0)
    assert np.isfinite(canvas).all()
