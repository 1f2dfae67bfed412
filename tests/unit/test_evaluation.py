"""Scores: what is removed before comparing, what the numbers mean, and the fit of the patterns."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ptychopinn as pp
from oracle.forward import fourier_shift, intensities
from oracle.losses import amplitude_residual, expected_residual, poisson_deviance
from ptychopinn.data.reconstruction import Reconstruction
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.evaluation import common_origin, evaluate, prediction
from ptychopinn.evaluation import misfit as misfit_module
from ptychopinn.evaluation.alignment import align, scan_box
from ptychopinn.evaluation.belonging import check_belongs
from ptychopinn.evaluation.misfit import misfit
from ptychopinn.evaluation.prediction import predict
from ptychopinn.evaluation.resolution import bit_threshold, fourier_ring_correlation
from ptychopinn.report.page import save_evaluation
from ptychopinn.solvers.configs import PhysicsConfig

N = 32
SHAPE = (112, 120)
PERFECT = ("amplitude_ssim", "phase_ssim")


def smooth_object(seed: int = 0, cutoff: float = 0.12) -> np.ndarray:
    """A random complex object, band-limited so that its sub-pixel shift is exact, and periodic."""
    rng = np.random.default_rng(seed)
    radius = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1]))

    def layer() -> np.ndarray:
        white = np.fft.fft2(rng.normal(size=SHAPE))
        soft = np.fft.ifft2(white * np.exp(-((radius / cutoff) ** 2) * 2)).real
        return soft / np.abs(soft).max()

    return ((0.8 + 0.2 * layer()) * np.exp(1j * layer())).astype(np.complex64)


def make_scan(obj: np.ndarray, photons: float = 2e5, seed: int = 1, **changes: Any) -> Scan:
    rng = np.random.default_rng(seed)
    y, x = np.indices((N, N)) - N / 2
    probe = np.exp(-(y**2 + x**2) / 40 + 0.03j * (y**2 + x**2))
    probe = np.stack([probe, 0.4 * x / 5 * probe])
    probe *= np.sqrt(photons / (np.abs(probe) ** 2).sum())
    grid = np.stack(np.meshgrid(np.arange(20, 90, 7.0), np.arange(20, 98, 7.0), indexing="ij"), -1)
    positions = grid.reshape(-1, 2) + rng.uniform(-1.5, 1.5, size=(grid.size // 2, 2))
    counts = rng.poisson(intensities(obj, probe, positions)).astype(np.float32)
    values: dict[str, Any] = {
        "diffraction": counts,
        "positions_px": positions,
        "probe": probe,
        "object": obj,
        "name": "known",
    }
    return Scan(**(values | changes))


def make_result(scan: Scan, obj: np.ndarray, **changes: Any) -> Reconstruction:
    values: dict[str, Any] = {
        "object": obj,
        "origin_px": (0, 0),
        "weight": np.ones(obj.shape),
        "probe": scan.probe,
        "positions_px": scan.positions_px,
    }
    return Reconstruction(**(values | changes))


@pytest.fixture(scope="module")
def scan() -> Scan:
    return make_scan(smooth_object())


@given(
    shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
    ramp=st.tuples(st.floats(-0.6, 0.6), st.floats(-0.6, 0.6)),
    modulus=st.floats(0.01, 100),
    angle=st.floats(-3, 3),
    seed=st.integers(0, 100),
)
@settings(max_examples=25, deadline=None)
def test_alignment_recovers_shift_scale_and_ramp(
    shift: tuple[float, float],
    ramp: tuple[float, float],
    modulus: float,
    angle: float,
    seed: int,
) -> None:
    truth = smooth_object(seed).astype(np.complex128)
    y, x = np.indices(SHAPE)
    box = scan_box(np.array([[20.0, 20.0], [90.0, 98.0]]))
    middle_y, middle_x = (20 + 90) / 2, (20 + 98) / 2
    moved = fourier_shift(truth, np.array(shift))
    tilted = moved * np.exp(1j * (ramp[0] * (y - middle_y) + ramp[1] * (x - middle_x)))
    rec = modulus * np.exp(1j * angle) * tilted
    found = align(rec, np.ones(SHAPE), (0, 0), truth, box)
    np.testing.assert_allclose(found.shift_px, shift, atol=0.01)
    np.testing.assert_allclose(found.ramp_rad_per_px, ramp, atol=1e-3)
    assert abs(found.scale) == pytest.approx(modulus, rel=5e-3)
    error = np.linalg.norm(found.reconstruction - found.truth) / np.linalg.norm(found.truth)
    assert error < 0.01


def test_identical_objects_are_perfect(scan: Scan) -> None:
    found = evaluate(make_result(scan, scan.object), truth=scan)
    assert found.metrics["nrmse"] < 1e-6
    assert found.metrics["coverage"] == 1
    assert found.metrics["amplitude_psnr_db"] > 100
    assert found.metrics["phase_psnr_db"] > 100
    assert [found.metrics[k] for k in PERFECT] == pytest.approx([1, 1])
    assert found.frc is not None
    assert found.frc.half_bit_crossing is None
    assert any("limited by the pixels" in note for note in found.notes)
    assert found.metrics["shift_y_px"] == pytest.approx(0, abs=1e-6)


def test_the_canvas_may_start_anywhere(scan: Scan) -> None:
    obj = scan.object
    assert obj is not None
    result = make_result(scan, obj[5:105, 9:112], origin_px=(5, 9))
    assert evaluate(result, truth=scan).metrics["nrmse"] < 1e-6


def test_another_numbering_of_pixels_is_recognised(scan: Scan) -> None:
    offset = np.array([37, -21])
    result = make_result(
        scan, scan.object, origin_px=offset, positions_px=scan.positions_px + offset
    )
    assert evaluate(result, truth=scan).metrics["nrmse"] < 1e-6


def test_phase_scores_ignore_wrapping_and_constants(scan: Scan) -> None:
    obj = scan.object
    assert obj is not None
    steep = replace(scan, object=(np.abs(obj) * np.exp(5j * np.angle(obj))).astype(np.complex64))
    assert steep.object is not None
    found = evaluate(make_result(steep, steep.object * np.exp(2.5j)), truth=steep).metrics
    assert found["phase_psnr_db"] > 90
    assert found["phase_mae_rad"] < 1e-4
    assert found["phase_peak_rad"] > 2 * np.pi


def test_scores_follow_their_formulas(scan: Scan) -> None:
    obj = scan.object
    assert obj is not None
    rng = np.random.default_rng(4)
    noisy = obj + 0.05 * (rng.normal(size=SHAPE) + 1j * rng.normal(size=SHAPE))
    found = evaluate(make_result(scan, noisy), truth=scan)
    image, values = found.images, found.metrics
    box = scan_box(scan.positions_px)
    np.testing.assert_allclose(image["truth_amplitude"], np.abs(obj[box]), rtol=1e-6)
    rms = np.sqrt(np.mean(image["amplitude_error"] ** 2))
    peak = np.ptp(np.abs(obj[box]))
    assert values["amplitude_peak"] == pytest.approx(peak, rel=1e-6)
    assert values["amplitude_psnr_db"] == pytest.approx(20 * np.log10(peak / rms))
    assert values["amplitude_mae"] == pytest.approx(np.abs(image["amplitude_error"]).mean())
    assert values["phase_mae_rad"] == pytest.approx(np.abs(image["phase_error"]).mean())
    # Two real normal numbers per pixel; scale, ramp and shift take next to nothing of them.
    expected = 0.05 * np.sqrt(2) / np.sqrt(np.mean(np.abs(obj[box]) ** 2))
    assert values["nrmse"] == pytest.approx(expected, rel=0.03)


def test_unseen_parts_cost_and_are_counted(scan: Scan) -> None:
    weight = np.ones(SHAPE)
    weight[40:60] = 0
    full = evaluate(make_result(scan, scan.object), truth=scan).metrics
    found = evaluate(make_result(scan, scan.object, weight=weight), truth=scan)
    rows = scan_box(scan.positions_px)[0]
    assert found.metrics["coverage"] == pytest.approx(1 - 20 / (rows.stop - rows.start))
    assert found.metrics["nrmse"] > full["nrmse"] + 0.3
    assert found.metrics["phase_psnr_db"] < full["phase_psnr_db"] - 50
    assert any("never seen" in note for note in found.notes)


def test_a_constant_truth_has_no_psnr(scan: Scan) -> None:
    obj = scan.object
    assert obj is not None
    flat = replace(scan, object=np.exp(1j * np.angle(obj)).astype(np.complex64))
    found = evaluate(make_result(scan, flat.object), truth=flat)
    assert "amplitude_psnr_db" not in found.metrics
    assert "phase_psnr_db" in found.metrics
    assert any("amplitude is constant" in note for note in found.notes)


def test_a_flat_picture_of_lines_scores_as_published(shared_data: Any) -> None:
    with np.load(shared_data / "simulated" / "lines_train_p1e5.npz", allow_pickle=False) as file:
        scan = Scan(
            diffraction=(file["diff3d"][:, ::2, ::2] ** 2).astype(np.float32),
            positions_px=np.stack([file["ycoords"], file["xcoords"]], axis=1),
            probe=file["probeGuess"][::2, ::2],
            object=file["objectGuess"],
        )
    found = evaluate(make_result(scan, np.ones((320, 320))), truth=scan).metrics
    assert found["nrmse"] == pytest.approx(0.395, abs=0.03)
    assert found["amplitude_psnr_db"] == pytest.approx(12.4, abs=0.5)
    assert found["amplitude_ssim"] == pytest.approx(0.17, abs=0.05)
    assert found["phase_psnr_db"] == pytest.approx(13.7, abs=0.5)
    assert found["phase_ssim"] == pytest.approx(0.10, abs=0.05)


@pytest.mark.parametrize("shape", [(128, 128), (97, 140)])
@pytest.mark.parametrize("cut", [0.3, 0.6])
def test_ring_correlation_crosses_where_the_noise_begins(
    shape: tuple[int, int], cut: float
) -> None:
    rng = np.random.default_rng(8)

    def white() -> np.ndarray:
        return np.fft.fft2(rng.normal(size=shape) + 1j * rng.normal(size=shape))

    radius = 2 * np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    true, other = white(), white()
    first = np.fft.ifft2(true)
    second = np.fft.ifft2(np.where(radius < cut, true, other))
    found = fourier_ring_correlation(first, second, pixel_size_m=1e-8)
    assert found.half_bit_crossing == pytest.approx(cut, abs=0.04)
    assert found.fixed_crossing == pytest.approx(cut, abs=0.05)
    assert found.half_bit_resolution_m == pytest.approx(1e-8 / found.half_bit_crossing)
    assert found.correlation[3 : int(cut * min(shape) / 2) - 2].min() > 0.98
    assert fourier_ring_correlation(first, second).fixed_resolution_m is None


@pytest.mark.parametrize(
    ("bits", "published"), [(0.5, (0.2071, 1.9102, 0.9102)), (1.0, (0.5, 2.4142, 1.4142))]
)
def test_information_thresholds_are_the_published_ones(
    bits: float, published: tuple[float, float, float]
) -> None:
    ratio, above, below = published
    n = np.array([1.0, 7.0, 100.0, 1e12])
    expected = (ratio + above / np.sqrt(n)) / (1 + ratio + below / np.sqrt(n))
    assert bit_threshold(n, bits) == pytest.approx(expected, abs=1e-4)


def test_the_halves_of_a_refinement_tell_the_resolution_without_a_truth(tmp_path: Path) -> None:
    """Fewer photons, less resolution; it is kept in the file, and in the numbers of the result."""
    found = {}
    for photons in (3e2, 1e5):
        scan = pp.simulate(object="leaves", N=32, patterns=150, photons=photons, step_px=4, seed=2)
        config = PhysicsConfig(passes=10)
        result = pp.refine(scan, None, config, uncertainty=True, backend="numpy", no_mend="all")
        stored = pp.load_reconstruction(result.save(tmp_path / f"{photons}.h5"))
        assert np.array_equal(stored.half_split, result.half_split)
        found[photons] = evaluate(stored, data=scan)
        assert found[photons].frc is None
        curve = found[photons].to_json()["half_split_correlation"]
        assert (
            len(curve["correlation"])
            == len(curve["one_bit_threshold"])
            == len(result.half_split[0])
        )
        save_evaluation(found[photons], tmp_path / f"{photons}.png")
    low, high = (e.metrics.get("halves_half_bit_fraction_of_nyquist", 1.0) for e in found.values())
    assert low < 0.8 * high
    split = found[3e2].half_split
    assert split is not None and split.one_bit_crossing <= split.half_bit_crossing


def test_a_network_states_no_correlation_of_halves_that_share_it() -> None:
    scan = pp.simulate(object="leaves", N=32, patterns=150, photons=1e4, step_px=4, seed=2)
    found = pp.reconstruct(scan, uncertainty=True, refine="never", backend="numpy")
    assert found.uncertainty is not None and found.half_split is None


def test_predicted_patterns_equal_the_reference(scan: Scan, monkeypatch: Any) -> None:
    monkeypatch.setattr(prediction, "_BATCH_VALUES", 7 * scan.probe.size)
    obj = scan.object
    assert obj is not None
    result = make_result(scan, obj[2:, 3:], origin_px=(2, 3))
    parts = list(predict(result))
    assert len(parts) > 3
    found = np.concatenate([frames for _, frames in parts])
    expected = intensities(obj, scan.probe, scan.positions_px)
    np.testing.assert_allclose(found, expected, atol=2e-5 * expected.max())


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_the_true_object_fits_as_well_as_noise_allows(
    scan: Scan, monkeypatch: Any, keep: int
) -> None:
    monkeypatch.setattr(misfit_module, "_KEEP_BYTES", keep)
    mask = np.ones((N, N), dtype=bool)
    mask[10:14, 3:9] = False
    spoiled = np.array(scan.diffraction)
    spoiled[:, ~mask] = 1e6
    masked = replace(scan, diffraction=spoiled, mask=mask)
    found = misfit(make_result(scan, 3 * scan.object), masked)
    assert found.scale == pytest.approx(1 / 3, rel=0.01)
    assert found.excess == pytest.approx(0, abs=0.05 * found.expected)
    assert found.verdict == "good"
    model = intensities(scan.object, scan.probe, scan.positions_px)
    counts = np.asarray(scan.diffraction, dtype=float)
    model *= counts[:, mask].sum() / model[:, mask].sum()
    assert found.residual == pytest.approx(amplitude_residual(model, counts, mask), rel=1e-3)
    assert found.expected == pytest.approx(expected_residual(model, mask), rel=1e-3)
    assert found.deviance == pytest.approx(poisson_deviance(model, counts, mask), rel=1e-3)
    assert np.isnan(found.measured_mean[~mask]).all()
    np.testing.assert_allclose(found.measured_mean[mask], counts.mean(0)[mask], rtol=1e-5)


def test_a_wrong_object_is_a_poor_fit(scan: Scan) -> None:
    obj = scan.object
    assert obj is not None
    rough = np.exp(3j * np.random.default_rng(2).normal(size=SHAPE))
    found = evaluate(make_result(scan, rough), data=scan)
    assert found.verdict == "poor"
    assert "poor" in found.summary()
    assert set(found.images) == {"amplitude", "phase"}


def test_a_flat_object_explains_nothing_and_is_a_poor_fit(scan: Scan) -> None:
    flat, true = make_result(scan, np.ones(SHAPE)), make_result(scan, scan.object)
    assert misfit(flat, scan).explained == pytest.approx(0, abs=0.05)
    assert misfit(flat, scan).verdict == "poor"
    assert misfit(true, scan).explained == pytest.approx(1, abs=0.02)
    assert misfit(true, scan).verdict == "good"


def test_an_empty_object_has_nothing_to_explain(scan: Scan) -> None:
    empty = replace(scan, object=np.ones(SHAPE))
    probe_pattern = intensities(np.ones(SHAPE), scan.probe.astype(complex), scan.positions_px)
    counts = np.random.default_rng(7).poisson(probe_pattern).astype(np.uint32)
    found = misfit(make_result(empty, np.ones(SHAPE)), replace(empty, diffraction=counts))
    assert np.isnan(found.explained)
    assert found.verdict == "good"
    assert found.summary()["explained"] is None


def test_a_result_of_some_patterns_is_compared_with_those(scan: Scan) -> None:
    chosen = np.random.default_rng(6).permutation(scan.M)[:40]
    part = scan.select(chosen)
    result = make_result(part, scan.object)
    found, expected = misfit(result, scan), misfit(result, part)
    assert found.residual == pytest.approx(expected.residual)


def test_things_that_do_not_belong_together_are_refused(scan: Scan) -> None:
    obj = scan.object
    assert obj is not None
    result = make_result(scan, obj)
    with pytest.raises(InputError, match="compare"):
        evaluate(result)
    with pytest.raises(InputError, match="known object"):
        evaluate(result, truth=replace(scan, object=None))
    with pytest.raises(InputError, match="one of the"):
        evaluate(replace(result, positions_px=result.positions_px[:7] + 30), data=scan)
    with pytest.raises(InputError, match="pattern size"):
        evaluate(replace(result, probe=np.ones((1, 64, 64))), data=scan)
    with pytest.raises(InputError, match="zeros only"):
        evaluate(make_result(scan, 0 * obj), truth=scan)
    with pytest.raises(InputError, match="predict some intensity"):
        evaluate(make_result(scan, 0 * obj), data=scan)
    with pytest.raises(InputError, match="at least 8 x 8"):
        evaluate(result, truth=scan.select(slice(0, 1)))
    with pytest.raises(InputError, match="outside"):
        evaluate(make_result(scan, obj[:60], weight=np.ones((60, 120))), data=scan)


def test_json_and_summary(scan: Scan) -> None:
    found = evaluate(make_result(scan, scan.object, pixel_size_m=1e-8), truth=scan, data=scan)
    text = json.dumps(found.to_json(), allow_nan=False)
    content = json.loads(text)
    assert content["verdict"] == "good"
    assert content["metrics"].keys() == found.metrics.keys()
    assert all(type(value) is float for value in found.metrics.values())
    assert len(content["fourier_ring_correlation"]["correlation"]) == len(found.frc.frequency)
    assert "NRMSE" in found.summary()
    assert len(found.rows()) == len(found.metrics)


def test_faults_of_data_that_are_not_its_own_are_named() -> None:
    """Nobody mends them, and the result is not to blame."""
    whole = pp.simulate(N=32, patterns=64, photons=1e5, seed=3, step_px=3.0)
    result = pp.refine(whole, None, pp.RefineConfig(passes=12), backend="numpy")
    counts = np.array(whole.diffraction[:], np.uint32)
    counts[[7, 30]] = 0
    dark = evaluate(result, data=replace(whole, diffraction=counts))
    assert any("only one like it; a look at it finds empty-patterns" in n for n in dark.notes)
    counts[[7, 30]] = 60000
    with pytest.raises(InputError, match=r"belong to the result.*a look at it finds flooded-pat"):
        evaluate(result, data=replace(whole, diffraction=counts))


def test_a_part_of_a_scan_belongs_to_it_whatever_its_origin() -> None:
    """Some formats put the origin in the middle of the positions, also of one that is wrong."""
    whole = pp.simulate(N=32, patterns=64, photons=1e5, seed=3, step_px=3.0)
    once: Any = {"config": pp.RefineConfig(passes=1), "backend": "numpy", "no_mend": "all"}
    result = pp.refine(whole, **once)
    part = whole.select(np.delete(np.arange(64), [7, 30]))
    shift = np.array([70.3, -9.1])
    moved = replace(part, positions_px=part.positions_px + shift, object=None)
    other = pp.refine(moved, **once)
    assert "only one like it" in str(check_belongs(result, moved, "truth"))
    assert "only one like it" in str(check_belongs(other, whole, "truth"))
    assert common_origin(result, moved).tolist() == [70, -9]
    assert common_origin(other, whole).tolist() == [-70, 9]
    assert common_origin(result, whole).tolist() == [0, 0]
    # As many, but paired otherwise, as after a frame that was lost.
    assert common_origin(other, part.select(np.roll(np.arange(62), 20))).tolist() == [-70, 9]
    stranger = replace(moved, probe=np.roll(moved.probe, 9, 1))
    with pytest.raises(InputError, match="other counts at other positions"):
        check_belongs(result, stranger, "truth")
    shaken = replace(moved, positions_px=moved.positions_px * 1.1)
    with pytest.raises(InputError, match="other counts at other positions"):
        check_belongs(result, shaken, "truth")
