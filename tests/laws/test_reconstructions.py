"""The laws of whole reconstructions, on every backend, and of the scales of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from adapters import Networks, Oracle
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import assert_same, few, laws, seeds, small_scan

from oracle import forward, groups, low_frequency
from ptychopinn.config import ModelConfig
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.sampling import ordered_subsets, reading_order
from ptychopinn.physics.scaling import check_probe_power, global_scale, reconcile_probe
from ptychopinn.physics.stitching import Stitcher
from ptychopinn.solvers.descent import DAMP_UNIT, PHASE_TOLERANCE, RIM
from ptychopinn.solvers.probe_check import check_probe
from ptychopinn.solvers.problem import DARK, STABILISER, subset_count

Array = NDArray[Any]


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
    if model.patterns_per_group == 1:
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
    assert_same(one.object, two.object, networks.rounding)
    np.testing.assert_allclose(one.losses, two.losses, rtol=networks.rounding)


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
    """The formula of ptychopinn.solvers.descent without its correction, with the oracle."""
    scan = prepared.scan
    shape, origin = forward.canvas_for(scan.positions_px, scan.N)
    probe, good = prepared.probe.astype(np.complex128), scan.good_pixels
    counts = prepared.amplitudes(np.arange(scan.M)).astype(float) ** 2
    overlap = forward.mean_overlap(scan.positions_px, probe)
    count = subset_count(overlap, scan.M, model.updates)
    spare = STABILISER * prepared.photon_scale**2 + DARK
    subsets = ordered_subsets(scan.positions_px, count, np.random.default_rng(0))
    assert count > 1

    def light(chosen: Array) -> Array:
        corner, fraction = forward.split_positions(scan.positions_px[chosen], scan.N, origin)
        density = (np.abs(forward.fourier_shift(probe[None], fraction[:, None])) ** 2).sum(axis=1)
        return forward.scatter_patches(density, corner, shape)

    def step(canvas: Array, chosen: Array) -> tuple[Array, float]:
        found = Oracle().modulus_step(
            canvas, counts[chosen], probe, scan.positions_px[chosen], good, origin, spare
        )
        return found["object"], found["misfit"]

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
    scan, size = small_scan(9, m=20), gridsize**2
    model = CNN[gridsize].model_copy(update={"head": "amplitude_phase"})
    prepared, weights = prepare(scan), lively_weights(networks, model)
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
