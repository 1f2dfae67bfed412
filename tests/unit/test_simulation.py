"""Simulated scans: what the parameters say is what the arrays hold."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oracle import forward
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.simulation import SimulationConfig, simulate
from ptychopinn.simulation.config import ObjectKind
from ptychopinn.simulation.noise import detector_mask, measure
from ptychopinn.simulation.objects import make_object
from ptychopinn.simulation.photographs import INCLUDED, readable_pictures, varied_photographs
from ptychopinn.simulation.preview import save_preview
from ptychopinn.simulation.probes import incoherent_modes, make_probe
from ptychopinn.simulation.scans import fermat_spiral, make_positions, raster
from ptychopinn.simulation.textures import textures

KINDS = [kind for kind in get_args(ObjectKind) if kind != "file"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def overlap(modes: np.ndarray) -> np.ndarray:
    flat = modes.reshape(len(modes), -1)
    return flat @ flat.conj().T


# ---- objects


@pytest.mark.parametrize("kind", KINDS)
def test_object_is_finite_in_range_and_reproducible(kind: Any) -> None:
    config = SimulationConfig(object=kind, amplitude=(0.6, 0.9), phase=(-0.5, 1.0))
    shape = (150, 170)
    obj = make_object(config, shape, rng(3))
    assert obj.shape == shape and obj.dtype == np.complex64
    assert np.isfinite(obj).all()
    amplitude, phase = np.abs(obj), np.angle(obj)
    assert amplitude.min() >= 0.6 - 1e-5 and amplitude.max() <= 0.9 + 1e-5
    assert phase.min() >= -0.5 - 1e-5 and phase.max() <= 1.0 + 1e-5
    assert np.ptp(amplitude) > 0.15 and np.ptp(phase) > 0.7
    assert obj.tobytes() == make_object(config, shape, rng(3)).tobytes()
    assert obj.tobytes() != make_object(config, shape, rng(4)).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_object_is_band_limited(kind: Any) -> None:
    obj = make_object(SimulationConfig(object=kind), (192, 192), rng())
    window = np.hanning(192)[:, None] * np.hanning(192)[None, :]
    power = np.abs(forward.fft((obj - obj.mean()) * window)) ** 2
    q = np.abs(np.fft.fftshift(np.fft.fftfreq(192)))
    outer = np.maximum(q[:, None], q[None, :]) > 0.4
    assert power[outer].sum() < 2e-3 * power.sum()


def test_lines_resemble_the_usual_ones() -> None:
    obj = make_object(SimulationConfig(), (320, 320), rng(1))
    assert 0.04 < np.abs(obj).std() < 0.12 and 0.25 < np.angle(obj).std() < 0.5
    assert np.median(np.abs(obj)) > 0.9  # mostly transparent


def test_object_is_as_dense_at_the_border_as_inside() -> None:
    inside, border = 0.0, 0.0
    for seed in range(6):
        phase = np.angle(make_object(SimulationConfig(), (200, 200), rng(seed)))
        inside += phase[60:140, 60:140].mean()
        border += np.concatenate((phase[:40].ravel(), phase[-40:].ravel())).mean()
    assert abs(inside - border) / 6 < 0.1


def test_natural_images_come_with_the_package() -> None:
    from skimage import data

    folder = Path(data.__file__).parent
    names = {"clock": "clock_motion"}
    for name in INCLUDED:
        assert (folder / f"{names.get(name, name)}.png").is_file()


def test_large_natural_object_is_enlarged_not_repeated() -> None:
    obj = make_object(SimulationConfig(object="natural"), (700, 520), rng(2))
    assert obj.shape == (700, 520)
    assert not np.allclose(obj[:100], obj[-100:])


def picture(path: Path, shape: tuple[int, int], seed: int) -> None:
    Image.fromarray(rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.mark.parametrize("size", [(40, 60), (150, 170), (900, 400)])
def test_photographs_of_a_folder_are_cut_at_any_scale(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """Pictures smaller than the object are enlarged, larger ones also reduced."""
    for k in range(40):
        picture(tmp_path / f"{k}.png", size, k)
    config = SimulationConfig(object="natural", photographs=tmp_path)
    found = {make_object(config, (120, 130), rng(seed)).tobytes() for seed in range(20)}
    assert len(found) == 20
    for seed in range(20):
        maps = varied_photographs(tmp_path, (120, 130), rng(seed))
        assert all(m.shape == (120, 130) and 0 <= m.min() < 0.1 < 0.9 < m.max() <= 1 for m in maps)
    again = varied_photographs(tmp_path, (120, 130), rng(19))
    assert all(np.array_equal(a, b) for a, b in zip(maps, again, strict=True))


def test_folders_and_pictures_that_cannot_be_used(tmp_path: Path) -> None:
    picture(tmp_path / "one.png", (50, 50), 0)
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="two pictures or more"):
            readable_pictures(folder)
    (tmp_path / "two.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"two\.jpg"):
        readable_pictures(tmp_path)
    picture(tmp_path / "two.jpg", (50, 50), 1)
    assert [path.name for path in readable_pictures(tmp_path)] == ["one.png", "two.jpg"]


def test_textures_have_edges_and_grains() -> None:
    """Cells of one grey beside jumps: the slopes are far from those of a random field."""
    kurtosis = []
    for seed in range(8):
        maps = textures((160, 160), rng(seed))
        assert all(np.isfinite(m).all() and m.min() == 0 and m.max() == 1 for m in maps)
        slopes = np.diff(maps[0], axis=0)
        kurtosis.append(np.mean(slopes**4) / np.mean(slopes**2) ** 2)
    assert np.median(kurtosis) > 6  # 3 for a Gaussian


# ---- objects and probes from files


@pytest.fixture
def complex_object() -> np.ndarray:
    noise = rng(5).normal(size=(2, 150, 140))
    return (1 + 0.1 * noise[0] + 0.1j * noise[1]).astype(np.complex64)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_complex_object_from_file_is_used_as_it_is(
    tmp_path: Path, complex_object: np.ndarray, suffix: str
) -> None:
    path = tmp_path / f"object{suffix}"
    if suffix == ".npy":
        np.save(path, complex_object)
    elif suffix == ".npz":
        np.savez(path, objectGuess=complex_object, other=np.zeros(3))
    else:
        with h5py.File(path, "w") as file:
            file["result/object"] = complex_object[None]
            file["result/probe"] = np.zeros((1, 4))
    scan = simulate(object="file", object_file=path, patterns=49)
    np.testing.assert_array_equal(scan.object, complex_object)
    middle = (scan.positions_px.min(axis=0) + scan.positions_px.max(axis=0)) / 2
    np.testing.assert_allclose(middle, (75, 70), atol=2)


def test_real_image_is_mapped_to_amplitude_and_phase(tmp_path: Path) -> None:
    image = np.add.outer(np.arange(120), np.arange(120)).astype(np.uint8)
    np.save(tmp_path / "image.npy", image)
    scan = simulate(object="file", object_file=tmp_path / "image.npy", patterns=9)
    assert scan.object is not None
    assert np.abs(scan.object).min() == pytest.approx(0.55, abs=0.02)
    assert np.angle(scan.object).max() == pytest.approx(1.0, abs=0.05)


def test_probe_from_file_keeps_its_shape_and_modes(tmp_path: Path) -> None:
    modes = 3.0 * simulate(modes=2, patterns=4).probe
    np.save(tmp_path / "probe.npy", modes)
    scan = simulate(probe="file", probe_file=tmp_path / "probe.npy", patterns=9)
    ratio = np.linalg.norm(scan.probe) / np.linalg.norm(modes)
    np.testing.assert_allclose(scan.probe, ratio * modes, atol=1e-5 * np.abs(scan.probe).max())
    np.save(tmp_path / "one.npy", modes[0])
    extended = simulate(probe="file", probe_file=tmp_path / "one.npy", modes=3, patterns=9)
    assert extended.probe.shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.ones((20, 20)), "at least"),
        (np.ones(20), "2-D array"),
        (np.full((200, 200), np.nan), "finite"),
        (np.zeros((200, 200), np.complex64), "zero everywhere"),
        (np.array([["a"]]), "finite numbers"),
    ],
)
def test_unusable_object_file(tmp_path: Path, content: np.ndarray, message: str) -> None:
    np.save(tmp_path / "object.npy", content)
    with pytest.raises(InputError, match=message):
        simulate(object="file", object_file=tmp_path / "object.npy", patterns=4)


def test_object_that_is_dark_under_the_scan(tmp_path: Path) -> None:
    dark = np.zeros((200, 200), np.complex64)
    dark[0, 0] = 1
    np.save(tmp_path / "object.npy", dark)
    with pytest.raises(InputError, match="transmit light"):
        simulate(object="file", object_file=tmp_path / "object.npy", patterns=4)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    (tmp_path / "bad.txt").write_text("1")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=np.ones(3), b=np.ones(3))
    for name in ("missing.npy", "bad.npz", "bad.h5", "bad.txt", "pickled.npy", "two.npz"):
        with pytest.raises(InputError, match=name):
            simulate(object="file", object_file=tmp_path / name, patterns=4)


def test_unusable_probe_files(tmp_path: Path) -> None:
    for name, content, extra, message in (
        ("size", np.ones((32, 32)), {}, "N = 64"),
        ("dark", np.zeros((64, 64)), {}, "zero everywhere"),
        ("modes", np.ones((2, 64, 64)), {"modes": 3}, "2 modes"),
    ):
        np.save(tmp_path / f"{name}.npy", content)
        with pytest.raises(InputError, match=message):
            simulate(probe="file", probe_file=tmp_path / f"{name}.npy", patterns=4, **extra)


# ---- probes


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["aperture", "gaussian"]),
    n=st.sampled_from([48, 64, 96]),
    count=st.integers(1, 8),
    defocus=st.floats(-0.4, 0.4),
    stop=st.floats(0, 0.5),
    coma=st.floats(-0.1, 0.1),
    astigmatism=st.floats(-0.15, 0.15),
    diameter=st.floats(0.3, 0.5),
    decay=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**32),
)
def test_probe_is_normalised_orthogonal_confined_and_centred(
    kind: Any, n: int, count: int, defocus: float, stop: float, coma: float, astigmatism: float,
    diameter: float, decay: float, seed: int,
) -> None:  # fmt: skip
    config = SimulationConfig(
        probe=kind, N=n, modes=count, defocus=defocus, central_stop=stop, coma=coma,
        astigmatism=astigmatism, diameter=diameter, mode_decay=decay,
    )  # fmt: skip
    probe = make_probe(config, rng(seed))
    assert probe.shape == (count, n, n)
    gram = overlap(probe)
    weights = decay ** np.arange(count)
    np.testing.assert_allclose(gram, np.diag(weights / weights.sum()), atol=1e-9)
    power = (np.abs(probe) ** 2).sum(axis=0)
    rim = n // 32
    assert power[rim:-rim, rim:-rim].sum() > 1 - 1e-3
    first = np.abs(probe[0]) ** 2 / (np.abs(probe[0]) ** 2).sum()
    u = np.arange(n) - n // 2
    assert abs((first.sum(axis=1) * u).sum()) < 0.05
    assert abs((first.sum(axis=0) * u).sum()) < 0.05


def test_default_probe_is_a_curved_spot_of_about_23_pixels() -> None:
    probe = make_probe(SimulationConfig(), rng())[0]
    amplitude = np.abs(probe)
    for axis in (0, 1):
        assert 18 <= (amplitude > amplitude.max() / 4).any(axis=axis).sum() <= 28
    # Curvature: the phase of a defocused spot runs through several periods within the spot.
    bright = amplitude > amplitude.max() / 10
    phase = np.unwrap(np.angle(probe[32, bright[32]]))
    assert np.ptp(phase) > 2 * np.pi


def test_defocus_sets_the_size_of_the_spot() -> None:
    def diameter(defocus: float, n: int) -> float:
        config = SimulationConfig(N=n, defocus=defocus, coma=0, astigmatism=0, diameter=0.6)
        power = np.abs(make_probe(config, rng())[0]) ** 2
        u = np.arange(n) - n // 2
        second = (power * (u[:, None] ** 2 + u[None, :] ** 2)).sum() / power.sum()
        return float(np.sqrt(8 * second))  # a uniform disc of radius R has <r^2> = R^2/2

    for n in (64, 128):
        for defocus in (0.3, 0.5):
            assert diameter(defocus, n) == pytest.approx(defocus * n, rel=0.12)
            assert diameter(-defocus, n) == pytest.approx(diameter(defocus, n), rel=1e-6)


def test_defocus_is_fresnel_propagation() -> None:
    """Twice the defocus is the focus propagated twice as far: the spectra differ by one factor."""
    spectra = []
    for defocus in (0.1, 0.2, 0.3):
        config = SimulationConfig(defocus=defocus, coma=0, astigmatism=0)
        spectra.append(forward.fft(make_probe(config, rng())[0]))
    a, b, c = spectra
    bright = np.abs(a) > 0.2 * np.abs(a).max()
    np.testing.assert_allclose(
        np.exp(1j * np.angle(b / a))[bright], np.exp(1j * np.angle(c / b))[bright], atol=0.02
    )


def test_hermite_gauss_modes_of_a_gaussian() -> None:
    u = np.arange(64) - 32
    gauss = np.exp(-(u[:, None] ** 2 + u[None, :] ** 2) / 50.0).astype(np.complex128)
    modes = incoherent_modes(gauss, 6, 0.5, 0.0)
    expected = gauss * (u[None, :] ** 2 - 12.5)  # H2 for the intensity exp(-2 u^2/50)
    fourth = modes[3] / np.linalg.norm(modes[3])
    assert abs(np.vdot(fourth, expected / np.linalg.norm(expected))) == pytest.approx(1, abs=1e-9)


def test_probe_too_large_for_its_array() -> None:
    with pytest.raises(InputError, match="must fit"):
        simulate(defocus=0.9, patterns=4)


def test_probe_depends_on_its_own_seed_only() -> None:
    a = simulate(seed=1, patterns=9, poisson=False)
    b = simulate(seed=2, object="leaves", patterns=16, poisson=False)
    c = simulate(seed=1, patterns=9, probe_seed=1, poisson=False)
    unit = [scan.probe / np.linalg.norm(scan.probe) for scan in (a, b, c)]
    np.testing.assert_allclose(unit[0], unit[1], atol=1e-6)
    assert np.abs(unit[0] - unit[2]).max() > 0.01
    np.testing.assert_array_equal(a.object, c.object)
    np.testing.assert_array_equal(a.positions_px, c.positions_px)


# ---- positions


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["raster", "fermat", "random"]),
    count=st.integers(1, 300),
    step=st.floats(0.5, 30),
    seed=st.integers(0, 2**32),
)
def test_positions_count_and_extent(kind: Any, count: int, step: float, seed: int) -> None:
    config = SimulationConfig(scan=kind, patterns=count, step_px=step, jitter_px=0.2 * step)
    positions = make_positions(config, rng(seed))
    assert positions.shape == (count, 2) and positions.dtype == np.float64
    if kind == "fermat":  # a disc of the same area
        assert np.hypot(*positions.T).max() <= step * np.sqrt(count / np.pi)
    else:
        assert np.abs(positions).max() <= step * (np.ceil(np.sqrt(count)) / 2 + 0.5)


def test_raster_spacing_and_jitter() -> None:
    exact = raster(30, 5.0, 0.0, rng())
    np.testing.assert_allclose(np.diff(exact[:6], axis=0), [[0, 5]] * 5)
    np.testing.assert_allclose(exact.mean(axis=0), 0, atol=1e-12)
    moved = raster(30, 5.0, 1.5, rng()) - exact
    assert 1.0 < np.abs(moved).max() <= 1.5


def test_fermat_spiral_has_the_density_of_the_step() -> None:
    positions = fermat_spiral(2000, 4.0)
    inside = np.hypot(*positions.T) < 60
    assert inside.sum() == pytest.approx(np.pi * 60**2 / 16, rel=0.01)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 0.75 * 4.0


@pytest.mark.parametrize("kind", ["raster", "fermat", "random"])
def test_patches_lie_on_the_object_with_a_margin(kind: Any) -> None:
    scan = simulate(scan=kind, patterns=50, position_error_px=3.0)
    assert scan.object is not None
    for positions in (scan.positions_px, np.array(scan.provenance["true_positions_px"])):
        assert positions.min() >= 32 + 3
        assert (positions <= np.array(scan.object.shape) - 32 - 3).all()


def test_position_errors_do_not_change_the_kind_of_data() -> None:
    scan = simulate(patterns=400, position_error_px=0.7, poisson=False)
    true = np.array(scan.provenance["true_positions_px"])
    error = scan.positions_px - true
    assert error.std() == pytest.approx(0.7, rel=0.1)
    assert abs(error.mean()) < 0.1
    assert scan.object is not None
    expected = forward.intensities(scan.object, scan.probe, true[:3])
    np.testing.assert_allclose(scan.diffraction[:3], expected, rtol=1e-4, atol=1e-3)
    assert "true_positions_px" not in simulate(patterns=4).provenance


# ---- counts


def test_noise_free_patterns_are_those_of_the_forward_model() -> None:
    scan = simulate(patterns=20, modes=3, poisson=False, photons=1e6)
    assert scan.object is not None and scan.diffraction.dtype == np.float32
    expected = forward.intensities(
        scan.object.astype(np.complex128), scan.probe.astype(np.complex128), scan.positions_px
    )
    np.testing.assert_allclose(scan.diffraction[:], expected, rtol=1e-5, atol=1e-5 * expected.max())
    assert scan.diffraction[:].sum(dtype=np.float64) / 20 == pytest.approx(1e6, rel=1e-5)


@pytest.mark.parametrize("photons", [1e2, 1e5, 1e9])
def test_mean_counts_are_the_stated_ones(photons: float) -> None:
    scan = simulate(patterns=64, photons=photons)
    total = float(scan.diffraction[:].sum(dtype=np.float64))
    assert abs(total - 64 * photons) < 5 * np.sqrt(64 * photons)
    assert scan.diffraction.dtype == (np.uint32 if photons == 1e9 else np.uint16)


@pytest.mark.parametrize("mean", [0.3, 7.0, 400.0])
def test_counts_have_poisson_mean_and_variance(mean: float) -> None:
    expected = np.full((100, 32, 32), mean / 2 - 0.05, dtype=np.float32)
    counts = measure(expected, 2.0, 0.1, None, rng()).astype(np.float64)
    sigma = np.sqrt(mean / counts.size)
    assert abs(counts.mean() - mean) < 5 * sigma
    # var of a sample variance: (mu4 - mu2^2)/n with mu4 = m + 3 m^2 for Poisson
    assert abs(counts.var() - mean) < 5 * np.sqrt((mean + 2 * mean**2) / counts.size)


def test_background_adds_to_every_good_pixel() -> None:
    plain = simulate(patterns=16, poisson=False, photons=1e4)
    raised = simulate(patterns=16, poisson=False, photons=1e4, background=2.5)
    np.testing.assert_allclose(raised.diffraction[:] - plain.diffraction[:], 2.5, atol=1e-4)


def test_mask_of_dead_pixels_and_beam_stop() -> None:
    scan = simulate(patterns=9, dead_pixels=0.05, beam_stop_px=4, background=1.0)
    assert scan.mask is not None
    q = np.hypot(*(np.indices((64, 64)) - 32))
    assert not scan.mask[q < 4].any()
    dead = ~scan.mask & (q >= 4)
    assert 0.04 * 4096 < dead.sum() <= 0.05 * 4096 + 1
    assert (scan.diffraction[:][:, ~scan.mask] == 0).all()
    open_detector = simulate(patterns=9, background=1.0)
    assert open_detector.mask is None
    np.testing.assert_array_equal(
        scan.diffraction[:][:, scan.mask], open_detector.diffraction[:][:, scan.mask]
    )
    by_number = detector_mask(64, 7, 0, rng())
    assert by_number is not None and (~by_number).sum() == 7


@pytest.mark.parametrize("wrong", [{"dead_pixels": 4096}, {"beam_stop_px": 100}])
def test_detector_without_good_pixels(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="good pixel"):
        simulate(patterns=4, **wrong)


@pytest.mark.parametrize("wrong", [{"background": 5.0, "photons": 1e3}, {"photons": 1e-6}])
def test_counts_that_the_probe_does_not_explain(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="mainly from the probe"):
        simulate(patterns=4, **wrong)


def test_more_counts_than_32_bits() -> None:
    with pytest.raises(InputError, match="must count less"):
        simulate(patterns=4, photons=1e14)


# ---- the whole


def arrays(scan: Scan) -> dict[str, bytes]:
    values = {f.name: getattr(scan, f.name) for f in fields(scan)}
    return {k: v.tobytes() for k, v in values.items() if isinstance(v, np.ndarray)}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_parameters_give_equal_bytes(kind: Any) -> None:
    options = {"object": kind, "patterns": 25, "modes": 2, "dead_pixels": 3.0, "seed": 7}
    first, second = simulate(**options), simulate(SimulationConfig(**options))
    assert arrays(first) == arrays(second)
    assert first.provenance == second.provenance
    other = simulate(**{**options, "seed": 8})
    for name in ("diffraction", "positions_px", "object", "mask"):
        assert arrays(first)[name] != arrays(other)[name]


def test_parts_are_seeded_independently() -> None:
    few, more = simulate(photons=1e4, patterns=16), simulate(photons=1e6, patterns=16, modes=4)
    np.testing.assert_array_equal(few.object, more.object)
    np.testing.assert_array_equal(few.positions_px, more.positions_px)


@pytest.mark.parametrize("n", [32, 48, 128])
def test_other_sizes(n: int) -> None:
    scan = simulate(N=n, patterns=9)
    assert n == scan.N and scan.probe.shape == (1, n, n)


def test_provenance_and_geometry_are_kept() -> None:
    import json

    scan = simulate(patterns=4, pixel_size_m=1e-8, energy_eV=8000.0, distance_m=2.0, seed=3)
    assert (scan.pixel_size_m, scan.energy_eV, scan.distance_m) == (1e-8, 8000.0, 2.0)
    stored = json.loads(json.dumps(scan.provenance))
    assert SimulationConfig(**stored["simulation"]).seed == 3
    again = simulate(SimulationConfig(**stored["simulation"]))
    assert arrays(again) == arrays(scan)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"N": 65}, "N"),
        ({"patterns": 0}, "patterns"),
        ({"modes": 9}, "modes"),
        ({"amplitude": (0.9, 0.1)}, "amplitude"),
        ({"amplitude": (-0.1, 1.0)}, "amplitude"),
        ({"object": "file"}, "object_file"),
        ({"probe_file": "probe.npy"}, "probe_file"),
        ({"dead_pixels": 2.5}, "dead_pixels"),
        ({"photons": float("inf")}, "photons"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=rf"^(option {field} |'{field}' is not an option)"):
        simulate(**wrong)


def test_overrides_take_precedence_over_the_configuration() -> None:
    scan = simulate(SimulationConfig(patterns=4, N=32), patterns=6)
    assert (scan.M, scan.N) == (6, 32)


def test_preview(tmp_path: Path) -> None:
    scan = simulate(patterns=4)
    target = tmp_path / "preview.png"
    save_preview(scan, target)
    assert target.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="force=True"):
        save_preview(scan, target)
    with pytest.raises(InputError, match=r"\.png"):
        save_preview(scan, tmp_path / "preview.jpg")
    without = Scan(scan.diffraction, scan.positions_px, scan.probe)
    with pytest.raises(InputError, match="needs the object"):
        save_preview(without, target, force=True)
