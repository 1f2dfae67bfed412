"""Reading and writing scans: units, axes, laziness, round trips."""

from __future__ import annotations

import json
import logging
import pickle
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oracle.forward import intensities
from ptychopinn.data.scan import Scan
from ptychopinn.errors import InputError
from ptychopinn.io import (
    LazyPatterns,
    base,
    identify,
    load_scan,
    read_probe,
    save_scan,
)
from ptychopinn.io.summary import probe_diameter, summarise
from ptychopinn.physics.scaling import probe_power

Write = Callable[..., Path]
Arrays = dict[str, Any]


def counts_of(arrays: Arrays) -> np.ndarray:
    return np.rint(arrays["diff3d"].astype(np.float64) ** 2)


# --- the NPZ dialects -------------------------------------------------------------------------


def test_amplitudes_become_whole_counts_and_positions_become_y_x(
    write_npz: Write, npz_arrays: Arrays
) -> None:
    path = write_npz()
    scan = load_scan(path)
    assert identify(path) == "npz"
    assert scan.diffraction.dtype == np.uint16
    np.testing.assert_array_equal(scan.diffraction[:], counts_of(npz_arrays))
    np.testing.assert_array_equal(scan.positions_px[:, 0], npz_arrays["ycoords"])
    np.testing.assert_array_equal(scan.positions_px[:, 1], npz_arrays["xcoords"])


def test_amplitudes_under_the_name_diffraction(write_npz: Write, npz_arrays: Arrays) -> None:
    scan = load_scan(write_npz(diff3d=None, diffraction=npz_arrays["diff3d"].astype(np.float64)))
    np.testing.assert_array_equal(scan.diffraction[:], counts_of(npz_arrays))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.dtype(">u2")])
def test_intensity_dialect_has_the_patterns_last(
    write_npz: Write, npz_arrays: Arrays, dtype: Any
) -> None:
    counts = counts_of(npz_arrays)
    stored = np.moveaxis(counts, 0, -1).astype(dtype)
    scan = load_scan(write_npz(diff3d=None, diffraction=stored))
    np.testing.assert_array_equal(scan.diffraction[:], counts)


def test_as_many_patterns_as_pixels_is_decided_by_the_dialect(
    write_npz: Write, npz_arrays: Arrays
) -> None:
    counts = np.random.default_rng(0).poisson(5, (32, 32, 32)).astype(np.uint16)
    coords = {k: np.linspace(20, 60, 32) for k in ("xcoords", "ycoords")}
    last = load_scan(write_npz(diff3d=None, diffraction=counts, **coords))
    np.testing.assert_array_equal(last.diffraction[:], np.moveaxis(counts, -1, 0))
    first = load_scan(write_npz(diff3d=counts, **coords))
    np.testing.assert_array_equal(first.diffraction[:], counts)
    floats = load_scan(write_npz(diff3d=None, diffraction=np.sqrt(counts), **coords))
    np.testing.assert_array_equal(floats.diffraction[:], counts)


def test_a_mask_under_another_name_is_told(
    write_npz: Write, caplog: pytest.LogCaptureFixture
) -> None:
    scan = load_scan(write_npz(pixel_mask=np.eye(32, dtype=np.uint8)))
    assert scan.mask is None
    (said,) = (r.getMessage() for r in caplog.records if "pixel_mask" in r.getMessage())
    assert "is not used" in said and "bad_pixels" in said
    caplog.clear()
    # Of another size it is none of the detector.
    load_scan(write_npz(mask=np.ones((90, 80), bool)))
    assert not caplog.records


def test_ptychodus_export_with_bad_pixels_and_modes(write_npz: Write, npz_arrays: Arrays) -> None:
    counts = counts_of(npz_arrays).astype(np.int32)
    bad = np.zeros((32, 32), bool)
    bad[3, 5] = True
    probe = np.stack([npz_arrays["probeGuess"], 0.3 * npz_arrays["probeGuess"]])
    scan = load_scan(write_npz(diff3d=counts, bad_pixels=bad, probeGuess=probe))
    assert scan.mask is not None
    np.testing.assert_array_equal(scan.mask, ~bad)
    np.testing.assert_array_equal(scan.diffraction[:], counts)
    assert scan.probe.shape == (2, 32, 32)
    measured = counts[:, ~bad].sum() / len(counts)
    assert probe_power(scan.probe, scan.mask) == pytest.approx(measured, rel=1e-5)


@pytest.mark.parametrize("source", ["argument", "key"])
def test_normalised_amplitudes_need_the_number_of_photons(
    write_npz: Write, npz_arrays: Arrays, source: str
) -> None:
    stored = npz_arrays["diff3d"] / 37.3
    if source == "argument":
        scan = load_scan(write_npz(diff3d=stored), photons=1234.0)
    else:
        scan = load_scan(write_npz(diff3d=stored, nphotons=1234.0))
    counts = scan.diffraction[:]
    assert counts.dtype == np.float32
    assert counts.sum(axis=(1, 2)).mean() == pytest.approx(1234.0, rel=1e-5)
    truth = counts_of(npz_arrays)
    np.testing.assert_allclose(counts / counts.mean(), truth / truth.mean(), rtol=1e-4)


def test_noise_free_amplitudes_stay_fractional(write_npz: Write, npz_arrays: Arrays) -> None:
    stored = npz_arrays["diff3d"].astype(np.float64) * 3.21
    scan = load_scan(write_npz(diff3d=stored), units="amplitude")
    assert scan.diffraction.dtype == np.float32
    np.testing.assert_allclose(scan.diffraction[:], stored**2, rtol=1e-6)


def test_large_amplitudes_are_rounded_in_spite_of_single_precision(
    write_npz: Write, npz_arrays: Arrays
) -> None:
    counts = counts_of(npz_arrays)
    counts[0, 0, :3] = [65535, 123456, 16_000_001]
    scan = load_scan(write_npz(diff3d=np.sqrt(counts).astype(np.float32)))
    assert scan.diffraction.dtype == np.uint32
    np.testing.assert_allclose(scan.diffraction[:], counts, atol=2)
    assert (scan.diffraction[:] == counts)[counts < 1e5].all()


def test_whole_floats_are_counts_only_when_the_user_says_so(
    write_npz: Write, npz_arrays: Arrays
) -> None:
    counts = counts_of(npz_arrays).astype(np.float32)
    with pytest.raises(InputError, match="units='counts'"):
        load_scan(write_npz(diff3d=counts))
    scan = load_scan(write_npz(diff3d=counts), units="counts")
    np.testing.assert_array_equal(scan.diffraction[:], counts)
    squared = load_scan(write_npz(diff3d=counts), units="amplitude")
    np.testing.assert_array_equal(squared.diffraction[:], counts**2)


@pytest.mark.parametrize("placeholder", [np.ones((1, 1)), np.zeros((90, 90))])
def test_placeholder_object_is_ignored_and_logged(
    write_npz: Write, placeholder: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ptychopinn"):
        scan = load_scan(write_npz(objectGuess=placeholder.astype(np.complex64)))
    assert scan.object is None
    assert "placeholder" in caplog.text


def test_string_metadata_is_kept(write_npz: Write) -> None:
    scan = load_scan(write_npz(_metadata=np.array(json.dumps({"a": [1, 2]}))))
    assert scan.provenance["metadata"] == {"a": [1, 2]}
    assert load_scan(write_npz(_metadata=np.array("note"))).provenance["metadata"] == "note"


# --- the scale of probe and object ------------------------------------------------------------


def test_probe_is_scaled_to_the_counts_once_and_visibly(
    write_npz: Write, npz_arrays: Arrays, caplog: pytest.LogCaptureFixture
) -> None:
    mean = counts_of(npz_arrays).sum() / 12
    with caplog.at_level(logging.INFO, "ptychopinn"):
        scan = load_scan(write_npz(probeGuess=1e-6 * npz_arrays["probeGuess"]))
    again = load_scan(write_npz(probeGuess=1e6 * npz_arrays["probeGuess"]))
    assert probe_power(scan.probe) == pytest.approx(mean, rel=1e-5)
    np.testing.assert_allclose(again.probe, scan.probe, rtol=1e-5)
    record = scan.provenance["probe_power"]
    assert record["counts"] == pytest.approx(mean)
    assert record["factor"] == pytest.approx(np.sqrt(record["counts"] / record["given"]))
    assert f"{record['given']:.6g}" in caplog.text and f"{mean:.6g}" in caplog.text


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_object_makes_up_for_the_scale_of_the_probe(
    write_npz: Write, npz_arrays: Arrays, scale: float
) -> None:
    rng = np.random.default_rng(1)
    obj = 0.5 * np.exp(1j * rng.normal(0, 0.3, (100, 100)))
    positions = np.stack([npz_arrays["ycoords"], npz_arrays["xcoords"]], axis=1)
    probe = 40 * npz_arrays["probeGuess"].astype(np.complex128)
    expected = intensities(obj, probe[None], positions)
    path = write_npz(diff3d=np.sqrt(expected), probeGuess=scale * probe, objectGuess=obj)
    scan = load_scan(path)
    assert scan.object is not None
    again = intensities(scan.object, scan.probe, scan.positions_px)
    np.testing.assert_allclose(again, expected, rtol=1e-3, atol=1e-3)


def test_replaced_probe(write_npz: Write, npz_arrays: Arrays, tmp_path: Path) -> None:
    other = np.roll(npz_arrays["probeGuess"], 3)
    path = write_npz(probeBad=other, probeGuess=None)
    scan = load_scan(path, probe=f"{path}:probeBad")
    factor = scan.provenance["probe_power"]["factor"]
    np.testing.assert_allclose(scan.probe[0], factor * other, rtol=1e-5)
    assert scan.provenance["probe_source"] == f"{path}:probeBad"
    np.save(tmp_path / "probe.npy", other)
    saved = save_scan(scan, tmp_path / "native.h5")
    for source in (f"{tmp_path / 'probe.npy'}", f"{saved}", f"{saved}:probe"):
        np.testing.assert_allclose(load_scan(path, probe=source).probe, scan.probe, rtol=1e-5)


def test_read_probe_drops_leading_axes_of_length_one(tmp_path: Path) -> None:
    path = tmp_path / "product.h5"
    probe = np.random.default_rng(0).normal(size=(3, 2, 8, 8)) + 0j
    with h5py.File(path, "w") as file:
        file["probe"] = probe
        file["deep"] = probe[None, None, :1, :]
    np.testing.assert_array_equal(read_probe(str(path)), probe[0])
    with pytest.raises(InputError, match="FILE:KEY"):
        read_probe(f"{path}:nothing")
    with pytest.raises(InputError, match="does not exist"):
        read_probe(f"{tmp_path / 'no.npz'}:probe")


# --- tike and the measured scan ---------------------------------------------------------------


def test_tike_file_and_its_amplitude_copy_are_the_same_scan(star: Path, tike_star: Path) -> None:
    original, copy = load_scan(tike_star), load_scan(star)
    assert identify(tike_star) == "tike"
    np.testing.assert_array_equal(original.diffraction[:], copy.diffraction[:])
    np.testing.assert_allclose(original.probe, copy.probe, rtol=1e-4, atol=1e-3)
    offset = copy.positions_px - original.positions_px
    np.testing.assert_allclose(offset - offset[0], 0, atol=1e-4)


def test_plain_tike_npz_places_the_patch_by_its_corner(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    n, path = 32, tmp_path / "tike.npz"
    obj = np.exp(1j * rng.normal(0, 0.3, (60, 70)))
    y, x = np.indices((n, n)) - n / 2
    probe = 30 * np.exp(-(y**2 + x**2) / 40) + 0j
    corner = np.array([[3.0, 9.0], [20.0, 31.0], [0.0, 17.0]])
    waves = [probe * obj[int(r) : int(r) + n, int(c) : int(c) + n] for r, c in corner]
    data = np.rint(np.abs(np.fft.fft2(np.stack(waves), norm="ortho")) ** 2)
    np.savez(
        path,
        data=data[None].astype(np.float32),
        scan=corner[None].astype(np.float32),
        probe=probe[None, None, None, None].astype(np.complex64),
    )
    scan = load_scan(path)
    expected = intensities(obj, probe[None], scan.positions_px)
    np.testing.assert_array_equal(scan.positions_px, corner + n / 2)
    np.testing.assert_allclose(scan.diffraction[:], expected, atol=0.51)


def shifted_misfits(scan: Scan) -> list[float]:
    """Residual of a scan with its object: as it is, and with positions off by half a pixel."""
    assert scan.object is not None
    found = []
    for shift in ((0, 0), (0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)):
        model = intensities(scan.object, scan.probe, scan.positions_px + shift)
        residual = (np.sqrt(model) - np.sqrt(scan.diffraction[:])) ** 2
        found.append(float(residual.sum() / scan.diffraction[:].sum()))
    return found


@pytest.mark.parametrize("name", ["lines", "leaves"])
def test_conventions_agree_with_an_independent_simulation(shared_data: Path, name: str) -> None:
    scan = load_scan(shared_data / "simulated" / f"{name}_train_p1e5.npz").select(slice(0, 90, 3))
    right, *wrong = shifted_misfits(scan)
    assert right < 0.007
    assert min(wrong) > 1.15 * right


def test_conventions_agree_with_an_independent_reconstruction(star: Path) -> None:
    """Axes, origin and sub-pixel positions of a measured scan."""
    right, *wrong = shifted_misfits(load_scan(star, probe=f"{star}:probeRecon"))
    assert right < 0.0102
    assert min(wrong) > 1.15 * right


# --- the native format ------------------------------------------------------------------------


def small_scan(dtype: Any = np.uint16, m: int = 9, n: int = 32) -> Scan:
    rng = np.random.default_rng(5)
    counts = rng.poisson(4, (m, n, n)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        counts *= np.float32(1.5)
    probe = rng.normal(size=(2, n, n)) + 1j * rng.normal(size=(2, n, n))
    mask = np.ones((n, n), bool)
    mask[0, :4] = False
    return Scan(
        diffraction=counts,
        positions_px=rng.uniform(20, 60, (m, 2)),
        probe=probe,
        object=np.ones((90, 90)) * (1 + 2j),
        mask=mask,
        pixel_size_m=1.5e-8,
        energy_eV=8800.0,
        distance_m=1.9,
        name="small",
        provenance={"steps": ["made", 1], "nested": {"x": None}},
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32])
def test_round_trip(tmp_path: Path, dtype: Any) -> None:
    scan = small_scan(dtype)
    path = save_scan(scan, tmp_path / "a.h5")
    back = load_scan(path)
    assert isinstance(back.diffraction, LazyPatterns)
    assert back.diffraction.dtype == dtype
    np.testing.assert_array_equal(back.diffraction[:], scan.diffraction[:])
    for field in ("positions_px", "probe", "object", "mask"):
        np.testing.assert_array_equal(getattr(back, field), getattr(scan, field))
    for field in ("pixel_size_m", "energy_eV", "distance_m", "name"):
        assert getattr(back, field) == getattr(scan, field)
    assert back.provenance["nested"] == {"x": None}
    twice = load_scan(save_scan(back, tmp_path / "b.h5"))
    np.testing.assert_array_equal(twice.diffraction[:], scan.diffraction[:])


def test_whole_floats_are_stored_as_integers(tmp_path: Path) -> None:
    scan = small_scan(np.float32)
    whole = replace(scan, diffraction=np.rint(scan.diffraction[:]).astype(np.float32))
    back = load_scan(save_scan(whole, tmp_path / "a.h5"))
    assert back.diffraction.dtype == np.uint16
    np.testing.assert_array_equal(back.diffraction[:], whole.diffraction[:])


def test_units_are_stated_in_the_file(tmp_path: Path) -> None:
    path = save_scan(small_scan(), tmp_path / "a.h5")
    with h5py.File(path) as file:
        assert file.attrs["format"] == "ptychopinn-scan"
        assert file["diffraction"].attrs["units"] == "photon counts"
        assert file["diffraction"].chunks == (1, 32, 32)
        assert file["diffraction"].compression == "gzip"
        assert file["positions_px"].attrs["order"] == "y, x"
        assert file["probe"].attrs["units"] == "sqrt(counts)"


def test_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = save_scan(small_scan(), tmp_path / "a.h5")
    with pytest.raises(InputError, match="force=True"):
        save_scan(small_scan(), path)
    lazy = load_scan(path)
    save_scan(lazy, path, force=True)  # onto its own source
    np.testing.assert_array_equal(load_scan(path).diffraction[:], small_scan().diffraction[:])
    with pytest.raises(InputError, match=r"\.h5"):
        save_scan(lazy, tmp_path / "a.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_lazy_patterns_index_like_an_array(tmp_path: Path, data: st.DataObject) -> None:
    scan = small_scan()
    path = tmp_path / "a.h5"
    if not path.exists():
        save_scan(scan, path)
    lazy = load_scan(path).diffraction
    index = data.draw(
        st.one_of(
            st.slices(9),
            st.integers(-9, 8),
            st.lists(st.integers(-9, 8), max_size=20).map(lambda v: np.array(v, dtype=int)),
            st.lists(st.booleans(), min_size=9, max_size=9).map(np.array),
        )
    )
    expected = scan.diffraction[index]
    np.testing.assert_array_equal(lazy[index], expected)
    assert lazy[index].dtype == expected.dtype
    np.testing.assert_array_equal(lazy[index, ..., 3:5], scan.diffraction[:][index, ..., 3:5])


def test_lazy_patterns_travel_to_workers_and_refuse_bad_indices(tmp_path: Path) -> None:
    scan = small_scan()
    lazy = load_scan(save_scan(scan, tmp_path / "a.h5")).diffraction
    twin = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(twin[[4, 4, 1]], scan.diffraction[[4, 4, 1]])
    np.testing.assert_array_equal(np.asarray(lazy), scan.diffraction[:])
    for index in (9, -10, [0, 9]):
        with pytest.raises(IndexError):
            lazy[index]


def test_lazy_patterns_check_what_they_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptychopinn.io.lazy.HELD_PART", 0)
    path = save_scan(small_scan(np.float32), tmp_path / "a.h5")
    lazy = load_scan(path).diffraction
    with h5py.File(path, "r+") as file:
        file["diffraction"][4, 9, 9] = np.nan
    assert lazy[:4].shape == (4, 32, 32)
    with pytest.raises(InputError, match="NaN"):
        lazy[3:6]
    path.unlink()
    with pytest.raises(InputError, match="does not exist"):
        lazy[0]


def sparse_scan(path: Path, m: int, n: int) -> None:
    """A native file with one count in every pixel, none of them stored."""
    with h5py.File(path, "w", libver="v110") as file:
        file.attrs.update({"format": "ptychopinn-scan", "format_version": 1})
        file.create_dataset(
            "diffraction", (m, n, n), np.uint16, chunks=(1, n, n), fillvalue=1, compression="gzip"
        )
        file["positions_px"] = np.stack([np.arange(m), np.arange(m)], axis=1).astype(float)
        file["probe"] = np.ones((1, n, n), np.complex64)


def test_ten_gigabytes_open_without_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    sparse_scan(path, 20_000, 512)
    tracemalloc.start()
    try:
        scan = load_scan(path)
        chosen = scan.diffraction[[19_999, 0, 7]]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert scan.M * scan.N**2 * 2 > 10e9
    assert (chosen == 1).all()
    assert peak < 50e6


def test_saving_streams_a_lazy_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BATCH_BYTES", 2**20)
    sparse_scan(tmp_path / "a.h5", 2500, 64)  # 20 MB
    tracemalloc.start()
    try:
        save_scan(load_scan(tmp_path / "a.h5"), tmp_path / "b.h5")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8e6
    assert (load_scan(tmp_path / "b.h5").diffraction[::100] == 1).all()


# --- summary ----------------------------------------------------------------------------------


def test_probe_diameter_of_a_gaussian() -> None:
    y, x = np.indices((64, 64)) - 32
    probe = np.exp(-(y**2 + x**2) / (4 * 6.0**2))[None] + 0j  # intensity: standard deviation 6
    expected = 2 * 6 * np.sqrt(-2 * np.log(0.1))
    assert probe_diameter(probe) == pytest.approx(expected, rel=0.05)


def test_summary_agrees_with_the_arrays(write_npz: Write, npz_arrays: Arrays) -> None:
    content = summarise(load_scan(write_npz()))
    sums = counts_of(npz_arrays).sum(axis=(1, 2))
    assert content["counts_per_pattern"] == {
        "min": sums.min(),
        "mean": pytest.approx(sums.mean()),
        "max": sums.max(),
    }
    assert content["M"] == 12 and content["N"] == 32
    step, diameter = content["positions_px"]["median_step"], content["probe"]["diameter_px"]
    assert content["overlap"] == pytest.approx(1 - step / diameter)
    json.dumps(content, allow_nan=False)


def test_example_in_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "data-formats.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(page), "exec"), {})
    assert (tmp_path / "three-patterns.h5").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("photon_energy_eV", 8800 * 1.6e-19, "it looks like J: convert it"),
        ("detector_distance_m", 1500.0, "it looks like mm: convert it"),
        ("detector_pixel_size_m", 75.0, "it looks like um: convert it"),
    ],
)
def test_a_number_of_the_experiment_in_another_unit_is_named(
    key: str, value: float, words: str, write_npz: Write
) -> None:
    numbers = {
        "photon_energy_eV": 8800.0,
        "detector_distance_m": 1.5,
        "detector_pixel_size_m": 75e-6,
    }
    with pytest.raises(InputError, match=f"'{key}' in .*{words}"):
        load_scan(write_npz(**{**numbers, key: value}))
