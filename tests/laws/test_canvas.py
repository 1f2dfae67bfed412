"""The guard of the canvas network, and plain physics iterations, on every backend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from adapters import Networks
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import few, seeds

import ptychopinn as pp
from oracle.forward import canvas_for, fourier_shift, intensities, split_positions
from ptychopinn.config import ModelConfig, RefineConfig
from ptychopinn.contracts import Canvas
from ptychopinn.data.normalization import PreparedScan, prepare
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.evaluation.alignment import scan_box
from ptychopinn.solvers.unrolled import SHARES

Array = NDArray[Any]
UNROLLED = ModelConfig(architecture="unrolled", iterations=3, width=4, levels=3)


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A hundred patterns that overlap well."""
    return pp.simulate(N=32, patterns=100, photons=1e6, seed=1, step_px=3.0)


@pytest.fixture(scope="module")
def prepared(scan: Scan) -> PreparedScan:
    return prepare(scan)


def misfit(scan: PreparedScan, canvas: Canvas, probe: Array | None = None) -> float:
    """Relative amplitude misfit of an object in network units, with the reference."""
    index, good = np.arange(scan.scan.M), scan.scan.good_pixels
    modelled = intensities(
        canvas.object.astype(complex),
        (scan.probe if probe is None else probe).astype(complex),
        scan.scan.positions_px,
        canvas.origin_px,
    )
    measured = scan.amplitudes(index).astype(float)
    difference = good * (np.sqrt(modelled) - measured)
    return float((difference**2).sum() / (good * measured**2).sum())


def same(found: Array, expected: Array, rtol: float) -> None:
    assert np.abs(found - expected).max() <= rtol * np.abs(expected).max()


# --- the guard ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [100.0, -3.0])
def test_a_harmful_correction_is_rejected_and_the_result_says_so(
    networks: Networks, prepared: PreparedScan, bias: float
) -> None:
    """What is left are the physics steps, to the last bit."""
    weights = networks.initial_weights(UNROLLED, 0)
    plain = networks.reconstruct(UNROLLED, weights, prepared)
    harmful = {**weights, "out.bias": np.full_like(weights["out.bias"], bias)}
    guarded = networks.reconstruct(UNROLLED, harmful, prepared)
    assert plain.corrections == (1.0, 1.0, 1.0)
    assert guarded.corrections == (0.0, 0.0, 0.0)
    same(guarded.object, plain.object, 1e-6)


def test_a_correction_that_goes_too_far_is_damped(
    networks: Networks, prepared: PreparedScan
) -> None:
    """After a first pass with tiny steps the object is still empty; a uniform factor, half of
    which would be right, is taken by half."""
    dim = replace(prepared, probe=prepared.probe / np.float32(1.2))
    weights = networks.initial_weights(replace_iterations(UNROLLED, 1), 0)
    still = {k: np.zeros_like(v) if k in ("step", "phase_gain") else v for k, v in weights.items()}
    bias = np.zeros_like(weights["out.bias"])
    bias[: len(bias) // 2] = 0.6
    found = networks.reconstruct(replace_iterations(UNROLLED, 1), {**still, "out.bias": bias}, dim)
    assert found.corrections in ((0.5,), (0.25,))
    assert found.corrections[0] in SHARES


def replace_iterations(model: ModelConfig, iterations: int) -> ModelConfig:
    return model.model_copy(update={"iterations": iterations})


@few
@given(seeds, st.floats(-2, 1), st.sampled_from([1e3, 1e6]))
def test_no_correction_raises_the_misfit_beyond_the_noise(
    networks: Networks, seed: int, decade: float, photons: float
) -> None:
    """Whatever the weights of the correction are."""
    scan = prepare(pp.simulate(N=32, patterns=64, photons=photons, seed=2, step_px=3.0))
    rng = np.random.default_rng(seed)
    weights = networks.initial_weights(UNROLLED, 0)
    plain = networks.reconstruct(UNROLLED, weights, scan)
    wild = {
        **weights,
        "out.weight": (10**decade * rng.normal(size=weights["out.weight"].shape)).astype("f"),
        "out.bias": (10**decade * rng.normal(size=weights["out.bias"].shape)).astype("f"),
    }
    guarded = networks.reconstruct(UNROLLED, wild, scan)
    assert set(guarded.corrections) <= {0.0, *SHARES}
    assert len(guarded.corrections) == UNROLLED.iterations
    floor = max(misfit(scan, plain), scan.expected_misfit)
    assert misfit(scan, guarded) <= 1.1 * floor


# --- plain physics iterations ---------------------------------------------------------------------


def refine(scan: Scan, config: RefineConfig, backend: Any) -> Reconstruction:
    """The iterations alone: what else would explain the patterns is tried in other tests."""
    return pp.refine(scan, None, config, backend=backend, no_mend="all")


def phase_error(result: Reconstruction, truth: Scan) -> float:
    """Mean error of the phase against the true object, radians."""
    return float(pp.evaluate(result, truth=truth).metrics["phase_mae_rad"])


def spread(error: Array) -> float:
    """Standard deviation of errors (M, 2) of positions, whose mean shifts the object only."""
    return float(np.sqrt(((error - error.mean(axis=0)) ** 2).mean()))


def similarity(a: Array, b: Array) -> float:
    """1 for probes that differ by a factor only."""
    return float(abs(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_refinement_reaches_the_noise_and_stops_by_itself(
    networks: Networks, prepared: PreparedScan
) -> None:
    refined = networks.refine(prepared, RefineConfig(passes=300))
    assert 5 < refined.passes < 300
    assert len(refined.canvas.losses) == refined.passes
    assert refined.canvas.losses[-1] < 1.1 * prepared.expected_misfit
    assert misfit(prepared, refined.canvas) < 1.1 * prepared.expected_misfit
    assert np.array_equal(refined.probe, prepared.probe)
    assert np.array_equal(refined.positions_px, prepared.scan.positions_px)


@pytest.mark.parametrize("distance_m", [1e-3, 1e-2])
def test_refinement_reaches_the_noise_in_the_near_field(
    networks: Networks, distance_m: float
) -> None:
    seen: Any = {"propagator": "near-field", "energy_eV": 12e3, "pixel_size_m": 1e-7}
    scan = pp.simulate(
        N=32, patterns=100, photons=1e6, seed=1, step_px=3.0, distance_m=distance_m, **seen
    )
    found = refine(scan, RefineConfig(passes=100), networks.name)
    assert found.fit.residual < 1.1 * found.fit.expected
    assert phase_error(found, scan) < 0.01
    assert found.propagation == "near-field"


def test_positions_are_recovered_in_the_near_field(networks: Networks) -> None:
    scan = pp.simulate(
        N=32, patterns=100, photons=1e6, seed=1, step_px=3.0, propagator="near-field"
    )
    errors = np.random.default_rng(3).normal(0, 0.7, (scan.M, 2))
    off = replace(scan, positions_px=scan.positions_px + errors)
    found = refine(off, RefineConfig(passes=60, refine_positions=True), networks.name)
    left = found.positions_px - scan.positions_px
    assert spread(left) < 0.25 * spread(errors)


def test_refinement_goes_on_from_a_result(networks: Networks, prepared: PreparedScan) -> None:
    """A good start is better at once, wherever its canvas lies; passes are counted anew."""
    first = networks.refine(prepared, RefineConfig(passes=12))
    further = networks.refine(prepared, RefineConfig(passes=3), first.canvas)
    assert further.canvas.losses[0] < 2 * first.canvas.losses[-1]
    assert further.canvas.losses[0] < 0.05 * first.canvas.losses[0]
    wide = Canvas(
        object=np.pad(first.canvas.object, 5, constant_values=1),
        weight=np.pad(first.canvas.weight, 5),
        origin_px=first.canvas.origin_px - 5,
        losses=first.canvas.losses,
    )
    again = networks.refine(prepared, RefineConfig(passes=3), wide)
    same(again.canvas.object, further.canvas.object, 1e-5)


SHIFT = np.array([1.0, -1.1])


@pytest.fixture(scope="module")
def off_probe(scan: Scan) -> tuple[Scan, Reconstruction]:
    """With a probe out of focus and shifted by a pixel and a half, and what comes of it where the
    probe is left as it is."""
    k = np.fft.fftfreq(scan.N)
    curvature = np.exp(60j * (k[:, None] ** 2 + k[None] ** 2))
    wrong = np.fft.ifft2(np.fft.fft2(scan.probe) * curvature)
    wrong = fourier_shift(wrong, SHIFT).astype(np.complex64)
    assert similarity(wrong, fourier_shift(scan.probe, SHIFT)) < 0.85
    off = replace(scan, probe=wrong)
    fixed = refine(off, RefineConfig(passes=60), "numpy")
    assert fixed.fit is not None
    assert fixed.fit.residual > 3 * fixed.fit.expected
    return off, fixed


def test_refinement_recovers_the_probe(
    networks: Networks, scan: Scan, off_probe: tuple[Scan, Reconstruction]
) -> None:
    off, fixed = off_probe
    freed = refine(off, RefineConfig(passes=60, refine_probe=True), networks.name)
    assert freed.fit is not None and fixed.fit is not None
    assert freed.fit.residual < 1.3 * freed.fit.expected
    assert phase_error(freed, scan) < 0.2 * phase_error(fixed, scan)
    # Where the probe sits in its array nobody can tell: object and positions go along.
    assert similarity(freed.probe, fourier_shift(scan.probe, SHIFT)) > 0.99


def test_refinement_recovers_positions(networks: Networks, scan: Scan) -> None:
    errors = np.random.default_rng(3).normal(0, 0.7, (scan.M, 2))
    off = replace(scan, positions_px=scan.positions_px + errors)
    found = refine(off, RefineConfig(passes=60, refine_positions=True), networks.name)
    left = found.positions_px - scan.positions_px

    assert spread(left) < 0.25 * spread(errors)
    assert found.fit.residual < 1.5 * found.fit.expected


@few
@given(seeds)
def test_refined_positions_stay_on_the_canvas(networks: Networks, seed: int) -> None:
    """Even where nothing is right and every position wants to leave."""
    scan = pp.simulate(N=32, patterns=30, photons=1e5, seed=4)
    positions = np.random.default_rng(seed).permutation(scan.positions_px)
    prepared = prepare(replace(scan, positions_px=positions))
    config = RefineConfig(passes=8, refine_positions=True, positions_from=0)
    found = networks.refine(prepared, config)
    corner, _ = split_positions(found.positions_px, scan.N, found.canvas.origin_px)
    assert (corner >= 0).all()
    assert (corner + scan.N <= found.canvas.object.shape).all()
    assert np.isfinite(found.canvas.object).all()


@pytest.mark.parametrize("decade", [-3, 3])
def test_refinement_depends_on_neither_flux_nor_scale_of_the_probe(
    networks: Networks, scan: Scan, decade: int
) -> None:
    config = RefineConfig(passes=10, refine_probe=True)
    flux = np.float32(10.0**decade)
    bright = replace(scan, diffraction=np.asarray(scan.diffraction, np.float32) * flux)
    loud = replace(scan, probe=scan.probe * np.float32(10.0**decade))
    one, *others = (networks.refine(prepare(s), config) for s in (scan, bright, loud))
    well = one.canvas.weight > 0.05
    for other in others:
        same(other.canvas.object[well], one.canvas.object[well], 1e-3)
        same(other.probe, one.probe, 1e-3)


def test_refinement_does_not_depend_on_the_memory(
    networks: Networks, prepared: PreparedScan
) -> None:
    """All patterns kept, a few at a time, or one by one."""
    config = RefineConfig(passes=5, refine_probe=True, refine_positions=True, positions_from=2)
    whole = networks.refine(prepared, config)
    for memory in (1, 0):
        parts = networks.refine(prepared, config, memory_mib=memory)
        well = whole.canvas.weight > 0.05
        same(parts.canvas.object[well], whole.canvas.object[well], 1e-4)
        same(parts.probe, whole.probe, 1e-4)
        assert np.abs(parts.positions_px - whole.positions_px).max() < 1e-4


def test_bad_pixels_do_not_change_a_refinement(networks: Networks, scan: Scan) -> None:
    mask = np.random.default_rng(0).random((scan.N, scan.N)) < 0.95
    masked = replace(scan, mask=mask)
    spoiled = replace(masked, diffraction=np.where(mask, scan.diffraction, 1e9).astype(np.float32))
    config = RefineConfig(passes=5, refine_probe=True, refine_positions=True, positions_from=2)
    one, other = (networks.refine(prepare(s), config) for s in (masked, spoiled))
    same(one.canvas.object, other.canvas.object, networks.rounding)
    same(one.probe, other.probe, networks.rounding)
    same(one.positions_px, other.positions_px, networks.rounding)


def test_refined_positions_give_the_object_room(networks: Networks, prepared: PreparedScan) -> None:
    """The canvas has a margin, inside of which the box of the scan lies."""
    config = RefineConfig(passes=1, refine_positions=True)
    found = networks.refine(prepared, config)
    shape, origin = canvas_for(prepared.scan.positions_px, prepared.scan.N)
    assert (found.canvas.origin_px < origin).all()
    assert (np.array(found.canvas.object.shape) > shape).all()
    rows, columns = scan_box(found.positions_px - found.canvas.origin_px)
    assert found.canvas.weight[rows, columns].min() > 0
